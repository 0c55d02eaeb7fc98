"""Opening a trained model: a run's folder, a weights file, or foreign weights with a config beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.api import predictor_for
from intarsia.cli.assemble import checked, evaluation_pipeline
from intarsia.cli.source import find_config, inspect_data
from intarsia.colours import distinct_colours
from intarsia.config.build import build_task
from intarsia.config.reader import Config
from intarsia.data.description import DataDescription, LabelValue, ShareSplit
from intarsia.spec import Component, RunSpec
from intarsia.weights.file import SUFFIX, WeightsMeta, apply_state, load_state, read_meta

if TYPE_CHECKING:
    from intarsia.data.pipeline import Pipeline
    from intarsia.inference.predictor import Predictor
    from intarsia.tasks.semantic import SemanticSegmentation


@dataclass(frozen=True)
class OpenModel:
    """A network with its weights. meta: what its file says about classes and labels; empty where it says nothing."""

    file: Path
    spec: RunSpec
    meta: WeightsMeta
    task: SemanticSegmentation
    device: str

    def predictor(self, classes: Sequence[str] = (), palette: Sequence[Sequence[int]] = ()) -> Predictor:
        """A predictor whose label values have these names; by default those of the weights file."""
        outputs = max(self.spec.inference.num_classes, 1)
        names = tuple(classes or self.meta.classes) or tuple(f"class {index}" for index in range(outputs))
        colours = palette or (self.meta.palette if names == self.meta.classes else ()) or distinct_colours(len(names))
        return predictor_for(self.spec, self.task, classes=names, palette=colours, device=self.device)


def open_model(weights: Path, *, config: str | None, device: str) -> OpenModel:
    """Read and build a model.

    Raises ValueError if there are no weights, if nothing says which model they belong to, or if they do not fit it.
    """
    file = _weights_file(weights)
    if config is not None:
        meta, resolved = _foreign_meta(file), find_config(config)
    elif file.suffix == SUFFIX:
        meta = read_meta(file)
        resolved = Config.from_values(meta.config, file=str(file))
    else:
        raise ValueError(f"{file} does not say which model its tensors belong to; name it: --config FILE (or a recipe)")
    spec = checked(resolved)
    task = build_task(spec)
    apply_state(task.model, load_state(file))  # type: ignore[arg-type]
    return OpenModel(file, spec, meta, task, _device(device))


def _weights_file(weights: Path) -> Path:
    if weights.is_dir():
        file = weights / "weights.safetensors"
        if not file.is_file():
            hint = (
                f"; go on training with: intarsia train --resume {weights}" if (weights / "run.json").exists() else ""
            )
            raise ValueError(f"{weights} is a folder without weights.safetensors: no run has got that far there{hint}")
        return file
    if not weights.is_file():
        raise ValueError(f"{weights} does not exist; expected a weights file or the folder of a run")
    return weights


def _foreign_meta(file: Path) -> WeightsMeta:
    """Class names and colours that OpenMMLab's checkpoints carry."""
    if file.suffix == SUFFIX:
        return WeightsMeta()
    from intarsia.weights.foreign import read_foreign

    meta = read_foreign(file).meta
    described: Mapping[str, Any] = meta.get("dataset_meta") or meta
    classes = tuple(described.get("classes") or described.get("CLASSES") or ())
    palette = described.get("palette") or described.get("PALETTE") or ()
    return WeightsMeta(classes=classes, palette=tuple((int(r), int(g), int(b)) for r, g, b in palette))


def _device(wanted: str) -> str:
    import torch

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
    transforms = pattern.transforms if pattern is not None else ()
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

    return Pipeline(description.dataset(split), [build(t) for t in transforms], label_size="original")


def describe_data(model: OpenModel, data: Path, split: str) -> DataDescription:
    """The description of given data. Labels of a folder are read as the model's training read them."""
    if data.is_file():
        description = DataDescription.read(data)
    else:
        description = inspect_data(data).proposal()
        if isinstance(description.splits.get("val"), ShareSplit):  # nothing was set aside: all of it is meant
            description = dataclasses.replace(description, splits={split: description.splits["train"]})
        if model.meta.labels:
            description = dataclasses.replace(
                description,
                classes=model.meta.classes,
                labels={parse_value(value): name for value, name in model.meta.labels.items()},
                palette=model.meta.palette,
                ignore_index=model.meta.ignore_index,
            )
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
