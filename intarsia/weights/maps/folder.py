"""A folder as the Hugging Face Hub has it: config.json, perhaps preprocessor_config.json, and the tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.terminal import printable
from intarsia.weights.maps.description import IMAGENET, Description, Values, describe, normalising
from intarsia.weights.maps.json_files import LARGEST, json_object
from intarsia.weights.maps.smp_config import describe_smp, is_smp
from intarsia.weights.maps.transformers_config import class_names, model_section

CONFIG, PROCESSOR, CARD = "config.json", "preprocessor_config.json", "README.md"
TENSORS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
"""Behind the name of tensors that are in several files: says in which."""

MOST_FILES = 1_000
"""That tensors are in."""

_RESCALE = 1 / 255
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_MASK_MODELS = ("mask2former", "maskformer", "eomt", "eomt_dinov3")
_ENDLESS = 1_000_000
"""Pixels; a longest side where none is set."""


def is_folder(path: Path) -> bool:
    """Whether this is such a folder, to go by its files."""
    return (path / CONFIG).is_file()


def tensor_files(path: Path) -> list[Path]:
    """The files of a folder in which its tensors are: one of TENSORS, or those that its index names.

    Raises ValueError if there is none, or one is missing.
    """
    for name in TENSORS:
        if (path / name).is_file():
            return [path / name]
        if (path / f"{name}{INDEX}").is_file():
            return _shards(path, path / f"{name}{INDEX}")
    listed = " nor ".join([*TENSORS, *(f"{name}{INDEX}" for name in TENSORS)])
    raise ValueError(f"{path} holds a {CONFIG} but neither {listed}")


def _shards(path: Path, index: Path) -> list[Path]:
    where = json_object(index).get("weight_map")
    names = list(dict.fromkeys(where.values())) if isinstance(where, dict) else []
    plain = all(isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name for name in names)
    if not names or not plain or len(names) > MOST_FILES:
        raise ValueError(f"{index}: expected a weight_map of tensors and names of files beside it")
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing[:5])}, which {index.name} names; download the whole folder")
    return [path / name for name in names]


def describe_folder(path: Path) -> Description:
    """The model of a folder.

    Raises ValueError if a file is missing or damaged, or the model is not one we have.
    """
    config = json_object(path / CONFIG)
    try:
        return describe_smp(config) if is_smp(config) else _described(path, config)
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {printable(str(error), 200)}"
        message = f"{path} describes no model: a value of {CONFIG} or {PROCESSOR} cannot be used ({reason})"
        raise ValueError(message) from error


def config_values(path: Path) -> dict[str, Any]:
    """The values of a config.json, whatever it describes. Raises ValueError for a file that is missing or none."""
    return json_object(path)


def licence_of(path: Path) -> str:
    """The licence that the card of a folder states, as the hub writes it; "" where there is no card, or none in it."""
    import yaml

    card = path / CARD
    if not card.is_file() or card.stat().st_size > LARGEST:
        return ""
    front = re.match(r"---\r?\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        values = yaml.safe_load(front[1]) if front is not None else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return ""
    if not isinstance(values, dict):
        return ""
    stated = values.get("license")
    named = values.get("license_name") if stated == "other" else None
    return printable(str(named or stated), 200) if isinstance(named or stated, str) else ""


def _described(path: Path, config: Mapping[str, Any]) -> Description:
    model = model_section(config)
    classes = class_names(config)
    if not (path / PROCESSOR).is_file():
        note = f"there is no {PROCESSOR}: mean and deviation are taken to be ImageNet's, images are not resized"
        return describe(model, normalising(*IMAGENET), resizing=[], classes=classes, notes=[note])
    processor = json_object(path / PROCESSOR)
    return describe(
        model,
        _normalising(processor),
        resizing=_resizing(
            processor,
            whole=config["model_type"] not in _MASK_MODELS,
            antialiased=config["model_type"].startswith("eomt"),
        ),
        classes=classes,
        notes=[],
        reduce_labels=bool(_either(processor, "do_reduce_labels", "reduce_labels")),
    )


def _either(values: Mapping[str, Any], key: str, old: str) -> Any:
    """A setting under its present name or that of earlier versions."""
    return values.get(key, values.get(old))


def _normalising(processor: Mapping[str, Any]) -> Values:
    divisor = _either(processor, "size_divisor", "size_divisibility") or 0
    mean, std = _mean_and_std(processor)
    return normalising(mean, std, size_divisor=divisor)


def processor_normalisation(path: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of images of 0 to 255, by the preprocessor_config.json of a folder.

    Raises ValueError for a file whose values are none.
    """
    try:
        return _mean_and_std(json_object(path))
    except (TypeError, ArithmeticError) as error:
        raise ValueError(f"{path}: image_mean, image_std or rescale_factor are no numbers: {error}") from error


def _mean_and_std(processor: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """They scale to 0..1 first and then normalise; here both are one step."""
    factor = (processor.get("rescale_factor") or _RESCALE) if processor.get("do_rescale", True) else 1.0
    mean, std = processor.get("image_mean") or _IMAGENET[0], processor.get("image_std") or _IMAGENET[1]
    if not processor.get("do_normalize", True):
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    mean, std = ([round(value / factor, 9) for value in values] for values in (mean, std))
    return mean, std


def _resizing(processor: Mapping[str, Any], *, whole: bool, antialiased: bool) -> list[Values]:
    """whole: a size that is one number is that of both sides, not of the shorter one. antialiased: as the scores of the
    model were measured.
    """
    way: Values = {"interpolation": "antialiased"} if antialiased else {}
    size = processor.get("size")
    if not processor.get("do_resize", True) or size is None:
        return []
    if isinstance(size, int):
        size = {"height": size, "width": size} if whole else {"shortest_edge": size}
    if "height" in size:
        return [{"type": "Resize", "scale": (size["width"], size["height"]), "keep_ratio": False, **way}]
    longest = size.get("longest_edge") or processor.get("max_size") or _ENDLESS
    return [{"type": "ResizeShortestEdge", "scale": size["shortest_edge"], "max_size": longest, **way}]
