"""What a network looks at: class-activation maps by gradients, and the feature maps of a layer.

Seg-Grad-CAM (Vinogradova, Dibrov, Myers: Towards Interpretable Semantic Segmentation via Gradient-weighted Class
Activation Mapping, AAAI 2020, arXiv:2002.11434) is Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391) of the sum
of a class's logits over a set of pixels. With A_k the channels of a layer, y that sum, and a_k the mean of dy/dA_k over
the layer's pixels, the map is ReLU(sum over k of a_k A_k). The set is the pixels that the network takes for the class,
or one pixel.

The whole image goes through the network at once, also where prediction uses windows: a map needs the gradient of all.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from intarsia.contracts import ConditionalTask, Sample, SampleMeta, Size
from intarsia.data.collate import collate
from intarsia.inference.logits.lazy import HeadLogits, Resized
from intarsia.inference.logits.postprocess import Geometry, at_original, mean_values, postprocess
from intarsia.inference.network import at_least, network_errors
from intarsia.inference.predictor import Predictor
from intarsia.label_sets import has

DEFAULT = "backbone"
"""The layer that is looked at where none is named: the last level of this part, or of a network's first one."""

STRIDES = (1, 2, 4, 7, 8, 14, 16, 28, 32, 64)
"""Of an image to the places of tokens in a row: what a sequence (N, L, C) is tried to be a map of."""


@dataclass(frozen=True)
class Layer:
    """A module whose output is a map. shape: of it, (C, h, w)."""

    name: str
    kind: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Activation:
    """What a class was told by, in one image.

    heat: (H, W) at the image's size, from 0 to 1, its largest value. region: (H, W), the pixels whose logits were added
    up. pixels: how many those are. whole: whether they are all, since none was taken for the class.
    """

    name: str
    index: int
    heat: npt.NDArray[np.float32]
    region: npt.NDArray[np.bool_]
    pixels: int
    whole: bool


