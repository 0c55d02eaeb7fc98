"""The scores of Cityscapes' own evaluation of pixels: of classes, of categories, and with every object counting alike.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016, arXiv:1604.01685, section 4.
With TP, FP and FN summed over all images:

    IoU   TP / (TP + FP + FN) of a class, or of a category: its classes as if they were one
    iIoU  iTP / (iTP + FP + iFN) of classes whose objects are told apart, or of a category that has nothing else

iTP and iFN are the pixels of each object, weighed by (mean area of the class's objects) / (area of this object), so
that a small person counts as much as a large one. FP is as in the IoU, since predictions tell no objects apart. Means
are over the classes, or categories, that have a value.

The numbers are those of the evaluation that the benchmark publishes (package cityscapesscripts), to the last digit:
objects are added up in the order in which it does so. In several processes, whose sums are added, the last of the
sixteen digits may differ.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX, ClassScore, Report
from intarsia.metrics.confusion import check_outside, count_values, outside, pixel_table
from intarsia.terminal import Notice


@dataclass(frozen=True, slots=True)
class Label:
    """id: in label files. area: mean number of pixels of an object in the training images; None: no objects."""

    id: int
    category: str
    area: float | None = None


LABELS: Mapping[str, Label] = {
    "road": Label(7, "flat"),
    "sidewalk": Label(8, "flat"),
    "building": Label(11, "construction"),
    "wall": Label(12, "construction"),
    "fence": Label(13, "construction"),
    "pole": Label(17, "object"),
    "traffic light": Label(19, "object"),
    "traffic sign": Label(20, "object"),
    "vegetation": Label(21, "nature"),
    "terrain": Label(22, "nature"),
    "sky": Label(23, "sky"),
    "person": Label(24, "human", 3462.4756337644),
    "rider": Label(25, "human", 3930.4788056518),
    "car": Label(26, "vehicle", 12794.0202738185),
    "truck": Label(27, "vehicle", 27855.1264367816),
    "bus": Label(28, "vehicle", 35732.1511111111),
    "train": Label(31, "vehicle", 67583.7075812274),
    "motorcycle": Label(32, "vehicle", 6298.7200839748),
    "bicycle": Label(33, "vehicle", 4672.3249222261),
}
"""The classes that are scored, in the order of their indices."""

IDS = 34
"""Label files hold 0 to 33; what is no class among them is not scored, but may be predicted, wrongly."""

CATEGORIES = tuple(dict.fromkeys(label.category for label in LABELS.values()))
OBJECT_CATEGORIES = ("human", "vehicle")
_HUMAN, _VEHICLE = (24, 25), tuple(range(26, 34))  # caravan and trailer are vehicles that are no class
_FIRST, _EACH = 24, 1000  # object n of the label with this id has the number 1000 * id + n
_OBJECTS = (IDS - _FIRST) * _EACH

TOGETHER = 64
"""Images whose objects an accelerator keeps until they are brought to the processor, which waits for it."""


class CityscapesMetric:
    """Running counts of pixels and of objects, image by image. Memory does not grow with the images.

    classes: names of classes of Cityscapes, in any order; by default all 19 in theirs.

    Of objects it is told by `update(..., instances=...)`. If that was not done for every image, the scores of objects
    are left out, and a Notice says so.

    Raises ValueError for a class that Cityscapes does not have.
    """

    needs_instances = True
    also_called = ("mIoU", "miIoU")  # what is averageScoreClasses and averageScoreInstClasses, too

    def __init__(
        self,
        *,
        num_classes: int | None = None,
        classes: Sequence[str] | None = None,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        if classes is None or (len(classes) == len(LABELS) and classes[0] == "class 0"):
            classes = tuple(LABELS)
        self.classes = tuple(classes)
        if num_classes not in (None, len(self.classes)):
            raise ValueError(f"CityscapesMetric has {num_classes} classes but {len(self.classes)} names")
        foreign = [name for name in self.classes if _plain(name) not in LABELS]
        if foreign:
            raise ValueError(
                f"CityscapesMetric scores the classes of Cityscapes, which has no {', '.join(map(repr, foreign[:5]))}; "
                f"it has {', '.join(LABELS)}. For other classes there is IoUMetric"
            )
        self.ignore_index = ignore_index
        self.labels = {name: LABELS[_plain(name)] for name in self.classes}
        ids = [label.id for label in self.labels.values()]
        self._predicted = torch.tensor([*ids, *range(IDS), IDS], dtype=torch.int32)  # the last: no such value
        self._labelled = torch.tensor([*ids, IDS], dtype=torch.int32)
        self.matrix = torch.zeros(IDS, IDS, dtype=torch.int64)
        self._outside = torch.zeros(2, dtype=torch.int64)
        self._images = self._without = 0
        self._pending: list[Tensor] = []
        self._sums = {name: [0.0, 0.0] for name in (*(str(i) for i in range(_FIRST, IDS)), *OBJECT_CATEGORIES)}

    @property
    def images(self) -> int:
        """How many were counted."""
        return self._images

    def update(self, prediction: Tensor, label: Tensor, *, instances: Tensor | None = None) -> None:
        """Count one image. Nothing waits for an accelerator, but once in `TOGETHER` images.

        prediction: (H, W) class indices; K + i, if there are K classes, for the label of id i, which files for the
        benchmark's server may hold. label: (H, W) class indices. instances: (H, W), what `*_instanceIds.png` holds:
        1000 * id + number in objects, less elsewhere; None, or without pixels, where that is not known.

        Raises ValueError for maps of different sizes, and for a pixel that is no class; of an accelerator, which is not
        waited for, `report` says that.
        """
        self._to(prediction.device)
        predicted = _looked_up(self._predicted, prediction)
        truth = label.to(prediction.device, non_blocking=True).to(torch.int32)
        labelled = _looked_up(self._labelled, truth).masked_fill_(truth == self.ignore_index, -1)
        table = pixel_table(predicted, labelled, IDS, -1)
        wrong = outside(table)
        if wrong.device.type == "cpu":
            check_outside(wrong, len(self.classes), self.ignore_index, label=label, prediction=prediction)
        self.matrix += table[:IDS, :IDS]
        self._outside += wrong
        self._images += 1
        if instances is None or not instances.numel():
            self._without += 1
            return
        if instances.shape != predicted.shape:
            raise ValueError(
                f"prediction and instances must have one shape, found {tuple(prediction.shape)} and "
                f"{tuple(instances.shape)}; labels and objects are compared at the size of their files"
            )
        self._pending.append(self._objects(predicted, instances.to(prediction.device, non_blocking=True)))
        if not self._keeps_back(prediction.device) or len(self._pending) == TOGETHER:
            self._count_pending()

    @staticmethod
    def _keeps_back(device: torch.device) -> bool:
        return device.type != "cpu"

    def _to(self, device: torch.device) -> None:
        if self.matrix.device == device:
            return
        for name in ("_predicted", "_labelled", "matrix", "_outside"):
            setattr(self, name, getattr(self, name).to(device, non_blocking=True))

    def _objects(self, predicted: Tensor, instances: Tensor) -> Tensor:
        """Pixels of each object that are missed, of its category alone, and of its class: (objects, 3) int64."""
        number = instances.to(torch.int32) - _FIRST * _EACH
        there = (number >= 0) & (number < _OBJECTS)
        number = torch.where(there, number, 0)
        true = number.div(_EACH, rounding_mode="floor") + _FIRST
        found = (_kind(predicted) == _kind(true)).to(torch.int32) + (predicted == true)
        codes = torch.where(there, number * 3 + found, 3 * _OBJECTS).flatten()
        return count_values(codes, 3 * _OBJECTS + 1)[:-1].view(_OBJECTS, 3)

    def _count_pending(self) -> None:
        """Add the objects to the sums, on the processor, one after the other as the benchmark's evaluation does."""
        if not self._pending:
            return
        areas = {label.id: label for label in self.labels.values() if label.area is not None}
        for counts in torch.stack(self._pending).cpu():
            for index in counts.sum(dim=1).nonzero().flatten().tolist():
                label = areas.get(_FIRST + index // _EACH)
                if label is None:
                    continue
                missed, kind, hit = counts[index].tolist()
                assert label.area is not None
                weight = label.area / float(missed + kind + hit)
                of_class, of_category = (hit, missed + kind), (hit + kind, missed)
                for name, (right, wrong) in ((str(label.id), of_class), (label.category, of_category)):
                    self._sums[name][0] += float(right) * weight
                    self._sums[name][1] += float(wrong) * weight
        self._pending.clear()

    def state(self) -> Tensor:
        """All counts and sums, float64 on the processor, exact for counts up to 9e15; of processes they add up."""
        self._count_pending()
        sums = [value for pair in self._sums.values() for value in pair]
        head = torch.tensor([self._images, self._without, *sums], dtype=torch.float64)
        return torch.cat([head, self._outside.cpu().double(), self.matrix.cpu().flatten().double()])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        self._pending.clear()
        head, wrong, matrix = state.cpu().split([2 + 2 * len(self._sums), 2, IDS * IDS])
        images, without, *sums = head.tolist()
        self._images, self._without = int(images), int(without)
        for place, name in enumerate(self._sums):
            self._sums[name] = sums[2 * place : 2 * place + 2]
        device = self.matrix.device
        self._outside = wrong.long().to(device)
        self.matrix = matrix.long().view(IDS, IDS).to(device)

    def report(self) -> Report:
        """All scores of what was counted so far. Raises ValueError if no image was, or if a pixel was no class.

        The summary has the benchmark's own names, averageScoreClasses, averageScoreCategories, averageScoreInstClasses
        and averageScoreInstCategories; mIoU and miIoU, which are those of the classes once more; and IoU(name) and
        iIoU(name) of each category. What has no value, since nothing of it is there, is left out.
        """
        if not self._images:
            raise ValueError("nothing to report: no image was evaluated")
        check_outside(self._outside, len(self.classes), self.ignore_index)
        self._count_pending()
        if self._without:
            warnings.warn(
                f"{self._without} of {self._images} images have no *_instanceIds.png beside their label: the scores "
                "of objects (iIoU) are left out",
                Notice,
                stacklevel=2,
            )
        counts, objects = self.matrix.cpu(), not self._without
        rows: dict[int, dict[str, float]] = {}
        for label in sorted(self.labels.values(), key=lambda label: label.id):
            rows[label.id] = {"IoU": _iou(counts, (label.id,))}
            if objects:
                weighed = label.area is not None
                rows[label.id]["iIoU"] = self._weighed(str(label.id), counts, (label.id,)) if weighed else math.nan
        categories = {name: _iou(counts, _members(name)) for name in CATEGORIES}
        summary = {"mIoU": _mean(row["IoU"] for row in rows.values())}
        if objects:
            summary["miIoU"] = _mean(row["iIoU"] for row in rows.values())
        summary["averageScoreClasses"] = summary["mIoU"]
        summary["averageScoreCategories"] = _mean(categories.values())
        of_objects: dict[str, float] = {}
        if objects:
            of_objects = {
                name: self._weighed(name, counts, _members(name), columns)
                for name, columns in (("human", _HUMAN), ("vehicle", _VEHICLE))
            }
            summary["averageScoreInstClasses"] = summary["miIoU"]
            summary["averageScoreInstCategories"] = _mean(of_objects.values())
        summary |= {f"IoU({name})": value for name, value in categories.items()}
        summary |= {f"iIoU({name})": value for name, value in of_objects.items()}
        summary = {name: value for name, value in summary.items() if not math.isnan(value) or name == "mIoU"}
        labelled = counts.sum(dim=1).tolist()
        return Report(
            summary=summary,
            classes=tuple(ClassScore(name, rows[label.id], labelled[label.id]) for name, label in self.labels.items()),
            absent=tuple(name for name, label in self.labels.items() if not labelled[label.id]),
            images=self._images,
        )

    def _weighed(
        self, name: str, counts: Tensor, members: Sequence[int], columns: Sequence[int] | None = None
    ) -> float:
        """The iIoU of one class or category. columns: ids that are predictions of it; by default the members."""
        right, missed = self._sums[name]
        return _ratio(right, right + _mistaken(counts, members, columns or members) + missed)


# --- Scores of a matrix of counts, rows and columns by id ---------------------------------------------------------


def _members(category: str) -> tuple[int, ...]:
    return tuple(label.id for label in LABELS.values() if label.category == category)


def _iou(counts: Tensor, members: Sequence[int]) -> float:
    chosen = list(members)
    hit, labelled = int(counts[chosen][:, chosen].sum()), int(counts[chosen].sum())
    return _ratio(hit, labelled + _mistaken(counts, members, members))


def _mistaken(counts: Tensor, members: Sequence[int], columns: Sequence[int]) -> int:
    """False positives: pixels of other classes, not of what is not scored, that are predicted as one of the columns."""
    others = [label.id for label in LABELS.values() if label.id not in members]
    return int(counts[others][:, list(columns)].sum())


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _mean(values: Iterable[float]) -> float:
    """Of those that there are. Added one after the other, as the benchmark does it: `sum` is more exact since 3.12."""
    total, count = 0.0, 0
    for value in values:
        if not math.isnan(value):
            total, count = total + value, count + 1
    return _ratio(total, count)


def _kind(ids: Tensor) -> Tensor:
    """0 for what has no objects, 1 for humans, 2 for vehicles, by id."""
    return (ids >= _HUMAN[0]).to(torch.int32) + (ids >= _VEHICLE[0])


def _looked_up(table: Tensor, index: Tensor) -> Tensor:
    """table[index], and the last entry of the table for an index that it does not have."""
    last = len(table) - 1
    places = torch.where((index < 0) | (index > last), last, index.to(torch.int32))
    return torch.index_select(table, 0, places.flatten()).view(index.shape)


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ")
