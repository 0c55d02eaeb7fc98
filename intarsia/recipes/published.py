"""What the published recipes share: benchmarks, schedules, runtime, and the form of their names.

A published name says everything: ``fcn_r50-d8_4xb2-80k_cityscapes-512x1024`` is a method on a trunk, trained on 4
devices with 2 images each for 80,000 steps on one setting of a benchmark. A family's file therefore holds rows of
names, and one function from a name's fields to the model; everything else is composed here.

Values are facts of MMSegmentation 1.2.2 (Apache-2.0); ``tests/recipes`` compares each recipe with its resolved config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

Config = dict[str, Any]
"""Plain values of the configuration language."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
STEPS = {"20k": 20_000, "40k": 40_000, "80k": 80_000, "160k": 160_000}
MISNAMED = {"fcn_r101-d8_4xb4-80k_pascal-context-480x480": 40_000}
"""Recipes whose published config trains for another number of steps than its name says."""

WORKERS = {1: 4, 2: 2, 4: 4}
"""Loader processes by batch size per device."""


@dataclass(frozen=True)
class Split:
    """Where one split of a benchmark lies below its root."""

    images: str
    labels: str
    listing: str | None = None

    def dataset(self, benchmark: Benchmark, pipeline: list[Config]) -> Config:
        """The dataset of this split, as a config writes it."""
        values: Config = {
            "type": benchmark.dataset,
            "data_root": benchmark.root,
            "data_prefix": {"img_path": self.images, "seg_map_path": self.labels},
            "pipeline": pipeline,
        }
        if self.listing is not None:
            values["ann_file"] = self.listing
        return values


@dataclass(frozen=True)
class Benchmark:
    """A public data set as the published recipes use it; several training splits are concatenated."""

    dataset: str
    root: str
    num_classes: int
    train: tuple[Split, ...]
    val: Split
    reduce_zero_label: bool = False
    pad: bool = False
    augmented_test: bool = True


CITYSCAPES = Benchmark(
    "CityscapesDataset",
    "data/cityscapes/",
    19,
    train=(Split("leftImg8bit/train", "gtFine/train"),),
    val=Split("leftImg8bit/val", "gtFine/val"),
)
ADE20K = Benchmark(
    "ADE20KDataset",
    "data/ade/ADEChallengeData2016",
    150,
    train=(Split("images/training", "annotations/training"),),
    val=Split("images/validation", "annotations/validation"),
    reduce_zero_label=True,
)
VOC12AUG = Benchmark(
    "PascalVOCDataset",
    "data/VOCdevkit/VOC2012",
    21,
    train=(
        Split("JPEGImages", "SegmentationClass", "ImageSets/Segmentation/train.txt"),
        Split("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation/aug.txt"),
    ),
    val=Split("JPEGImages", "SegmentationClass", "ImageSets/Segmentation/val.txt"),
    pad=True,
)
PASCAL_CONTEXT = Benchmark(
    "PascalContextDataset",
    "data/VOCdevkit/VOC2010/",
    60,
    train=(Split("JPEGImages", "SegmentationClassContext", "ImageSets/SegmentationContext/train.txt"),),
    val=Split("JPEGImages", "SegmentationClassContext", "ImageSets/SegmentationContext/val.txt"),
    augmented_test=False,
)
PASCAL_CONTEXT_59 = Benchmark(
    "PascalContextDataset59",
    "data/VOCdevkit/VOC2010/",
    59,
    train=PASCAL_CONTEXT.train,
    val=PASCAL_CONTEXT.val,
    reduce_zero_label=True,
)


@dataclass(frozen=True)
class Setting:
    """A benchmark at one training size: `crop` is (height, width), `scale` (width, height) as resizing takes it."""

    benchmark: Benchmark
    crop: tuple[int, int]
    scale: tuple[int, int]


