"""Several data sets with class lists of their own, brought into one list of classes.

Each keeps its description, and with it its files, its kind of labels and its reader. What is said beside it is which
class of the common list each of its classes is.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from intarsia.contracts import Dataset
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.mixed import MixedDataset
from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.model import BACKGROUND, IGNORE, DataDescription
from intarsia.data.description.pairing import Listing, Pair
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import InputSpec
from intarsia.data.labels import LabelTable
from intarsia.data.scenes.rule import SceneWindow
from intarsia.data.value_range import ValueRange

Draw = Literal["size", "equal"]


@dataclass(frozen=True)
class Member:
    """One of several data sets.

    classes: its class -> class of the common list, or "ignore"; those that are not listed have the same name in both.
    Of a single class, "background" stands for the rest. weight: of the training samples, see `MixedDescription`.
    """

    name: str
    description: DataDescription
    classes: Mapping[str, str] = field(default_factory=dict)
    weight: float | None = None

    @property
    def own_classes(self) -> tuple[str, ...]:
        """The names of its label values."""
        names = self.description.classes
        return names if len(names) > 1 else (BACKGROUND, *names)

    def meaning(self, name: str) -> str:
        """The class of the common list, or "ignore", that one of its classes is."""
        return name if name == IGNORE else self.classes.get(name, name)


@dataclass(frozen=True)
class MixedDescription(DataDescription):
    """A description of several data sets; `labels` is None, since every one has its own.

    members: in order. draw: how often each is drawn in training where no weights are given: by its size, so that every
    sample comes as often as any other, or all equally often. With weights, shares of the training samples are theirs.

    Raises DescriptionError when the parts contradict each other.
    """

    members: tuple[Member, ...] = ()
    draw: Draw = "size"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draw not in ("size", "equal"):
            raise DescriptionError(("draw",), f"expected size or equal, found {self.draw!r}")
        names = [member.name for member in self.members]
        for index, member in enumerate(self.members):
            if member.name in names[:index]:
                raise DescriptionError(
                    ("datasets", index), f"a second data set is called {member.name!r}; give it another `name:`"
                )
            self._check_classes_of(member, ("datasets", index))
        self._check_weights()
        conflict = image_conflict(self.members)
        if conflict is not None:
            raise DescriptionError(("datasets",), conflict)

    # --- Meaning ---

    def members_of(self, split: str) -> tuple[Member, ...]:
        """The data sets that have a split. Raises ValueError if none has."""
        self._rule(split)
        return tuple(member for member in self.members if split in member.description.splits)

    def weights_of(self, split: str) -> tuple[float, ...] | None:
        """The weights of the data sets that have a split; None: by size."""
        members = self.members_of(split)
        given = [member.weight for member in members if member.weight is not None]
        if given:
            return tuple(given)
        return tuple(1.0 for _ in members) if self.draw == "equal" else None

    def shares_of(self, split: str) -> dict[str, float]:
        """The share of the drawn samples that each data set of a split has."""
        members = self.members_of(split)
        weights = self.weights_of(split) or [float(len(member.description.pairs(split))) for member in members]
        return {member.name: weight / sum(weights) for member, weight in zip(members, weights, strict=True)}

    def table_of(self, member: Member) -> LabelTable:
        """What the file values of one of the data sets mean, in indices of the common classes."""
        source = member.description
        meaning = {source.class_index(name): self.class_index(member.meaning(name)) for name in member.own_classes}
        return source.label_table().translated(meaning, self.ignore_index)

    def listing(self, split: str) -> Listing:
        """The files of a split of all data sets, as whole paths, names after those of the data sets."""
        found = [(member, member.description.listing(split)) for member in self.members_of(split)]

        def paths(kind: str) -> tuple[str, ...]:
            return tuple(_whole(member, path) for member, one in found for path in getattr(one, kind))

        return Listing(
            tuple(_renamed(member, pair) for member, one in found for pair in one.pairs),
            unlabelled=paths("unlabelled"),
            unused=paths("unused"),
            twins=paths("twins"),
            lost=tuple(f"{member.name}: {name}" for member, one in found for name in one.lost),
        )

    def pairs(self, split: str) -> tuple[Pair, ...]:
        """Image and label of every sample of a split, as whole paths. Raises ValueError as each data set does."""
        return tuple(
            _renamed(member, pair) for member in self.members_of(split) for pair in member.description.pairs(split)
        )

    def dataset(self, split: str, *, reader: ImageReader | None = None) -> Dataset:
        """The samples of a split of all data sets, labels as indices of the common classes.

        reader: of a model that they are shown to; data sets with a `scale` of their own keep it.
        """
        parts = {}
        for member in self.members_of(split):
            own = member.description
            samples = own.own_dataset(split, reader=reader if own.scale is None else None)
            parts[member.name] = samples.with_classes(self.classes, self.colours, self.table_of(member))
        return MixedDataset(parts, spec=self.image_spec, weights=self.weights_of(split) if split == "train" else None)

    def own_dataset(self, split: str, *, reader: ImageReader | None = None) -> FolderDataset:
        """Raises ValueError: there is no one data set."""
        return self.files(split, reader=reader)

    def files(self, split: str, *, reader: ImageReader | None = None) -> FolderDataset:
        """Raises ValueError: there is no one folder tree."""
        raise ValueError(
            f"this works on one data set at a time, and the description has {len(self.members)} of them: "
            f"{', '.join(member.name for member in self.members)}; do it for each"
        )

    # --- Checks ---

    def _check_classes_of(self, member: Member, path: tuple[object, ...]) -> None:
        if isinstance(member.description, MixedDescription):
            raise DescriptionError(path, f"{member.name} is itself made of several data sets; list these")
        allowed = [*self.classes, IGNORE, *([BACKGROUND] if self.num_classes == 1 else [])]
        for own, meant in member.classes.items():
            if own not in member.own_classes:
                raise DescriptionError(
                    (*path, "classes", own),
                    f"{member.name} has no class {own!r}; it has {', '.join(member.own_classes)}"
                    f"{_near(own, member.own_classes)}",
                )
            if meant not in allowed:
                raise DescriptionError(
                    (*path, "classes", own),
                    f"{meant!r} is no class of the common list, nor ignore{_near(meant, allowed)}",
                )
        open_ = [name for name in member.own_classes if member.meaning(name) not in allowed]
        if open_:
            lines = ", ".join(f"{name}: CLASS" for name in open_)
            raise DescriptionError(
                path,
                f"{member.name} has classes that the common list does not have: {', '.join(open_)}. Say which of "
                f"{', '.join(self.classes)} each is, or ignore: classes: {{{lines}}}",
            )

    def _check_weights(self) -> None:
        training = [index for index, member in enumerate(self.members) if "train" in member.description.splits]
        given = [index for index, member in enumerate(self.members) if member.weight is not None]
        for index in given:
            member, path = self.members[index], ("datasets", index, "weight")
            assert member.weight is not None
            if not (math.isfinite(member.weight) and member.weight > 0):
                raise DescriptionError(
                    path, f"expected a number above 0, found {member.weight:g}; or leave the set out"
                )
            if index not in training:
                raise DescriptionError(path, f"{member.name} has no train split that could be weighted")
            if self.draw == "equal":
                raise DescriptionError(path, "stands beside `draw: equal`, which gives all the same; leave one out")
        lacking = [self.members[index].name for index in training if index not in given]
        if given and lacking:
            raise DescriptionError(
                ("datasets",),
                f"{self.members[given[0]].name} has a weight, and there is none for {', '.join(lacking)}: give every "
                "data set a weight, or none",
            )


def grouped(description: DataDescription, groups: str) -> DataDescription:
    """The same data, of which these groups stay together where images are divided; of several data sets in each."""
    if isinstance(description, MixedDescription):
        members = tuple(replace(one, description=grouped(one.description, groups)) for one in description.members)
        return replace(description, members=members)
    return replace(description, groups=groups)


# --- Images that fit together -------------------------------------------------------------------------------------


def image_conflict(members: Sequence[Member]) -> str | None:
    """Why the images of some data sets cannot be shown to one network, with the names of two of them; or None.

    Sizes, formats and, of colours, bits may differ; number and meaning of the bands may not, nor the values of raw
    ones.
    """
    first = members[0]
    for member in members[1:]:
        one, other = first.description, member.description
        if (one.bands, one.channels) != (other.bands, other.channels):
            return (
                f"{first.name} has {one.channels} bands ({one.bands}), {member.name} has {other.channels} "
                f"({other.bands}); one network takes one kind of image: choose the same bands in both descriptions"
            )
        kinds = [[(i.name, i.bands, i.channels) for i in part.inputs] for part in (one, other)]
        if kinds[0] != kinds[1]:
            return (
                f"{first.name} has {_words_of(one)}, {member.name} has {_words_of(other)}; one network takes the same, "
                "in the same order"
            )
        if any(one.names) and any(other.names) and one.names != other.names:
            return (
                f"the bands of {first.name} are {', '.join(one.names)}, those of {member.name} are "
                f"{', '.join(other.names)}; list the same, in the same order, as `names` of both descriptions"
            )
        if one.indices != other.indices:
            return f"the `indices` of {first.name} and {member.name} differ; write the same in both descriptions"
        raw = [("", one.values, other.values)] if one.bands == "raw" else []
        raw += [
            (f"in {a.name}, ", a.values, b.values)
            for a, b in zip(one.inputs, other.inputs, strict=True)
            if a.bands == "raw"
        ]
        for where, a, b in raw:
            if a is None or b is None:
                continue
            if a.dtype != b.dtype or not (a.covers(b.low, b.high) or b.covers(a.low, a.high)):
                return (
                    f"{where}{first.name} holds {a.words}, {member.name} {b.words}; store both in the same units and "
                    "type, since one network sees the numbers as they are"
                )
    return None


def _words_of(description: DataDescription) -> str:
    inputs = description.inputs
    return " and ".join(f"{one.name} ({one.channels} {one.bands})" for one in inputs) or "one image for each sample"


def common_inputs(members: Sequence[Member]) -> tuple[InputSpec, ...]:
    """The several images of each sample, where all data sets have the same; none otherwise."""
    columns = zip(*(member.description.inputs for member in members), strict=False)
    return tuple(replace(column[0], values=_common([one.values for one in column])) for column in columns)


def common_values(members: Sequence[Member]) -> ValueRange | None:
    """What the images of all data sets hold, if that is known and of one type."""
    return _common([member.description.values for member in members])


def _common(found: Sequence[ValueRange | None]) -> ValueRange | None:
    known = [values for values in found if values is not None]
    if len(known) < len(found) or len({values.dtype for values in known}) != 1:
        return None
    dimmest = [values.high if values.dimmest is None else values.dimmest for values in known]
    return ValueRange(
        known[0].dtype, min(values.low for values in known), max(values.high for values in known), min(dimmest)
    )


def _renamed(member: Member, pair: Pair) -> Pair:
    whole: Callable[[str], str] = lambda path: _whole(member, path)  # noqa: E731
    return replace(
        pair,
        name=f"{member.name}/{pair.name}",
        image=whole(pair.image),
        label=None if pair.label is None else whole(pair.label),
        masks=tuple((name, whole(file)) for name, file in pair.masks),
        window=None if pair.window is None else whole_window(member, pair.window),
    )


def whole_window(member: Member, window: SceneWindow) -> SceneWindow:
    """The window with whole paths, and the name of the data set before that of its block."""
    label = None if window.label is None else _whole(member, window.label)
    return replace(window, scene=_whole(member, window.scene), label=label, unit=f"{member.name}/{window.unit}")


def _whole(member: Member, path: str) -> str:
    return (member.description.root / path).as_posix()


def _nearest(name: str, names: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, names, n=1)), None)


def _near(name: str, names: Sequence[str]) -> str:
    near = _nearest(name, names)
    return f"; did you mean {near!r}?" if near else ""


def lacking(description: MixedDescription) -> Iterator[tuple[Member, tuple[str, ...]]]:
    """The data sets with the classes of the common list that none of their own is."""
    for member in description.members:
        meant = {member.meaning(name) for name in member.own_classes}
        missing = tuple(name for name in description.classes if name not in meant)
        if missing:
            yield member, missing
