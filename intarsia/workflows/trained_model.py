"""Opening a trained model: a run's folder, a weights file, or foreign weights with a config beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch

from intarsia.api import predictor_for, reader_for
from intarsia.colours import distinct_colours
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.contracts import PathLike, Task
from intarsia.data.description.model import DataDescription, LabelValue
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import ShareSplit
from intarsia.data.image_reader import ImageReader
from intarsia.export.runtime import check_execution, is_exported
from intarsia.inference.ensemble import Member, check_members, mean_inference, mean_of, mean_reader
from intarsia.inference.logits.mean import MeanOf
from intarsia.inference.precision import AUTOCAST
from intarsia.io.digest import file_hash
from intarsia.label_sets import Regions
from intarsia.spec import Component, RunSpec
from intarsia.weights.base import WHOLE
from intarsia.weights.file import AUXILIARY, LoadReport, WeightsMeta, apply_state
from intarsia.workflows.assemble import checked, evaluation_pipeline
from intarsia.workflows.exported_model import OpenExported, open_exported
from intarsia.workflows.locate import CROSS_VALIDATION, local, locate, members_of
from intarsia.workflows.names import config_of, find_weights, inspect_data
from intarsia.workflows.thresholds import as_kept, kept_by_all

if TYPE_CHECKING:
    from typing import Required, Unpack  # of Python 3.11

    from intarsia.data.pipeline import Pipeline
    from intarsia.inference.predictor import Predictor

PRECISIONS = (*AUTOCAST, "64")
"""Of `--precision`: half ones are how a network computes, "64" is what its weights are in."""


class OpenOptions(TypedDict, total=False):
    """Of `open_model`, besides the weights."""

    config: Required[str | None]
    device: Required[str]
    precision: str
    compile: bool
    key: str | None
    prefix: str | None
    bands: Sequence[int] | None
    scale: str | None
    max_pixels: int | None


@dataclass(frozen=True)
class OpenModel:
    """A network with its weights.

    config: what it was built from. spec: the run, with the threshold that its file keeps. meta: what that says of its
    classes and labels; empty where it says nothing. reader: of images as it expects them. report: what became of every
    tensor. notes: what the user should know about names and parts. recipe: the name of the published checkpoint that it
    is, or "". precision: of `PRECISIONS`. compile: whether the network goes through torch.compile. others: models that
    answer together with it, as `spec` says of windows, views and threshold. mean: what of all of them is averaged.
    """

    file: Path
    config: Config
    spec: RunSpec
    meta: WeightsMeta
    task: Task
    device: str
    reader: ImageReader
    report: LoadReport
    notes: tuple[str, ...]
    recipe: str = ""
    precision: str = "32"
    compile: bool = False
    others: tuple[OpenModel, ...] = ()
    mean: MeanOf = "probabilities"

    @property
    def files(self) -> tuple[Path, ...]:
        """The weights of all models."""
        return (self.file, *(one.file for one in self.others))

    @property
    def digests(self) -> list[tuple[str, str]]:
        """The name and the hash of the weights of each model."""
        return [(file.name, file_hash(file)) for file in self.files]

    @property
    def described(self) -> tuple[object, ...]:
        """What all that is predicted follows from, besides weights and views."""
        others = ([one.spec for one in self.others], self.mean) if self.others else ()
        return (self.spec, *others)

    @property
    def title(self) -> str:
        """What to call it in a heading."""
        if self.others:
            return f"{len(self.files)} models together"
        return self.file.parent.name or self.file.name

    def predictor(
        self,
        classes: Sequence[str] = (),
        palette: Sequence[Sequence[int]] = (),
        *,
        augment: bool = False,
        computes: bool = True,
    ) -> Predictor:
        """A predictor whose label values have these names; by default those of the weights file.

        computes: without, other processes do, on devices of their own, and nothing is compiled or said of this one.
        """
        outputs = max(self.spec.inference.num_classes, 1)
        names = tuple(classes or self.meta.classes) or tuple(f"class {index}" for index in range(outputs))
        colours = palette or (self.meta.palette if names == self.meta.classes else ()) or distinct_colours(len(names))
        found = predictor_for(
            self.spec, self.task,
            classes=names, palette=colours, device=self.device, augment=augment, reader=self.reader,
            precision=self.precision if computes and self.precision in AUTOCAST else "32",
            compile=self.compile and computes,
        )  # fmt: skip
        if not self.others:
            return found
        alike = [dataclasses.replace(one, spec=_seeing_alike(one.spec, self.spec)) for one in self.others]
        return found.together(
            [one.predictor(names, colours, augment=augment, computes=computes) for one in alike], self.mean
        )


def open_model(
    weights: PathLike,
    *,
    config: str | None,
    device: str,
    precision: str = "32",
    compile: bool = False,
    key: str | None = None,
    prefix: str | None = None,
    bands: Sequence[int] | None = None,
    scale: str | None = None,
    max_pixels: int | None = None,
    base: str | None = None,
    threads: int | None = None,
) -> OpenModel:
    """Read and build a model.

    weights: what `locate.locate` takes: a file, a run's folder, a published name.
    config: file or recipe of the model; by default what the weights' own file says, or the recipe of that name.
    precision: "32", "bf16", "16" or "64". compile: whether the network goes through torch.compile.
    key, prefix: where the network's tensors are in a checkpoint, and what their names begin with there.
    bands, scale, max_pixels: how images are read that are not those of the training, see `api.load`.
    base: the backbone that the file lacks or holds differences to, under any name that `locate` takes, or "none".

    Raises ValueError if there are no weights, if nothing says which model they belong to, or if they do not fit it.
    """
    several = members_of(weights)
    if len(several) > 1 and (local(weights) is None or (Path(weights) / CROSS_VALIDATION).is_file()):
        raise ValueError(
            f"{weights} is {len(several)} models, which predict, eval and intarsia.load take together; here one is "
            f"expected: name it, {several[0]} say"
        )
    if precision not in PRECISIONS:
        raise ValueError(f"--precision is one of {', '.join(PRECISIONS)}, found {precision!r}")
    exported = local(weights)
    if exported is not None and is_exported(exported):
        if config is not None:
            raise ValueError(f"{exported} is an exported file: its config is in it, and stays")
        check_execution(exported, precision=precision, compile=compile)
        opened = open_exported(exported, device=_of_runtime(device), threads=threads)
        return of_exported(exported, opened, bands=bands, scale=scale, max_pixels=max_pixels)
    source = find_weights(weights, key=key, prefix=prefix)
    if base is not None:
        source = dataclasses.replace(source, base=WHOLE if base == WHOLE else locate(base).path)
    resolved = config_of(source, config)
    spec = checked(resolved)
    task = build_task(spec)
    state, notes = source.state()
    report = apply_state(task.model, state, optional=AUXILIARY)  # type: ignore[arg-type]
    if not report.complete:
        notes.append(f"only training needs auxiliary heads, so that it does not matter here: {report}")
    chosen = choose_device(device)
    if precision == "64":
        if chosen == "mps":
            raise ValueError("--precision 64 is nothing that Apple's GPUs have: add --device cpu")
        task.to(torch.float64)
    spec = as_kept(spec, source.meta)
    reader = reader_for(spec, source.meta.image, bands=bands, scale=scale, max_pixels=max_pixels)
    return OpenModel(
        source.path, resolved, spec, source.meta, task, chosen, reader, report, tuple(notes), source.recipe,
        precision, compile,
    )  # fmt: skip


def open_models(
    weights: PathLike, *, mean: str | None = None, windows_given: bool = False, **options: Unpack[OpenOptions]
) -> OpenModel:
    """As `open_model`, of one model or of several that are to answer together (`locate.members_of`).

    mean: of several models, what is averaged, see `ensemble.mean_of`. windows_given: whether others than theirs are to
    be used. options: of `open_model`; a config is that of all of them.

    Raises ValueError as `open_model`, and if the models contradict each other, or one is an exported file.
    """
    members = members_of(weights)
    if len(members) == 1:
        if mean is not None:
            raise ValueError(f"--mean {mean} is for several models, and {weights} is one: join them, A.safetensors+B")
        return open_model(members[0], **options)
    if exported := [path for path in map(local, members) if path is not None and is_exported(path)]:
        raise ValueError(f"{exported[0]} is an exported file: several models are taken together as weights")
    models = [open_model(member, **options) for member in members]
    facts = [
        Member.of(
            str(model.file), model.spec, model.task.model, model.reader,
            classes=model.meta.classes, palette=model.meta.palette, regions=model.meta.regions,
        )
        for model in models
    ]  # fmt: skip
    check_members(facts, windows_given=windows_given)
    averaged = mean_of(facts, mean)
    inference = mean_inference([model.spec.inference for model in models], averaged)
    first, meta = models[0], kept_by_all([model.meta for model in models], inference)
    notes = tuple(dict.fromkeys(note for model in models for note in model.notes))
    return dataclasses.replace(
        first,
        spec=dataclasses.replace(first.spec, inference=inference),
        meta=dataclasses.replace(meta, step=None, scores={}),  # which are of the first alone
        reader=mean_reader(facts),
        notes=(
            *notes,
            f"the mean of the {'depths' if inference.answer == 'depth' else averaged} of {len(models)} models",
        ),
        others=tuple(models[1:]),
        mean=averaged,
    )


def _seeing_alike(spec: RunSpec, first: RunSpec) -> RunSpec:
    """Windows, views and threshold of the first of several models; how logits are enlarged is each one's own."""
    inference = dataclasses.replace(first.inference, align_corners=spec.inference.align_corners)
    return dataclasses.replace(spec, inference=inference)


