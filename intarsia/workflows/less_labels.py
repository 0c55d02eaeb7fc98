"""Less labels: what `--unlabelled` and `--teacher` write into a config, and what a training is built of for them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from intarsia.config.lowering.teaching import COLOURS
from intarsia.config.schema.fates import bare
from intarsia.contracts import PathLike
from intarsia.io.stores import refuse_data
from intarsia.workflows.augmentation import pipelines, shows_colours

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config
    from intarsia.contracts import Dataset, Task, Transform
    from intarsia.data.pipeline import Pipeline
    from intarsia.data.unlabelled import Unlabelled
    from intarsia.spec import Component, RunSpec, TeacherSpec, UnlabelledSpec
    from intarsia.workflows.run_options import RunOptions

AVERAGE: dict[str, Any] = {"type": "EMAHook", "ema_type": "MomentumAnnealingEMA", "gamma": 10, "momentum": 0.004}
"""What makes the teacher where the config averages no weights: about the last tenth of the training so far, at most 250
steps. With the same share in every step the random weights of the beginning would stay in it for long.
"""

ADAPTIVE = "adaptive"
"""A threshold for each class that follows the confidence of the teacher."""

BLUR = {"type": "GaussianBlur", "prob": 0.5, "sigma": (0.1, 2.0)}
COLOUR_VIEW: tuple[dict[str, Any], ...] = (
    {"type": "PhotoMetricDistortion", "brightness_delta": 64, "saturation_range": (0.0, 1.5)},  # 0 is grey
    BLUR,
)
"""What makes the strong view of photos."""
OTHER_VIEW: tuple[dict[str, Any], ...] = (
    {"type": "RandomBrightnessContrast", "prob": 0.8, "brightness": 0.3, "contrast": 0.5},
    BLUR,
)
"""What makes it of images with other bands or values."""

NOT_WEAK = COLOURS | {
    "BioMedicalGaussianBlur", "BioMedicalGaussianNoise", "BioMedicalRandomGamma", "ClassMix", "CopyPaste", "CutMix",
    "GenerateEdge", "RandomMosaic",
}  # fmt: skip
"""Transforms of a pipeline that the teacher's view goes without: what hides things, and what needs labels."""


# --- The config ---------------------------------------------------------------------------------------------------


def settings_for(
    config: Config, *, unlabelled: Path | None, confidence: float | str | None, teacher: PathLike | None
) -> Iterator[str]:
    """Overrides of a training's config.

    confidence: a number, as such or as a word, or "adaptive".

    Raises ValueError for a confidence without unlabelled images, or that is neither.
    """
    values = config.values
    own = values.get("intarsia") or {}
    if confidence is not None and unlabelled is None and not own.get("unlabelled"):
        raise ValueError("--confidence is for images without labels: add --unlabelled DIR")
    if teacher is not None:
        yield f"intarsia.teacher={ {**(own.get('teacher') or {}), 'weights': _absolute(teacher)}!r}"
    if unlabelled is not None:
        steps = [step for _, part in pipelines(values) for step in part]
        given = {"images": _absolute(unlabelled), "strong": list(COLOUR_VIEW if shows_colours(steps) else OTHER_VIEW)}
        yield f"intarsia.unlabelled={ {**(own.get('unlabelled') or {}), **given}!r}"
        hooks = list(values.get("custom_hooks") or [])
        if (
            teacher is None
            and not own.get("teacher")
            and "EMAHook" not in {bare(str(one.get("type"))) for one in hooks}
        ):
            yield f"custom_hooks={[*hooks, AVERAGE]!r}"
    if confidence is not None:
        yield f"intarsia.unlabelled.confidence={_number_or_adaptive(confidence)!r}"


def _number_or_adaptive(given: float | str) -> float | str:
    if given == ADAPTIVE:
        return given
    try:
        return float(given)
    except ValueError:
        raise ValueError(f"--confidence is a probability, such as 0.95, or {ADAPTIVE}; found {given!r}") from None


def _absolute(path: PathLike) -> str:
    """A file or folder wherever the run goes on from; a name, or a pattern, as it is."""
    found = Path(path).expanduser()
    return str(found.resolve()) if found.exists() else str(path)


