"""`intarsia view`: a local page for data, and for what one or two trained models make of them."""

from __future__ import annotations

import dataclasses
import getpass
import os
import sys
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.contracts import Dataset
from intarsia.data.datasets.wrappers import ConcatDataset
from intarsia.data.description.model import DataDescription
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import ShareSplit
from intarsia.data.labels import holds_sets
from intarsia.terminal import progress, say
from intarsia.viewer.class_editor import editor_of
from intarsia.viewer.samples import Collection, Run
from intarsia.viewer.server import ViewerServer

if TYPE_CHECKING:
    from intarsia.workflows.trained_model import OpenModel

LOOKED_AT = 200
"""Images of each split by which the doctor decides what a folder holds, so that a large one opens at once."""

ALL = "all"
SPLITS = ("train", "val", "test")


OF_MODELS = ("weights.safetensors", "run.json", "config.json", "cv.json")
"""Files that say that a folder is one of a trained model."""


@dataclass(frozen=True, kw_only=True)
class ViewRequest:
    """What is looked at.

    place: a folder of images and labels, a data description, or a trained model: a run's folder or a weights file.
    other: a second model, to be compared with it. data: other images than the model's. split: of the images; of data
    alone also "all"; None: "val" with a model, "all" without. port: 0 for a free one. browser: whether to open one.
    """

    place: Path
    other: Path | None = None
    data: Path | None = None
    split: str | None = None
    config: str | None = None
    device: str = "auto"
    port: int = 0
    browser: bool = True


def view(request: ViewRequest, ready: Callable[[str], None]) -> None:
    """Serve the page until the person interrupts. ready: is told its address.

    Raises ValueError for what cannot be looked at, OSError if the port is taken.
    """
    server = open_view(request)
    try:
        ready(server.address)
        if hint := ssh_hint(os.environ, server.server_port):
            say(hint)
        if request.browser and has_display(os.environ):
            webbrowser.open(server.address)
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


def open_view(request: ViewRequest) -> ViewerServer:
    """The server, which listens, but does not answer before ``serve_forever``.

    Raises ValueError for what cannot be looked at, OSError if the port is taken.
    """
    if is_data(request.place):
        if request.other is not None or request.data is not None:
            raise ValueError(
                f"{request.place} is data, which is looked at alone; name a model first: "
                f"intarsia view RUN [RUN2] --data {request.place}"
            )
        return _of_data(request)
    return _of_models(request)


def is_data(place: Path) -> bool:
    """Whether a place is data, and no model."""
    if place.is_dir():
        return not any(
            (place / name).is_file() for name in ("weights.safetensors", "run.json", "config.json", "cv.json")
        )
    return place.suffix.lower() in (".yaml", ".yml", ".pack")


# --- Data alone ---------------------------------------------------------------------------------------------------


def _of_data(request: ViewRequest) -> ViewerServer:
    split = request.split or ALL
    description = described(request.place)
    names = list(description.splits) if split == ALL else [split]
    parts = [description.dataset(name) for name in names]
    dataset: Dataset = parts[0] if len(parts) == 1 else ConcatDataset(parts)
    words = "all images" if split == ALL else f"{split} images"
    return ViewerServer(
        Collection(dataset),
        title=f"{_short(request.place)}: {words}",
        note=_note(request.place, parts),
        editor=editor_of(request.place) if request.place.is_file() else None,
        port=request.port,
    )


def described(place: Path) -> DataDescription:
    """What a description file says, or the doctor concludes from some files of a folder.

    Raises ValueError if it is neither, or nothing in the folder pairs.
    """
    if not place.is_dir():
        return read_description(place)
    from intarsia.data.doctor.examine import examine

    with progress("reading some images and labels") as bar:
        return examine(place, limit=LOOKED_AT, progress=bar).proposal()


def _note(place: Path, splits: Sequence[Dataset]) -> str:
    """What the person should know of how the labels of a folder are read."""
    if not place.is_dir() or max(map(len, splits)) <= LOOKED_AT:
        return ""
    return (
        f"what label values mean was concluded from {LOOKED_AT} images of each split; intarsia data check "
        f"{place} --write data.yaml looks at all"
    )


