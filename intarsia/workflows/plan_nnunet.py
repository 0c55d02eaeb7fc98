"""What nnU-Net's planner chooses for data: patch, depth, strides, batch; and how its training augments and evaluates.

Isensee et al., nnU-Net, Nature Methods 18, 2021, supplementary note 2, and nnU-Net Revisited, arXiv:2404.09556, for the
residual encoders; the numbers are those of nnunetv2 2.8 (`ExperimentPlanner`, `nnUNetPlannerResEncM`, `L`, `XL`).
Pixels of images are taken to be square and of one size; of slices of volumes the spacing counts (`nnunet_volumes.py`).

A plan is settings of the run's config, where it can be read and changed, and a line for each choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from intarsia.recipes import nnunet
from intarsia.recipes.nnunet import EPOCH, PLAIN, RESIDUAL, STEPS
from intarsia.workflows import nnunet_volumes

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config
    from intarsia.data.description.model import DataDescription
    from intarsia.workflows.nnunet_volumes import Volumes

Size = tuple[int, int]
Pairs = tuple[Size, ...]

LARGEST_PATCH, SMALLEST_MAP = 2048, 4
"""Of a side of the first patch that is tried, and of a side of the coarsest map."""
REFERENCE_BATCH, LEAST_BATCH = 12, 2
_FLAT = 1.5
"""A patch whose sides differ more is turned by 15 degrees at most, others by any angle."""


@dataclass(frozen=True)
class Preset:
    """values: of all feature maps of a network (`feature_values`) that the memory is meant for holds, for a batch of
    `REFERENCE_BATCH`. gigabytes: of that memory. covered: share of the training's pixels that a batch has at most.
    """

    kind: str
    values: int
    gigabytes: int
    covered: float = 1.0


PRESETS = {
    "nnunet": Preset(PLAIN, 85_000_000, 8, 0.05),
    "nnunet_resenc-m": Preset(RESIDUAL, 135_000_000, 8),
    "nnunet_resenc-l": Preset(RESIDUAL, 380_000_000, 24),
    "nnunet_resenc-xl": Preset(RESIDUAL, 560_000_000, 40),
}
"""Recipe -> what it is planned for. Only the plain network's batch is kept to 5 % of the data."""


@dataclass(frozen=True)
class Topology:
    """patch: (height, width), what the strides divide. strides, kernel_sizes: of each stage."""

    patch: Size
    strides: Pairs
    kernel_sizes: Pairs

    @property
    def divisor(self) -> Size:
        """What the patch is a multiple of."""
        down, across = (math.prod(stride[axis] for stride in self.strides) for axis in (0, 1))
        return down, across


@dataclass(frozen=True)
class Plan:
    """A network for data, and the batch that it is trained with."""

    preset: Preset
    topology: Topology
    batch: int
    steps: int = STEPS


# --- The planner's rules ------------------------------------------------------------------------------------------


