"""VPD: what a text-to-image diffusion model knows of a picture, here its depth."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config, val_loader
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import adamw, loops

ROWS = (Rows("vpd", ("sd",), 4, 8, ("25k",), ("nyu-480x480", "nyu-512x512")),)
_FOLDER = "https://download.openmmlab.com/mmsegmentation/v0.5/vpd/"
_META = (
    "img_path", "depth_map_path", "ori_shape", "img_shape", "pad_shape", "scale_factor", "flip", "flip_direction",
    "category_id",
)  # fmt: skip

_NETWORK: Config = {
    "use_checkpoint": True,
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "attention_resolutions": [4, 2, 1],
    "num_res_blocks": 2,
    "channel_mult": [1, 2, 4, 4],
    "num_heads": 8,
    "use_spatial_transformer": True,
    "transformer_depth": 1,
    "context_dim": 768,
    "legacy": False,
}
"""The U-Net of Stable Diffusion."""


def _latent_diffusion() -> Config:
    """Stable Diffusion 1.5 in the words of its own code."""
    autoencoder = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 128,
        "ch_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    warm_up = {
        "warm_up_steps": [10000],
        "cycle_lengths": [10000000000000],
        "f_start": [1e-06],
        "f_max": [1.0],
        "f_min": [1.0],
    }
    first_stage = {
        "embed_dim": 4,
        "monitor": "val/rec_loss",
        "ddconfig": autoencoder,
        "lossconfig": {"target": "torch.nn.Identity"},
    }
    return {
        "base_learning_rate": 0.0001,
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "checkpoint": f"{_FOLDER}stable_diffusion_v1-5_pretrain_third_party.pth",
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.012,
            "num_timesteps_cond": 1,
            "log_every_t": 200,
            "timesteps": 1000,
            "first_stage_key": "jpg",
            "cond_stage_key": "txt",
            "image_size": 64,
            "channels": 4,
            "cond_stage_trainable": False,
            "conditioning_key": "crossattn",
            "monitor": "val/loss_simple_ema",
            "scale_factor": 0.18215,
            "use_ema": False,
            "scheduler_config": {"target": "ldm.lr_scheduler.LambdaLinearScheduler", "params": warm_up},
            "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": _NETWORK},
            "first_stage_config": {"target": "ldm.models.autoencoder.AutoencoderKL", "params": first_stage},
            "cond_stage_config": {"target": "ldm.modules.encoders.modules.AbstractEncoder"},
        },
    }


def _loaders(recipe: Published) -> Config:
    """Photographs of rooms with the depth of each pixel, stored in millimetres."""
    crop = recipe.setting.crop
    depth: Config = {"type": "LoadDepthAnnotation", "depth_rescale_factor": 0.001}
    load, pack = {"type": "LoadImageFromFile"}, {"type": "PackSegInputs", "meta_keys": _META}
    resize = {"type": "RandomResize", "scale": (768, 512), "ratio_range": (0.8, 1.5), "keep_ratio": True}
    colours = ["RandomBrightnessContrast", "RandomGamma", "HueSaturationValue"]
    train: list[Config] = [
        load,
        depth,
        {"type": "RandomDepthMix", "prob": 0.25},
        {"type": "RandomFlip", "prob": 0.5},
        *([resize] if crop == (512, 512) else []),
        {"type": "RandomCrop", "crop_size": crop},
        {"type": "Albu", "transforms": [{"type": kind} for kind in colours]},
        pack,
    ]
    test: list[Config] = [load, {"type": "Resize", "scale": recipe.setting.scale, "keep_ratio": True}, depth, pack]

    def dataset(split: str, pipeline: list[Config]) -> Config:
        prefix = {"img_path": f"images/{split}", "depth_map_path": f"annotations/{split}"}
        return {"type": "NYUDataset", "data_root": "data/nyu", "data_prefix": prefix, "pipeline": pipeline}

    tested = {**val_loader(recipe.setting), "dataset": {**dataset("test", test), "test_mode": True}}
    return {
        "train_dataloader": {
            "batch_size": recipe.batch,
            "num_workers": 8,
            "persistent_workers": True,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": dataset("train", train),
        },
        "val_dataloader": tested,
        "test_dataloader": tested,
    }


def _published(recipe: Published) -> Parts:
    crop = recipe.setting.crop
    middle = (127.5, 127.5, 127.5)
    border = {"fmap_border": (1, 1)} if crop == (480, 480) else {}
    stride = (160, 160) if crop == (480, 480) else (128, 128)
    model = {
        "type": "DepthEstimator",
        "data_preprocessor": preprocessor(crop, mean=middle, std=middle, ignore_index=0),
        "backbone": {
            "type": "VPD",
            "diffusion_cfg": _latent_diffusion(),
            "class_embed_path": f"{_FOLDER}nyu_class_embeddings.pth",
            "class_embed_select": True,
            "pad_shape": 512,
            "unet_cfg": {"use_attn": False},
        },
        "decode_head": {"type": "VPDDepthHead", "in_channels": [320, 640, 1280, 1280], "max_depth": 10, **border},
        "test_cfg": {"mode": "slide_flip", "crop_size": crop, "stride": stride},
    }
    optim = {
        **adamw(0.001, 0.1, betas=None, clip_grad=None),
        "constructor": "ForceDefaultOptimWrapperConstructor",
        "paramwise_cfg": {
            "bias_decay_mult": 0,
            "force_default_settings": True,
            "custom_keys": {"backbone.encoder_vq": {"lr_mult": 0}, "backbone.unet": {"lr_mult": 0.01}},
        },
    }
    fall = {"type": "PolyLRRatio", "eta_min_ratio": 0.03, "power": 0.9, "by_epoch": False}
    schedule = [
        {"type": "LinearLR", "start_factor": 0.03, "by_epoch": False, "begin": 0, "end": 12_000},
        {**fall, "begin": 12_000, "end": 24_000},
        {"type": "ConstantLR", "by_epoch": False, "factor": 1, "begin": 24_000, "end": 25_000},
    ]
    metric = {"type": "DepthMetric", "min_depth_eval": 0.001, "max_depth_eval": 10.0, "crop_type": "nyu_crop"}
    others = {
        **loops(recipe.steps, every=1000, log_every=50),
        **_loaders(recipe),
        "val_evaluator": metric,
        "test_evaluator": metric,
        "find_unused_parameters": True,
    }
    kept = {"interval": 2000, "save_best": "rmse", "rule": "less", "max_keep_ckpts": 1}
    others["default_hooks"]["checkpoint"] |= kept
    return Parts(model, optim, schedule, others)


METHOD = Method(
    "VPD",
    "words and depth",
    "Unleashing Text-to-Image Diffusion Models for Visual Perception",
    "Zhao, Rao, Liu, Liu, Zhou, Lu",
    "ICCV",
    2023,
    "https://arxiv.org/abs/2303.02153",
)
FAMILY = Family(ROWS, _published, method=METHOD)
