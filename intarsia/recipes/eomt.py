"""EoMT: a plain transformer of timm that finds masks by itself.

On own data as ``eomt_timm:NAME`` (see `trunk_heads.py`), of which there are as many as networks and so no FAMILY; and
what its authors published scores of, by their configurations (https://github.com/tue-mps/eomt, MIT), as facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from intarsia.recipes.benchmarks import ADE20K, CITYSCAPES, Benchmark, Config, Setting, train_loader, val_loader
from intarsia.recipes.maskformer import class_loss, dice_loss, matching
from intarsia.recipes.published import Method, preprocessor
from intarsia.recipes.schedules import RUNTIME, adamw, loops

LEARNING_RATE, DECAY = 1e-4, 0.8
WARM_UP, STEPS = (500, 1000), 39_153
"""Steps in which the heads warm up while the transformer stands still, and then the transformer; of how many."""
METHOD = Method(
    "EoMT",
    "masks",
    "Your ViT is Secretly an Image Segmentation Model",
    "Kerssies, Cavagnero, Hermans, Norouzi, Averta, Leibe, Dubbelman, de Geus",
    "CVPR",
    2025,
    "https://arxiv.org/abs/2503.19108",
)


def blocks(depth: int) -> int:
    """Through how many last blocks the queries run: 3 of small and base, 4 of large, 5 of giant ones."""
    usual = 3 if depth <= 12 else 4 if depth < 40 else 5
    return min(usual, depth - 1)


def head(channels: int, patch: int, depth: int, num_logits: int) -> Config:
    """The head for a transformer of so many channels and blocks, of patches of so many pixels."""
    matched = matching(
        {"type": "mmdet.ClassificationCost", "weight": 2.0},
        {"type": "mmdet.CrossEntropyLossCost", "weight": 5.0, "use_sigmoid": True},
        {"type": "mmdet.DiceCost", "weight": 5.0, "pred_act": True, "eps": 1.0},
    )
    mask_loss = {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": True, "reduction": "mean", "loss_weight": 5.0}
    return {
        "type": "EoMTHead",
        "in_channels": channels,
        "num_classes": num_logits,
        "num_queries": 100,
        "num_blocks": blocks(depth),
        "num_upscales": max(1, patch.bit_length() - 3),  # to cells of 4 pixels
        "loss_cls": class_loss(num_logits, 2.0),
        "loss_mask": mask_loss,
        "loss_dice": dice_loss(5.0),
        "train_cfg": {"num_points": 12544, "oversample_ratio": 3.0, "importance_sample_ratio": 0.75, **matched},
    }


def training(depth: int) -> Config:
    """The optimizer: each block learns at 0.8 times the rate of the one behind it, and everything is decayed."""
    rules = {"num_layers": depth, "decay_rate": DECAY, "decay_type": "block_wise", "flat_decay_mult": 1.0}
    return {"optim_wrapper": {**optimizer(LEARNING_RATE), "constructor": "LayerDecayOptimizerConstructor",
                              "paramwise_cfg": rules}}  # fmt: skip


def optimizer(rate: float) -> Config:
    """AdamW with the gradients limited as they all are."""
    return adamw(rate, 0.05, clip_grad={"max_norm": 0.01, "norm_type": 2})


def two_stages(steps: int, warm_up: tuple[int, int]) -> list[Config]:
    """First the heads warm up alone, then the transformer; both decay from there on."""
    first, second = warm_up
    decay = {"type": "WarmupPolyLR", "power": 0.9, "by_epoch": False, "begin": 0, "end": steps}
    return [{**decay, "warm_up": first}, {**decay, "part": "backbone", "delay": first, "warm_up": second}]


def own_stages(steps: int) -> list[Config]:
    """The same shares of a training of any length as of the published one."""
    first, second = (count * steps // STEPS for count in WARM_UP)
    return two_stages(steps, (first, second))


# --- As published -------------------------------------------------------------------------------------------------

_ENDLESS = 1_000_000
"""Pixels; a longest side where none is set."""


def published(
    benchmark: Benchmark,
    side: int,
    steps: int,
    model: Config,
    optim_wrapper: Config,
    param_scheduler: list[Config],
) -> Config:
    """A training of the authors: 16 images a step, jittered and scaled relative to fitting the crop; tested in windows.

    model: its backbone and its head.
    """
    augment: tuple[Config, ...] = (
        {"type": "RandomColorJitter"},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "RandomResize", "scale": (side, side), "ratio_range": (0.5, 2.0), "keep_ratio": True,
         "interpolation": "antialiased"},
        {"type": "RandomCrop", "crop_size": (side, side)},
        {"type": "Pad", "size": (side, side)},
        {"type": "RedrawUnlabelled"},
    )  # fmt: skip
    resize = {"type": "ResizeShortestEdge", "scale": side, "max_size": _ENDLESS, "interpolation": "antialiased"}
    setting = Setting(benchmark, (side, side), (side, side), augment=augment, test_resize=(resize,))
    evaluator = {"type": "IoUMetric", "iou_metrics": [benchmark.metric]}
    return {
        "default_scope": "mmseg",
        "model": {
            "type": "EncoderDecoder",
            "data_preprocessor": preprocessor(None),
            **model,
            "train_cfg": {},
            "test_cfg": {"mode": "slide_even", "crop_size": (side, side)},
        },
        "train_dataloader": train_loader(setting, 4),
        "val_dataloader": val_loader(setting),
        "test_dataloader": val_loader(setting),
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
        "optim_wrapper": {**optim_wrapper, "type": "AmpOptimWrapper", "dtype": "bfloat16"},
        "param_scheduler": param_scheduler,
        **loops(steps, every=steps // 10, log_every=50),
        **RUNTIME,
    }


def annealed(steps: int, start: Sequence[int], end: Sequence[int]) -> Config:
    """Masked attention of each block fades out from one step to another, as parts of the training."""
    return {
        "annealing_start": [step / steps for step in start],
        "annealing_end": [step / steps for step in end],
    }


def _dinov2(benchmark: Benchmark, side: int, steps: int, start: Sequence[int], end: Sequence[int]) -> Config:
    backbone = {
        "type": "TIMM",
        "model_name": "vit_large_patch14_reg4_dinov2.lvd142m",
        "pretrained": True,
        "img_size": (side, side),
        "open_blocks": 4,
        "options": {"patch_size": 16},
    }
    decode_head = {**head(1024, 16, 24, benchmark.num_classes), **annealed(steps, start, end)}
    model = {"backbone": backbone, "decode_head": decode_head}
    return published(benchmark, side, steps, model, training(24)["optim_wrapper"], two_stages(steps, WARM_UP))


def _dinov3() -> Config:
    """Not decayed block by block: all but the last blocks and the norm learn at a tenth of the rate.

    That is what the configuration says; in the code as it was published, the line that says so is never reached.
    """
    steps = 20_208
    backbone = {
        "type": "TIMM",
        "model_name": "vit_large_patch16_dinov3_qkvb.lvd1689m",
        "pretrained": True,
        "open_blocks": 4,
    }
    fading = annealed(steps, (0, 6520, 9780, 13040), (3000, 9780, 13040, 16300))
    model = {"backbone": backbone, "decode_head": {**head(1024, 16, 24, 150), **fading}}
    whole = ("backbone.norm.", *(f"backbone.blocks.{block}." for block in range(20, 24)))
    rates = {"backbone": {"lr_mult": 0.1}, **{key: {"lr_mult": 1.0} for key in whole}}
    optim = {**optimizer(2e-4), "paramwise_cfg": {"custom_keys": rates}}
    return published(ADE20K, 512, steps, model, optim, two_stages(steps, (2000, 3000)))


PUBLISHED: dict[str, Callable[[], Config]] = {
    "eomt_vit-l-dinov2_4xb4-31e_ade20k-512x512": partial(
        _dinov2, ADE20K, 512, STEPS, (6520, 13040, 19560, 26080), (13040, 19560, 26080, 32600)
    ),
    "eomt_vit-l-dinov2_4xb4-107e_cityscapes-1024x1024": partial(
        _dinov2, CITYSCAPES, 1024, 19_795, (3317, 6634, 9951, 13268), (6634, 9951, 13268, 16585)
    ),
    "eomt_vit-l-dinov3_4xb4-16e_ade20k-512x512": _dinov3,
}
"""Epochs leave away what does not fill a batch: 1263 steps of 20,210 images of ADE20K, 185 of 2975 of Cityscapes."""
