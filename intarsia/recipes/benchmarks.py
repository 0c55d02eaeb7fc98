"""The public data sets that the published recipes train on, their training sizes, and the loaders made of both.

Values are facts of MMSegmentation 1.2.2 (Apache-2.0); ``tests/recipes`` compares each recipe with its resolved config.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]
"""Plain values of the configuration language."""

WORKERS = {2: 2}
"""Loader processes by batch size per device, where they are not 4."""


@dataclass(frozen=True)
class Split:
    """Where one split of a benchmark lies below its root."""

    images: str
    labels: str
    listing: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """A public data set as the published recipes use it; several training splits are concatenated.

    repeat: how often one epoch goes through the training split. metric: the score of its validation. keys: further
    ones that the data set is given.
    """

    dataset: str
    root: str
    num_classes: int
    train: tuple[Split, ...]
    val: Split
    reduce_zero_label: bool = False
    pad: bool = False
    augmented_test: bool = True
    repeat: int = 1
    metric: str = "mIoU"
    keys: Config = field(default_factory=dict)

    def values(self, split: Split, pipeline: list[Config]) -> Config:
        """The dataset of a split, as a config writes it."""
        values: Config = {
            "type": self.dataset,
            "data_root": self.root,
            "data_prefix": {"img_path": split.images, "seg_map_path": split.labels},
            "pipeline": pipeline,
        }
        if split.listing is not None:
            values["ann_file"] = split.listing
        return values | self.keys


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
COCO_STUFF_10K = Benchmark(
    "COCOStuffDataset",
    "data/coco_stuff10k",
    171,
    train=(Split("images/train2014", "annotations/train2014"),),
    val=Split("images/test2014", "annotations/test2014"),
    reduce_zero_label=True,
    keys={"reduce_zero_label": True},
)
COCO_STUFF_164K = Benchmark(
    "COCOStuffDataset",
    "data/coco_stuff164k",
    171,
    train=(Split("images/train2017", "annotations/train2017"),),
    val=Split("images/val2017", "annotations/val2017"),
)


def _aerial(dataset: str, root: str, num_classes: int, *, reduce_zero_label: bool = True) -> Benchmark:
    train, val = Split("img_dir/train", "ann_dir/train"), Split("img_dir/val", "ann_dir/val")
    return Benchmark(dataset, root, num_classes, (train,), val, reduce_zero_label=reduce_zero_label)


LOVEDA = _aerial("LoveDADataset", "data/loveDA", 7)
POTSDAM = _aerial("PotsdamDataset", "data/potsdam", 6)
VAIHINGEN = _aerial("ISPRSDataset", "data/vaihingen", 6)
ISAID = _aerial("iSAIDDataset", "data/iSAID", 16, reduce_zero_label=False)
NYU = Benchmark(
    "NYUDataset",
    "data/nyu",
    0,
    train=(Split("images/train", "annotations/train"),),
    val=Split("images/test", "annotations/test"),
    augmented_test=False,
)
LEVIR = Benchmark(
    "LEVIRCDDataset",
    "data/LEVIRCD",
    2,
    train=(Split("train/A", "train/label"),),
    val=Split("test/A", "test/label"),
)


def _vessels(dataset: str, root: str) -> Benchmark:
    """Photographs of the retina: so few that an epoch goes through them 40,000 times."""
    train = Split("images/training", "annotations/training")
    val = Split("images/validation", "annotations/validation")
    return Benchmark(dataset, root, 2, (train,), val, repeat=40_000, metric="mDice")


DARK_ZURICH = Benchmark(
    "DarkZurichDataset",
    "data/dark_zurich/",
    19,
    train=(),
    val=Split("rgb_anon/val/night/GOPR0356", "gt/val/night/GOPR0356"),
)
NIGHT_DRIVING = Benchmark(
    "NightDrivingDataset",
    "data/NighttimeDrivingTest/",
    19,
    train=(),
    val=Split("leftImg8bit/test/night", "gtCoarse_daytime_trainvaltest/test/night"),
)


@dataclass(frozen=True)
class Setting:
    """A benchmark at one training size: `crop` is (height, width), `scale` (width, height) as resizing takes it.

    test_scale: where images are tested at another scale. val, test: what is validated and tested on, if
    not what the benchmark says.
    augment, test_resize: the transforms of training and of test between loading and packing, if not the usual ones.
    """

    benchmark: Benchmark
    crop: tuple[int, int]
    scale: tuple[int, int]
    test_scale: tuple[int, int] | None = None
    val: Setting | None = None
    test: Setting | None = None
    augment: tuple[Config, ...] | None = None
    test_resize: tuple[Config, ...] | None = None


def _tested_on(benchmark: Benchmark) -> Setting:
    """Cityscapes by day for training, other streets for the test."""
    return Setting(CITYSCAPES, (512, 1024), (2048, 1024), test=Setting(benchmark, (512, 1024), (1920, 1080)))


SETTINGS = {
    "cityscapes-512x1024": Setting(CITYSCAPES, (512, 1024), (2048, 1024)),
    "cityscapes-680x680": Setting(CITYSCAPES, (680, 680), (2048, 1024)),
    "cityscapes-768x768": Setting(CITYSCAPES, (768, 768), (2049, 1025)),
    "cityscapes-769x769": Setting(CITYSCAPES, (769, 769), (2049, 1025)),
    "cityscapes-832x832": Setting(CITYSCAPES, (832, 832), (2048, 1024)),
    "cityscapes-1024x1024": Setting(CITYSCAPES, (1024, 1024), (2048, 1024)),
    "cityscapes-512x1024_dark-zurich-1920x1080": _tested_on(DARK_ZURICH),
    "cityscapes-512x1024_night-driving-1920x1080": _tested_on(NIGHT_DRIVING),
    "ade20k-512x512": Setting(ADE20K, (512, 512), (2048, 512)),
    "ade20k-640x640": Setting(ADE20K, (640, 640), (2560, 640)),
    "voc12aug-512x512": Setting(VOC12AUG, (512, 512), (2048, 512)),
    "pascal-context-480x480": Setting(PASCAL_CONTEXT, (480, 480), (520, 520)),
    "pascal-context-59-480x480": Setting(PASCAL_CONTEXT_59, (480, 480), (520, 520)),
    "coco-stuff10k-512x512": Setting(COCO_STUFF_10K, (512, 512), (2048, 512)),
    "coco-stuff164k-512x512": Setting(COCO_STUFF_164K, (512, 512), (2048, 512)),
    "loveda-512x512": Setting(LOVEDA, (512, 512), (2048, 512), test_scale=(1024, 1024)),
    "potsdam-512x512": Setting(POTSDAM, (512, 512), (512, 512)),
    "vaihingen-512x512": Setting(VAIHINGEN, (512, 512), (512, 512)),
    "isaid-896x896": Setting(ISAID, (896, 896), (896, 896)),
    "drive-64x64": Setting(_vessels("DRIVEDataset", "data/DRIVE"), (64, 64), (584, 565)),
    "stare-128x128": Setting(_vessels("STAREDataset", "data/STARE"), (128, 128), (605, 700)),
    "chase-db1-128x128": Setting(_vessels("ChaseDB1Dataset", "data/CHASE_DB1"), (128, 128), (960, 999)),
    "nyu-480x480": Setting(NYU, (480, 480), (2000, 480)),
    "nyu-512x512": Setting(NYU, (512, 512), (2048, 512)),
    "levir-256x256": Setting(LEVIR, (256, 256), (256, 256)),
    "hrf-256x256": Setting(_vessels("HRFDataset", "data/HRF"), (256, 256), (2336, 3504)),
}


def _annotations(benchmark: Benchmark) -> Config:
    return {"type": "LoadAnnotations", **({"reduce_zero_label": True} if benchmark.reduce_zero_label else {})}


def augmentation(setting: Setting, *, resize: Config | None = None) -> tuple[Config, ...]:
    """The transforms that most recipes train with; resize: instead of sizes between half and twice the scale."""
    usual = {"type": "RandomResize", "scale": setting.scale, "ratio_range": (0.5, 2.0), "keep_ratio": True}
    return (
        resize or usual,
        {"type": "RandomCrop", "crop_size": setting.crop, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        *([{"type": "Pad", "size": setting.crop}] if setting.benchmark.pad else []),
    )


def shortest_edges(side: int, *, largest: int, tenths: range = range(5, 21)) -> Config:
    """Resizing of the shorter side to some tenths of a length; the longer one stays within the largest."""
    sizes = [int(side * tenth * 0.1) for tenth in tenths]
    return {"type": "RandomChoiceResize", "scales": sizes, "resize_type": "ResizeShortestEdge", "max_size": largest}


def train_loader(setting: Setting, batch: int, workers: int | None = None) -> Config:
    """The training data of a setting; `batch` images per device."""
    benchmark = setting.benchmark
    pipeline: list[Config] = [
        {"type": "LoadImageFromFile"},
        _annotations(benchmark),
        *(augmentation(setting) if setting.augment is None else setting.augment),
        {"type": "PackSegInputs"},
    ]
    datasets = [benchmark.values(split, pipeline) for split in benchmark.train]
    dataset = datasets[0] if len(datasets) == 1 else {"type": "ConcatDataset", "datasets": datasets}
    if benchmark.repeat > 1:
        dataset = {"type": "RepeatDataset", "times": benchmark.repeat, "dataset": dataset}
    return {
        "batch_size": batch,
        "num_workers": WORKERS.get(batch, 4) if workers is None else workers,
        "persistent_workers": True,
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
        "dataset": dataset,
    }


def val_loader(setting: Setting) -> Config:
    """The validation data of a setting, one image at a time."""
    resize = {"type": "Resize", "scale": setting.test_scale or setting.scale, "keep_ratio": True}
    pipeline: list[Config] = [
        {"type": "LoadImageFromFile"},
        *(setting.test_resize or (resize,)),
        _annotations(setting.benchmark),
        {"type": "PackSegInputs"},
    ]
    return {
        "batch_size": 1,
        "num_workers": 4,
        "persistent_workers": True,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": setting.benchmark.values(setting.benchmark.val, pipeline),
    }


def augmented_test() -> list[Config]:
    """Six scales, each with and without a flip."""
    scales = [{"type": "Resize", "scale_factor": s, "keep_ratio": True} for s in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)]
    flips = [{"type": "RandomFlip", "prob": p, "direction": "horizontal"} for p in (0.0, 1.0)]
    transforms = [scales, flips, [{"type": "LoadAnnotations"}], [{"type": "PackSegInputs"}]]
    return [{"type": "LoadImageFromFile", "backend_args": None}, {"type": "TestTimeAug", "transforms": transforms}]
