"""Transforms of Albumentations, by their names."""

from __future__ import annotations

import ast
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample

KEYS = {"img": "image", "gt_seg_map": "mask"}
"""What configs call the parts of a sample -> what Albumentations calls them."""
_MASK_TYPES = (np.uint8, np.float32)


@dataclass(frozen=True)
class Albu:
    """Transforms of Albumentations (an extra: `pip install intarsia[albu]`), one after the other.

    transforms: each a dict with the name of its class under "type" and its arguments; transforms that choose among
        others, such as OneOf, have those under "transforms".

    Images are given to it as RGB, labels as its mask, further maps as masks too; whether pixels move, and which label
    (`fill_mask`) is padded, is up to the transforms named.

    Raises ValueError for a name that Albumentations does not have, and if it is not installed.
    """

    transforms: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        if isinstance(self.transforms, str | Mapping):
            raise ValueError(f"Albu: transforms must be a list of dict(type=..., ...), got {self.transforms!r}")
        for step in self.transforms:
            _check(step)
        object.__setattr__(self, "transforms", tuple(_plain(step) for step in self.transforms))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The changed sample. Raises ValueError saying what Albumentations says if it cannot take the arguments."""
        steps = _composed(repr(self.transforms))
        # One state for all of them: from one seed each, all would draw the same numbers.
        steps.set_random_state(rng, random.Random(int(rng.integers(2**31))))
        names = list(sample.maps)
        given: dict[str, Any] = {"image": np.ascontiguousarray(sample.image)}
        if sample.label is not None:
            given["mask"] = _as_mask(sample.label)
        if names:
            given["masks"] = [_as_mask(sample.maps[name]) for name in names]
        done = steps(**given)
        label = None if sample.label is None else done["mask"].astype(sample.label.dtype)
        maps = {
            name: np.asarray(value).astype(sample.maps[name].dtype)
            for name, value in zip(names, done.get("masks", ()), strict=True)
        }
        image = np.asarray(done["image"])
        if image.ndim == 2:
            image = image[:, :, None]
        # What it did to padded parts is not known: all of the image counts.
        return replace(sample, image=image, label=label, maps=maps, meta=replace(sample.meta, valid=None))


@lru_cache(maxsize=16)
def _composed(written: str) -> Any:
    """The transforms of a list, built once a process: their random state is set for every sample."""
    steps: tuple[dict[str, Any], ...] = ast.literal_eval(written)
    library = _library()
    return library.Compose([_built(library, step) for step in steps])


def _built(library: Any, step: Mapping[str, Any]) -> Any:
    arguments = {key: value for key, value in step.items() if key != "type"}
    if "transforms" in arguments:
        arguments["transforms"] = [_built(library, part) for part in arguments["transforms"]]
    name = step["type"]
    made = getattr(library, name, None)
    if not isinstance(made, type) or not issubclass(made, library.BasicTransform | library.BaseCompose):
        raise ValueError(f"Albu: expected a transform of Albumentations {library.__version__}, found {name!r}")
    try:
        return made(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Albu: {name} of Albumentations {library.__version__} cannot be made: {error}") from error


def _library() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for newer versions when imported
    try:
        import albumentations
    except ImportError as error:
        raise ValueError(
            "Albu: expected Albumentations, found that it is not installed; pip install 'intarsia[albu]'"
        ) from error
    return albumentations


def _check(step: Any) -> None:
    if not isinstance(step, Mapping) or not isinstance(step.get("type"), str):
        raise ValueError(f"Albu: each transform must be a dict with its name under 'type', got {step!r}")
    for part in step.get("transforms", ()):
        _check(part)


def _plain(value: Any) -> Any:
    """Mappings as dicts, sequences as tuples, so that they can be written down."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return tuple(_plain(item) for item in value) if isinstance(value, list | tuple) else value


def _as_mask(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A type that all transforms move: 8 bits stay, others become float32, exact up to 2**24."""
    return np.ascontiguousarray(array if array.dtype.type in _MASK_TYPES else array.astype(np.float32))
