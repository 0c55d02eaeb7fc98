"""A complete config for a user's own data: a recipe's network, and everything else chosen from the data.

Pretrained weights may not be at hand and data are few, so the optimiser is AdamW with a short warm-up at rates that
work from random weights within some hundred steps. Images are evaluated at their own size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from intarsia.catalog import MASK_HEADS, OWN_LABELS
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.image_classes import HEAD
from intarsia.recipes.published import preprocessor
from intarsia.recipes.schedules import loops

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
    targets: tuple[Config, ...],
    num_classes: int,
    ignore_index: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    raw_bands: bool,
    crop: tuple[int, int],
    batch: int,
    steps: int,
    workers: int,
    data: Mapping[str, Config],
    multi_label: bool = False,
) -> Config:
    """The config of one run.

    parts: (number of logits, bands) -> backbone and heads.
    targets: transforms behind all others that make what the heads learn beside the labels.
    num_classes: 1 stands for one foreground on a background: one logit, trained with sigmoid cross entropy.
    raw_bands: images are taken as they are stored, not as 8-bit RGB.
    crop: (height, width) of what is trained on.
    data: split -> dataset values without their pipelines; "train", and "val" or "test" or both.
    multi_label: a pixel may have several classes, a sigmoid each.
    """
    load = {"type": "LoadImageFromFile", **({"color_type": "unchanged"} if raw_bands else {})}
    model = {"type": "EncoderDecoder", "train_cfg": {}, "test_cfg": {"mode": "whole"}, **parts(num_classes, len(mean))}
    model["data_preprocessor"] = preprocessor(crop, mean=mean, std=std, ignore_index=ignore_index)
    train = _train_pipeline(load, crop, targets, ignore_index, colour=not raw_bands)
    config: Config = {
        "model": fit_heads(model, num_classes, ignore_index, multi_label=multi_label),
        "train_dataloader": {
            "batch_size": batch,
            "num_workers": workers,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": {**data["train"], "pipeline": train},
        },
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "AdamW", "lr": learning_rate, "betas": (0.9, 0.999), "weight_decay": 0.01},
            "paramwise_cfg": {"norm_decay_mult": 0.0},
        },
        "param_scheduler": _schedule(steps),
        **loops(steps, every=max(steps // 5, 1), log_every=min(max(steps // 40, 1), 50)),
    }
    if multi_label:
        config["intarsia"] = {"multi_label": True}
    config["default_hooks"]["checkpoint"]["save_best"] = "mIoU"
    for split in ("val", "test"):
        if split in data:
            config[f"{split}_dataloader"] = _test_loader(load, data[split], workers)
            config[f"{split}_evaluator"] = {"type": "IoUMetric", "iou_metrics": ["mIoU"]}
        else:
            del config[f"{split}_cfg"]
    if "val" not in data:
        del config["train_cfg"]["val_interval"], config["default_hooks"]["checkpoint"]["save_best"]
    return config


def fit_heads(
    model: Config, num_classes: int, ignore_index: int, names: Sequence[str] = (), *, multi_label: bool = False
) -> Config:
    """The same model for other classes: every head gets their number, the ignored index, and a loss that suits; an
    encoder of text their names.

    What is padded is ignored, too. One class is one logit with a sigmoid and a threshold at one half. Weights per class
    are dropped when their number no longer fits. A head that learns something else than the classes keeps its own.
    multi_label: a pixel may have several classes: losses that compare these become those of a sigmoid each, and
    samplers of pixels are left out.

    Raises ValueError for one class in a head that classifies masks: it has no single logit. And for a model that knows
    classes by their names, without one for each.
    """
    changed = dict(model)
    for key in ("decode_head", "auxiliary_head"):
        if model.get(key):
            several = isinstance(model[key], list | tuple)
            heads = [
                head if _has_labels_of_its_own(head, model) else _fit_head(head, num_classes, ignore_index)
                for head in (model[key] if several else [model[key]])
            ]
            if multi_label:
                heads = [_each_class(head) for head in heads]
            changed[key] = heads if several else heads[0]
    if "text_encoder" in model:
        changed["text_encoder"] = _fit_names(model["text_encoder"], num_classes, names)
    if "data_preprocessor" in model:
        changed["data_preprocessor"] = {**model["data_preprocessor"], "seg_pad_val": ignore_index}
    if num_classes == 1:
        last = changed["decode_head"][-1] if isinstance(changed["decode_head"], list) else changed["decode_head"]
        last["threshold"] = 0.5
    return changed


def _has_labels_of_its_own(head: Config, model: Config) -> bool:
    """Whether a head of whole images tells apart something else than the classes of pixels."""
    decode = model["decode_head"]
    last = decode[-1] if isinstance(decode, list | tuple) else decode
    count = last.get("num_classes")
    return head.get("type") == HEAD and count is not None and head.get("num_classes") != count


def _fit_names(encoder: Config, num_classes: int, names: Sequence[str]) -> Config:
    if len(names) != num_classes:
        found = ", ".join(names) or "none"
        raise ValueError(f"{encoder['type']} knows classes by their names: expected {num_classes}, found {found}")
    kept = {key: value for key, value in encoder.items() if key != "dataset_name"}
    return {**kept, "vocabulary": list(names)}


def _fit_head(head: Config, num_classes: int, ignore_index: int) -> Config:
    name = str(head.get("type")).rpartition(".")[2]
    if name in OWN_LABELS:
        return {**head, "ignore_index": ignore_index}
    if name in MASK_HEADS:
        return _fit_mask_classifier(head, num_classes, ignore_index)
    if "kernel_generate_head" in head:
        return _fit_kernels(head, num_classes, ignore_index)
    fitted = {key: value for key, value in head.items() if key not in ("out_channels", "threshold")}
    fitted |= {"num_classes": num_classes, "ignore_index": ignore_index}
    given = head.get("loss_decode", {"type": "CrossEntropyLoss"})
    losses = [_fit_loss(loss, num_classes) for loss in (given if isinstance(given, list | tuple) else [given])]
    fitted["loss_decode"] = losses if isinstance(given, list | tuple) else losses[0]
    return fitted


def _fit_loss(loss: Config, num_classes: int) -> Config:
    fitted = dict(loss)
    if len(fitted.get("class_weight") or [0] * num_classes) != num_classes:
        del fitted["class_weight"]
    if num_classes > 1:
        return fitted
    if fitted.get("type") == "OhemCrossEntropy":  # hard pixels are chosen by their softmax: of one logit there is none
        return {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": fitted.get("loss_weight", 1.0)}
    return {**fitted, "use_sigmoid": True} if fitted.get("type") == "CrossEntropyLoss" else fitted


def _each_class(head: Config) -> Config:
    """A head whose classes are a yes or no each; what cannot be is left to be refused where the config is read."""
    given = head.get("loss_decode")
    if not given:
        return head
    losses = [_sigmoid_loss(loss) for loss in (given if isinstance(given, list | tuple) else [given])]
    kept = {key: value for key, value in head.items() if key != "sampler"}
    return {**kept, "loss_decode": losses if isinstance(given, list | tuple) else losses[0]}


def _sigmoid_loss(loss: Config) -> Config:
    name = str(loss.get("type")).rpartition(".")[2]
    if name == "OhemCrossEntropy":  # hard pixels are chosen by their softmax
        return {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": loss.get("loss_weight", 1.0)}
    if name in ("CrossEntropyLoss", "DiceLoss"):
        return {**loss, "use_sigmoid": True}
    return {**loss, "loss_type": "binary"} if name == "LovaszLoss" else loss


def _fit_kernels(head: Config, num_classes: int, ignore_index: int) -> Config:
    """K-Net has a head within that makes the first kernels, one a class; what changes them has as many."""
    updates = [{**update, "num_classes": num_classes} for update in head["kernel_update_head"]]
    first = _fit_head(head["kernel_generate_head"], num_classes, ignore_index)
    return {**head, "kernel_generate_head": first, "kernel_update_head": updates}


def _fit_mask_classifier(head: Config, num_classes: int, ignore_index: int) -> Config:
    """Its classes are weighed in one of its losses, with one more weight for masks of nothing."""
    if num_classes == 1:
        raise ValueError(
            f"{head['type']} tells several classes apart, and the data have one; make the background a class of its "
            "own in the data description (classes: [background, ...])"
        )
    fitted = {**head, "num_classes": num_classes, "ignore_index": ignore_index}
    if "loss_cls" in head:
        fitted["loss_cls"] = _fit_mask_loss(head["loss_cls"], num_classes)
    if "loss_decode" in head:
        fitted["loss_decode"] = [_fit_mask_loss(loss, num_classes) for loss in head["loss_decode"]]
    return fitted


def _fit_mask_loss(loss: Config, num_classes: int) -> Config:
    weights = loss.get("class_weight")
    if not weights or len(weights) == num_classes + 1:
        return loss
    return {**loss, "class_weight": [1.0] * num_classes + [weights[-1]]}


def _train_pipeline(
    load: Config, crop: tuple[int, int], targets: tuple[Config, ...], ignore_index: int, *, colour: bool
) -> list[Config]:
    return [
        load,
        {"type": "LoadAnnotations"},
        {"type": "RandomScale", "ratio_range": (0.5, 2.0)},
        {"type": "RandomCrop", "crop_size": crop, "cat_max_ratio": 0.75, "ignore_index": ignore_index},
        {"type": "RandomFlip", "prob": 0.5},
        *([{"type": "PhotoMetricDistortion"}] if colour else []),
        *({**target, "ignore_index": ignore_index} for target in targets),
        {"type": "PackSegInputs"},
    ]


def _test_loader(load: Config, dataset: Config, workers: int) -> Config:
    return {
        "batch_size": 1,
        "num_workers": workers,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {**dataset, "pipeline": [load, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]},
    }


def _schedule(steps: int) -> list[Config]:
    """A linear warm-up over the first twentieth, then polynomial decay to nothing."""
    warm_up = min(max(steps // 20, 2), 1500)
    decay = {"type": "PolyLR", "eta_min": 0.0, "power": 0.9, "begin": warm_up, "end": steps, "by_epoch": False}
    if warm_up >= steps:
        return [{**decay, "begin": 0}]
    return [{"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": warm_up}, decay]