SETTINGS = {
    "cityscapes-512x1024": Setting(CITYSCAPES, (512, 1024), (2048, 1024)),
    "cityscapes-769x769": Setting(CITYSCAPES, (769, 769), (2049, 1025)),
    "cityscapes-1024x1024": Setting(CITYSCAPES, (1024, 1024), (2048, 1024)),
    "ade20k-512x512": Setting(ADE20K, (512, 512), (2048, 512)),
    "ade20k-640x640": Setting(ADE20K, (640, 640), (2048, 640)),
    "voc12aug-512x512": Setting(VOC12AUG, (512, 512), (2048, 512)),
    "pascal-context-480x480": Setting(PASCAL_CONTEXT, (480, 480), (520, 520)),
    "pascal-context-59-480x480": Setting(PASCAL_CONTEXT_59, (480, 480), (520, 520)),
}


@dataclass(frozen=True)
class Published:
    """The fields of one published name. `batch` is per device; `mixed` means 16-bit mixed precision."""

    method: str
    trunk: str
    devices: int
    batch: int
    schedule: str
    setting_name: str
    mixed: bool = False

    @property
    def name(self) -> str:
        """The recipe's published name."""
        model = f"{self.method}_{self.trunk}" if self.trunk else self.method
        precision = "amp-" if self.mixed else ""
        return f"{model}_{self.devices}xb{self.batch}-{precision}{self.schedule}_{self.setting_name}"

    @property
    def setting(self) -> Setting:
        """The benchmark and sizes it trains on."""
        return SETTINGS[self.setting_name]

    @property
    def steps(self) -> int:
        """Length of the training."""
        return MISNAMED.get(self.name) or STEPS[self.schedule]


@dataclass(frozen=True)
class Rows:
    """Published names that differ only in the fields given as several: their product."""

    method: str
    trunks: tuple[str, ...]
    devices: int
    batch: int
    schedules: tuple[str, ...]
    settings: tuple[str, ...]
    mixed: bool = False

    def __iter__(self) -> Iterator[Published]:
        for trunk, schedule, setting in product(self.trunks, self.schedules, self.settings):
            yield Published(self.method, trunk, self.devices, self.batch, schedule, setting, self.mixed)


@dataclass(frozen=True)
class Family:
    """One method's recipes.

    rows: its published names; published: (name's fields) -> (model, optim_wrapper, param_scheduler).
    own: short name -> (number of logits, bands) -> backbone and heads, for a user's own data.
    learning_rate: AdamW's, for training from random weights on little data.
    """

    rows: tuple[Rows, ...] = ()
    published: Callable[[Published], tuple[Config, Config, list[Config]]] | None = None
    own: dict[str, Callable[[int, int], Config]] = field(default_factory=dict)
    learning_rate: float = 1e-3


def compose(family: Family, recipe: Published) -> Config:
    """The complete config of a published recipe; parts of it may share values, see `separate`."""
    assert family.published is not None
    model, optim_wrapper, param_scheduler = family.published(recipe)
    config = {
        "default_scope": "mmseg",
        "model": {**model, "data_preprocessor": preprocessor(recipe.setting.crop)},
        "train_dataloader": _train_loader(recipe),
        "val_dataloader": _test_loader(recipe.setting),
        "test_dataloader": _test_loader(recipe.setting),
        "val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
        "optim_wrapper": optim_wrapper,
        "param_scheduler": param_scheduler,
        **loops(recipe.steps, every=recipe.steps // 10, log_every=50),
        **_RUNTIME,
        "tta_model": {"type": "SegTTAModel"},
    }
    if recipe.setting.benchmark.augmented_test:
        config["tta_pipeline"] = _augmented_test()
    return config


def separate(value: Any) -> Any:
    """The same value with no dict or list in two places, so that changing one leaves the others alone."""
    if isinstance(value, dict):
        return {key: separate(item) for key, item in value.items()}
    if isinstance(value, list):
        return [separate(item) for item in value]
    return value


def preprocessor(
    size: tuple[int, int],
    *,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    ignore_index: int = 255,
) -> Config:
    """Normalisation and padding; `size` (height, width) is what a training batch is padded to."""
    return {
        "type": "SegDataPreProcessor",
        "mean": list(mean),
        "std": list(std),
        "bgr_to_rgb": True,
        "pad_val": 0,
        "seg_pad_val": ignore_index,
        "size": size,
    }


def loops(steps: int, *, every: int, log_every: int) -> Config:
    """Loops and hooks of a training of `steps`, evaluated and saved at the same interval."""
    return {
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": steps, "val_interval": every},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": log_every, "log_metric_by_epoch": False},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": every},
            "sampler_seed": {"type": "DistSamplerSeedHook"},
            "visualization": {"type": "SegVisualizationHook"},
        },
        "log_processor": {"by_epoch": False},
    }


