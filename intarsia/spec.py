"""RunSpec: the frozen, typed description of one run.

`config/lowering/` makes it out of a resolved config, `config/checking/` proves it buildable, `config/build.py` turns
its components into objects. Everything in it is plain data; no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written. Printed as ``file:line``; a command-line override has line 0."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Component:
    """A part to be built: a name of the catalogue and the arguments of its constructor.

    args: plain values, tuples, nested Components, and tuples or dicts of them.
    path: where it stands in the config ("model.decode_head"), for messages.
    """

    kind: str
    type: str
    args: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """From stored pixels to network input: channel order, (x - mean) / std, padding.

    size / size_divisor: what a batch is padded to; at most one of them. Padding is added after normalising.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: Literal["rgb", "bgr"] = "rgb"
    pad_value: float = 0.0
    label_pad_value: int = 255
    train_size: tuple[int, int] | None = None
    train_size_divisor: int | None = None
    eval_size: tuple[int, int] | None = None
    eval_size_divisor: int | None = None


@dataclass(frozen=True, slots=True)
class TermSpec:
    """One thing that a head is trained on, or logged of it.

    name: in the log, behind that of the head ("loss_ce").
    loss: component of kind "loss", or None for the pixel accuracy.
    output: the stage of the head that it is for, "" being the head's logits themselves; None for each stage.
    target: component of kind "target" that says what the output is compared with; None for the labels.
    """

    name: str
    loss: Component | None
    weight: float = 1.0
    output: str | None = None
    target: Component | None = None


@dataclass(frozen=True, slots=True)
class HeadLossSpec:
    """The losses of one head, which OpenMMLab writes inside the head.

    head: key of Model.training_outputs ("decode", "aux", "aux_0" ...).
    terms: in the order of the log; none for a head that the run's objective trains.
    accuracy: whether that of each stage is logged behind its losses.
    sampler: component of kind "sampler" that weighs pixels (OHEM), or None.
    """

    head: str
    terms: tuple[TermSpec, ...]
    ignore_index: int = 255
    align_corners: bool = False
    sampler: Component | None = None
    accuracy: bool = True

    @property
    def losses(self) -> tuple[Component, ...]:
        """What is computed of the head's outputs."""
        return tuple(term.loss for term in self.terms if term.loss is not None)


@dataclass(frozen=True, slots=True)
class ViewSize:
    """The size of a view of test-time augmentation, where it is not one factor of the image's: as `Resize` has it.

    scale: (width, height) in pixels. factors: of (width, height). Exactly one of both is given.
    """

    scale: tuple[int, int] | None = None
    factors: tuple[float, float] | None = None
    keep_ratio: bool = False
    interpolation: str = "bilinear"
    backend: Literal["cv2", "pillow"] = "cv2"

    def __str__(self) -> str:
        width, height = self.scale or self.factors or (1, 1)
        return f"{'within ' if self.keep_ratio and self.scale else ''}{width:g} x {height:g}"


@dataclass(frozen=True, slots=True)
class AugmentedInference:
    """Test-time augmentation: every scale with every flip, probabilities averaged.

    scales: factors of the image's size, or sizes. first: what the image is resized to before that.
    """

    scales: tuple[float | ViewSize, ...] = (1.0,)
    flips: tuple[str | None, ...] = (None,)
    first: float | ViewSize | None = None


