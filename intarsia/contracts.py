"""The nouns that all parts share, and the protocols between them.

Shape letters used here and in every file that handles tensors:

    N  images in a batch        K  classes, or channels of the logits
    C  channels (bands)         H, W  height and width; h, w  the same at a head's own stride

This module imports no torch: a data description, a report or a command-line help never needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IGNORE_INDEX = 255
"""The class index of a pixel that counts for nothing: no loss, no score. Labels wider than 8 bits keep it too."""

Size = tuple[int, int]
"""Height and width in pixels, in this order everywhere inside the package."""


# --- What data is -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """One image on its way from file to batch. A transform returns a new one and never writes into the old.

    image: (H, W, C), any dtype, any number of bands; colour images are RGB. Volumes are (D, H, W, C).
    label: (H, W) class indices, ``ignore_index`` where nothing is said, or None when there is no ground truth. Those of
        volumes are (D, H, W). Of a task of depth, depths in float32 instead.
    maps: further (H, W) or (H, W, C) arrays that must move with the image: edges.
    instances: (H, W) numbers of objects for a metric that wants them, or None. They are never moved: evaluation alone
        looks at them, at the size of their file.
    """

    image: npt.NDArray[Any]
    label: npt.NDArray[Any] | None = None
    maps: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    meta: SampleMeta = field(default_factory=lambda: SampleMeta())
    instances: npt.NDArray[np.integer[Any]] | None = None


@dataclass(frozen=True, slots=True)
class SampleMeta:
    """Where a sample came from and how to undo what was done to its geometry.

    original_size: of the image as read. ``valid`` is the part of the present image that is not padding, from `corner`
    (row, column) on. box: the part of the original that it shows, (top, left, height, width), without rows where it
    shows nothing that counts; None for all of it.
    flips: directions applied, in order; undone in reverse.
    category: what the image as a whole shows, as a class index of the data set; -1 where that is not known.
    wanted: the class that the sample was drawn for, which crops therefore keep; -1 for none.
    member: of several data sets with transforms of their own, which it is from.
    place: which sample it is of how many of its step, over all processes; (0, 0) where it is of none.
    deferred: transforms that the device does, with the numbers that were drawn for the sample, until it is in a batch.
    """

    name: str = ""
    image_path: str = ""
    label_path: str = ""
    original_size: Size = (0, 0)
    valid: Size | None = None
    corner: Size = (0, 0)
    box: tuple[int, int, int, int] | None = None
    flips: tuple[Literal["horizontal", "vertical"], ...] = ()
    category: int = -1
    wanted: int = -1
    member: int = 0
    place: tuple[int, int] = (0, 0)
    deferred: tuple[tuple[Any, tuple[float, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class LoadTimes:
    """What loading took. seconds: by stage. samples, bytes: how many were read from files, and their decoded size."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    samples: int = 0
    bytes: int = 0

    def __add__(self, other: LoadTimes) -> LoadTimes:
        stages = {**self.seconds, **other.seconds}
        seconds = {stage: self.seconds.get(stage, 0.0) + other.seconds.get(stage, 0.0) for stage in stages}
        return LoadTimes(seconds, self.samples + other.samples, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class Batch:
    """What the loader hands to a task.

    images: (N, C, H, W) in their stored dtype; images smaller than the batch are padded at the right and bottom.
    labels: (N, H, W) integers, or depths, or None; of another size where they are rescaled. Under the "original size"
        policy of evaluation, a tuple of (H_i, W_i) instead.
    sizes: for each image the (h, w) of its unpadded part.
    maps: further named maps, (N, ...) each.
    instances: of each image, (H_i, W_i) int32, without pixels where it has none; None if no image has any.
    unlabelled: further images, without labels, where a training learns from some.
    levels: (N, C, h, w) each, what the trunk makes of the images, where that was computed before; these are black then.
    loading: what it took to load it, in training.
    deferred: transforms that the device is still to do, with the numbers drawn for each sample, (N, P).
    """

    images: Tensor
    labels: Tensor | tuple[Tensor, ...] | None
    sizes: tuple[Size, ...]
    metas: tuple[SampleMeta, ...]
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    instances: tuple[Tensor, ...] | None = None
    unlabelled: Views | None = None
    levels: tuple[Tensor, ...] = ()
    loading: LoadTimes | None = None
    deferred: tuple[tuple[Any, Tensor], ...] = ()

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with every tensor on `device`. From pinned memory nothing waits for the copies."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in memory that a GPU copies from by itself; torch's loader asks for it by this name."""
        return self._with(lambda tensor: tensor.pin_memory())

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        labels = () if self.labels is None else self.labels if isinstance(self.labels, tuple) else (self.labels,)
        views = () if self.unlabelled is None else self.unlabelled.tensors()
        drawn = (numbers for _, numbers in self.deferred)
        return (self.images, *labels, *self.maps.values(), *(self.instances or ()), *views, *self.levels, *drawn)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        labels = self.labels
        return Batch(
            images=change(self.images),
            labels=tuple(map(change, labels))
            if isinstance(labels, tuple)
            else None
            if labels is None
            else change(labels),
            sizes=self.sizes,
            metas=self.metas,
            maps={name: change(value) for name, value in self.maps.items()},
            instances=None if self.instances is None else tuple(map(change, self.instances)),
            unlabelled=None if self.unlabelled is None else self.unlabelled.changed(change),
            levels=tuple(map(change, self.levels)),
            loading=self.loading,
            deferred=tuple((step, change(drawn)) for step, drawn in self.deferred),
        )


@dataclass(frozen=True, slots=True)
class Views:
    """Two views of M images without labels: a teacher says of the weak one what the student is to see in the strong.

    weak, strong: (M, C, H, W) in their stored dtype; each pixel is in the same place in both.
    sizes: for each image the (h, w) of its unpadded part.
    valid: (M, H, W) bool, the pixels of the weak view that are some of the image's, and no padding.
    mixed: (M, H, W) bool, where the strong view shows the next image instead, the last one the first.
    amount: how much they count in this step, 0 to 1: less while a training begins.
    """

    weak: Tensor
    strong: Tensor
    sizes: tuple[Size, ...]
    valid: Tensor
    mixed: Tensor
    amount: float = 1.0

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return (self.weak, self.strong, self.valid, self.mixed)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Views:
        """The same with every tensor changed."""
        weak, strong, valid, mixed = map(change, self.tensors())
        return Views(weak, strong, self.sizes, valid, mixed, self.amount)


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One level of what a backbone gives: its channels, and its stride with respect to the input.

    tokens: whether a class token comes with the map, so that the level is a `TokenLevel`.
    open_blocks: how many last blocks of a plain transformer are left to who reads it: the level is an `OpenLevel` then.
    prefix: whether all tokens before the patches come with the map: the level is an `OpenLevel`, with no block left.
    """

    channels: int
    stride: int
    tokens: bool = False
    open_blocks: int = 0
    prefix: bool = False


class TokenLevel(NamedTuple):
    """A level of a plain transformer: map (N, C, h, w), and the class token (N, C) beside it.

    A named tuple for the reason that `MaskPredictions` is one.
    """

    map: Tensor
    token: Tensor


class OpenLevel(NamedTuple):
    """A plain transformer before its last blocks, which who reads the level runs with tokens of its own in front.
    Where none are left, what it has seen so far.

    map: (N, C, h, w), the patches. prefix: (N, P, C), class token and registers. blocks: each takes tokens (N, T, C),
    the last of which are prefix and patches, and which token may look at which (N, 1, T, T), or None, and gives tokens
    (N, T, C). norm: behind the last block. stride: side of a patch. size: height and width of the images, of which
    the patches cover at least as much.
    """

    map: Tensor
    prefix: Tensor
    blocks: Sequence[Callable[[Tensor, Tensor | None], Tensor]]
    norm: Callable[[Tensor], Tensor]
    stride: int
    size: Size


Level: TypeAlias = "Tensor | TokenLevel | OpenLevel"
"""What stands at a level: a map, or what its `FeatureSpec` says: with a token, or with blocks that are to be run."""


@dataclass(frozen=True, slots=True)
class PointLogits:
    """Logits at some places of each image instead of all of them.

    logits: (N, K, P) at P places an image. points: (N, P, 2), their (x, y) in 0..1 of the image's width and height.
    """

    logits: Tensor
    points: Tensor


@dataclass(frozen=True, slots=True)
class ImageLogits:
    """Logits of whole images, a yes or no for each class.

    logits: (N, K).
    """

    logits: Tensor


@dataclass(frozen=True, slots=True)
class TargetInput:
    """What a target needs of a head besides its logits: no loss is for it.

    value: a tensor of any shape, without gradients.
    """

    value: Tensor


HeadOutput: TypeAlias = "Tensor | PointLogits | ImageLogits | TargetInput"
"""What training looks at in a head, or in one of its stages: logits (N, K, h, w), at points, or of whole images; and
what the targets of these need.
"""


class MaskPredictions(NamedTuple):
    """A set of masks with a class for each: what a mask classifier says instead of a class for each pixel.

    class_logits: (N, Q, K + 1) of Q queries; the last class is "no object". mask_logits: (N, Q, h, w).

    A named tuple and no dataclass: torch.export and torch.compile take tuples apart by themselves.
    """

    class_logits: Tensor
    mask_logits: Tensor


@dataclass(frozen=True, slots=True)
class LossTerm:
    """One named part of the training objective. A weight of 0 marks a quantity that is logged but not trained on.

    value: scalar tensor, not yet weighted.
    """

    name: str
    value: Tensor
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class in fractions of 1; nan where the class appears neither in truth nor in prediction."""

    name: str
    values: Mapping[str, float]
    pixels: int


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found.

    summary: metric name -> mean over the classes that are present ("mIoU", "aAcc", "mAcc" ...), fractions of 1; of
        depths, what `metrics.depth` gives, and there are no classes.
    absent: names of the classes without a single labelled pixel in this data.
    threshold: of two classes, the probability of the second above which a pixel was taken for it; None where the larger
        logit decided, or nothing says how label maps were made.
    thresholds: where a pixel may have several classes, the probability of each above which a pixel has it.
    parts: the same of each of several data sets, by name, where the images are of such.
    """

    summary: Mapping[str, float]
    classes: tuple[ClassScore, ...]
    absent: tuple[str, ...]
    images: int
    losses: Mapping[str, float] = field(default_factory=dict)
    threshold: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, Report] = field(default_factory=dict)


# --- What the parts promise each other ----------------------------------------------------------------------------


class Backbone(Protocol):
    """images (N, C, H, W) -> one feature map, or map and token, per entry of `features`.

    A backbone that needs images of a certain size says so in an attribute `least_size`, the smallest side in pixels:
    prediction and evaluation pad smaller ones to it.
    """

    features: tuple[FeatureSpec, ...]

    def __call__(self, images: Tensor) -> tuple[Level, ...]: ...


class Neck(Protocol):
    """Feature maps -> feature maps.

    in_channels: of each level that it is given; assembly checks them.
    A neck or head that needs maps of a certain size says so in an attribute `least_cells`, the smallest side in cells
    of the coarsest level that it reads; images that are smaller for it are padded as those that are for the backbone.
    """

    in_channels: tuple[int, ...]

    def connect(self, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        """The levels that it is given -> those that it gives. Raises ValueError for levels that it cannot take."""
        ...

    def __call__(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]: ...


class Head(Protocol):
    """Feature maps -> logits (N, K, h, w) at the head's own stride. Owns no loss, no sampler, no accuracy.

    in_index and in_channels say which levels it reads and what it expects there; assembly checks them, and where a head
    has such attributes `feature_strides`, their strides as far as multiples of the first, and `in_tokens`: whether it
    reads a `TokenLevel` each, which others are never given.
    """

    in_index: int | tuple[int, ...]
    in_channels: int | tuple[int, ...]
    num_classes: int
    align_corners: bool

    def __call__(self, features: Sequence[Tensor]) -> Tensor: ...


class MaskClassificationHead(Protocol):
    """Feature maps -> what the queries predict after each layer of the head; the last is the answer.

    in_index, in_channels, num_classes: as those of `Head`. Owns no loss, no matching, no random points.
    """

    in_index: int | tuple[int, ...]
    in_channels: int | tuple[int, ...]
    num_classes: int

    def __call__(self, features: Sequence[Tensor]) -> tuple[MaskPredictions, ...]: ...


@runtime_checkable
class FollowsTraining(Protocol):
    """A part of a network that changes as the training goes on, as a function of how much of it is done.

    The engine tells it before each step. What it changes is in its buffers, so that a weights file has it.
    """

    def set_training_progress(self, progress: float) -> None:
        """progress: steps done, as a part of all steps, in 0..1."""
        ...


@runtime_checkable
class StagedHead(Protocol):
    """A head that training looks at in other places than inference: at several stages, or at some points only."""

    def training_outputs(self, features: Sequence[Tensor], *previous_logits: Tensor) -> dict[str, HeadOutput]:
        """Feature maps (and the logits of the head before, in a cascade) -> what is trained, by the stage's name.

        The name "" stands for the head itself.
        """
        ...


class Target(Protocol):
    """What an output is compared with, where that is not the labels: edges, the classes that an image shows.

    One whose values are no labels may state `ignore_index`, the value that counts for nothing, for the loss that it
    stands beside; otherwise that is the one of the labels. One that does not look at the logits to be compared may
    state `reads_logits = False`: then nobody enlarges them for it, and it is shown them as they are.
    """

    def __call__(
        self, labels: Tensor, logits: Tensor, outputs: Mapping[str, Tensor], maps: Mapping[str, Tensor]
    ) -> Tensor:
        """Labels (N, H, W) and the logits to be compared -> the target of their loss.

        logits: (N, K, H, W); those of whole images are (N, 1, 1, K), K questions with one answer each.
        outputs: the logits of all stages of the head, in that form; "" for the head's own. A `TargetInput` is there as
            it is.
        maps: further maps (N, H, W) of the batch, padded like the labels.
        """
        ...


class Loss(Protocol):
    """logits (N, K, H, W) in float32 and target (N, H, W) of class indices -> scalar."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor: ...


class Model(Protocol):
    """images (N, C, H, W), already normalised -> logits (N, K, h, w). One meaning, one return type.

    A model may state `output_names`, those of `training_outputs` without their stages; losses are then compared with
    them before the first step.
    """

    def __call__(self, images: Tensor) -> Tensor: ...

    def training_outputs(self, images: Tensor) -> dict[str, HeadOutput]:
        """Logits of every head by its name, in the order of the losses: "decode", and "aux" or "aux_0", "aux_1" ...

        A head with stages (`StagedHead`) has one entry for each: "decode.s0", "decode.s1" ...
        """
        ...


class MaskClassificationModel(Protocol):
    """images (N, C, H, W), already normalised -> (N, K, H, W), how much of each class is in each pixel.

    Unlike those of a `Model`, they have the images' size: between a mask and the classes of its pixels lies a sigmoid,
    so that enlarging behind it is not the same as before.
    """

    def __call__(self, images: Tensor) -> Tensor: ...

    def queries(self, images: Tensor) -> tuple[MaskPredictions, ...]:
        """What training looks at: the predictions after each layer of the head."""
        ...


class Task(Protocol):
    """A network with its preprocessing and the objective it is trained on: an nn.Module, whose methods it has.

    The one protocol of engine, evaluation, inference and export; each of them uses a part of it.

    num_classes: classes that a label can have. ignore_index: what evaluation leaves out.
    """

    num_classes: int
    ignore_index: int
    training: bool

    @property
    def model(self) -> Callable[..., Tensor]:
        """The network: its input -> (N, K, h, w), the larger the likelier, or depths (N, 1, h, w).

        A child of this name. A `ConditionalTask` says what it is called with besides.
        """
        ...

    @property
    def preprocess(self) -> Callable[..., Tensor]:
        """Stored images (N, C, H, W), their unpadded sizes, train=... -> the network's input. A child of this name."""
        ...

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        """The terms of the training objective by name; those of weight 0 are only logged."""
        ...

    def label_problem(self, batch: Batch) -> str:
        """What is wrong with the labels of a batch, or "". Asked when a loss is not finite, since it waits."""
        ...

    def logits(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Stored images (N, C, H, W) of unpadded `sizes` -> the network's scores of each class (N, K, h, w)."""
        ...

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The validation loss: a scalar from what `logits` gives (N, K, h, w) and labels (N, H, W)."""
        ...

    def compile_training(self) -> None:
        """Let torch.compile make what `training_terms` computes of the network faster."""
        ...

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...

    def to(self, device: torch.device | torch.dtype) -> Any: ...

    def parameters(self) -> Iterator[Tensor]: ...

    def get_submodule(self, target: str) -> Any: ...


@runtime_checkable
class ConditionalTask(Protocol):
    """A task whose network reads more of an image than its pixels."""

    def conditions(self, metas: Sequence[SampleMeta]) -> tuple[Tensor, ...]:
        """What the network is called with behind the pixels of these images, a row each; nothing, if pixels are all."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """Samples by index, with the names of what is in them. Labels are class indices: the label table is applied."""

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Image and label of one index, as they are in their files."""
        ...


@runtime_checkable
class DrawingDataset(Protocol):
    """A data set that has more than one sample at an index: training draws one of them."""

    def draw(self, index: int, rng: np.random.Generator) -> Sample | None:
        """One of the samples at an index, with everything random taken from `rng`; None where it has but one."""
        ...


class Transform(Protocol):
    """A pure function of a sample and a random generator. Touches no global random state."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample: ...


class MixingTransform(Protocol):
    """A pure function of several samples: the one that it changes, and `others` further ones, drawn at random."""

    others: int

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample]) -> Sample: ...


AnyTransform: TypeAlias = Transform | MixingTransform
"""What a pipeline is made of."""


class Metric(Protocol):
    """A running score whose memory does not grow with the number of images."""

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one image: both (H, W) class indices, or depths."""
        ...

    def state(self) -> Tensor:
        """All counts in one tensor, so that processes can be summed with a single all-reduce."""
        ...

    def load_state(self, state: Tensor) -> None:
        """Go on from counts that `state` gave."""
        ...

    def report(self) -> Report:
        """The scores of what was counted so far."""
        ...


@runtime_checkable
class ConfidenceMetric(Protocol):
    """A metric that may also look at how sure the network was of its labels, which costs time to find out."""

    @property
    def needs_confidence(self) -> bool:
        """Whether it does."""
        ...

    def update(self, prediction: Tensor, label: Tensor, confidence: Tensor | None = None) -> None:
        """Count one image; confidence (H, W) is the probability of each predicted class."""
        ...


@runtime_checkable
class NumberedMetric(Protocol):
    """A metric whose counts depend on which images of a data set it counts, and not only on what they show."""

    def number_images(self, first: int, step: int) -> None:
        """Image n that it counts from its start is number first + n * step of the data set: one process of several."""
        ...


@runtime_checkable
class InstanceMetric(Protocol):
    """A metric that may also look at which object each pixel belongs to, for which a file is read with each label."""

    @property
    def needs_instances(self) -> bool:
        """Whether it does."""
        ...

    def update(self, prediction: Tensor, label: Tensor, *, instances: Tensor | None = None) -> None:
        """Count one image; instances (H, W) as the data set numbers them, None where they are not known."""
        ...


PathLike = str | Path


@runtime_checkable
class ForegroundMetric(Protocol):
    """A metric that looks at how probable the second of two classes is, which costs time to find out."""

    @property
    def needs_foreground(self) -> bool:
        """Whether it does."""
        ...

    def update(self, prediction: Tensor, label: Tensor, *, foreground: Tensor | None = None) -> None:
        """Count one image; foreground (H, W) is the probability of the second class."""
        ...


@runtime_checkable
class ProbabilityMetric(Protocol):
    """A metric that looks at how probable each of several classes is that a pixel may have at once.

    They are K numbers a pixel, at the size of the image, in memory.
    """

    @property
    def needs_probabilities(self) -> bool:
        """Whether it does."""
        ...

    def update(self, prediction: Tensor, label: Tensor, *, probabilities: Tensor | None = None) -> None:
        """Count one image; probabilities (K, H, W)."""
        ...