def of_exported(
    path: Path,
    opened: OpenExported,
    *,
    bands: Sequence[int] | None = None,
    scale: str | None = None,
    max_pixels: int | None = None,
) -> OpenModel:
    """An exported file as a model. What it computes stays on the processor, wherever its runtime computes it."""
    reader = reader_for(opened.spec, opened.meta.image, bands=bands, scale=scale, max_pixels=max_pixels)
    nothing = LoadReport((), (), (), ())
    return OpenModel(path, opened.config, opened.spec, opened.meta, opened.task, "cpu", reader, nothing, ())


def _of_runtime(wanted: str) -> str:
    """The device of a runtime of exported files: the processor, unless a GPU is asked for."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device of an exported file is auto, cpu or cuda, found {wanted!r}")
    return "cpu" if wanted == "auto" else wanted


def choose_device(wanted: str) -> str:
    """The device of this machine that an option means: "auto" is a GPU where there is one. Raises ValueError."""
    if wanted not in ("auto", "cpu", "cuda", "mps"):
        raise ValueError(f"--device is auto, cpu, cuda or mps, found {wanted!r}")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda: this machine has no CUDA device that torch can use; `intarsia doctor` shows them"
        )
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


# --- Labelled images for it ---------------------------------------------------------------------------------------


def labelled_images(model: OpenModel, data: Path | None, split: str) -> Pipeline:
    """The images of a split: of the given data, or of those the model was trained with.

    Raises ValueError if there is no such split, or the data cannot be read.
    """
    pattern = model.spec.val or model.spec.test
    transforms = pattern.first_steps if pattern is not None else ()
    if data is None:
        stream = {"train": model.spec.train, "val": model.spec.val, "test": model.spec.test}[split]
        if stream is None:
            raise ValueError(f"the config of {model.file} has no {split} data; give some with --data DIR|FILE")
        stream = dataclasses.replace(
            stream, dataset=_relocated(stream.dataset, model.file.parent), transforms=transforms
        )
        if split == "train":
            stream = dataclasses.replace(stream, label_size="original")
        return evaluation_pipeline(stream)
    description = describe_data(model, data, split)
    from intarsia.config.build import build
    from intarsia.data.pipeline import Pipeline

    dataset = description.dataset(split, reader=model.reader)
    return Pipeline(dataset, [build(t) for t in transforms], label_size="original")


def describe_data(model: OpenModel, data: Path, split: str) -> DataDescription:
    """The description of given data. Labels of a folder are read as the model's training read them."""
    description = given_data(data, split)
    return description if data.is_file() else read_as_trained(model, description)


