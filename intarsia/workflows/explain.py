"""Pictures of what a network looks at: class-activation maps and feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import PathLike
from intarsia.inference.explain import DEFAULT, Activation, Explainer, Layer, layers_of
from intarsia.inference.inputs.arrays import as_array
from intarsia.inference.inputs.finding import FoundImages, ImageFile
from intarsia.inference.predictor import Predictor
from intarsia.label_sets import has
from intarsia.terminal import say, warn
from intarsia.visual.files import save_picture
from intarsia.visual.heat import channel_sheet, heat_panes
from intarsia.visual.picture import as_picture
from intarsia.workflows.several_inputs import given_inputs, with_inputs
from intarsia.workflows.trained_model import open_model

MOST_CLASSES = 3
"""Classes whose maps are drawn where none is named: those that take the most pixels."""


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """What is to be explained.

    weights, config, key, prefix, device: the model, as for prediction. images: files. out: folder for the pictures.
    layer: a module, see `Explainer`. classes: names or numbers; none means those with the most pixels. at: (x, y), one
    pixel of the image. inputs: further images of each place, "NAME=FOLDER", for a model that takes several, as
    `several_inputs.given_inputs` has them. channels: how many single channels
    are drawn, with feature maps; None draws none.
    """

    weights: PathLike
    images: tuple[Path, ...]
    out: Path
    layer: str = DEFAULT
    classes: tuple[str, ...] = ()
    at: tuple[int, int] | None = None
    channels: int | None = None
    inputs: tuple[str, ...] = ()
    config: str | None = None
    device: str = "auto"
    key: str | None = None
    prefix: str | None = None


def explain(request: ExplainRequest) -> list[Path]:
    """Draw class-activation maps of each image, or where `channels` is given its feature maps; the files written.

    Raises ValueError for an image, a class, a pixel or a layer that there is not.
    """
    predictor = _predictor(request)
    chosen = [class_index(predictor.classes, name) for name in request.classes]
    names = [path.stem for path in request.images]
    if len(set(names)) < len(names):
        raise ValueError(
            "two of the images have one name, and so would their pictures; explain them one after the other"
        )
    written = []
    for path in request.images:
        image = as_array(path, predictor.reader)
        explainer = Explainer(predictor, image, layer=request.layer, name=path.stem)
        shown = as_picture(image)
        if request.channels is not None:
            picture = _features(explainer, shown, request.channels, path.name)
            file = request.out / f"{path.stem}_features.png"
        else:
            picture = _activations(explainer, shown, chosen, request.at, path.name)
            file = request.out / f"{path.stem}_cam.png"
        written.append(save_picture(file, picture))
        say(f"{path} -> {file}")
    return written


def list_layers(request: ExplainRequest) -> list[Layer]:
    """The layers of a model that give maps, as its first image goes through; without an image, of a grey one."""
    predictor = _predictor(request)
    if request.images:
        image = as_array(request.images[0], predictor.reader)
    else:
        bands = len(predictor.task.preprocess.mean)  # type: ignore[attr-defined]
        image = np.full((256, 256, bands), 128, np.uint8)
    return layers_of(predictor, image)


def _predictor(request: ExplainRequest) -> Predictor:
    model = open_model(
        request.weights, config=request.config, device=request.device, key=request.key, prefix=request.prefix
    )
    found = FoundImages(tuple(ImageFile(path, path.stem) for path in request.images)) if request.images else None
    model = with_inputs(model, found, given_inputs(request.inputs))
    for note in model.notes:
        say(f"note: {note}")
    predictor = model.predictor()
    if predictor.inference.mode != "whole":
        warn("this model predicts by sliding windows; here it sees the whole image at once, which may look different")
    return predictor


def class_index(classes: Sequence[str], name: str) -> int:
    """The number of a class by its name or number. Raises ValueError, which lists them."""
    if name in classes:
        return classes.index(name)
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    raise ValueError(f"--class {name}: the model has no such class; it has {', '.join(classes)}")


def _activations(
    explainer: Explainer, image: npt.NDArray[np.uint8], chosen: Sequence[int], at: tuple[int, int] | None, name: str
) -> npt.NDArray[np.uint8]:
    predictor, label = explainer.predictor, explainer.label
    if not chosen and at is not None:
        x, y = at
        if x < label.shape[1] and y < label.shape[0]:  # else `activation` says what is wrong
            chosen = _classes_in(predictor, label[y : y + 1, x : x + 1])
    if not chosen:
        chosen = _classes_in(predictor, label)[:MOST_CLASSES]
    found = [explainer.activation(index, at=at) for index in chosen]
    for one in found:
        if one.whole:
            warn(f"{name}: no pixel is taken for {one.name}; its map is of the logits of the whole image")
        if not one.heat.any():
            warn(f"{name}: nothing in {explainer.layer} speaks for {one.name}: its map is empty")
    maps = [(_said(one, at), one.heat, one.region) for one in found]
    return heat_panes(
        image, label, maps,
        classes=predictor.shown_values[0], palette=predictor.shown_values[1], title=name,
        note=f"Seg-Grad-CAM at {explainer.layer}",
    )  # fmt: skip


def _classes_in(predictor: Predictor, label: npt.NDArray[Any]) -> list[int]:
    """The classes in a label map, the largest first; where pixels have none, all that the model knows."""
    values, counts = np.unique(label, return_counts=True)
    if not predictor.multi_label:
        return [int(index) for index in values[np.argsort(-counts, kind="stable")]]
    pixels = [int(counts[has(values, k) == 1].sum()) for k in range(len(predictor.classes))]
    present = [k for k in np.argsort([-count for count in pixels], kind="stable").tolist() if pixels[k]]
    return present or list(range(len(pixels)))


def _said(one: Activation, at: tuple[int, int] | None) -> str:
    if at is not None:
        return f"{one.name} at ({at[0]}, {at[1]})"
    return f"{one.name}, whole image" if one.whole else one.name


def _features(explainer: Explainer, image: npt.NDArray[np.uint8], channels: int, name: str) -> npt.NDArray[np.uint8]:
    """The mean over channels, and the channels that differ most from place to place."""
    values = explainer.map.float().cpu().numpy()
    spread = values.std(axis=(1, 2))
    order = np.argsort(-spread, kind="stable")[:channels]
    count, height, width = values.shape
    maps = [("mean of all", values.mean(axis=0)), *((f"channel {index}", values[index]) for index in order.tolist())]
    said = f"{count} channels of {height} x {width}; shown: those that differ most from place to place"
    return channel_sheet(image, maps, heading=(f"{name}: {explainer.layer}", said))
