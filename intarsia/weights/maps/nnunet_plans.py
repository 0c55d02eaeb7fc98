"""Our config of a network of nnU-Net v2, from the folder of its results: plans.json, dataset.json, fold_k.

A case is predicted as nnU-Net does it: cut to what is not 0, resampled to the plan's spacing, in windows that are
spread evenly and shown in four ways, and back. What the folder says and cannot be had here is refused by name:
configurations of volumes, normalisations that differ from channel to channel. What is done a little otherwise is a
note.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intarsia.label_sets import MOST, Regions, ignored_value, regions_of_nnunet
from intarsia.terminal import printable
from intarsia.weights.foreign import open_foreign
from intarsia.weights.maps.description import Description, Values, describe
from intarsia.weights.maps.json_files import json_object

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
KEY = "network_weights"
"""Under which a checkpoint of nnU-Net has its tensors."""

_FOLDS = "fold_*"
_REORIENTED = ("NibabelIOWithReorient",)
_PLAIN, _RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
_NORMS = ("InstanceNorm2d",)
_COLOURS = (("r", "g", "b"), ("red", "green", "blue"))
_BOTH = (0, 1)
"""The axes along which a network of two dimensions is shown mirrored."""
_LEAST = 1e-8
"""Deviations of nnU-Net are this much at least."""

_BY = {
    "ZScoreNormalization": "each image less its mean, divided by its deviation",
    "CTNormalization": "cut off at percentiles of the training, less its mean, divided by its deviation",
    "RGBTo01Normalization": "divided by 255",
    "NoNormalization": "as they are",
}
"""Normalisations that are had here."""


def is_results(path: Path) -> bool:
    """Whether this is a folder of results, or one of its folds, to go by its files."""
    return (path / PLANS).is_file() or (path.match(_FOLDS) and (path.parent / PLANS).is_file())


def folds_of(path: Path) -> list[Path]:
    """The numbered folds of a folder of results that have a checkpoint, in order; `fold_all` is a network by itself."""
    folds = [(fold.name.removeprefix("fold_"), fold) for fold in path.glob(_FOLDS)] if is_results(path) else []
    numbered = sorted((int(number), fold) for number, fold in folds if number.isdecimal())
    return [fold for _, fold in numbered if any((fold / name).is_file() for name in CHECKPOINTS)]


def checkpoint_of(path: Path) -> Path:
    """The checkpoint of a folder of results, of its one fold, or of a fold.

    Raises ValueError if there is none, or several folds have one.
    """
    is_fold = not (path / PLANS).is_file()
    folds = [path] if is_fold else sorted(fold for fold in path.glob(_FOLDS) if fold.is_dir())
    found = [next((fold / name for name in CHECKPOINTS if (fold / name).is_file()), None) for fold in folds]
    files = [file for file in found if file is not None]
    if not files:
        raise ValueError(f"{path} holds no {' nor '.join(CHECKPOINTS)}{'' if is_fold else ' in a folder fold_k'}")
    if len(files) > 1:
        folds_found = ", ".join(file.parent.name for file in files)
        raise ValueError(
            f"{path} has a network for each of {folds_found}: name the one to take, {files[0].parent}"
            " (predict, eval and intarsia.load take all of them)"
        )
    return files[0]


def describe_results(path: Path, file: Path) -> Description:
    """The network of a folder of results (or of a fold in one). file: its checkpoint, as `checkpoint_of` says.

    Raises ValueError if a file is missing or damaged, or the network is not one that we have.
    """
    folder = path if (path / PLANS).is_file() else path.parent
    plans, dataset = json_object(folder / PLANS), json_object(folder / DATASET)
    try:
        name, plan = _configuration(folder, plans)
        notes = _notes(name, plan, plans, file)
        classes, regions = _classes(dataset)
        channels = _channels(dataset)
        preprocessor, scale, normalised = _preprocessing(plan, plans, channels)
        model = _model(plan, len(classes), len(channels))
        axes = _mirrored(file)
        model["test_cfg"]["mirror"] = axes == _BOTH
        notes += [] if axes in ((), _BOTH) else [f"nnU-Net mirrors along axis {axes[0]} alone, which is not done here"]
        if regions is not None:
            _as_regions(model, preprocessor, len(classes))
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {printable(str(error), 200)}"
        raise ValueError(
            f"{folder} describes no network: a value of {PLANS} or {DATASET} cannot be used ({reason})"
        ) from error
    colours = tuple(channel.lower() for channel in channels) in _COLOURS
    found = describe(
        model, preprocessor, resizing=_prepared(plan, preprocessor), classes=classes, notes=[normalised, *notes],
        origin="nnU-Net v2", raw=not colours,
    )  # fmt: skip
    axis = "zyx"[int(plans.get("transpose_forward", (0, 1, 2))[0])]
    image: Values = {"bands": "rgb" if colours else "raw", **({"scale": scale} if scale else {}), "slices": axis}
    config = {**found.config, "intarsia": {"multi_label": True}} if len(classes) > 1 and regions else found.config
    written = {} if regions is None else regions.to_json()
    return Description(config, found.classes, found.notes, found.origin, image, written)


# --- Plans --------------------------------------------------------------------------------------------------------


def _configuration(folder: Path, plans: Mapping[str, Any]) -> tuple[str, Values]:
    """Name and plan of the folder's configuration, with what it inherits. Raises ValueError for one of volumes."""
    configurations = plans["configurations"]
    said = folder.name.rpartition("__")[2]
    name = said if said in configurations else "2d"
    if name not in configurations:
        listed = printable(", ".join(map(str, configurations)), 200)
        raise ValueError(f"{folder / PLANS} has no configuration 2d; it has {listed}")
    plan: Values = {}
    ancestor: str | None = name
    for _ in range(len(configurations)):
        if ancestor is None:
            break
        plan = {**configurations[ancestor], **plan}
        ancestor = configurations[ancestor].get("inherits_from")
    if len(plan["patch_size"]) != 2:
        raise ValueError(
            f"{folder} holds the configuration {printable(name, 50)!r}, whose network is one of volumes; only networks "
            "of two dimensions can be used here: train or convert the configuration 2d"
        )
    return name, plan


