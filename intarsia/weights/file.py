"""The weights file: tensors as safetensors, and beside them everything that using them needs.

safetensors keeps strings only as metadata, so one key, "intarsia", holds a JSON object: a `WeightsMeta`. Reading it
costs a few kilobytes and imports no torch. Files of other origin (``.pth``) are read without running code from them.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.io.whole_files import write_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn

KEY = "intarsia"
SUFFIX = ".safetensors"
SHOWN = 8
"""Lines for names in a message."""

_CLASSIFIERS = ("conv_seg", "cls", "pred", "classif")


@dataclass(frozen=True, slots=True)
class WeightsMeta:
    """What a weights file says about itself.

    config: the resolved configuration as plain values; model and preprocessing are built from it.
    labels: how the classes were written in the label files, as the data description says it.
    scores: of the evaluation of exactly these weights, fractions of 1. step: optimizer steps they were trained for.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_index: int = 255
    labels: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    step: int | None = None

    def to_json(self) -> str:
        """One line of JSON; scores that are not a number are left out."""
        values = asdict(self)
        values["scores"] = {name: score for name, score in self.scores.items() if math.isfinite(score)}
        return json.dumps(values, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> WeightsMeta:
        """The inverse of `to_json`. Keys of a later version are passed over."""
        values = {name: value for name, value in json.loads(text).items() if name in {f.name for f in fields(cls)}}
        values["classes"] = tuple(values.get("classes", ()))
        values["palette"] = tuple((int(r), int(g), int(b)) for r, g, b in values.get("palette", ()))
        return cls(**values)


def save_weights(path: Path, state: Mapping[str, Tensor], meta: WeightsMeta) -> None:
    """Write tensors and description as one file, whole or not at all.

    Raises DiskFullError, and ValueError for a path that does not end in .safetensors.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"a weights file ends in {SUFFIX}, found {path.name!r}")
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    data = save(tensors, metadata={"format": "pt", KEY: meta.to_json()})
    write_bytes(path, data)


def read_meta(path: Path | str) -> WeightsMeta:
    """The description inside a weights file, without loading a tensor. Raises ValueError where there is none."""
    metadata = read_header(Path(path)).get("__metadata__", {})
    if KEY not in metadata:
        raise ValueError(
            f"{path} holds tensors but no description of the model: it was not written by Intarsia. "
            "Add one: intarsia weights convert FILE --config CONFIG -o OUT.safetensors"
        )
    return WeightsMeta.from_json(metadata[KEY])


def read_header(path: Path) -> dict[str, Any]:
    """The JSON object at the front of a safetensors file, checked against the file's size."""
    must_exist(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        front = file.read(8)
        length = struct.unpack("<Q", front)[0] if len(front) == 8 else 0
        if not 0 < length <= size - 8:
            raise ValueError(f"{path} is no safetensors file, or the beginning of one ({size} bytes)")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no safetensors file: its header is not JSON ({error})") from error
    needed = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    if size < 8 + length + needed:
        raise ValueError(f"{path} is incomplete: {size} bytes of {8 + length + needed}; copy or download it again")
    return dict(header)


def load_state(path: Path | str) -> dict[str, Tensor]:
    """All tensors of a file under our names, on the CPU: see `read_state`."""
    return read_state(path)[0]


def read_state(path: Path | str) -> tuple[dict[str, Tensor], list[str]]:
    """All tensors of a file under our names, on the CPU, and what was done to the names, in words.

    Understands .safetensors, and checkpoints written by torch.save (.pth, .pt), which are read without running code:
    their "state_dict" (or "model") entry, or the file itself if it is a plain dict of tensors. Names of
    MMSegmentation's past and of other libraries become today's; names that nobody knows stay as they are.
    """
    path = Path(path)
    must_exist(path)
    if path.suffix == SUFFIX:
        from safetensors.torch import load_file

        if KEY in read_header(path).get("__metadata__", {}):
            return load_file(path), []
        state = load_file(path)
    else:
        from intarsia.weights.foreign import read_foreign

        state = read_foreign(path).state
    from intarsia.weights.legacy_names import with_present_names
    from intarsia.weights.maps import recognise, translated

    state, notes = with_present_names(state)
    found = recognise(state)
    return translated(state), [*notes, *([f"names of {found.name} were translated"] if found else [])]


def must_exist(path: Path) -> None:
    """Raises ValueError unless this is a file."""
    if not path.is_file():
        what = "is a folder, not a weights file" if path.is_dir() else "does not exist"
        raise ValueError(f"{path} {what}")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of every tensor. mismatched: (name, shape in the file, shape in the model)."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def complete(self) -> bool:
        """Whether file and model have exactly the same tensors."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded"]
        changed = {name: f": file {list(found)}, model {list(own)}" for name, found, own in self.mismatched}
        for title, names in (
            ("missing in the file, left as they were", self.missing),
            ("in the file but not in the model", self.unexpected),
            ("of another shape", tuple(changed)),
        ):
            if names:
                lines.append(f"{len(names)} {title}:")
                lines += [f"  {line}" for line in grouped(names, changed)]
        counts = self.class_counts()
        if counts is not None:
            lines.append(f"the file was trained for {counts[0]} classes, the model has {counts[1]}")
        return "\n".join(lines)

    def without(self, prefixes: Sequence[str]) -> LoadReport:
        """The same report, silent about names that begin with one of these."""
        skipped = tuple(prefixes)
        return LoadReport(
            self.loaded,
            tuple(name for name in self.missing if not name.startswith(skipped)),
            tuple(name for name in self.unexpected if not name.startswith(skipped)),
            tuple(entry for entry in self.mismatched if not entry[0].startswith(skipped)),
        )

    def class_counts(self) -> tuple[int, int] | None:
        """Numbers of classes in file and model, where a classifier's shape says that they differ."""
        for name, found, expected in self.mismatched:
            is_classifier = any(part in name.rsplit(".", 2)[-2] for part in _CLASSIFIERS if "." in name)
            if is_classifier and found[1:] == expected[1:] and found and expected:
                return found[0], expected[0]
        return None


class WeightsMismatchError(ValueError):
    """File and model do not fit. `report` says how."""

    def __init__(self, message: str, report: LoadReport) -> None:
        super().__init__(message)
        self.report = report


AUXILIARY = ("auxiliary_head.",)
"""Parts that only training needs: a file may lack them, or have them in vain, when a model is opened to be used."""


def apply_state(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    allow_partial: bool = False,
    optional: Sequence[str] = (),
) -> LoadReport:
    """Copy tensors into a module by name.

    allow_partial: take what fits and leave the rest as it is; the report says what that was.
    optional: beginnings of names that may be missing, unexpected or of another shape all the same, such as `AUXILIARY`.
    Raises WeightsMismatchError if not everything fits, or if, even so, nothing does. The module is then unchanged.
    """
    own = module.state_dict()
    mismatched = tuple(
        (name, tuple(value.shape), tuple(own[name].shape))
        for name, value in state.items()
        if name in own and own[name].shape != value.shape
    )
    wrong = {name for name, _, _ in mismatched}
    fitting = {name: value for name, value in state.items() if name in own and name not in wrong}
    report = LoadReport(
        loaded=tuple(fitting),
        # Checkpoints of old versions of torch lack this counter; it has no effect on the numbers.
        missing=tuple(name for name in own if name not in state and not name.endswith("num_batches_tracked")),
        unexpected=tuple(name for name in state if name not in own),
        mismatched=mismatched,
    )
    if not fitting:
        raise WeightsMismatchError(f"not one tensor of the file fits the model\n{report}", report)
    if not allow_partial and not report.without(optional).complete:
        hint = "To load what fits and start the rest afresh: --allow-partial (in Python: allow_partial=True)"
        raise WeightsMismatchError(f"the weights do not fit the model: {report}\n{hint}", report)
    module.load_state_dict(fitting, strict=False)
    return report


def grouped(names: Sequence[str], suffixes: Mapping[str, str] | None = None, lines: int = SHOWN) -> list[str]:
    """Names in few lines: those of one part together, as "decode_head.convs.*  12 tensors", the largest parts opened.

    suffixes: what is written behind a name that stands alone.
    """
    groups = {"": list(names)}
    while True:
        opened: dict[str, dict[str, list[str]]] = {}
        for prefix, members in groups.items():
            if len(members) > 1:
                opened[prefix] = _parts(prefix, members)
        fitting = [prefix for prefix, parts in opened.items() if len(groups) - 1 + len(parts) <= lines or not prefix]
        if not fitting:
            break
        largest = max(fitting, key=lambda prefix: len(groups[prefix]))
        groups = {
            name: members
            for prefix, before in groups.items()
            for name, members in (opened[prefix].items() if prefix == largest else [(prefix, before)])
        }
    shown = [
        f"{prefix}*  {len(members)} tensors" if len(members) > 1 else members[0] + (suffixes or {}).get(members[0], "")
        for prefix, members in groups.items()
    ]
    return shown if len(shown) <= lines else [*shown[:lines], f"and {len(shown) - lines} more"]


def _parts(prefix: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Names that begin with a prefix, by the longer prefixes that the next component makes; whole names alone."""
    parts: dict[str, list[str]] = {}
    for name in names:
        head, dot, _ = name[len(prefix) :].partition(".")
        parts.setdefault(prefix + head + dot, []).append(name)
    return parts
