"""What a file of weights says about itself, whoever wrote it; learned without torch and without reading a tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.weights.base import Base
from intarsia.weights.file import KEY, SUFFIX, WeightsMeta, read_state
from intarsia.weights.foreign import ForeignCheckpoint, open_foreign
from intarsia.weights.maps import recognise
from intarsia.weights.maps.folder import describe_folder, is_folder, licence_of, tensor_files
from intarsia.weights.maps.nnunet_plans import KEY as NNUNET_KEY
from intarsia.weights.maps.nnunet_plans import checkpoint_of, describe_results, is_results
from intarsia.weights.maps.smp import SmpMap
from intarsia.weights.maps.smp_encoders import note_of
from intarsia.weights.maps.torchvision import describe_file
from intarsia.weights.state_dicts import plain_names
from intarsia.weights.tensor_file import must_exist, read_header

if TYPE_CHECKING:
    from torch import Tensor

    from intarsia.weights.maps.description import Description

_SAFETENSORS_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip

_DETAILS = (
    "mmengine_version", "mmseg_version", "mmcv_version", "experiment_name", "time", "seed", "epoch", "best_score",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sketch:
    """A tensor without its numbers."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class About:
    """origin: who wrote the file, in words. tensors: under the names in the file.

    meta: as far as the file says it; its config is empty where `config_text` has it, or nothing does.
    details: versions, date, seed, by name. entries: what else is in the file. left_out: classes of objects in it that
    were not rebuilt. notes: what was assumed about it, in words. others: further files with parts of the same set.
    key, prefix: where the network's tensors are, if the person has said it. base: the backbone that it lacks, likewise.
    recipe: the name of the published checkpoint that it is, where it was asked for by that; `meta` is then what its
    recipe says.
    """

    path: Path
    origin: str
    tensors: Mapping[str, Sketch]
    meta: WeightsMeta
    config_text: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    entries: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    others: tuple[Path, ...] = ()
    key: str | None = None
    prefix: str | None = None
    recipe: str = ""
    base: Base = None

    @property
    def described(self) -> bool:
        """Whether the file says which model it belongs to."""
        return bool(self.meta.config or self.config_text)

    def state(self) -> tuple[dict[str, Tensor], list[str]]:
        """The tensors under our names, and what was done to the names: `file.read_state`."""
        state, notes = read_state(self.path, *self.others, key=self.key, prefix=self.prefix, base=self.base)
        return state, [*self.notes, *(note for note in notes if note not in self.notes)]


def about(path: Path | str, *, key: str | None = None, prefix: str | None = None) -> About:
    """Look into a file, a folder of the Hugging Face Hub, or one of nnU-Net's results.

    key, prefix: where the network's tensors are in a checkpoint, as `state_dicts.choose` takes them.

    Raises ValueError if it is missing, damaged, refused, or holds no tensors.
    """
    path = Path(path)
    if path.is_dir() and is_folder(path):
        first, *others = tensor_files(path)
        parts = [_file(file, key, None if others else prefix) for file in (first, *others)]
        tensors = {name: one for part in parts for name, one in part.tensors.items()}
        whole = replace(parts[0], tensors=tensors, others=tuple(others), key=key, prefix=prefix)
        if whole.described:
            return whole
        description = describe_folder(path)
        found = _with(whole, description.origin, description)
        return replace(found, meta=replace(found.meta, licence=licence_of(path)))
    if path.is_dir() and is_results(path):
        file, key = checkpoint_of(path), key or NNUNET_KEY
        description = describe_results(path, file)
        return _with(replace(_file(file, key, prefix), key=key, prefix=prefix), description.origin, description)
    found = replace(_file(path, key, prefix), key=key, prefix=prefix)
    library = recognise(found.tensors)
    if library is None or found.described:
        return found
    classifier = found.tensors.get("classifier.4.weight")
    if classifier is not None and len(classifier.shape) == 4 and library.name.endswith("of torchvision"):
        return _with(found, library.name, describe_file(found.tensors))
    note = note_of(found.tensors) if isinstance(library, SmpMap) else None
    notes = found.notes if note is None else (*found.notes, note)
    return replace(found, origin=f"{found.origin}; tensors of {library.name}", notes=notes)


def is_described_folder(path: Path) -> bool:
    """Whether this is a folder of another library that says which model its tensors are of."""
    return path.is_dir() and (is_folder(path) or is_results(path))


def _with(found: About, origin: str, description: Description) -> About:
    """What another library's file lacks and is known from elsewhere."""
    meta = WeightsMeta(
        config=description.config, classes=description.classes, image=description.image, regions=description.regions
    )
    return replace(found, origin=origin, meta=meta, notes=(*found.notes, *description.notes))


def _file(path: Path, key: str | None, prefix: str | None) -> About:
    must_exist(path)
    if path.suffix == SUFFIX:
        return _safetensors(path, prefix)
    return _checkpoint(open_foreign(path, key=key, prefix=prefix))


def _safetensors(path: Path, prefix: str | None) -> About:
    header = read_header(path)
    described = header.pop("__metadata__", {})
    tensors = {
        name: Sketch(_SAFETENSORS_DTYPES.get(entry["dtype"], entry["dtype"]), tuple(entry["shape"]))
        for name, entry in header.items()
    }
    if KEY not in described:
        names, notes = plain_names(list(tensors), prefix=prefix)
        tensors = {name: tensors[old] for name, old in names.items()}
        origin = "tensors alone, written by another program"
        return About(path, origin, tensors, WeightsMeta(), details=described, notes=tuple(notes))
    meta = WeightsMeta.from_json(described[KEY])
    return About(path, f"Intarsia {meta.version}".strip(), tensors, meta)


def _checkpoint(found: ForeignCheckpoint) -> About:
    meta = WeightsMeta(classes=found.classes, palette=found.palette, step=found.step)
    return About(
        found.path,
        _writer(found.meta),
        {name: Sketch(info.dtype, info.shape) for name, info in found.tensors.items()},
        meta,
        found.config_text,
        {name: str(found.meta[name]) for name in _DETAILS if name in found.meta},
        found.entries,
        found.left_out,
        found.notes,
    )


def _writer(meta: Mapping[str, Any]) -> str:
    if "mmengine_version" in meta:
        return f"MMEngine {meta['mmengine_version']}, the trainer of MMSegmentation 1.x"
    for key, name in (("mmseg_version", "MMSegmentation"), ("mmcls_version", "MMClassification")):
        if key in meta:
            return f"{name} {meta[key]}".partition("+")[0]
    return "torch.save"


_MAIN_PARTS = ("backbone", "image_encoder", "text_encoder", "neck", "decode_head")


def model_parts(config: Mapping[str, Any]) -> list[str]:
    """The types of the main parts of a config's model."""
    model = config.get("model")
    parts = [model.get(key) for key in _MAIN_PARTS] if isinstance(model, Mapping) else []
    heads = [part[-1] if isinstance(part, (list, tuple)) else part for part in parts if part]
    return [str(head["type"]) for head in heads if isinstance(head, Mapping)]
