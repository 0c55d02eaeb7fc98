"""The vocabulary of VPD's backbone: a config of latent diffusion, as CompVis' `ldm` package reads it."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, nothing, refused, to
from intarsia.config.schema.notation import DICT

NOT_TRAINED_SO = nothing("images are not made, so that nothing is trained for it")
NO_WORDS = nothing("words are read as embeddings, not encoded")

DIFFUSION_AREAS: dict[str, Area] = {
    "VPD: diffusion_cfg": {
        "target": refused("it is a latent diffusion model", "ldm.models.diffusion.ddpm.LatentDiffusion"),
        "params": to("arguments of the autoencoder's encoder and the U-Net", DICT),
        "checkpoint": to("pretrained", "str | None"),
        "base_learning_rate": NOT_TRAINED_SO,
    },
    "VPD: params of diffusion_cfg": {
        "first_stage_config": to("arguments of the autoencoder's encoder", DICT),
        "unet_config": to("arguments of the U-Net", DICT),
        "channels": nothing("latents have embed_dim channels"),
        "cond_stage_config": NO_WORDS,
        "cond_stage_key": NO_WORDS,
        "cond_stage_trainable": NO_WORDS,
        "conditioning_key": refused("the U-Net attends to the embeddings", "crossattn"),
        "first_stage_key": NOT_TRAINED_SO,
        "image_size": nothing("images may have any size"),
        "linear_end": NOT_TRAINED_SO,
        "linear_start": NOT_TRAINED_SO,
        "log_every_t": NOT_TRAINED_SO,
        "monitor": NOT_TRAINED_SO,
        "num_timesteps_cond": NOT_TRAINED_SO,
        "scale_factor": nothing("latents go into the U-Net as they are"),
        "scheduler_config": NOT_TRAINED_SO,
        "timesteps": NOT_TRAINED_SO,
        "use_ema": NOT_TRAINED_SO,
    },
    "VPD: first_stage_config": {
        "target": refused("it is a variational autoencoder", "ldm.models.autoencoder.AutoencoderKL"),
        "params": to("arguments of the autoencoder's encoder", DICT),
    },
    "VPD: params of first_stage_config": {
        "ddconfig": to("arguments of the autoencoder's encoder", DICT),
        "embed_dim": to("argument `embed_dim`", "int"),
        "lossconfig": NOT_TRAINED_SO,
        "monitor": NOT_TRAINED_SO,
    },
    "VPD: ddconfig": {
        "in_channels": to("argument `in_channels`", "int"),
        "ch": to("argument `first_stage_channels`", "int"),
        "ch_mult": to("argument `first_stage_channel_mult`", "Sequence[int]"),
        "num_res_blocks": to("argument `first_stage_num_res_blocks`", "int"),
        "z_channels": to("argument `z_channels`", "int"),
        "attn_resolutions": refused("only the coarsest level has attention", []),
        "double_z": refused("the encoder gives mean and variance", True),
        "dropout": refused("the encoder is not trained", 0.0),
        "out_ch": NOT_TRAINED_SO,
        "resolution": nothing("images may have any size"),
    },
    "VPD: unet_config": {
        "target": refused("it is latent diffusion's U-Net", "ldm.modules.diffusionmodules.openaimodel.UNetModel"),
        "params": to("arguments of the U-Net", DICT),
    },
    "VPD: params of unet_config": {
        "attention_resolutions": to("argument `attention_resolutions`", "Sequence[int]"),
        "channel_mult": to("argument `channel_mult`", "Sequence[int]"),
        "context_dim": to("argument `context_dim`", "int"),
        "model_channels": to("argument `model_channels`", "int"),
        "num_heads": to("argument `num_heads`", "int"),
        "num_res_blocks": to("argument `num_res_blocks`", "int"),
        "transformer_depth": to("argument `transformer_depth`", "int"),
        "use_checkpoint": to("argument `checkpoint_activations`", "bool"),
        "image_size": nothing("images may have any size"),
        "in_channels": nothing("latents have embed_dim channels"),
        "legacy": nothing("heads divide the channels either way"),
        "out_channels": NOT_TRAINED_SO,
        "use_spatial_transformer": refused("the U-Net attends to the embeddings", True),
    },
    "VPD: unet_cfg": {
        "use_attn": to("argument `attention_maps`: none, if False", "bool"),
        "attn_selector": to("argument `attention_maps`: 'up_cross', 'down_cross', or both, joined by +", "str"),
        "base_size": to("argument `attention_stride`, with max_attn_size", "int"),
        "max_attn_size": to("argument `attention_stride`: the finest that is no larger at base_size", "int | None"),
    },
}