@dataclass(frozen=True, slots=True)
class InferenceSpec:
    """How an image becomes a label map.

    crop_size, stride: (height, width) of the windows of the sliding modes and from one to the next. "slide_flip" shows
    each window mirrored, too. "slide_even" has as few windows as cover a side, evenly apart, a stride at most if there
    is one. mirror: each window is shown in four ways, left to right and upside down, and its logits are their mean.
    blend: how overlapping windows are weighed; published scores average them.
    num_classes: classes the user sees. `threshold` is set exactly when the model has one logit (sigmoid).
    two_class_threshold: of a model with two logits, the probability of the second class above which a pixel gets it;
    None: it gets the class with the larger logit.
    answer: what the model says of a pixel: its class, its classes, of which it may have several, or its depth.
    class_thresholds: of several classes, the probability of each above which a pixel has it; none: one half.
    """

    mode: Literal["whole", "slide", "slide_flip", "slide_even"] = "whole"
    crop_size: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    blend: Literal["average", "gaussian", "linear"] = "average"
    mirror: bool = False
    num_classes: int = 0
    align_corners: bool = False
    threshold: float | None = None
    two_class_threshold: float | None = None
    augmented: AugmentedInference | None = None
    answer: Literal["class", "classes", "depth"] = "class"
    class_thresholds: tuple[float, ...] = ()

    @property
    def foreground_above(self) -> float | None:
        """The probability of the second of two classes above which a pixel gets it; None where none decides."""
        return self.two_class_threshold if self.threshold is None else self.threshold

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Where a pixel may have several classes, the threshold of each; None otherwise."""
        if self.answer != "classes":
            return None
        return self.class_thresholds or (0.5,) * self.num_classes


@dataclass(frozen=True, slots=True)
class RareSpec:
    """Samples that training draws for rare classes.

    classes: their indices. every: of so many samples, one is drawn for each of them, from the images that show it.
    """

    classes: tuple[int, ...]
    every: int


BY_DATASET = "ByDataset"
"""The transform that holds those of single data sets."""


@dataclass(frozen=True, slots=True)
class DataSpec:
    """One stream of samples: a dataset, what is done to each sample, and how samples are put together.

    dataset: component of kind "dataset"; wrappers (concat, repeat) hold their parts in `args`.
    transforms: components of kind "transform", loading and packing left out (they are the dataset's and the loader's).
    label_size: "original" keeps ground truth at the size of its file, as evaluation must.
    persistent_workers: workers of an evaluation live until the run ends. pin_memory: where there is a GPU, it copies
    batches by itself. rare: classes that training draws samples for; None: all samples are drawn alike. order_seed: of
    the order of samples, if it is not that of the run. first_batches: the data set ends after so many batches of all
    processes.
    """

    dataset: Component
    transforms: tuple[Component, ...]
    batch_size: int
    workers: int = 2
    persistent_workers: bool = True
    pin_memory: bool = True
    shuffle: bool = False
    label_size: Literal["input", "original"] = "input"
    rare: RareSpec | None = None
    order_seed: int | None = None
    first_batches: int | None = None

    @property
    def steps(self) -> tuple[Component, ...]:
        """All transforms; where several data sets have pipelines of their own (`ByDataset`), those of each."""
        return tuple(step for steps in self._own for step in steps) + self.transforms[bool(self._own) :]

    @property
    def first_steps(self) -> tuple[Component, ...]:
        """The transforms of the first data set."""
        return (*self._own[0], *self.transforms[1:]) if self._own else self.transforms

    @property
    def _own(self) -> tuple[tuple[Component, ...], ...]:
        if not self.transforms or self.transforms[0].type != BY_DATASET:
            return ()
        found: tuple[tuple[Component, ...], ...] = self.transforms[0].args["pipelines"]
        return found


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of training with its unit: "80k steps", "100 epochs", "30m"."""

    value: float
    unit: Literal["steps", "epochs", "seconds"]


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """One stretch of the learning-rate (or momentum) schedule, [begin, end) in steps or epochs.

    every_step: given in epochs, it moves with every step all the same.
    part: the beginning of the names of the parameters that it is for ("backbone"); None: of all for which there is no
    stretch of their own.
    """

    type: str
    begin: int = 0
    end: int | None = None
    by_epoch: bool = False
    every_step: bool = False
    parameter: Literal["lr", "momentum"] = "lr"
    args: Mapping[str, Any] = field(default_factory=dict)
    part: str | None = None


@dataclass(frozen=True, slots=True)
class OptimSpec:
    """The optimizer and everything around a step.

    paramwise: the rules of `paramwise_cfg`, untouched; `constructor` says who reads them.
    clip: arguments of gradient clipping, by norm (max_norm, norm_type) or by value (clip_value), or None.
    accumulate: batches whose gradients make one optimizer step.
    iterations_per_step: how many of the iterations that durations and schedules count are one optimizer step.
    loss_scale: a fixed factor, "dynamic", or the arguments of torch's GradScaler; for "16-mixed".
    """

    optimizer: Component
    schedules: tuple[ScheduleSpec, ...] = ()
    paramwise: Mapping[str, Any] = field(default_factory=dict)
    constructor: str = "DefaultOptimWrapperConstructor"
    clip: Mapping[str, float] | None = None
    accumulate: int = 1
    iterations_per_step: int = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"
    loss_scale: float | Literal["dynamic"] | Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    """When the run is saved and what is kept."""

    every: Duration
    keep: int = 2
    best_metric: str | None = "mIoU"
    best_mode: Literal["max", "min"] = "max"


