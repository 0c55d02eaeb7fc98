"""The published names, and what is composed to a config of them.

A published name says everything: ``fcn_r50-d8_4xb2-80k_cityscapes-512x1024`` is a method on a backbone, trained on 4
devices with 2 images each for 80,000 steps on one setting of a benchmark. A family's file therefore holds rows of
names, and one function from a name's fields to the model; everything else is composed here.

Values are facts of MMSegmentation 1.2.2 (Apache-2.0); ``tests/recipes`` compares each recipe with its resolved config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from intarsia.recipes.benchmarks import SETTINGS, Config, Setting, augmented_test, train_loader, val_loader
from intarsia.recipes.schedules import RUNTIME, loops

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
MISNAMED = {
    "ann_r101-d8_4xb4-40k_voc12aug-512x512": 20_000,
    "deeplabv3_r101-d8_4xb2-amp-80k_cityscapes-512x1024": 40_000,
    "deeplabv3_r101-d8_4xb4-80k_pascal-context-59-480x480": 40_000,
    "deeplabv3plus_r18b-d8_4xb2-80k_cityscapes-769x769": 40_000,
    "fcn_r101-d8_4xb4-80k_pascal-context-480x480": 40_000,
    "vit_deit-s16_upernet_8xb2-160k_ade20k-512x512": 80_000,
}
"""Recipes whose published config trains for another number of steps than its name says."""

FORM = "{model}_{devices}xb{batch}-{note}{schedule}_{setting}"
"""How a published name is put together."""


@dataclass(frozen=True)
class Published:
    """The fields of one published name.

    batch: per device. note: what the name says before the schedule; "amp" is 16-bit mixed precision.
    form: how the name is put together.
    """

    method: str
    backbone: str
    devices: int
    batch: int
    schedule: str
    setting_name: str
    note: str = ""
    form: str = FORM

    @property
    def name(self) -> str:
        """The recipe's published name."""
        return self.form.format(
            model=f"{self.method}_{self.backbone}" if self.backbone else self.method,
            method=self.method,
            backbone=self.backbone,
            devices=self.devices,
            batch=self.batch,
            note=f"{self.note}-" if self.note else "",
            schedule=self.schedule,
            setting=self.setting_name,
        )

    @property
    def mixed(self) -> bool:
        """Whether it trains in 16-bit mixed precision."""
        return self.note == "amp"

    @property
    def setting(self) -> Setting:
        """The benchmark and sizes it trains on."""
        return SETTINGS[self.setting_name]

    @property
    def num_classes(self) -> int:
        """Classes of its benchmark."""
        return self.setting.benchmark.num_classes

    @property
    def steps(self) -> int:
        """Length of the training."""
        return MISNAMED.get(self.name) or 1000 * int(self.schedule.removesuffix("k"))


@dataclass(frozen=True)
class Rows:
    """Published names that differ only in the fields given as several: their product."""

    method: str
    backbones: tuple[str, ...]
    devices: int
    batch: int
    schedules: tuple[str, ...]
    settings: tuple[str, ...]
    note: str = ""
    form: str = FORM

    def __iter__(self) -> Iterator[Published]:
        for backbone, schedule, setting in product(self.backbones, self.schedules, self.settings):
            yield Published(
                self.method, backbone, self.devices, self.batch, schedule, setting, note=self.note, form=self.form
            )


@dataclass(frozen=True)
class Parts:
    """What a family says of one recipe.

    others: top-level keys in place of the usual ones, or besides them. setting: what is trained on, where the name
    does not say all. batch: per device, where the name says another. workers: loader processes, if not as usual.
    """

    model: Config
    optim_wrapper: Config
    param_scheduler: list[Config]
    others: Config = field(default_factory=dict)
    setting: Setting | None = None
    batch: int | None = None
    workers: int | None = None


KINDS = {
    "real-time": "Small and fast networks",
    "convolutional": "Convolutional networks",
    "context": "Heads that relate pixels to each other, on residual networks",
    "transformer": "Transformers, and convolutions that learnt from them",
    "masks": "Networks that find masks and name them",
    "words and depth": "Classes named in words, and depth",
}
"""Of methods: what they are filed under in the guide to the models, and its heading."""


@dataclass(frozen=True)
class Method:
    """A method and the paper that it is from: the one place where a recipe's paper is stated.

    name: as its authors write it. kind: one of KINDS. authors: all of them, or the first and "et al.". venue: of the
    conference or journal, "arXiv" where it was published nowhere else. address: where the paper can be read.
    """

    name: str
    kind: str
    title: str
    authors: str
    venue: str
    year: int
    address: str


@dataclass(frozen=True)
class Family:
    """One method's recipes.

    rows: its names among MMSegmentation's recipes; further: those that it was published with elsewhere.
    published: from a name's fields to what is particular to it.
    own: short name -> (number of logits, bands) -> backbone and heads, for a user's own data; with keys of the model
    in place of the usual ones, if any.
    same: short name -> that of the recipe in `own` whose network it has, before both are fitted to the data.
    learning_rate: AdamW's, for training from random weights on little data.
    method: None where nothing was published of the network.
    targets: transforms that make what the heads learn beside the labels.
    others: keys of the config for own data besides the usual ones, or in their place.
    schedule: steps -> the learning rate's course on own data, where it is not the usual one.
    """

    rows: tuple[Rows, ...] = ()
    published: Callable[[Published], Parts] | None = None
    own: dict[str, Callable[[int, int], Config]] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    learning_rate: float = 1e-3
    method: Method | None = None
    targets: tuple[Config, ...] = ()
    others: Config = field(default_factory=dict)
    schedule: Callable[[int], list[Config]] | None = None
    further: tuple[Rows, ...] = ()


def compose(family: Family, recipe: Published) -> Config:
    """The complete config of a published recipe; parts of it may share values, see `separate`."""
    assert family.published is not None
    parts = family.published(recipe)
    setting = parts.setting or recipe.setting
    val = setting.val or setting
    evaluator = {"type": "IoUMetric", "iou_metrics": [setting.benchmark.metric]}
    config = {
        "default_scope": "mmseg",
        "model": {"data_preprocessor": preprocessor(recipe.setting.crop), **parts.model},
        "train_dataloader": train_loader(setting, parts.batch or recipe.batch, parts.workers),
        "val_dataloader": val_loader(val),
        "test_dataloader": val_loader(setting.test or val),
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
        "optim_wrapper": parts.optim_wrapper,
        "param_scheduler": parts.param_scheduler,
        **loops(recipe.steps, every=recipe.steps // 10, log_every=50),
        **RUNTIME,
        "tta_model": {"type": "SegTTAModel"},
    }
    if setting.benchmark.augmented_test:
        config["tta_pipeline"] = augmented_test()
    return config | parts.others


def separate(value: Any) -> Any:
    """The same value with no dict or list in two places, so that changing one leaves the others alone."""
    if isinstance(value, dict):
        return {key: separate(item) for key, item in value.items()}
    if isinstance(value, list):
        return [separate(item) for item in value]
    return value


def preprocessor(
    size: tuple[int, int] | None,
    *,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    ignore_index: int = 255,
    **others: Any,
) -> Config:
    """Normalisation and padding; others: further keys.

    size: (height, width) that a training batch is padded to; None where its images are of one size anyway.
    """
    padded: Config = {} if size is None else {"size": size}
    return {
        "type": "SegDataPreProcessor",
        "mean": list(mean),
        "std": list(std),
        "bgr_to_rgb": True,
        "pad_val": 0,
        "seg_pad_val": ignore_index,
        **padded,
        **others,
    }