def _architecture(plan: Mapping[str, Any]) -> tuple[str, Values]:
    """Class and arguments of the network, also from plans of before nnU-Net 2.4."""
    if "architecture" in plan:
        given = plan["architecture"]
        return str(given["network_class_name"]).rpartition(".")[2], given["arch_kwargs"]
    kind, counts = plan["UNet_class_name"], plan["n_conv_per_stage_encoder"]
    widest, first = plan["unet_max_num_features"], plan["UNet_base_num_features"]
    return kind, {
        "features_per_stage": [min(first * 2**stage, widest) for stage in range(len(counts))],
        "kernel_sizes": plan["conv_kernel_sizes"],
        "strides": plan["pool_op_kernel_sizes"],
        ("n_conv_per_stage" if kind == _PLAIN else "n_blocks_per_stage"): counts,
        "n_conv_per_stage_decoder": plan["n_conv_per_stage_decoder"],
    }


def _model(plan: Mapping[str, Any], num_classes: int, bands: int) -> Values:
    kind, network = _architecture(plan)
    if kind not in (_PLAIN, _RESIDUAL):
        raise ValueError(f"{PLANS} has a network {printable(kind, 80)!r}; expected {_PLAIN} or {_RESIDUAL}")
    _check_layers(network)
    channels = [int(width) for width in network["features_per_stage"]]
    stages = len(channels)
    kernels, strides = (_pairs(network[key], stages) for key in ("kernel_sizes", "strides"))
    counts, key = ("n_conv_per_stage", "num_convs") if kind == _PLAIN else ("n_blocks_per_stage", "num_blocks")
    encoder = {
        "type": "PlainConvEncoder" if kind == _PLAIN else "ResidualEncoder",
        "in_channels": bands,
        "channels": channels,
        "kernel_sizes": kernels,
        "strides": strides,
        key: _each(network[counts], stages),
    }
    losses = [{"type": "CrossEntropyLoss", "avg_non_ignore": True}, {"type": "BatchDiceLoss"}]
    head = {
        "type": "NNUNetHead",
        "in_channels": channels,
        "in_index": list(range(stages)),
        "kernel_sizes": kernels,
        "strides": strides,
        "num_convs": _each(network["n_conv_per_stage_decoder"], stages - 1),
        "num_classes": num_classes,
        "loss_decode": losses,
    }
    patch = [int(side) for side in plan["patch_size"]]
    windows = {
        "mode": "slide_even",
        "crop_size": tuple(patch),
        "stride": tuple(max(side // 2, 1) for side in patch),
        "blend": "gaussian",
    }
    return {"backbone": encoder, "decode_head": head, "test_cfg": windows}


def _mirrored(file: Path) -> tuple[int, ...]:
    """The axes along which the checkpoint's predictions may be mirrored."""
    content = open_foreign(file, key=KEY).file.value
    axes = content.get("inference_allowed_mirroring_axes", _BOTH) if isinstance(content, Mapping) else _BOTH
    return tuple(map(int, axes or ()))


def _prepared(plan: Mapping[str, Any], preprocessor: Values) -> list[Values]:
    """What becomes of a slice before the network sees it."""
    spacing = plan.get("spacing")
    size = {} if spacing is None else {"spacing": (float(spacing[0]), float(spacing[1]))}
    patch = tuple(int(side) for side in plan["patch_size"])
    around = {"pad_val": preprocessor["mean"], "seg_pad_val": 255}
    return [{"type": "ResampleToSpacing", "content": True, **size}, {"type": "PadAround", "size": patch, **around}]


def _check_layers(network: Mapping[str, Any]) -> None:
    """Raises ValueError for what nnU-Net's own planners never choose."""
    expected: dict[str, tuple[Any, ...]] = {
        "norm_op": tuple(f"torch.nn.modules.instancenorm.{norm}" for norm in _NORMS),
        "norm_op_kwargs": ({"eps": 1e-5, "affine": True},),
        "conv_bias": (True,),
        "dropout_op": (None,),
        "nonlin": ("torch.nn.LeakyReLU", "torch.nn.modules.activation.LeakyReLU"),
        "nonlin_kwargs": ({"inplace": True}, {}),
        "nonlin_first": (False,),
        "block": (None, "dynamic_network_architectures.building_blocks.residual.BasicBlockD"),
        "bottleneck_channels": (None,),
        "stem_channels": (None,),
    }
    for key, values in expected.items():
        if key in network and network[key] not in values:
            found = printable(repr(network[key]), 100)
            raise ValueError(f"{PLANS} has a network with {key}={found}; the one that we have has {values[0]!r}")


def _pairs(values: Any, stages: int) -> list[tuple[int, int]]:
    given = [values] * stages if isinstance(values, int) else values
    return [(side, side) if isinstance(side, int) else (int(side[0]), int(side[1])) for side in given]


def _each(values: Any, count: int) -> list[int]:
    return [values] * count if isinstance(values, int) else [int(value) for value in values]


# --- Classes and images -------------------------------------------------------------------------------------------


def _classes(dataset: Mapping[str, Any]) -> tuple[list[str], Regions | None]:
    """Names in the order of their values, pixels to be ignored being no class; or names and values of regions."""
    regions = regions_of_nnunet(dataset)
    if regions is not None:
        names, values = regions
        if len(names) > MOST:
            raise ValueError(f"{DATASET} has {len(names)} regions; here a pixel can be in {MOST} at most")
        return list(names), values
    named = {int(_single(value)): str(name) for name, value in dataset["labels"].items() if name != "ignore"}
    if sorted(named) != list(range(len(named))):
        raise ValueError(f"{DATASET}: expected labels that count from 0, found {sorted(named)[:20]}")
    return [named[value] for value in sorted(named)], None


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _as_regions(model: Values, preprocessor: Values, count: int) -> None:
    """A sigmoid for each region in the place of a softmax; of one region it is the one logit of a foreground."""
    head = model["decode_head"]
    head["loss_decode"][0] = {"type": "CrossEntropyLoss", "use_sigmoid": True, "avg_non_ignore": True}
    ignored = ignored_value(count)
    head["ignore_index"] = preprocessor["seg_pad_val"] = ignored


def _channels(dataset: Mapping[str, Any]) -> list[str]:
    names = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(names, Mapping) or not names:
        raise ValueError(f"{DATASET} has no channel_names")
    return [str(names[key]) for key in sorted(names, key=int)]


def _preprocessing(
    plan: Mapping[str, Any], plans: Mapping[str, Any], channels: Sequence[str]
) -> tuple[Values, list[float | str], str]:
    """data_preprocessor, the scale of stored values (`data.value_range.Scale.of`), and a note that says both."""
    schemes = [str(scheme) for scheme in plan["normalization_schemes"]]
    if len(schemes) != len(channels):
        raise ValueError(f"{PLANS} has {len(schemes)} normalisations for {len(channels)} channels of {DATASET}")
    kinds = sorted(set(schemes))
    if len(kinds) != 1 or kinds[0] not in _BY:
        found = printable(", ".join(kinds), 200)
        raise ValueError(f"{PLANS} normalises by {found}; here all channels have the same one of {', '.join(_BY)}")
    (kind,) = kinds
    masked = [bool(one) for one in plan.get("use_mask_for_norm") or ()] if kind == "ZScoreNormalization" else []
    if len(set(masked)) > 1:
        raise ValueError(f"{PLANS} normalises some channels by what lies inside of the image: {masked}; here all do")
    mean, std = [0.0] * len(channels), [1.0] * len(channels)
    scale: list[float | str] = []
    if kind == "ZScoreNormalization":
        scale = ["zscore", "nonzero"] if any(masked) else ["zscore"]
    elif kind == "RGBTo01Normalization":
        std = [255.0] * len(channels)
    elif kind == "CTNormalization":
        seen = plans["foreground_intensity_properties_per_channel"]
        found_of = [seen[str(channel)] for channel in range(len(channels))]
        mean = [float(one["mean"]) for one in found_of]
        std = [max(float(one["std"]), _LEAST) for one in found_of]
        scale = ["clip"]
        for one in found_of:
            scale += [float(one["percentile_00_5"]), float(one["percentile_99_5"])]
    numbers = [*mean, *std, *(end for end in scale if isinstance(end, float))]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{PLANS}: what it says of intensities is not finite")
    preprocessor: Values = {
        "type": "SegDataPreProcessor",
        "mean": mean,
        "std": std,
        "bgr_to_rgb": len(channels) == 3,
        "pad_val": 0,
        "seg_pad_val": 255,
        "test_cfg": {"size": tuple(int(side) for side in plan["patch_size"])},
    }
    return preprocessor, scale, f"values are normalised as in the training: {_BY[kind]}"


def _notes(name: str, plan: Mapping[str, Any], plans: Mapping[str, Any], file: Path) -> list[str]:
    """What differs from prediction by nnU-Net."""
    notes = [f"configuration {printable(name, 50)}, {file.parent.name}, {file.name}"]
    spacing = [float(side) for side in plan.get("spacing", (1, 1))]
    if any(side != 1 for side in spacing):
        size = " x ".join(f"{side:g}" for side in spacing)
        notes.append(
            f"slices of volumes are resampled to pixels of {size} (height x width, in the unit of the files), and "
            "labels back; images that do not say their spacing are taken to have this one"
        )
    turned = [int(axis) for axis in plans.get("transpose_forward", (0, 1, 2))]
    if turned[1:] != sorted(turned[1:]):
        notes.append(f"nnU-Net exchanges rows and columns (transpose_forward={turned}), which is not done here")
    if plans.get("image_reader_writer") in _REORIENTED:
        notes.append("nnU-Net turned volumes to lie right, front, top (RAS): give volumes that are stored so")
    notes.append("windows are seen in four ways each, as by nnU-Net; --slide HEIGHTxWIDTH shows its own in one")
    return notes