def topology(patch: Size, spacing: tuple[float, float] = (1.0, 1.0)) -> Topology:
    """Stages for a patch: a side is halved while it has 4 pixels or more then, one alone only if it had 12.

    A side is made larger until all of its halvings divide it. spacing: of a pixel, (height, width).
    """
    size, halvings, pixel = list(patch), [0, 0], list(spacing)
    strides: list[Size] = [(1, 1)]
    kernel, kernels = [1, 1], []
    while True:
        able = [axis for axis in (0, 1) if size[axis] >= 2 * SMALLEST_MAP]
        # A side whose pixels are not halved keeps them small, so that the other one waits once it is twice as coarse.
        finest = min((pixel[axis] for axis in able), default=0.0)
        able = [axis for axis in able if pixel[axis] < 2 * finest]
        if not able or (len(able) == 1 and size[able[0]] < 3 * SMALLEST_MAP):
            break
        kernel = [3 if side == 3 or pixel[axis] < 2 * min(pixel) else 1 for axis, side in enumerate(kernel)]
        kernels.append((kernel[0], kernel[1]))
        for axis in able:
            size[axis] = -(-size[axis] // 2)
            halvings[axis] += 1
            pixel[axis] *= 2
        strides.append((2 if 0 in able else 1, 2 if 1 in able else 1))
    height, width = (-(-side // 2**count) * 2**count for side, count in zip(patch, halvings, strict=True))
    return Topology((height, width), tuple(strides), (*kernels, (3, 3)))


def feature_values(kind: str, found: Topology, num_logits: int) -> int:
    """Numbers in all maps that the convolutions of a network give for one patch, as nnU-Net counts them."""
    channels = [min(nnunet.FIRST * 2**stage, nnunet.WIDEST) for stage in range(len(found.strides))]
    height, width = found.patch
    total: int = channels[0] * height * width if kind == RESIDUAL else 0  # the stem
    areas, before = [], channels[0]
    for stage, count in enumerate(nnunet.counts(kind, len(channels))):
        down, across = found.strides[stage]
        height, width = height // down, width // across
        maps = count if kind == PLAIN else 2 * count + (before != channels[stage] or (down, across) != (1, 1))
        total += maps * channels[stage] * height * width
        areas.append(height * width)
        before = channels[stage]
    decoder = 2 if kind == PLAIN else 1
    total += sum((decoder + 1) * width * area for width, area in zip(channels[:-1], areas[:-1], strict=True))
    return total + num_logits * areas[0]


def plan(
    name: str,
    *,
    image_size: Size,
    images: int,
    num_logits: int,
    patch: Size | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Plan:
    """What the recipe `name` has for so many training images of a typical size, with pixels of such a size.

    patch: of the user's choice, enlarged to what the strides divide; None: the largest that two of fit into memory.

    Raises ValueError for images of which nothing can be halved.
    """
    preset = PRESETS[name]
    first = (round(LARGEST_PATCH * (spacing[1 - axis] / spacing[axis]) ** 0.5) for axis in (0, 1))  # of one area
    height, width = map(min, image_size, first)
    found = topology(patch or (height, width), spacing)
    if len(found.strides) == 1:
        raise ValueError(
            f"{name} halves images until a side has {SMALLEST_MAP} pixels, and these typically have {image_size[0]} x "
            f"{image_size[1]}: they are too small for it"
        )
    values = feature_values(preset.kind, found, num_logits)
    while patch is None and values / REFERENCE_BATCH * LEAST_BATCH > preset.values:
        found = topology(_smaller(found, image_size, spacing), spacing)
        values = feature_values(preset.kind, found, num_logits)
    batch = round(preset.values / values * REFERENCE_BATCH)
    pixels = images * math.prod(image_size) * preset.covered
    return Plan(preset, found, max(min(batch, round(pixels / math.prod(found.patch))), LEAST_BATCH))


def _smaller(found: Topology, image_size: Size, spacing: tuple[float, float]) -> Size:
    """The patch with the side made smaller that is longest in proportion to the image."""
    patch = list(found.patch)
    axis = max((0, 1), key=lambda side: (patch[side] / image_size[side], side))
    tried = list(patch)
    tried[axis] -= found.divisor[axis]
    patch[axis] -= topology((tried[0], tried[1]), spacing).divisor[axis]
    return patch[0], patch[1]


# --- Data and config ----------------------------------------------------------------------------------------------


def is_planned(name: str) -> bool:
    """Whether this is a recipe of nnU-Net."""
    return name in PRESETS


def normalised(
    description: DataDescription, volumes: Volumes | None = None, *, proposed: bool = False
) -> DataDescription:
    """The data with images that are scaled one by one (z-score), unless it says itself what becomes of values.

    Samples of several images, and bands that are computed, keep mean and deviation of the data. proposed: what it says
    is the doctor's; of volumes, the planner knows better.
    """
    if volumes is not None and (proposed or description.scale is None) and not description.inputs:
        return nnunet_volumes.normalised(description, volumes)
    if description.scale is not None or description.inputs or description.indices:
        return description
    zeros, ones = (0.0,) * description.channels, (1.0,) * description.channels
    return replace(description, scale=("zscore",), mean=zeros, std=ones)


def settings_of(found: Plan, config: Config, description: DataDescription, volumes: Volumes | None = None) -> list[str]:
    """The plan as changes to the recipe's config for these data. volumes: whose slices the images are."""
    values = config.values
    model, shape = values["model"], found.topology
    background = 0 if description.classes[0] == "background" else None
    head = model["decode_head"]
    built = nnunet.parts(
        found.preset.kind, head["num_classes"], len(model["data_preprocessor"]["mean"]),
        strides=shape.strides, kernel_sizes=shape.kernel_sizes,
    )  # fmt: skip
    losses = [{**loss, "background": background} if _is_dice(loss) else loss for loss in head["loss_decode"]]
    windows = {
        "mode": "slide_even",
        "crop_size": shape.patch,
        "stride": tuple(max(side // 2, 1) for side in shape.patch),
        "blend": "gaussian",
    }
    pipeline = values["train_dataloader"]["dataset"]["pipeline"]
    kept = [step for step in pipeline if step["type"] in ("LoadImageFromFile", "LoadAnnotations")]
    slices = [] if volumes is None else [{"type": "ResampleToSpacing", "spacing": volumes.spacing, "content": True}]
    steps = [*kept, *slices, *_augmentation(shape.patch, description), {"type": "PackSegInputs"}]
    around = {"pad_val": list(description.mean or (0.0,)), "seg_pad_val": description.ignore_index}
    prepared = [*slices, {"type": "PadAround", "size": shape.patch, **around}]
    every = STEPS // 10
    return [
        f"model.backbone={built['backbone']!r}",
        f"model.decode_head={ {**head, **built['decode_head'], 'loss_decode': losses}!r}",
        f"model.test_cfg={windows!r}",
        f"model.data_preprocessor.size={shape.patch!r}",
        f"model.data_preprocessor.test_cfg={ {'size': shape.patch}!r}",
        f"train_dataloader.dataset.pipeline={steps!r}",
        *(_seen_by_evaluation(values, prepared) if slices else ()),
        *([f"train_cfg.val_interval={every}"] if "val_interval" in values["train_cfg"] else []),
        f"default_hooks.checkpoint.interval={every}",
    ]


def _seen_by_evaluation(values: Mapping[str, Any], prepared: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The pipelines of evaluation with what becomes of a slice right behind its reading."""
    for name in ("val_dataloader", "test_dataloader"):
        if values.get(name):
            first, *rest = values[name]["dataset"]["pipeline"]
            yield f"{name}.dataset.pipeline={[first, *prepared, *rest]!r}"


def _is_dice(loss: dict[str, Any]) -> bool:
    return str(loss["type"]).rpartition(".")[2] == "BatchDiceLoss"


def _augmentation(patch: Size, description: DataDescription) -> list[dict[str, Any]]:
    """In the original's order and with its chances. Padding has no label, where the original makes it background."""
    names, one_logit, sets = description.classes, description.num_classes == 1, description.multi_label
    without_background = not one_logit and names[0] == "background"
    foreground = [1] if one_logit else list(range(int(without_background), len(names)))
    mean, std = description.mean, description.std
    pad = list(mean) if mean is not None else 0
    if description.scale is None and mean is not None:
        pad = [round(value) for value in mean]  # of whole numbers, as files hold them
    spread = sum(std) / len(std) if std else 1.0
    return [
        {
            "type": "RandomPatch",
            "size": patch,
            "foreground": foreground,
            "foreground_share": 0.33,
            **({"sets": True} if sets else {}),
            "degrees": 15 if max(patch) > _FLAT * min(patch) else 180,
            "rotation_prob": 0.2,
            "scale": (0.7, 1.4),
            "scale_prob": 0.2,
            "pad_val": pad,
            "seg_pad_val": description.ignore_index,
        },
        {"type": "BioMedicalGaussianNoise", "prob": 0.1, "std": 0.1 * spread},
        {"type": "BioMedicalGaussianBlur", "prob": 0.2, "sigma_range": (0.5, 1.0), "prob_per_channel": 0.5},
        {"type": "MultiplicativeBrightness", "prob": 0.15, "factor": (0.75, 1.25)},
        {"type": "LimitedContrast", "prob": 0.15, "factor": (0.75, 1.25)},
        {"type": "LowResolution", "prob": 0.25, "prob_per_band": 0.5, "scale": (0.5, 1.0)},
        _gamma(0.1, invert=True),
        _gamma(0.3, invert=False),
        {"type": "RandomFlip", "prob": [0.25, 0.25, 0.25], "direction": ["horizontal", "vertical", "diagonal"]},
    ]


def _gamma(prob: float, *, invert: bool) -> dict[str, Any]:
    return {
        "type": "BioMedicalRandomGamma",
        "prob": prob,
        "gamma_range": (0.7, 1.5),
        "invert_image": invert,
        "per_channel": True,
        "retain_stats": True,
    }


_SCALES: dict[tuple[float | str, ...], str] = {
    ("zscore",): "each image by itself (z-score)",
    ("zscore", "nonzero"): "each volume by itself, by what is inside of it (z-score), since much of them is 0",
}


def lines_of(
    found: Plan, description: DataDescription, *, image_size: Size, images: int, volumes: Volumes | None = None
) -> Sequence[str]:
    """What was chosen and why, a line each."""
    shape, preset = found.topology, found.preset
    (height, width), (down, across) = shape.patch, shape.divisor
    stages, share = len(shape.strides), found.batch * math.prod(shape.patch) / (images * math.prod(image_size))
    scale = _SCALES.get(description.scale or (), "as the data description says")
    scale = scale if volumes is None else scale.replace("image", "volume")
    if description.scale and description.scale[0] == "clip":
        scale = f"cut off at {description.scale[1]:g} and {description.scale[2]:g}, less their mean, by their deviation"
    of_volumes = () if volumes is None else (
        f"spacing: slices at pixels of {volumes.spacing[0]:g} x {volumes.spacing[1]:g}, the median of {volumes.count} "
        "volumes, cut to what is not 0; labels and scores are of the volumes as they are",
    )  # fmt: skip
    return (
        *of_volumes,
        f"patch: {height} x {width}, of images that typically have {image_size[0]} x {image_size[1]} pixels, for a GPU "
        f"of {preset.gigabytes} GB (--crop changes it)",
        f"network: {stages} stages, halved until a side would be below {SMALLEST_MAP} pixels: to {height // down} x "
        f"{width // across}",
        f"batch: {found.batch} patches, {share:.1%} of the pixels of {images} training images (--batch changes it)",
        f"values: {scale}",
        f"length: {STEPS:,} steps, which are {STEPS // EPOCH} epochs of nnU-Net (--for changes it)",
    )