@dataclass(frozen=True, slots=True)
class EmaSpec:
    """Averaged weights: average = (1 - share) * average + share * weights, from step `begin` on.

    kind: what the share is, s being the steps since the average began. "exponential": `momentum`. "annealing":
    gamma / (gamma + s), and at least `momentum`. "mean": that which makes the average the mean of all weights taken in
    (stochastic weight averaging, Izmailov et al., arXiv:1803.05407). interval: steps between two weights that are taken
    in. average_buffers: statistics of norms are averaged as weights are, not copied. begin_epoch: the epoch, from 1,
    with whose first step the average begins, instead of `begin`.
    """

    momentum: float = 0.0002
    begin: int = 0
    kind: Literal["exponential", "annealing", "mean"] = "exponential"
    gamma: int = 100
    interval: int = 1
    average_buffers: bool = False
    begin_epoch: int = 0


@dataclass(frozen=True, slots=True)
class EarlyStopSpec:
    """End the training when a metric has not risen (or fallen) by min_delta for `patience` evaluations.

    threshold: end it as well when the metric is above (or below) this.

    metric, mode: which, and what is better. None: the metric by which the best weights are kept, or else the mIoU.
    """

    patience: int
    min_delta: float = 0.0
    metric: str | None = None
    mode: Literal["max", "min"] = "max"
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """The trunk is adapted by products of low rank instead of trained; from section `intarsia`.

    alpha: what the products are multiplied by, times the rank; None: the rank, so that it is 1. layers: patterns of the
    linear layers that are adapted; none: the projections of all attention.
    """

    rank: int
    alpha: float | None = None
    layers: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """What the products are multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


@dataclass(frozen=True, slots=True)
class SafeguardSpec:
    """What a long run is given beyond what MMSegmentation's configs can say; section `intarsia` of a config.

    freeze: patterns of modules or parameters that are not trained. keep_every: checkpoints at multiples of it stay
    beside the last ones. fit_images: training images that are evaluated whenever the validation images are, to show
    overfitting. pictures: validation images painted at every evaluation. hang_after: seconds without progress after
    which every process prints where it stands; 0 never. nonfinite_steps: steps in a row whose loss is not finite that
    are skipped before the run stops. total_batch: images per optimizer step over all processes; how many batches are
    accumulated follows from it. None: as many as `OptimSpec.accumulate` says. choose_threshold: of two classes, every
    evaluation chooses the threshold of the foreground that suits its images best, and the weights file keeps it. lora:
    how the trunk is adapted, which is not trained itself then. draw_every: the images of every so many-th batch of the
    validation are painted, too, at every evaluation.
    """

    freeze: tuple[str, ...] = ()
    keep_every: Duration | None = None
    fit_images: int = 0
    pictures: int = 0
    hang_after: float = 1800.0
    nonfinite_steps: int = 20
    total_batch: int | None = None
    choose_threshold: bool = False
    lora: LoraSpec | None = None
    draw_every: int | None = None


@dataclass(frozen=True, slots=True)
class StartSpec:
    """Which weights the backbone of a new training starts from; from section `intarsia`.

    pretrained: None takes what the model's parts name (`RunSpec.pretrained`). "auto" takes that or, where they name
    none, what is usual for the backbone, if it can be had. "imagenet" takes what is usual for it, and it must be had.
    "none" takes nothing. Else a file, an address, or the name of pretrained weights. first_convolution: how it is made
    for images with other bands than those of the weights, `weights.pretrained.fit.with_bands`.
    """

    pretrained: str | None = None
    first_convolution: Literal["repeat", "mean", "zero", "random"] = "repeat"


@dataclass(frozen=True, slots=True)
class UnlabelledSpec:
    """Images without labels that a training learns from, too; from section `intarsia`.

    images: a folder, a file or a pattern. ratio: so many of them for each image with labels.
    confidence: probability from which the teacher's class is taken for the true one; "adaptive": for each class the
    mean of what the teacher gave it. weight: of that loss.
    ramp_up: the share of the training in which the weight rises to its full size.
    cut_mix: the chance that an image gets a rectangle of the next one.
    strong: transforms that make the student's view of the teacher's; they move no pixel.
    """

    images: str
    ratio: float = 1.0
    confidence: float | Literal["adaptive"] = 0.95
    weight: float = 1.0
    ramp_up: float = 0.25
    cut_mix: float = 0.5
    strong: tuple[Component, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureCacheSpec:
    """What a trunk that stands still makes of the training images is computed once; from section `intarsia`.

    folder: where it is kept. views: of each image, drawn once. precision: bits of what is kept.
    """

    folder: str
    views: int = 1
    precision: Literal["32", "16"] = "32"


@dataclass(frozen=True, slots=True)
class TeacherSpec:
    """A trained network that a training learns from, too; from section `intarsia`.

    weights: a file, a run or a name. weight: of the loss. loss: how its answers are compared with the student's:
    "pixels" compares the probabilities of each pixel, "channels" where each class has its most likely pixels.
    temperature: what scores are divided by before they become probabilities.
    """

    weights: str
    weight: float = 1.0
    loss: Literal["pixels", "channels"] = "pixels"
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """Where the run happens.

    average_statistics: the running statistics of each process's own images are averaged over processes before they are
    evaluated or kept. It means nothing for norms that are synchronised.
    """

    devices: int = 1
    synchronise_batch_norm: bool = False
    average_statistics: bool = False
    deterministic: bool = False
    cudnn_benchmark: bool = True
    backend: str | None = None
    strategy: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False


@dataclass(frozen=True, slots=True)
class SubmissionSpec:
    """Test images whose label maps are only written, for a benchmark's server (`format_only` of a `test_evaluator`).

    folder: where to; None where the config does not say it. format: of `inference.outputs.label_values.FORMATS`.
    """

    folder: str | None
    format: str


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything about one run.

    A config without training keys (a weights file, a model fragment) has `train` and `optim` None.
    task: name in the catalogue. objective: component of kind "objective" that a task of queries trains on, instead of
    losses of its head; None for all others.
    evaluate_from: no evaluation before so much is done, but for that at the end. evaluate_changes: in their order, when
    so much is done, from then on evaluations are so far apart: (done, interval).
    metric: of the validation. test_metric: of the test data, where it is another one. submission: what is done with the
    test data instead of scoring them.
    written_for: images per step that the learning rate is meant for, where the config or its name says it.
    notes: what lowering wants the user to know ("SyncBN becomes BN in a single process"), printed at the start.
    source: the resolved config as plain values; written into run folders and weights files.
    """

    model: Component
    preprocess: PreprocessSpec
    losses: tuple[HeadLossSpec, ...]
    inference: InferenceSpec
    task: str = "SemanticSegmentation"
    objective: Component | None = None
    train: DataSpec | None = None
    val: DataSpec | None = None
    test: DataSpec | None = None
    metric: Component | None = None
    test_metric: Component | None = None
    submission: SubmissionSpec | None = None
    optim: OptimSpec | None = None
    duration: Duration | None = None
    evaluate_every: Duration | None = None
    evaluate_from: Duration | None = None
    evaluate_changes: tuple[tuple[Duration, Duration], ...] = ()
    log_every: int = 50
    checkpoint: CheckpointSpec | None = None
    ema: EmaSpec | None = None
    early_stop: EarlyStopSpec | None = None
    safeguards: SafeguardSpec = field(default_factory=SafeguardSpec)
    runtime: RuntimeSpec = field(default_factory=RuntimeSpec)
    seed: int = 0
    written_for: int | None = None
    load_from: str | None = None
    pretrained: tuple[tuple[str, str], ...] = ()
    start: StartSpec = field(default_factory=StartSpec)
    unlabelled: UnlabelledSpec | None = None
    teacher: TeacherSpec | None = None
    features: FeatureCacheSpec | None = None
    cache: str | None = None
    augment_on: Literal["workers", "device"] = "workers"
    imports: tuple[str, ...] = ()
    observers: tuple[Component, ...] = ()
    notes: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
