"""The data description: which files belong together and what the values in label files mean, as one short YAML file.

It is what `intarsia data check` proposes and what `intarsia train --data FILE` takes. `read.py` and
`write.py` know the file, `splits.py` the files of a split; here is what it all means.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from intarsia.colours import distinct_colours
from intarsia.contracts import IGNORE_INDEX, Dataset
from intarsia.data.annotations.drawn import ClassValues, Drawn
from intarsia.data.band_indices import Index
from intarsia.data.bands import Bands
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.description import class_checks
from intarsia.data.description.class_checks import (
    check_classes,
    check_ignored,
    check_multi_label,
    check_regions,
)
from intarsia.data.description.drawn_checks import check_drawn
from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.image_checks import checked_bands
from intarsia.data.description.inputs import stacking
from intarsia.data.description.pairing import Listing, Pair
from intarsia.data.description.split_checks import check_shares, check_splits
from intarsia.data.description.splits import (
    OwnSplit,
    ShareSplit,
    Split,
    image_suffixes,
    list_file,
    list_split,
    missing_policy,
    scene_rules,
    slice_axis,
    sources,
)
from intarsia.data.description.together import Together, pairs_together, take_share
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec, InputSpec
from intarsia.data.instance_ids import ClassOf
from intarsia.data.labels import Colour, LabelTable, nearest
from intarsia.data.masks import Masks
from intarsia.data.scenes.dataset import SceneDataset
from intarsia.data.value_range import Scale, ValueRange
from intarsia.label_sets import Regions, members, set_count, set_name

IGNORE, BACKGROUND = class_checks.IGNORE, class_checks.BACKGROUND

LabelValue = int | Colour
"""What a label file stores: a number, or a colour (R, G, B)."""

OwnDataset = FolderDataset | SceneDataset
"""The samples of a split: of files, or of windows of scenes."""


@dataclass(frozen=True)
class DataDescription:
    """Everything about a data set that training needs to know.

    root: folder to which all paths are relative. classes: names, in the order of their indices.
    labels: file value -> class name or "ignore"; None: values are class indices already. With a single class,
        "background" stands for the rest: index 0 is the background, 1 the class, and a model has one output.
        Of a label that is drawn as a mask for each class, or from annotations of a tool, a mask or shape has the first
        value from 1 on that `labels` lists for its class, and what none covers is 0.
    multi_label: a pixel may have several classes: those of all masks that are set, or of all shapes that cover it, and
        none where there is none. Labels are sets (`label_sets`), in label files too, and there is no `labels`.
    regions: with `multi_label`, what label files hold in place of sets: one value a pixel, of several classes.
    outside: what becomes of file values that `labels` does not list.
    tolerance: file values that differ by so much from a listed one, in each channel, count as the nearest such.
    class_of: how to take the class out of file values that say objects besides; `labels` lists what it gives.
    bands, channels: see `image_io.read_image`. names: of the bands of raw images, "" for one without. indices: channels
        behind these, (name, expression of bands by name), see `data.band_indices`. scale: values that become 0 and 255
        where images of more than 8 bits are read as rgb, or percentiles (`Scale.of`). mean, std: of the training
        images, per channel, in the units that the network sees. values: type and range of what they store.
    shares: of each class (and "background", with a single one) of the labelled training pixels, as measured.
    inputs: where a sample has several images, how each is read; `bands` is raw then, `channels` and `names` are theirs.
    groups: what images must stay together when they are divided: see `divide.group_names`.
    notes: comments for the head of the file; no part of the meaning.

    Raises DescriptionError (a ValueError) when the parts contradict each other.
    """

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    labels: Mapping[LabelValue, str] | None = None
    palette: tuple[Colour, ...] | None = None
    ignore_index: int = IGNORE_INDEX
    outside: Literal["error", "ignore"] = "error"
    tolerance: int = 0
    class_of: ClassOf | None = None
    bands: Bands = "rgb"
    channels: int = 3
    names: tuple[str, ...] = ()
    indices: tuple[Index, ...] = ()
    scale: tuple[float | str, ...] | None = None
    values: ValueRange | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    shares: Mapping[str, float] | None = None
    groups: str | None = None
    inputs: tuple[InputSpec, ...] = ()
    multi_label: bool = False
    regions: Regions | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        self._check_classes()
        self._check_labels()
        bands = checked_bands(
            self.bands, self.channels, names=self.names, indices=self.indices, scale=self.scale, mean=self.mean,
            std=self.std,
        )  # fmt: skip
        object.__setattr__(self, "bands", bands)
        with_rest = self.num_classes == 1 or self.multi_label
        check_shares(self.shares or {}, (BACKGROUND, *self.classes) if with_rest else self.classes)
        check_splits(self.splits, self.groups)
        self._check_masks()

    # --- Meaning ---

    @property
    def num_classes(self) -> int:
        """The number of named classes, which is the number of outputs of a model; 1 means one foreground."""
        return len(self.classes)

    @property
    def colours(self) -> tuple[Colour, ...]:
        """A colour for each class: the palette, or distinct colours."""
        return self.palette if self.palette is not None else default_colours(self.classes)

    def class_index(self, name: str) -> int:
        """The index in label maps of a class name, "background" or "ignore"; with `multi_label` its bit."""
        if name == IGNORE:
            return self.ignore_index
        if self.multi_label:
            return 0 if name == BACKGROUND else 1 << self.classes.index(name)
        if self.num_classes == 1:
            return 0 if name == BACKGROUND else 1
        return self.classes.index(name)

    def name_of(self, value: LabelValue) -> str | None:
        """The class of a file value, "background" or "ignore"; None for a value that the table refuses. With
        `multi_label` the names of all its classes.

        Grey pixels of colour files and numbers stand for each other, as `LabelTable` takes them.
        """
        if self.multi_label:
            return self._set_name(value)
        table = self._by_value
        if value not in table:
            value = self._as_listed(value)
        if value not in table and self.tolerance:
            near = nearest(value, table, self.tolerance)
            value = value if near is None else near
        return table.get(value, IGNORE if self.outside == "ignore" else None)

    def names_of(self, value: LabelValue) -> tuple[str, ...]:
        """The classes of a file value, one but for `multi_label`; "background" and "ignore" as `name_of` says them."""
        name = self.name_of(value)
        if name is None:
            return ()
        one = self._set_of(value) if self.multi_label else None
        return (name,) if one in (None, self.ignore_index) else (members(one or 0, self.classes) or (BACKGROUND,))

    def _set_name(self, value: LabelValue) -> str | None:
        one = self._set_of(value)
        if one == self.ignore_index:
            return IGNORE
        if one is None:
            return IGNORE if self.outside == "ignore" else None
        return set_name(one, self.classes)

    def _set_of(self, value: LabelValue) -> int | None:
        """The set that a file value stands for, or the ignored one; None for a value that says nothing."""
        return self._sets.get(value) if isinstance(value, int) else None

    @cached_property
    def _sets(self) -> Mapping[int, int]:
        if self.regions is not None:
            return {**self.regions.sets(self.ignore_index), self.ignore_index: self.ignore_index}
        return {value: value for value in (*range(set_count(self.num_classes)), self.ignore_index)}

    def _as_listed(self, value: LabelValue) -> LabelValue:
        """A grey as colour where the table lists colours alone, and as number where it lists numbers alone."""
        if isinstance(value, int):
            return value if any(isinstance(known, int) for known in self._by_value) else (value, value, value)
        is_grey = len(set(value)) == 1 and all(isinstance(known, int) for known in self._by_value)
        return value[0] if is_grey else value

    @cached_property
    def _by_value(self) -> Mapping[LabelValue, str]:
        if self.labels is not None:
            is_open = self._is_drawn and IGNORE not in self.labels.values()
            return {self.ignore_index: IGNORE, **self.labels} if is_open else self.labels
        names = self.classes if self.num_classes > 1 else (BACKGROUND, self.classes[0])
        return {**dict(enumerate(names)), self.ignore_index: IGNORE}

    def label_table(self) -> LabelTable:
        """What file values mean, as it is applied to label files."""
        if self.multi_label:
            return LabelTable(dict(self._sets), None, self.ignore_index, self.outside)
        if self.labels is None:
            own = LabelTable.identity(self.num_classes, self.ignore_index)
            return replace(own, outside=self.outside, tolerance=self.tolerance)
        table = self._by_value
        values = {value: self.class_index(name) for value, name in table.items() if isinstance(value, int)}
        colours = {value: self.class_index(name) for value, name in table.items() if not isinstance(value, int)}
        return LabelTable(values or None, colours or None, self.ignore_index, self.outside, self.tolerance)

    def mask_value(self, name: str) -> int:
        """The value that a mask of this class has in a merged label: see `labels`."""
        if self.multi_label:
            return self.class_index(name)
        return next(v for v, known in self._by_value.items() if known == name and isinstance(v, int) and v > 0)

    @cached_property
    def class_values(self) -> ClassValues:
        """The value that a shape of each class has where labels are drawn from annotations: see `labels`."""
        if self.multi_label:
            bits = {name: self.class_index(name) for name in (BACKGROUND, *self.classes, IGNORE)}
            return ClassValues(bits, self.ignore_index, self.outside, united=True)
        known = {v: name for v, name in self._by_value.items() if isinstance(v, int)}
        of_class = {name: v for v, name in reversed(known.items()) if v > 0 and name != IGNORE}
        if known.get(0) == BACKGROUND:
            of_class = {BACKGROUND: 0, **of_class}
        ignored = [v for v, name in known.items() if name == IGNORE]
        of_class[IGNORE] = next((v for v in ignored if v > 0), ignored[0] if ignored else self.ignore_index)
        return ClassValues(of_class, of_class[IGNORE], self.outside)

    def listing(self, split: str) -> Listing:
        """The files of a split, with those that lack a counterpart.

        Raises:
            ValueError: there is no such split, or a folder or list is missing.
        """
        rule = self._rule(split)
        listing = list_split(self.root, self._own_rule(split))
        if self.multi_label:
            pairs = (replace(pair, overlap="set") if pair.masks else pair for pair in listing.pairs)
            listing = replace(listing, pairs=tuple(pairs))
        base = rule.of if isinstance(rule, ShareSplit) else split
        shares = [(name, one) for name, one in self.splits.items() if isinstance(one, ShareSplit) and one.of == base]
        if not shares:
            return listing
        together = pairs_together(self.root, listing.pairs, self.groups)
        remaining = list(range(len(listing.pairs)))
        for name, share in shares:
            taken, remaining = take_share(together, remaining, share.fraction, f"{share.seed}:{name}")
            if name == split:
                return Listing(tuple(listing.pairs[index] for index in taken))
        return replace(listing, pairs=tuple(listing.pairs[index] for index in remaining))

    def together(self, split: str) -> Together | None:
        """What is kept whole where shares are taken out of a split; None if there are none.

        Raises ValueError as `listing`.
        """
        if not any(isinstance(rule, ShareSplit) and rule.of == split for rule in self.splits.values()):
            return None
        return pairs_together(self.root, list_split(self.root, self._own_rule(split)).pairs, self.groups)

    def pairs(self, split: str) -> tuple[Pair, ...]:
        """Image and label of every sample of a split.

        Raises:
            ValueError: as `listing`; also if images lack labels (unless the split says ``missing: skip``), or if
                nothing pairs.
        """
        listing = self.listing(split)
        rule = self.splits[split]
        if listing.unlabelled and missing_policy(rule) == "error":
            raise ValueError(
                f"{len(listing.unlabelled)} images of the {split} split have no label: {_some(listing.unlabelled)} "
                f"(in {self.root}, by the rule {rule}). Add the labels, or write `missing: skip` in the split to train "
                "without these images."
            )
        if listing.lost and missing_policy(rule) == "error":
            where = f"{self.root / name}: " if (name := list_file(rule)) else ""
            raise ValueError(
                f"{where}{len(listing.lost)} names have no image with a label in {self.root}: {_some(listing.lost)}. "
                f"Correct the list of the {split} split, or write `missing: skip`."
            )
        if not listing.pairs:
            raise ValueError(f"the {split} split is empty: no image in {self.root} has a label by its rule: {rule}")
        return listing.pairs

    @property
    def image_spec(self) -> ImageSpec:
        """What images a model takes that is trained on this data."""
        scale = None if self.scale is None else Scale.of(self.scale)
        axis = next(filter(None, (slice_axis(rule) for rule in self.splits.values())), "")
        return ImageSpec(self.bands, self.channels, self.names, self.values, scale, axis, self.indices, self.inputs)

    def reader(self) -> ImageReader:
        """What reads the images of the data itself: any values; as many bands as there are, unless they are named."""
        named = any(self.names) or self.bands == "rgb"
        return ImageReader(replace(self.image_spec, values=None, channels=self.channels if named else 0))

    def dataset(self, split: str, *, reader: ImageReader | None = None) -> Dataset:
        """The samples of a split, labels as class indices.

        reader: of the images, as the model expects them that they are shown to; by default as the description says.

        Raises:
            ValueError: as `pairs`.
        """
        return self.own_dataset(split, reader=reader)

    def own_dataset(self, split: str, *, reader: ImageReader | None = None) -> OwnDataset:
        """The same, of this data set alone.

        Raises:
            ValueError: as `dataset`; for a description of several data sets.
        """
        pairs = self.pairs(split)
        windows = [pair.window for pair in pairs if pair.window is not None]
        if not windows:
            return self._files(split, pairs, reader)
        return SceneDataset(
            windows,
            root=str(self.root),
            classes=self.classes,
            palette=self.colours,
            label_table=self.label_table(),
            class_values=self.class_values,
            spec=self.image_spec,
            reader=reader or self.reader(),
            multi_label=self.multi_label,
        )

    def files(self, split: str, *, reader: ImageReader | None = None) -> FolderDataset:
        """The same, of one folder tree.

        Raises:
            ValueError: as `dataset`; for windows of scenes, and for a description of several data sets.
        """
        pairs = self.pairs(split)
        if any(pair.window is not None for pair in pairs):
            raise ValueError(
                f"{self.root}: expected images with labels of their own, found windows of scenes, which are read as "
                "they are"
            )
        return self._files(split, pairs, reader)

    def _files(self, split: str, pairs: Sequence[Pair], reader: ImageReader | None) -> FolderDataset:
        dataset = FolderDataset(
            root=str(self.root),
            pairs=[(pair.image, self.label_of(pair)) for pair in pairs],
            image_suffix=image_suffixes(self.root, self._own_rule(split)),
            classes=self.classes,
            palette=self.colours,
            label_table=self.label_table(),
            bands=self.bands,
            scale=self.scale,
            class_of=self.class_of,
            multi_label=self.multi_label,
        )
        is_own = reader is None
        if reader is None and (any(self.names) or self.scale is not None):
            reader = self.reader()
        if self.inputs or (reader is not None and reader.spec.inputs):
            reader = stacking(reader or self.reader(), self.root, pairs, any_values=is_own)
        return dataset.with_images(self.image_spec, reader)

    def label_of(self, pair: Pair) -> str | Masks | Drawn | None:
        """The label of a pair: its file, or masks or annotations with the values of their classes."""
        if pair.annotations is not None and pair.label is not None:
            return Drawn(pair.annotations, pair.label, pair.image, pair.key, self.class_values)
        if not pair.masks:
            return pair.label
        return Masks(tuple((self.mask_value(name), file) for name, file in pair.masks), pair.overlap)

    def shows_scenes(self, split: str) -> bool:
        """Whether the samples of a split are windows of scenes."""
        return bool(scene_rules(self._own_rule(split)))

    def _rule(self, split: str) -> Split:
        if split not in self.splits:
            raise ValueError(f"the data has no {split!r} split; it has {', '.join(self.splits)}")
        return self.splits[split]

    def _own_rule(self, split: str) -> OwnSplit:
        """The rule that finds the files of a split: of a share, that of what it is a share of."""
        rule = self._rule(split)
        base = self.splits[rule.of] if isinstance(rule, ShareSplit) else rule
        assert not isinstance(base, ShareSplit)
        return base

    # --- Checks ---

    def _check_classes(self) -> None:
        check_classes(self.classes, self.palette)
        if self.multi_label:
            check_multi_label(self.classes, self.ignore_index, self.splits, has_labels=self.labels is not None)
        else:
            check_ignored(self.num_classes, self.ignore_index)
        check_regions(self.regions, self.classes, self.splits, multi_label=self.multi_label)

    def _check_labels(self) -> None:
        if not 0 <= self.tolerance <= 255:
            raise DescriptionError(("tolerance",), f"{self.tolerance} is not between 0 and 255")
        if self.outside not in ("error", "ignore"):
            raise DescriptionError(("outside",), f"expected error or ignore, found {self.outside!r}")
        if self.labels is None:
            return
        if not self.labels:
            raise DescriptionError(("labels",), "at least one file value is needed")
        allowed = [*self.classes, IGNORE, *([BACKGROUND] if self.num_classes == 1 else [])]
        for value, name in self.labels.items():
            if name not in allowed:
                near = difflib.get_close_matches(name, allowed, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise DescriptionError(
                    ("labels", show_value(value)), f"{name!r} is no class of {_some(self.classes)}, nor ignore{hint}"
                )
        if set(self.labels.values()) <= {IGNORE}:
            raise DescriptionError(("labels",), "every value is ignored; nothing would be learned")

    @property
    def _is_drawn(self) -> bool:
        """Whether labels of any split are drawn from annotations, or from shapes that name their classes."""
        named = any(scenes.column for rule in self.splits.values() for scenes in scene_rules(rule))
        return named or any(s.annotations is not None for rule in self.splits.values() for s in sources(rule))

    def _check_masks(self) -> None:
        known = [value for value in self._by_value if isinstance(value, int) and value > 0]
        allowed = {self._by_value[value] for value in known}
        if self.multi_label:
            allowed = {*self.classes, IGNORE}
        for split, rule in self.splits.items():
            check_drawn(split, rule, self.classes, self.class_values)
            for mask in (mask for source in sources(rule) for mask in source.masks):
                if mask.class_name not in allowed:
                    raise DescriptionError(
                        ("splits", split, "labels"),
                        f"{mask.class_name!r} has masks, but is no class: {_some(sorted(allowed))}"
                        if self.multi_label
                        else f"{mask.class_name!r} has masks, but no value from 1 on in `labels`: "
                        f"{_some(sorted(allowed))}",
                    )


def default_colours(classes: Sequence[str]) -> tuple[Colour, ...]:
    """Distinct colours; black only for a background."""
    black: tuple[Colour, ...] = ((0, 0, 0),) if classes[0] == BACKGROUND else ()
    return black + distinct_colours(len(classes) - len(black))


def show_value(value: LabelValue) -> str:
    """A file value as it is written: 11, or "#c08000"."""
    return str(value) if isinstance(value, int) else "#{:02x}{:02x}{:02x}".format(*value)


def _some(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
