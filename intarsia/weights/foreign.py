"""Checkpoints that others wrote with torch.save: which tensors are the model's, and what else the file says.

Nothing of a file is run, and no class of it is imported: see `safe_pickle.py`. What MMSegmentation, mmcls and
mmpretrain write is known here: `state_dict` and `meta`, the latter of two generations (`CLASSES` and `config`, or
`dataset_meta` and `cfg`), and the trainer's message hub.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intarsia.terminal import printable
from intarsia.weights.numpy_values import Array
from intarsia.weights.safe_pickle import Opaque, RefusedPickleError, first_line
from intarsia.weights.state_dicts import ChoiceError, choose
from intarsia.weights.tensor_info import TensorInfo
from intarsia.weights.torch_files import TorchFile, open_torch_file

if TYPE_CHECKING:
    from torch import Tensor

LETTERS, ENTRIES = 200, 100
"""Of a name that is repeated to the user, and how many of them."""

DEPTH, VALUES = 30, 200_000
"""Of the plain values that are taken out of a file; deeper and beyond is no description but an attack on memory."""


class ForeignFileError(ValueError):
    """A file that is no checkpoint, is damaged, or is refused."""


@dataclass(frozen=True)
class ForeignCheckpoint:
    """A checkpoint whose tensors are still in the file.

    tensors: shapes and types by name. meta: what the file says of itself, in plain values. entries: everything that is
    in the file, by its first names. left_out: classes of objects that were not rebuilt. notes: which of several sets of
    tensors was taken, and what was done to the names, where that is a guess.
    """

    file: TorchFile
    tensors: Mapping[str, TensorInfo]
    meta: Mapping[str, Any]
    entries: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def config_text(self) -> str | None:
        """The config of the training, as text."""
        text = self.meta.get("cfg", self.meta.get("config"))
        return text if isinstance(text, str) and text.strip() else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty if the file does not say them."""
        return tuple(map(str, self._described("classes", "CLASSES")))

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """A colour for each class; empty if the file says none, or something else."""
        colours = self._described("palette", "PALETTE")
        whole = len(colours) == len(self.classes) and all(map(_is_colour, colours))
        return tuple((int(r), int(g), int(b)) for r, g, b in colours) if whole else ()

    def _described(self, key: str, old: str) -> list[Any]:
        described = self.meta.get("dataset_meta")
        found = (described if isinstance(described, Mapping) else self.meta).get(key, self.meta.get(old))
        return found if isinstance(found, list) else []

    @property
    def step(self) -> int | None:
        """Optimizer steps of the training."""
        step = self.meta.get("iter")
        return step if type(step) is int else None

    def load(self) -> dict[str, Tensor]:
        """The tensors by name, on the CPU."""
        try:
            return self.file.load(self.tensors)
        except ValueError as error:
            raise _explained(self.path, error) from error


def _is_colour(value: Any) -> bool:
    """Three levels of 0 to 255. Files of trainers have them as integers, or as floats from an array."""
    levels = value if isinstance(value, list) and len(value) == 3 else [-1]
    return all(isinstance(level, (int, float)) and 0 <= level <= 255 for level in levels)


def open_foreign(path: Path | str, *, key: str | None = None, prefix: str | None = None) -> ForeignCheckpoint:
    """Open a checkpoint of torch.save, of any version of torch, without reading its tensors.

    key, prefix: where the network's tensors are, as `state_dicts.choose` takes them.

    Raises ForeignFileError for a file that is none, is damaged, is refused, or holds no tensors by name.
    """
    path = Path(path)
    if not path.is_file():
        raise ForeignFileError(f"{path} does not exist")
    try:
        file = open_torch_file(path)
    except (ValueError, LookupError, TypeError, struct.error, OverflowError, MemoryError) as error:
        raise _explained(path, error) from error
    content = file.value
    try:
        chosen = choose(content, key=key, prefix=prefix)
    except ChoiceError as error:
        raise ForeignFileError(f"{path}: {error}") from error
    if not chosen.tensors:
        raise ForeignFileError(_without_tensors(path, content))
    entries = content if isinstance(content, Mapping) else {}
    return ForeignCheckpoint(
        file,
        chosen.tensors,
        _description(entries) if chosen.key else {},
        tuple(printable(str(name), LETTERS) for name in islice(entries, ENTRIES)),
        tuple(printable(str(name), LETTERS) for name in file.left_out),
        chosen.notes,
    )