# --- The run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lesson:
    """What a run learns from. task: that of the labels, or the one around it. data: what run.json says of the rest."""

    task: Task
    unlabelled: Unlabelled | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def lesson(
    spec: RunSpec, task: Task, options: RunOptions, *, labelled: Dataset, validation: Dataset | None, steps: int
) -> Lesson:
    """What a run learns from besides its labels. Without `--unlabelled` and `--teacher` it is the task alone.

    labelled, validation: the data of the training; those that it is judged by are not learned from. steps: of the run.

    Raises ValueError for a teacher with other classes, or that is not the one which a resumed run was begun with.
    """
    if spec.unlabelled is None and spec.teacher is None:
        return Lesson(task)
    from intarsia.tasks.semantic import SemanticSegmentation
    from intarsia.tasks.taught import Distillation, PseudoLabels, Taught

    student = cast(Any, task)
    assert isinstance(student, SemanticSegmentation)  # lowering has seen to it
    data: dict[str, Any] = {}
    notes: list[str] = []
    teacher, order, stream = None, None, None
    if spec.teacher is not None:
        several = spec.inference.answer == "classes"
        teacher, order = _teacher(spec.teacher, labelled.classes, len(spec.preprocess.mean), several=several)
        data["teacher"] = _identity(spec.teacher)
        _check_same_teacher(options, data["teacher"])
        notes.append(f"teacher: {spec.teacher.weights}")
    if spec.unlabelled is not None:
        stream, left_out = _stream(spec, spec.unlabelled, labelled, validation, steps)
        data["unlabelled"] = _summary(stream)
        notes += _said(stream, left_out, options, data["unlabelled"])
    taught = Taught(
        student,
        teacher=teacher,
        order=order,
        distillation=None
        if spec.teacher is None
        else Distillation(spec.teacher.weight, spec.teacher.loss, spec.teacher.temperature),
        pseudo_labels=None
        if spec.unlabelled is None
        else PseudoLabels(spec.unlabelled.confidence, spec.unlabelled.weight),
    )
    return Lesson(cast(Any, taught), stream, data, tuple(notes))


def _teacher(spec: TeacherSpec, classes: Sequence[str], bands: int, *, several: bool) -> tuple[Task, list[int] | None]:
    """The network of the weights, and for each class its index there where the order is another.

    several: whether a pixel may have several classes.
    """
    from intarsia.api import load

    found = load(spec.weights, device="cpu")
    if (found.inference.answer == "classes") != several:
        given, asked = ("one class", "several") if several else ("several classes", "one")
        raise ValueError(
            f"--teacher {spec.weights} gives a pixel {given}, and the data have {asked}; take a teacher that was "
            "trained on labels of the same kind"
        )
    ours, theirs = _with_background(classes), _with_background(found.classes)
    if sorted(ours) != sorted(theirs):
        raise ValueError(
            f"--teacher {spec.weights} knows other classes than the data have.\n"
            f"  the teacher: {', '.join(theirs)}\n  the data: {', '.join(ours)}\n"
            "Both must have the same names; take a teacher that was trained on these classes (names can be changed in "
            "the data's description: intarsia data check DIR --write data.yaml)"
        )
    mean = len(found.task.preprocess.spec.mean)  # type: ignore[attr-defined]
    if mean != bands:
        raise ValueError(f"--teacher {spec.weights} takes images of {mean} bands, those of the data have {bands}")
    return found.task, None if ours == theirs else [theirs.index(name) for name in ours]


def _with_background(classes: Sequence[str]) -> list[str]:
    """The names of the label values: with a single class there is what is not it, too."""
    return ["background", *classes] if len(classes) == 1 else list(classes)


def _identity(spec: TeacherSpec) -> dict[str, Any]:
    from intarsia.api import RUN_WEIGHTS
    from intarsia.io.digest import file_hash
    from intarsia.workflows.locate import locate

    path = locate(spec.weights).path
    file = path / RUN_WEIGHTS if (path / RUN_WEIGHTS).is_file() else path
    return {"weights": spec.weights, "sha256": file_hash(file) if file.is_file() else None}


def _before(options: RunOptions) -> Mapping[str, Any]:
    """What run.json of a resumed run says of its data."""
    from intarsia.engine.training.run import RunFolder

    folder = RunFolder(options.out)
    there = options.resume and folder.run_json.is_file()
    return folder.read().get("data", {}) if there else {}