class Explainer:
    """Maps of one image: the network sees it once, each class costs a backward pass.

    image: (H, W, C) as `predictor.reader` gives it. layer: name of a module, "NAME:2" for the level 2 of its several
    maps; without a number the last.

    Raises ValueError for a model of depths, a layer that there is not, or one whose output is no map.
    """

    def __init__(
        self, predictor: Predictor, image: npt.NDArray[Any], *, layer: str = DEFAULT, name: str = "image"
    ) -> None:
        if predictor.inference.answer == "depth":
            raise ValueError("class-activation maps are of classes, and this model answers with depths")
        model = cast("nn.Module", predictor.task.model)
        if layer == DEFAULT and not hasattr(model, DEFAULT):
            layer = next((name for name, _ in model.named_children()), layer)
        self.predictor = predictor
        self.layer = layer
        cast("nn.Module", predictor.task).eval()
        inputs, self._geometry, conditions, metas = network_input(predictor, image, name)
        with torch.enable_grad(), watched(model, layer) as seen, network_errors(metas, inputs.shape[2:]):
            # Of a network whose parameters are all frozen, the gradient has to begin somewhere.
            self._logits = model(inputs.clone().requires_grad_(), *conditions)
        if not seen:
            raise ValueError(
                f"--layer {layer}: predicting does not call it, or it gives no map (a head for training, or a module "
                "whose weights another one uses); `--layers` lists those that can be drawn"
            )
        self._levels = seen[-1]  # of the last time that it is run
        self.map = as_map(self._levels[-1], inputs.shape[2:], layer).detach()
        self.label = self._label()

    def _label(self) -> npt.NDArray[Any]:
        source = self._logits[0].detach()
        view = self._at_original(source)
        spec = self.predictor.inference
        found = postprocess([view], threshold=spec.foreground_above, thresholds=spec.thresholds)
        return np.asarray(found.label.cpu().numpy())

    def _at_original(self, values: Tensor) -> Any:
        """A map (c, h, w) of the network's input at the image's own size."""
        align = self.predictor.inference.align_corners
        grown = Resized(HeadLogits(values), self._geometry.network, align_corners=align)
        return at_original(grown, self._geometry, align_corners=align)

    def at_image(self, values: Tensor) -> npt.NDArray[np.float32]:
        """A map (h, w) of the layer at the image's own size."""
        return np.asarray(mean_values([self._at_original(values.detach()[None])]).cpu().numpy(), np.float32)

    def activation(self, index: int, *, at: tuple[int, int] | None = None) -> Activation:
        """The class-activation map of a class. at: (x, y) in the image, one pixel instead of all that are of the class.

        Raises ValueError for a class or a pixel that there is not, or a layer that the logits do not depend on.
        """
        classes, size = self.predictor.classes, self._geometry.original
        if not 0 <= index < len(classes):
            raise ValueError(f"expected a class from 0 to {len(classes) - 1}, found {index}")
        score = self._score(index)
        several = self.predictor.multi_label
        region = np.asarray(has(self.label, index) == 1 if several else self.label == index)
        if at is not None:
            x, y = at
            if not (0 <= x < size[1] and 0 <= y < size[0]):
                raise ValueError(f"--at {x} {y} is outside of the image of {size[1]} x {size[0]} pixels")
            region = np.zeros(size, bool)
            region[y, x] = True
        whole = not region.any()
        inside = self._at_logits(region if not whole else np.ones(size, bool), score)
        slopes = torch.autograd.grad(
            (score * inside).sum(), self._levels, retain_graph=True, allow_unused=True
        )  # fmt: skip
        pairs = [(level, slope) for level, slope in zip(self._levels, slopes, strict=True) if slope is not None]
        if not pairs:
            raise ValueError(f"--layer {self.layer}: the logits do not depend on it")
        # The last level that the head reads: not every head reads the last one.
        heat = self.at_image(grad_cam(*(as_map(values, self._input_size, self.layer) for values in pairs[-1])))
        top = float(heat.max())
        return Activation(
            name=classes[index],
            index=index,
            heat=heat / top if top > 0 else heat,
            region=region,
            pixels=int(region.sum()),
            whole=whole,
        )

    @property
    def _input_size(self) -> Size:
        return self._geometry.network

    def _score(self, index: int) -> Tensor:
        """Logits (h, w) of a class; of the background of a model with one logit, what speaks against the foreground."""
        logits: Tensor = self._logits[0].float()
        if len(logits) == 1:
            return logits[0] if index == 1 else -logits[0]
        return logits[index]

    def _at_logits(self, region: npt.NDArray[np.bool_], score: Tensor) -> Tensor:
        """How much of each logit's pixel (h, w) is in a region (H, W) of the image; of one pixel, the nearest logit."""
        geometry = self._geometry
        mask = torch.from_numpy(region).to(score)[None, None]
        for flip in geometry.flips:
            mask = mask.flip(3 if flip == "horizontal" else 2)
        padded = mask.new_zeros(1, 1, *geometry.network)
        (height, width), (top, left) = geometry.valid, geometry.corner
        if int(region.sum()) == 1:  # averaging would lose it
            y, x = (int(axis[0]) for axis in mask[0, 0].nonzero(as_tuple=True))
            found = score.new_zeros(score.shape)
            row = (top + (y + 0.5) * height / region.shape[0]) * score.shape[0] / geometry.network[0]
            column = (left + (x + 0.5) * width / region.shape[1]) * score.shape[1] / geometry.network[1]
            found[min(int(row), score.shape[0] - 1), min(int(column), score.shape[1] - 1)] = 1
            return found
        inside = nn.functional.interpolate(mask, size=(height, width), mode="area")
        padded[:, :, top : top + height, left : left + width] = inside
        return nn.functional.adaptive_avg_pool2d(padded, (score.shape[0], score.shape[1]))[0, 0]


def grad_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """ReLU of the channels (C, h, w), each weighed by the mean of the score's gradient in it: (h, w)."""
    weights = gradient.float().mean(dim=(1, 2))
    return torch.relu((weights[:, None, None] * features.detach().float()).sum(dim=0))