def _without_tensors(path: Path, content: Any) -> str:
    if not isinstance(content, Mapping):
        kind = printable(str(content.kind), LETTERS) if isinstance(content, Opaque) else type(content).__name__
        what = f"a whole object of the class {kind}" if isinstance(content, Opaque) else kind
        return (
            f"{path} holds {what}; expected a dict of tensors or one with 'state_dict'. Where it was made, save the "
            "tensors: torch.save(model.state_dict(), FILE)"
        )
    entries = ", ".join(printable(str(name), LETTERS) for name in list(content)[:10])
    return f"{path} holds no tensors by name; its entries are: {entries}"


def read_tensor(path: Path | str) -> Tensor:
    """The one tensor that torch.save wrote by itself, without a name; on the CPU.

    Raises ForeignFileError for a file that is none, is damaged, is refused, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ForeignFileError(f"{path} does not exist")
    try:
        file = open_torch_file(path)
        if isinstance(file.value, TensorInfo):
            return file.load({"": file.value})[""]
    except (ValueError, LookupError, TypeError, struct.error, OverflowError, MemoryError) as error:
        raise _explained(path, error) from error
    raise ForeignFileError(f"{path}: expected a single tensor, found {type(file.value).__name__}")


@dataclass(frozen=True, slots=True)
class ForeignWeights:
    """state: tensors by name. meta: what else the file says in plain values (iterations, classes, palette ...)."""

    state: dict[str, Tensor]
    meta: Mapping[str, Any]


def read_foreign(path: Path | str, *, key: str | None = None, prefix: str | None = None) -> ForeignWeights:
    """Tensors and description of a checkpoint. Raises ForeignFileError, as `open_foreign`."""
    checkpoint = open_foreign(path, key=key, prefix=prefix)
    return ForeignWeights(checkpoint.load(), checkpoint.meta)


def _explained(path: Path, error: BaseException) -> ForeignFileError:
    reason = first_line(error)
    if isinstance(error, RefusedPickleError):
        return ForeignFileError(
            f"{path} is refused: {reason}. Nothing of it was run, but torch.load would run it: do not open the file "
            "by other means unless you trust who made it. If that was you, save the tensors alone: "
            "torch.save(model.state_dict(), FILE)"
        )
    return ForeignFileError(f"{path} is no checkpoint of torch.save, or a damaged one: {reason}")


def _description(content: Mapping[Any, Any]) -> dict[str, Any]:
    """`meta`, and of the trainer's message hub the best score so far."""
    budget = [VALUES]
    meta = _plain(content.get("meta"), DEPTH, budget)
    found: dict[str, Any] = meta if isinstance(meta, dict) else {}
    hub = content.get("message_hub")
    info = hub.get("runtime_info") if isinstance(hub, Mapping) else found.get("hook_msgs")
    if isinstance(info, Mapping) and "best_score" in info:
        found.setdefault("best_score", _plain(info["best_score"], DEPTH, budget))
    return found


def _plain(value: Any, depth: int, budget: list[int]) -> Any:
    """The value with everything that is no plain data left out. budget: how many values may still be taken."""
    budget[0] -= 1
    if budget[0] < 0 or depth < 0:
        return None
    if isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Array) and isinstance(value.value, np.ndarray):
        entries = math.prod(max(side, 1) for side in value.value.shape)  # (n, 0) has no values, and makes n lists
        if entries > budget[0]:
            return None
        budget[0] -= entries
        return value.value.tolist()
    if isinstance(value, Mapping):
        some = islice(value.items(), budget[0])
        items = ((str(key), _plain(item, depth - 1, budget), item) for key, item in some)
        return {key: plain for key, plain, item in items if plain is not None or item is None}
    if isinstance(value, (list, tuple)):
        taken = ((_plain(item, depth - 1, budget), item) for item in value[: budget[0]])
        return [plain for plain, item in taken if plain is not None or item is None]
    return None