# --- Models -------------------------------------------------------------------------------------------------------


def _of_models(request: ViewRequest) -> ViewerServer:
    from intarsia.workflows.trained_model import open_model

    split = request.split or "val"
    if split == ALL:
        raise ValueError(f"--split all is for data alone; with a model it is {', '.join(SPLITS)}")
    places = [request.place] if request.other is None else [request.place, request.other]
    for place in places:
        if (place / "cv.json").is_file():
            raise ValueError(f"{place} is a cross-validation; look at one of its folds: intarsia view {place}/fold_1")
    models = [open_model(place, config=request.config, device=request.device) for place in places]
    folder = described(request.data) if request.data is not None and request.data.is_dir() else None
    datasets = [_images(model, request.data, split, folder) for model in models]
    _check_same(places, datasets)
    names = [_short(place) for place in places]
    if len(set(names)) < len(names):
        names = [str(place) for place in places]
    runs = [
        Run(name, model.predictor(dataset.classes, dataset.palette), dataset)
        for name, model, dataset in zip(names, models, datasets, strict=True)
    ]
    where = "" if request.data is None else f" of {_short(request.data)}"
    return ViewerServer(
        Collection(datasets[0], runs),
        title=f"{' and '.join(names)}: {split} images{where}",
        note="" if request.data is None else _note(request.data, datasets),
        editor=editor_of(request.data) if request.data is not None and folder is None else None,
        port=request.port,
    )


def _images(model: OpenModel, data: Path | None, split: str, folder: DataDescription | None) -> Dataset:
    """The labelled images for a model. folder: what was concluded of the data, where they are a folder."""
    from intarsia.workflows.trained_model import labelled_images, read_as_trained

    if model.spec.inference.answer == "depth":
        raise ValueError(f"{model.file} answers with depths; what is shown here are classes")
    if folder is None:
        return labelled_images(model, data, split).dataset
    description = read_as_trained(model, folder)
    if isinstance(description.splits.get("val"), ShareSplit):  # nothing was set aside: all of it
        description = dataclasses.replace(description, splits={split: description.splits["train"]})
    return description.dataset(split, reader=model.reader)


def _check_same(places: list[Path], datasets: list[Dataset]) -> None:
    first = datasets[0]
    for place, dataset in zip(places[1:], datasets[1:], strict=True):
        advice = "give the same images to both: --data DIR|FILE"
        if len(dataset) != len(first):
            raise ValueError(f"{places[0]} has {len(first)} images, {place} has {len(dataset)}; {advice}")
        if holds_sets(dataset) != holds_sets(first):
            several, single = (places[0], place) if holds_sets(first) else (place, places[0])
            raise ValueError(
                f"{several} gives a pixel several classes and {single} one; only runs of the same kind can be compared"
            )
        if tuple(dataset.classes) != tuple(first.classes):
            raise ValueError(
                f"{places[0]} and {place} have different classes: {', '.join(first.classes[:5])} ... and "
                f"{', '.join(dataset.classes[:5])} ...; only runs of one list of classes can be compared"
            )
        name = getattr(first, "name", None), getattr(dataset, "name", None)
        if callable(name[0]) and callable(name[1]):
            other = next((index for index in range(len(first)) if name[0](index) != name[1](index)), None)
            if other is not None:
                raise ValueError(
                    f"image {other + 1} of {places[0]} is {name[0](other)!r}, of {place} {name[1](other)!r}; {advice}"
                )


# --- The person's surroundings ------------------------------------------------------------------------------------


def has_display(environment: Mapping[str, str]) -> bool:
    """Whether a browser of this machine would be seen by the person."""
    if environment.get("SSH_CONNECTION"):
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def ssh_hint(environment: Mapping[str, str], port: int) -> str:
    """How to see the page from the machine that one sits at; "" for who is at this one."""
    parts = environment.get("SSH_CONNECTION", "").split()
    if len(parts) != 4:
        return ""
    return (
        f"on your own machine: ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{parts[2]}; then open the address "
        "there"
    )


def _short(place: Path) -> str:
    return place.name or str(place.resolve().name)
