"""A complete config for a user's own data: a recipe's network, and everything else chosen from the data.

Nothing is pretrained here and data are few, so the optimiser is AdamW with a short warm-up at rates that work from
random weights within some hundred steps. Images are evaluated at their own size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from intarsia.recipes.published import Config, loops, preprocessor

LARGEST_CROP = 512
SMALLEST_CROP = 64


def default_crop(image_size: tuple[int, int]) -> tuple[int, int]:
    """The largest training size that fits a typical image: multiples of 32, at most 512 on either side."""
    height, width = (min(max(side // 32 * 32, SMALLEST_CROP), LARGEST_CROP) for side in image_size)
    return height, width


def own_config(
    parts: Callable[[int, int], Config],
    *,
    learning_rate: float,
    num_classes: int,
    ignore_index: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    image_size: tuple[int, int],
    crop: tuple[int, int],
    batch: int,
    steps: int,
    workers: int,
    data: Mapping[str, Config],
) -> Config:
    """The config of one run.

    parts: (number of logits, bands) -> backbone and heads.
    num_classes: 1 stands for one foreground on a background: one logit, trained with sigmoid cross entropy.
    image_size, crop: (height, width), of a typical image and of what is trained on.
    data: split -> dataset values without their pipelines; "train", and "val" or "test" or both.
    """
    evaluation = {split: _test_loader(values, workers) for split, values in data.items() if split != "train"}
    config: Config = {
        "model": _model(parts(num_classes, len(mean)), num_classes, ignore_index),
        "train_dataloader": {
            "batch_size": batch,
            "num_workers": workers,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": {**data["train"], "pipeline": _train_pipeline(image_size, crop, ignore_index, bands=len(mean))},
        },
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "AdamW", "lr": learning_rate, "betas": (0.9, 0.999), "weight_decay": 0.01},
            "paramwise_cfg": {"norm_decay_mult": 0.0},
        },
        "param_scheduler": _schedule(steps),
        **loops(steps, every=max(steps // 5, 1), log_every=min(max(steps // 40, 1), 50)),
    }
    config["model"]["data_preprocessor"] = preprocessor(crop, mean=mean, std=std, ignore_index=ignore_index)
    for split, loader in evaluation.items():
        config[f"{split}_dataloader"] = loader
        config[f"{split}_evaluator"] = {"type": "IoUMetric", "iou_metrics": ["mIoU"]}
    for split in ("val", "test"):
        if split not in evaluation:
            del config[f"{split}_cfg"]
    if "val" not in evaluation:
        del config["train_cfg"]["val_interval"]
    return config


def _model(parts: Config, num_classes: int, ignore_index: int) -> Config:
    heads = [parts["decode_head"]]
    auxiliary = parts.get("auxiliary_head", [])
    heads += auxiliary if isinstance(auxiliary, list) else [auxiliary]
    for head in heads:
        head["ignore_index"] = ignore_index
        if num_classes == 1:
            head["loss_decode"]["use_sigmoid"] = True
    if num_classes == 1:
        parts["decode_head"]["threshold"] = 0.5
    return {"type": "EncoderDecoder", **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}


def _train_pipeline(
    image_size: tuple[int, int], crop: tuple[int, int], ignore_index: int, *, bands: int
) -> list[Config]:
    height, width = image_size
    colour = [{"type": "PhotoMetricDistortion"}] if bands == 3 else []
    return [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomResize", "scale": (width, height), "ratio_range": (0.5, 2.0), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": crop, "cat_max_ratio": 0.75, "ignore_index": ignore_index},
        {"type": "RandomFlip", "prob": 0.5},
        *colour,
        {"type": "PackSegInputs"},
    ]


def _test_loader(dataset: Config, workers: int) -> Config:
    pipeline = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
    return {
        "batch_size": 1,
        "num_workers": workers,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {**dataset, "pipeline": pipeline},
    }


def _schedule(steps: int) -> list[Config]:
    """A linear warm-up over the first twentieth, then linear decay to nothing."""
    warm_up = min(max(steps // 20, 1), 1500)
    return [
        {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": warm_up},
        {"type": "PolyLR", "eta_min": 0.0, "power": 0.9, "begin": warm_up, "end": steps, "by_epoch": False},
    ]