def read_as_trained(model: OpenModel, description: DataDescription) -> DataDescription:
    """What was concluded of a folder, with classes and labels as the model's training had them, where it says so."""
    if not model.meta.labels:
        return (
            description
            if not model.meta.regions
            else dataclasses.replace(
                description,
                classes=model.meta.classes,
                multi_label=model.spec.inference.answer == "classes",
                regions=Regions.from_json(model.meta.regions),
                labels=None,
                palette=model.meta.palette or None,
                ignore_index=model.meta.ignore_index,
            )
        )
    return dataclasses.replace(
        description,
        classes=model.meta.classes,
        labels={parse_value(value): name for value, name in model.meta.labels.items()},
        palette=model.meta.palette or None,
        ignore_index=model.meta.ignore_index,
    )


def given_data(data: Path, split: str) -> DataDescription:
    """What a description file says of its data, or the doctor of a folder: all of it, where nothing was set aside.

    Raises ValueError if there is no such split.
    """
    if data.is_file():
        description = read_description(data)
    else:
        description = inspect_data(data).proposal()
        if isinstance(description.splits.get("val"), ShareSplit):
            description = dataclasses.replace(description, splits={split: description.splits["train"]})
    if split not in description.splits:
        raise ValueError(f"{data} has no {split} split; it has {', '.join(description.splits)} (choose with --split)")
    return description


def parse_value(text: str) -> LabelValue:
    """A file value from its text: "11", or "#c08000" for a colour."""
    if text.startswith("#"):
        red, green, blue = bytes.fromhex(text[1:])
        return red, green, blue
    return int(text)


def _relocated(dataset: Component, folder: Path) -> Component:
    """The data set with its description looked for beside the weights, if it is no longer where it was."""
    moved = folder / "data.yaml"
    if dataset.type != "DescribedDataset" or Path(dataset.args["file"]).is_file() or not moved.is_file():
        return dataset
    return dataclasses.replace(dataset, args={**dataset.args, "file": str(moved)})