def _check_same_teacher(options: RunOptions, now: Mapping[str, Any]) -> None:
    before = _before(options).get("teacher")
    if before is not None and before["sha256"] != now["sha256"]:
        raise ValueError(
            f"{now['weights']} is no longer the teacher that this run was begun with (sha256 {before['sha256']}, now "
            f"{now['sha256']}); put the file back, or begin a new run"
        )


def _stream(
    spec: RunSpec, asked: UnlabelledSpec, labelled: Dataset, validation: Dataset | None, steps: int
) -> tuple[Unlabelled, int]:
    """The images, and how many of those found are left out."""
    from intarsia.config.build import build
    from intarsia.data.unlabelled import Unlabelled, weak_views

    assert spec.train is not None
    images, left_out = _images(spec, asked.images, labelled, validation)
    transforms = [build(_weak(part)) for part in spec.train.first_steps if bare(part.type) not in NOT_WEAK]
    pipeline: Pipeline = weak_views(images, transforms)
    strong: tuple[Transform, ...] = tuple(build(part) for part in asked.strong)
    ramp_up = round(asked.ramp_up * steps)
    return Unlabelled(pipeline, strong, spec.seed, asked.ratio, asked.cut_mix, ramp_up), left_out


def _weak(part: Component) -> Component:
    """A transform that does not look for classes."""
    if bare(part.type) != "RandomCrop":
        return part
    return replace(part, args={key: value for key, value in part.args.items() if key == "crop_size"})


def _images(spec: RunSpec, given: str, labelled: Dataset, validation: Dataset | None) -> tuple[Dataset, int]:
    """The images as a data set, read as the labelled ones, without those that the run is judged by, and label files.

    Where the labelled ones are windows of scenes, those are windows of theirs.
    """
    from intarsia.data.image_reader import file_datasets
    from intarsia.inference.inputs.finding import find_images

    parts = list(file_datasets(labelled))
    like = _one_of(parts)
    if like is None:
        raise ValueError("--unlabelled is for data sets of image files: those of the training are none")
    refuse_data(given)
    found = [os.path.realpath(file.path) for file in find_images(given, once=True).files]
    not_learned = {os.path.realpath(path) for part in parts for _, path in part.pairs if path}
    for dataset in filter(None, (validation, _test_data(spec))):
        for part in file_datasets(dataset):
            not_learned |= {os.path.realpath(path) for pair in part.pairs for path in pair if path}
    files = [path for path in found if path not in not_learned]
    if not files:
        raise ValueError(
            f"--unlabelled {given}: all {len(found)} images are labels, or images that the run is judged by; give "
            "others to learn from"
        )
    root = os.path.commonpath([os.path.dirname(path) for path in files])
    return like.of_images(root, [os.path.relpath(path, root) for path in files]), len(found) - len(files)


def _one_of(parts: Sequence[Any]) -> Any:
    """The data set as which images are read: of several the first that is not windows of scenes, if there is one."""
    from intarsia.data.scenes.dataset import SceneDataset

    inside = [one for part in parts for one in getattr(part, "datasets", (part,))]
    readable = [one for one in inside if not getattr(one, "files_only", False)]
    return min(readable, key=lambda one: isinstance(one, SceneDataset), default=None)


def _test_data(spec: RunSpec) -> Dataset | None:
    """The test images of a data description; those of other data sets need not be at hand."""
    from intarsia.config.build import build_dataset

    described = spec.test is not None and bare(spec.test.dataset.type) == "DescribedDataset"
    return build_dataset(spec.test) if spec.test is not None and described else None


def _summary(stream: Unlabelled) -> dict[str, Any]:
    from intarsia.engine.training.environment import fingerprint

    return {"images": len(stream), "fingerprint": fingerprint(stream.pipeline.dataset)}


def _said(stream: Unlabelled, left_out: int, options: RunOptions, now: Mapping[str, Any]) -> Iterator[str]:
    without = f" ({left_out} more are labels, or judge the run)" if left_out else ""
    yield f"unlabelled: {len(stream)} images{without}, {stream.ratio:g} for each labelled one"
    before = _before(options).get("unlabelled", now)
    if before["fingerprint"] != now["fingerprint"]:
        yield (
            f"warning: the images without labels have changed since the run was begun ({before['images']}, now "
            f"{now['images']}); it goes on with what is there now, which is not what it would have seen"
        )