def layers_of(predictor: Predictor, image: npt.NDArray[Any]) -> list[Layer]:
    """All modules that give a map when the network sees an image, in the order in which they do."""
    model = cast("nn.Module", predictor.task.model)
    cast("nn.Module", predictor.task).eval()
    inputs, _, conditions, metas = network_input(predictor, image, "image")
    found: dict[str, Layer] = {}
    names = {module: name for name, module in model.named_modules() if name}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        for number, values in enumerate(levels := list(maps_of(output))):
            name = names[module] if len(levels) == 1 else f"{names[module]}:{number}"
            shape = _map_shape(values, inputs.shape[2:])
            if shape is not None:
                found[name] = Layer(name, type(module).__name__, shape)

    handles = [module.register_forward_hook(note) for module in names]
    try:
        with torch.no_grad(), network_errors(metas, inputs.shape[2:]):
            model(inputs, *conditions)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


# --- the network's input and a layer's output ---------------------------------------------------------------------


def network_input(
    predictor: Predictor, image: npt.NDArray[Any], name: str
) -> tuple[Tensor, Geometry, tuple[Tensor, ...], Sequence[SampleMeta]]:
    """What the network is shown of an image: its input (1, C, H', W'), how it lies there, and what it reads besides."""
    sample = Sample(image, meta=SampleMeta(name=name, original_size=(image.shape[0], image.shape[1])))
    rng = np.random.default_rng(0)
    for transform in predictor.transforms:
        sample = transform(sample, rng)
    batch = collate([sample])
    size, meta = batch.sizes[0], batch.metas[0]
    images = batch.images.to(predictor.device)[:, :, : size[0], : size[1]]
    inputs = at_least(predictor.task.preprocess(images, (size,), train=False), predictor.least_size)
    network = (inputs.shape[2], inputs.shape[3])
    geometry = Geometry.of(network, size, meta)
    task = predictor.task
    conditions = task.conditions(batch.metas) if isinstance(task, ConditionalTask) else ()
    return inputs, geometry, conditions, batch.metas


@contextmanager
def watched(model: nn.Module, layer: str) -> Iterator[list[tuple[Tensor, ...]]]:
    """Within, the list gets what a layer gives, each time that it is run: all levels, or the one of its number.

    Raises ValueError if there is no such layer.
    """
    name, _, level = layer.partition(":")
    modules = dict(model.named_modules())
    if not name or name not in modules or (level and not level.isdecimal()):
        near = difflib.get_close_matches(name, modules, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"--layer {layer}: the network has no such layer.{hint} `--layers` lists them")
    seen: list[tuple[Tensor, ...]] = []

    def note(_: nn.Module, __: Any, output: Any) -> None:
        levels = list(maps_of(output))
        if level and int(level) >= len(levels):
            raise ValueError(f"--layer {layer}: {name} gives {len(levels)} maps, counted from 0")
        if levels:
            seen.append((levels[int(level)],) if level else tuple(levels))

    handle = modules[name].register_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def maps_of(output: Any) -> Iterator[Tensor]:
    """The tensors of several numbers in what a module gives: one, or those of a tuple, a list or a dict."""
    if isinstance(output, Tensor):
        if output.is_floating_point() and output.ndim in (3, 4):
            yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from maps_of(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from maps_of(value)


def as_map(values: Tensor, size: Sequence[int], layer: str) -> Tensor:
    """The output of a layer as a map (C, h, w); tokens in a row (1, L, C) as the map that they are of an input `size`.

    Raises ValueError where it is neither.
    """
    shape = _map_shape(values, size)
    if shape is None:
        raise ValueError(
            f"--layer {layer} gives {tuple(values.shape)}, which is no map of an image; `--layers` lists those that are"
        )
    if values.ndim == 4:
        return values[0]
    tokens = values[0, values.shape[1] - shape[1] * shape[2] :]  # without the class token, which is the first
    folded: Tensor = tokens.mT.unflatten(1, shape[1:])
    return folded


def _map_shape(values: Tensor, size: Sequence[int]) -> tuple[int, int, int] | None:
    """(C, h, w), or None for what is no map of one image."""
    if values.shape[0] != 1:
        return None
    if values.ndim == 4:
        channels, height, width = values.shape[1:]
        return (channels, height, width) if height * width > 1 else None
    count, channels = values.shape[1:]
    for stride in STRIDES:
        height, width = -(-size[0] // stride), -(-size[1] // stride)
        if height * width > 1 and count - height * width in (0, 1):
            return channels, height, width
    return None