def sgd(lr: float, weight_decay: float, *, mixed: bool = False) -> Config:
    """SGD with momentum, in 16-bit mixed precision if asked for."""
    optimizer = {"type": "SGD", "lr": lr, "momentum": 0.9, "weight_decay": weight_decay}
    if mixed:
        return {"type": "AmpOptimWrapper", "optimizer": optimizer, "loss_scale": 512.0}
    return {"type": "OptimWrapper", "optimizer": optimizer, "clip_grad": None}


def poly(steps: int) -> list[Config]:
    """The decay that all convolutional recipes share."""
    return [{"type": "PolyLR", "eta_min": 1e-4, "power": 0.9, "begin": 0, "end": steps, "by_epoch": False}]


_RUNTIME: Config = {
    "env_cfg": {
        "cudnn_benchmark": True,
        "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
        "dist_cfg": {"backend": "nccl"},
    },
    "vis_backends": [{"type": "LocalVisBackend"}],
    "visualizer": {"type": "SegLocalVisualizer", "name": "visualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
    "log_level": "INFO",
    "load_from": None,
    "resume": False,
}


def _annotations(benchmark: Benchmark) -> Config:
    return {"type": "LoadAnnotations", **({"reduce_zero_label": True} if benchmark.reduce_zero_label else {})}


def _train_loader(recipe: Published) -> Config:
    setting, benchmark = recipe.setting, recipe.setting.benchmark
    pipeline: list[Config] = [
        {"type": "LoadImageFromFile"},
        _annotations(benchmark),
        {"type": "RandomResize", "scale": setting.scale, "ratio_range": (0.5, 2.0), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": setting.crop, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        *([{"type": "Pad", "size": setting.crop}] if benchmark.pad else []),
        {"type": "PackSegInputs"},
    ]
    datasets = [split.dataset(benchmark, pipeline) for split in benchmark.train]
    return {
        "batch_size": recipe.batch,
        "num_workers": WORKERS[recipe.batch],
        "persistent_workers": True,
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
        "dataset": datasets[0] if len(datasets) == 1 else {"type": "ConcatDataset", "datasets": datasets},
    }


def _test_loader(setting: Setting) -> Config:
    pipeline: list[Config] = [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": setting.scale, "keep_ratio": True},
        _annotations(setting.benchmark),
        {"type": "PackSegInputs"},
    ]
    return {
        "batch_size": 1,
        "num_workers": 4,
        "persistent_workers": True,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": setting.benchmark.val.dataset(setting.benchmark, pipeline),
    }


def _augmented_test() -> list[Config]:
    """Six scales, each with and without a flip."""
    scales = [{"type": "Resize", "scale_factor": s, "keep_ratio": True} for s in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)]
    flips = [{"type": "RandomFlip", "prob": p, "direction": "horizontal"} for p in (0.0, 1.0)]
    transforms = [scales, flips, [{"type": "LoadAnnotations"}], [{"type": "PackSegInputs"}]]
    return [{"type": "LoadImageFromFile", "backend_args": None}, {"type": "TestTimeAug", "transforms": transforms}]
