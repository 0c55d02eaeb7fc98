"""``--augment``: lists of transforms that a training's pipeline gets, in its config, where they can be seen and edited.

The lists are no secret of the program: they stand here, are written into the run's config, and each says what it adds.
Without the option, a recipe augments as it was published, or as `recipes.own_data` has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.config.language.reader import Config, read_file
from intarsia.contracts import IGNORE_INDEX

Step = dict[str, Any]
CHOICES = ("none", "light", "strong")
KEY = "augmentation"
"""What a file for ``--augment FILE`` calls its list."""


@dataclass(frozen=True)
class Addition:
    """A step, and what it does in a few words. eight_bits: only for images of 8 bits in three bands.

    instead: left out where the pipeline has this already, which does the same and more.
    """

    words: str
    step: Step
    eight_bits: bool = False
    instead: str = ""


LIGHT = (
    Addition(
        "turns to 10 degrees and sizes 0.9 to 1.1",
        {"type": "RandomAffine", "prob": 0.5, "degrees": 10, "translate": 0.0, "scale": (0.9, 1.1), "shear": 0},
    ),
    Addition(
        "brightness and contrast to 20 %",
        {"type": "RandomBrightnessContrast", "prob": 0.5, "brightness": 0.2, "contrast": 0.2},
        instead="PhotoMetricDistortion",
    ),
    Addition("blur to 1 pixel", {"type": "GaussianBlur", "prob": 0.2, "sigma": (0.1, 1.0)}),
    Addition("noise to 3 %", {"type": "GaussianNoise", "prob": 0.2, "std": (0.005, 0.03)}),
)
"""What hardly any data is harmed by: things that lean a little, photos that are a little out of focus."""

STRONG = (
    Addition(
        "turns to 30 degrees, sizes 0.8 to 1.25, shear to 10 degrees",
        {"type": "RandomAffine", "prob": 0.7, "degrees": 30, "translate": 0.0, "scale": (0.8, 1.25), "shear": 10},
    ),
    Addition("elastic bends", {"type": "ElasticTransform", "prob": 0.3, "alpha": 120.0, "sigma": 8.0}),
    Addition("rare things of other images", {"type": "CopyPaste", "prob": 0.3}),
    Addition("rectangles of other images", {"type": "CutMix", "prob": 0.2}),
    Addition(
        "brightness and contrast to 30 %",
        {"type": "RandomBrightnessContrast", "prob": 0.7, "brightness": 0.3, "contrast": 0.3},
        instead="PhotoMetricDistortion",
    ),
    Addition("blur to 2 pixels", {"type": "GaussianBlur", "prob": 0.3, "sigma": (0.1, 2.0)}),
    Addition("blur of motion to 7 pixels", {"type": "MotionBlur", "prob": 0.1, "length": (3.0, 7.0)}),
    Addition("noise to 6 %", {"type": "GaussianNoise", "prob": 0.3, "std": (0.01, 0.06)}),
    Addition("JPEG", {"type": "JpegCompression", "prob": 0.3, "quality": (40, 90)}, eight_bits=True),
    Addition("holes", {"type": "CoarseDropout", "prob": 0.3, "num_holes": (1, 6), "hole_size": (0.05, 0.2)}),
)
"""For few images, long trainings, and images to come that look otherwise. Nothing is shifted, since crops lie anywhere.
No `ClassMix`: of two classes one is often thin, and leaves its outline in a background where nothing of it is."""

RANDOM = frozenset({
    "Albu", "BioMedical3DRandomFlip", "BioMedicalGaussianBlur", "BioMedicalGaussianNoise", "BioMedicalRandomGamma",
    "ClassMix", "CoarseDropout", "CopyPaste", "CutMix", "ElasticTransform", "GaussianBlur", "GaussianNoise",
    "GridDistortion", "JpegCompression", "LimitedContrast", "LowResolution", "MotionBlur", "MultiplicativeBrightness",
    "PhotoMetricDistortion", "PoissonNoise", "RandAugment", "RandomAffine",
    "RandomBrightnessContrast", "RandomColorJitter", "RandomCutOut", "RandomDepthMix", "RandomFlip", "RandomMosaic",
    "RandomPerspective", "RandomRotFlip", "RandomRotate", "RandomScale",
})  # fmt: skip
"""What "none" takes out of a pipeline. Crops stay, since batches need one size, and so do sizes drawn from a list."""

_LAST = frozenset({"DefaultFormatBundle", "GenerateEdge", "PackSegInputs", "Pad", "RedrawUnlabelled"})
"""What stays behind all augmentation, where it stands last: what is padded, made of the labels, or packed."""
_PADDED = frozenset({
    "ElasticTransform", "RandAugment", "RandomAffine", "RandomMosaic", "RandomPerspective", "RandomRotFlip",
    "RandomRotate",
})  # fmt: skip
"""Steps that bring pixels from outside into labels."""
_MIXED = frozenset({"ClassMix", "CopyPaste"})
"""Steps that ask which classes other images show."""


@dataclass(frozen=True)
class Augmented:
    """What an option becomes: overrides of the config, and one line for the user."""

    settings: tuple[str, ...]
    line: str


def augmented(config: Config, choice: str) -> Augmented:
    """A training's pipeline with another augmentation.

    choice: "none": without anything random but crops. "light", "strong": with what the tables here add. Else a config
    file whose list `augmentation` takes the place of what is random.

    Raises ValueError for another choice, a file without the list, or a config without a pipeline for training.
    """
    found = pipelines(config.values)
    if not found:
        raise ValueError(f"--augment {choice}: {config.file} has no pipeline for training to put transforms into")
    ignore_index = _ignore_index(config.values)
    settings, line = [], ""
    for path, steps in found:
        if choice == "none":
            changed = _plain(steps)
            gone = [_name(step) for step in steps if _name(step) in RANDOM]
            line = f"without {', '.join(gone)}" if gone else "there was none"
        elif choice in CHOICES:
            added = _fitting(LIGHT if choice == "light" else STRONG, steps)
            changed = _inserted(steps, [ignoring(addition.step, ignore_index) for addition in added])
            line = f"adds {'; '.join(addition.words for addition in added) or 'nothing that is not there'}"
        else:
            own = [ignoring(step, ignore_index) for step in _of_file(choice)]
            changed = _inserted(_plain(steps), own)
            line = f"{', '.join(map(_name, own)) or 'nothing'}, and nothing else but crops"
        settings.append(f"{path}={changed!r}")
    return Augmented(tuple(settings), f"augmentation ({choice}): {line}")


_DATASET = "train_dataloader.dataset"


def pipelines(values: Mapping[str, Any]) -> list[tuple[str, list[Step]]]:
    """(path, steps) of the pipelines that a config trains with."""
    return list(_pipelines((values.get("train_dataloader") or {}).get("dataset") or {}, _DATASET))


def _pipelines(dataset: Mapping[str, Any], path: str) -> Iterator[tuple[str, list[Step]]]:
    """(path, steps) of the outermost pipelines; several for data sets put one after the other."""
    if dataset.get("pipeline"):
        yield f"{path}.pipeline", list(dataset["pipeline"])
    elif isinstance(dataset.get("dataset"), Mapping):
        yield from _pipelines(dataset["dataset"], f"{path}.dataset")
    else:
        for index, part in enumerate(dataset.get("datasets") or ()):
            yield from _pipelines(part, f"{path}.datasets.{index}")


def _name(step: Mapping[str, Any]) -> str:
    return str(step.get("type")).rpartition(".")[2]


def _plain(steps: Sequence[Step]) -> list[Step]:
    """Without what is random but crops; a factor of sizes is 1, and patches are not turned."""
    kept = [step for step in steps if _name(step) not in RANDOM]
    straight = {"rotation_prob": 0.0, "scale_prob": 0.0}
    kept = [{**step, **straight} if _name(step) == "RandomPatch" else step for step in kept]
    return [{**step, "ratio_range": (1.0, 1.0)} if step.get("ratio_range") else step for step in kept]


def _inserted(steps: Sequence[Step], added: Sequence[Step]) -> list[Step]:
    place = len(steps)
    while place and _name(steps[place - 1]) in _LAST:
        place -= 1
    return [*steps[:place], *added, *steps[place:]]


def _fitting(additions: Sequence[Addition], steps: Sequence[Step]) -> list[Addition]:
    """Those that suit the images and are not in the pipeline yet."""
    there = {_name(step) for step in steps}
    colours = shows_colours(steps)
    return [
        addition
        for addition in additions
        if not {_name(addition.step), addition.instead} & there and (colours or not addition.eight_bits)
    ]


def shows_colours(steps: Sequence[Step]) -> bool:
    """Whether the images of a pipeline have three bands of 8 bits."""
    colour = any(_name(step) == "LoadImageFromFile" and step.get("color_type", "color") == "color" for step in steps)
    return colour and not any(step.get("imdecode_backend") == "tifffile" for step in steps)


def ignoring(step: Mapping[str, Any], ignore_index: int) -> Step:
    """The step with the label of pixels that count for nothing, where it says none or the usual one."""
    key = "seg_pad_val" if _name(step) in _PADDED else "ignore_index" if _name(step) in _MIXED else None
    if key is None or step.get(key, IGNORE_INDEX) != IGNORE_INDEX or ignore_index == IGNORE_INDEX:
        return dict(step)
    return {**step, key: ignore_index}


def _ignore_index(values: Mapping[str, Any]) -> int:
    head = (values.get("model") or {}).get("decode_head") or {}
    head = head[-1] if isinstance(head, list | tuple) else head
    index: int = head.get("ignore_index", IGNORE_INDEX)
    return index


def _of_file(choice: str) -> list[Step]:
    if not Path(choice).is_file():
        raise ValueError(f"--augment is {', '.join(CHOICES)} or a file; there is no file {choice!r}")
    steps = read_file(choice).values.get(KEY)
    example = f"{KEY} = [dict(type='RandomFlip', prob=0.5), dict(type='RandomAffine', degrees=20)]"
    if not isinstance(steps, list | tuple) or not all(isinstance(step, Mapping) and "type" in step for step in steps):
        raise ValueError(
            f"--augment {choice}: expected a list of transforms under the name {KEY!r}, found {steps!r}; for example "
            f"{example}"
        )
    return [dict(step) for step in steps]
