"""The weights file: tensors as safetensors, and beside them everything that using them needs.

safetensors keeps strings only as metadata, so one key, "intarsia", holds a JSON object: a `WeightsMeta`. Reading it
costs a few kilobytes and imports no torch. Files of other origin (``.pth``) are read without running code from them.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from intarsia.io.whole_files import write_bytes, write_whole
from intarsia.terminal import printable
from intarsia.weights.base import WHOLE, Base, with_base
from intarsia.weights.origins import Origin
from intarsia.weights.tensor_file import load_tensors, must_exist, read_header

if TYPE_CHECKING:
    from torch import Tensor, nn

KEY = "intarsia"
SUFFIX = ".safetensors"
SHOWN = 8
"""Lines for names in a message."""

_CLASSIFIERS = ("conv_seg", "cls", "pred", "classif", "mask_norm")


@dataclass(frozen=True, slots=True)
class WeightsMeta:
    """What a weights file says about itself.

    config: the resolved configuration as plain values; model and preprocessing are built from it.
    labels: how the classes were written in the label files, as the data description says it.
    image: what the training's images were, `data.image_reader.ImageSpec` as plain values: bands by name, type and
    range of their numbers. Empty where nothing is known, as in files of before.
    scores: of the evaluation of exactly these weights, fractions of 1. step: optimizer steps they were trained for.
    threshold: of two classes, the probability of the second above which a pixel gets it, where it was chosen on
    validation images; None: as the config says.
    thresholds: the same of each class, where a pixel may have several (`intarsia.multi_label` of the config).
    regions: what label files hold in place of sets of classes, `label_sets.Regions` as plain values; empty for sets.
    pretrained: what their training started from. licence: of this file, as its owner says it; "" if nobody has said.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_index: int = 255
    labels: Mapping[str, Any] = field(default_factory=dict)
    image: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    step: int | None = None
    threshold: float | None = None
    thresholds: tuple[float, ...] = ()
    regions: Mapping[str, Any] = field(default_factory=dict)
    pretrained: tuple[Origin, ...] = ()
    licence: str = ""

    def to_json(self) -> str:
        """One line of JSON; scores that are not a number are left out."""
        values = asdict(self)
        values["scores"] = {name: score for name, score in self.scores.items() if math.isfinite(score)}
        return json.dumps(values, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> WeightsMeta:
        """The inverse of `to_json`. Keys of a later version are passed over.

        Raises ValueError for a text that is no JSON object, or says something of another type than is expected.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the description in the weights file is not JSON ({type(error).__name__})") from error
        if not isinstance(found, dict):
            raise ValueError(f"the description in the weights file is a {type(found).__name__}, expected an object")
        values = {name: value for name, value in found.items() if name in {f.name for f in fields(cls)}}
        for name, (fits, expected) in _EXPECTED.items():
            if name in values and not fits(values[name]):
                shown = printable(repr(values[name]), 100)
                raise ValueError(f"the description in the weights file: {name} is {expected}, found {shown}")
        values["classes"] = tuple(values.get("classes", ()))
        values["thresholds"] = tuple(values.get("thresholds", ()))
        values["palette"] = tuple((r, g, b) for r, g, b in values.get("palette", ()))
        values["pretrained"] = tuple(
            Origin(**{name: text for name, text in one.items() if name in _ORIGIN})
            for one in values.get("pretrained", ())
        )
        return cls(**values)


def _is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_whole(level) and level <= 255 for level in value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**60


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_ORIGIN = tuple(f.name for f in fields(Origin))


def _is_origin(value: Any) -> bool:
    return isinstance(value, dict) and "part" in value and all(isinstance(value.get(name, ""), str) for name in _ORIGIN)


_EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "config": (lambda value: isinstance(value, dict), "an object"),
    "classes": (lambda value: isinstance(value, list) and all(isinstance(n, str) for n in value), "a list of names"),
    "palette": (
        lambda value: isinstance(value, list) and all(map(_is_colour, value)),
        "a list of colours, three whole numbers of 0 to 255 each",
    ),
    "ignore_index": (_is_whole, "a whole number"),
    "labels": (lambda value: isinstance(value, dict), "an object"),
    "image": (lambda value: isinstance(value, dict), "an object"),
    "version": (lambda value: isinstance(value, str), "a text"),
    "scores": (lambda value: isinstance(value, dict) and all(map(_is_number, value.values())), "an object of numbers"),
    "step": (lambda value: value is None or _is_whole(value), "a whole number"),
    "threshold": (lambda value: value is None or (_is_number(value) and 0 < value < 1), "a number between 0 and 1"),
    "thresholds": (
        lambda value: isinstance(value, list) and all(_is_number(one) and 0 < one < 1 for one in value),
        "a list of numbers between 0 and 1",
    ),
    "regions": (lambda value: isinstance(value, dict), "an object"),
    "pretrained": (
        lambda value: isinstance(value, list) and all(map(_is_origin, value)),
        "a list of objects with a part, and texts",
    ),
    "licence": (lambda value: isinstance(value, str), "a text"),
}
"""Key of the description -> whether a value may be there, and what is expected in words."""


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


def write_described(path: Path, out: Path, meta: WeightsMeta) -> None:
    """Write the tensors of a safetensors file, byte for byte, with another description, whole or not at all."""
    header = read_header(path)
    header["__metadata__"] = {**header.get("__metadata__", {}), KEY: meta.to_json()}
    front = json.dumps(header, ensure_ascii=False).encode()
    front += b" " * (-len(front) % 8)  # numbers begin at a multiple of eight, as safetensors has it
    with open(path, "rb") as source:
        source.seek(8 + struct.unpack("<Q", source.read(8))[0])

        def write(file: IO[bytes]) -> None:
            file.write(struct.pack("<Q", len(front)) + front)
            shutil.copyfileobj(source, file)

        write_whole(out, write)


def read_meta(path: Path | str) -> WeightsMeta:
    """The description inside a weights file, without loading a tensor. Raises ValueError where there is none."""
    metadata = read_header(Path(path)).get("__metadata__", {})
    if KEY not in metadata:
        raise ValueError(
            f"{path} holds tensors but no description of the model: it was not written by Intarsia. "
            "Add one: intarsia weights convert FILE --config CONFIG -o OUT.safetensors"
        )
    return WeightsMeta.from_json(metadata[KEY])


def load_state(path: Path | str) -> dict[str, Tensor]:
    """All tensors of a file under our names, on the CPU: see `read_state`."""
    return read_state(path)[0]


def read_state(
    path: Path | str,
    *others: Path,
    key: str | None = None,
    prefix: str | None = None,
    translate: bool = True,
    base: Base = None,
) -> tuple[dict[str, Tensor], list[str]]:
    """All tensors of a file under our names, on the CPU, and what was done to the names, in words.

    Understands .safetensors, and checkpoints written by torch.save (.pth, .pt), which are read without running code.
    Names of MMSegmentation's past and of other libraries become today's; names that nobody knows stay as they are.
    others: further files with parts of the same set. key, prefix: where the network's tensors are in a checkpoint, as
    `state_dicts.choose` takes them. translate: False leaves names as they are, for networks that have those of their
    library. base: the file of the backbone that a file lacks or holds differences to, or "none" if it is whole.

    Raises ValueError for a file that needs a base and has none, or another.
    """
    from intarsia.weights.legacy_names import with_present_names
    from intarsia.weights.maps import recognise, translated
    from intarsia.weights.state_dicts import plain_names

    path = Path(path)
    if not others and path.suffix == SUFFIX and KEY in read_header(path).get("__metadata__", {}):
        if key is not None or prefix is not None:
            raise ValueError(f"{path} was written by Intarsia: its tensors need neither a key nor a prefix")
        return load_tensors(path), []
    state: dict[str, Tensor] = {}
    for file in (path, *others):
        state |= _foreign_tensors(file, key, None if others else prefix)
    notes: list[str] = []
    if others or path.suffix == SUFFIX:
        names, notes = plain_names(list(state), prefix=prefix)
        state = {name: state[old] for name, old in names.items()}
    if not translate:
        return state, notes
    state, renamed = with_present_names(state)
    found = recognise(state)
    if found is None:
        return translated(state), [*notes, *renamed]
    notes = [*notes, *renamed, f"names of {found.name} were translated"]
    state = translated(state)
    if found.base:
        own = read_state(base, translate=False)[0] if isinstance(base, Path) else base
        state = with_base(state, found, path, own)
        notes.append(f"its backbone is that of {base}" if own != WHOLE else "it was taken to be whole as it is")
    return state, notes


def _foreign_tensors(path: Path, key: str | None, prefix: str | None) -> dict[str, Tensor]:
    must_exist(path)
    if path.suffix == SUFFIX:
        if key is not None:
            raise ValueError(f"{path} holds one set of tensors: there is no key to choose; --prefix may be given")
        return load_tensors(path)
    from intarsia.weights.foreign import read_foreign

    return read_foreign(path, key=key, prefix=prefix).state


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
    What a part states as `left_away` (a network of timm: what lies behind its last level) may be in the file.
    Raises WeightsMismatchError if not everything fits, or if, even so, nothing does. The module is then unchanged.
    """
    own = module.state_dict()
    away = {f"{path}.{name}" for path, part in module.named_modules() for name in getattr(part, "left_away", ())}
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
        unexpected=tuple(name for name in state if name not in own and name not in away),
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
