"""A network for anybody's own loop: images to scores of each class at the images' size, a module like any other.

Everything that a user of torch does with a module works: its state has the names of our weights files, it can be
copied, pickled and moved, and training mode changes nothing but dropout and norms.

Shape letters: N images, C bands, K scores a pixel, H, W height and width of the images, of any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import ImageLogits, Model
from intarsia.layers.levels import resize
from intarsia.layers.precision import full_precision
from intarsia.spec import PreprocessSpec
from intarsia.tasks.freezing import Frozen, matching
from intarsia.tasks.norm_errors import explained_norms
from intarsia.tasks.preprocess import Preprocess, least_size

_OWN = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


@dataclass(frozen=True)
class ModelFacts:
    """What a model knows of where it came from, for who saves it or trains it.

    recipe: its name; "" for a model that was read from a file. config: the section `model` of a config, plain values,
    with the preprocessing. loaded: of the weights that it started from, as run.json notes them.
    knows_normalisation: whether mean and deviation are those of its images, and not only a place for them.
    """

    recipe: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    loaded: tuple[Mapping[str, Any], ...] = ()
    knows_normalisation: bool = True


class SegmentationModel(nn.Module):
    """Images (N, C, H, W) -> scores (N, K, H, W), the larger the likelier; K is the number of classes.

    For nearly all models these are logits, as `torch.nn.CrossEntropyLoss` and `intarsia.losses` take them; of a single
    class one logit, for a sigmoid. Models that find masks and name them (MaskFormer, Mask2Former, EoMT, SAN) give how
    much of each class is in a pixel instead, 0 and more: the sum over all masks of the probability that the mask is of
    the class, times that of the pixel to be in the mask. `gives_logits` says which. What these are trained on is no
    loss of pixels: `intarsia.train` does that.

    Training mode gives the same one tensor. Children and names of the state are those of the network: `backbone`,
    `neck`, `decode_head`, `auxiliary_head`, and `preprocess`, which has no state.

    network: logits of normalised images, at its own stride. preprocess: mean, deviation, and the multiples of which
    sides of images must be. normalises: whether images come as they are stored, 0 to 255 for colours, and are
    normalised here; otherwise they come normalised, as `normalise` does it. align_corners: of the last resizing.

    shapes: of the tensors of the state, as they were when it was made.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        preprocess: Preprocess,
        normalises: bool,
        num_classes: int,
        align_corners: bool,
        facts: ModelFacts | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.normalises = normalises
        self.facts = facts or ModelFacts()
        self.least_size = least_size(network)
        # One and the same children, parameters and buffers, so that names are those of weights files. The network is in
        # a tuple, and so no child.
        self._network = (network,)
        for own in _OWN:
            self.__dict__[own] = getattr(network, own)
        kinds = (value.dtype for value in self.parameters() if value.is_floating_point())
        self.preprocess = preprocess.to(next(kinds, torch.float32))  # of a network made under another default
        self._held: list[nn.Module] = []
        self.shapes = shapes_of(self.state_dict())
        self._never_trained = frozenset(name for name, value in self.named_parameters() if not value.requires_grad)

    @property
    def network(self) -> nn.Module:
        """The network inside: normalised images whose sides are as it wants them -> scores at its own stride."""
        return self._network[0]

    @property
    def bands(self) -> int:
        """Of the images."""
        return len(self.preprocess.mean)

    @property
    def gives_logits(self) -> bool:
        """Whether the scores are logits, and not how much of each class is in a pixel."""
        return not hasattr(self.network, "queries")

    @property
    def mean(self) -> tuple[float, ...] | None:
        """Of each band of stored images, red first; None where nobody has said it."""
        return self._in_stored_order(self.preprocess.spec.mean)

    @property
    def std(self) -> tuple[float, ...] | None:
        """The deviation of each band of stored images, red first; None where nobody has said it."""
        return self._in_stored_order(self.preprocess.spec.std)

    def _in_stored_order(self, values: tuple[float, ...]) -> tuple[float, ...] | None:
        if not self.facts.knows_normalisation:
            return None
        return values[::-1] if self.preprocess.spec.channel_order == "bgr" else values

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Say how images are normalised: mean and deviation of each band as stored, red first.

        Raises ValueError for other numbers than one for each band, and for a deviation that is not above 0.
        """
        self.preprocess = Preprocess(self.normalised_by(mean, std)).to(self.preprocess.mean)
        self.facts = replace(self.facts, knows_normalisation=True)

    def normalised_by(self, mean: Sequence[float], std: Sequence[float]) -> PreprocessSpec:
        """The preprocessing with this mean and deviation of each band as stored, red first. Errors as above."""
        means, deviations = _numbers(mean), _numbers(std)
        usable = all(map(math.isfinite, (*means, *deviations))) and all(value > 0 for value in deviations)
        if not len(means) == len(deviations) == self.bands or not usable:
            raise ValueError(
                f"mean and std are one number for each of the {self.bands} bands, std above 0; found mean={mean} and "
                f"std={std}"
            )
        step = -1 if self.preprocess.spec.channel_order == "bgr" else 1
        return replace(self.preprocess.spec, mean=means[::step], std=deviations[::step])

    def normalise(self, images: Tensor) -> Tensor:
        """Stored images (N, C, H, W) or (C, H, W), RGB of 0 to 255 or bands as they are -> what `forward` takes.

        Raises ValueError where `forward` normalises by itself, where nobody has said mean and deviation, and for images
        of another number of bands.
        """
        if self.normalises:
            raise ValueError("this model normalises its images itself (normalise=True): give it them as they are")
        if self.mean is None:
            raise ValueError(
                f"nobody has said how images of {self.bands} bands are normalised: give create_model mean=(...) and "
                "std=(...), one number for each band as stored; or call set_normalisation"
            )
        single = isinstance(images, Tensor) and images.dim() == 3
        batch = images.unsqueeze(0) if single else images
        self._check(batch)
        x = self.preprocess.normalised(self.preprocess.in_order(batch))
        x = self.preprocess.in_order(x)  # and back, since `forward` takes images as they come
        return x.squeeze(0) if single else x

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) of any size -> scores (N, K, H, W), at least in float32.

        Raises ValueError for images of another number of bands, and for integers where they are to be normalised.
        """
        with nullcontext() if torch.compiler.is_compiling() else explained_norms(self.network):
            return self._at_size(self.network(self._inputs(images)), images)

    def training_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """The same of every head: "decode", and "aux" or "aux_0", "aux_1" ... of auxiliary heads.

        These are there where they were asked for (`auxiliary=True`, `image_classes=True`). Logits of whole images are
        (N, K); those of single points are left out.

        Raises ValueError as `forward`, and for a model that finds masks, which has no such heads.
        """
        if not self.gives_logits:
            raise ValueError(f"{type(self.network).__name__} finds masks: it has no heads that name pixels beside it")
        with nullcontext() if torch.compiler.is_compiling() else explained_norms(self.network):
            outputs = cast(Model, self.network).training_outputs(self._inputs(images))
        found = {}
        for name, value in outputs.items():
            if isinstance(value, ImageLogits):
                found[name] = full_precision(value.logits)
            elif isinstance(value, Tensor):
                found[name] = self._at_size(value, images)
        return found

    def freeze(self, *names: str) -> SegmentationModel:
        """Train these parts no more: no gradients, and their batch norms keep their statistics, also in training mode.

        names: of modules or parameters, with * and ? as in file names: "backbone", "backbone.layer[12]", "*.bias".
        Raises ValueError for a name that matches nothing, with the names of the children; or if nothing is left.
        """
        if not names:
            raise ValueError("freeze: say what, model.freeze('backbone'); * and ? stand for parts of a name")
        frozen = Frozen(self, names)
        self._held = [*self._held, *frozen.norms()]
        frozen.hold()
        return self

    def unfreeze(self, *names: str) -> SegmentationModel:
        """Train these parts again, or all that there are. Names are as for `freeze`; so are the errors."""
        own = {name: value for name, value in self.named_parameters() if name not in self._never_trained}
        trainable = {id(value) for value in own.values()}
        released: set[int] = set()
        for name in names or ("*",):
            modules, parameters = matching(self, name, what="unfreeze")
            released |= {id(module) for part in modules for module in part.modules()}
            for parameter in parameters:
                if id(parameter) in trainable:
                    parameter.requires_grad_(True)
        self._held = [norm for norm in self._held if id(norm) not in released]
        return self.train(self.training)

    def train(self, mode: bool = True) -> SegmentationModel:
        """Training mode, but for norms of frozen parts; also of the network, which is no child."""
        super().train(mode)
        self.network.training = mode
        for norm in self._held:
            norm.eval()
        return self

    def extra_repr(self) -> str:
        """In one line, before the children."""
        takes = "stored" if self.normalises else "normalised"
        return f"{self.facts.recipe or type(self.network).__name__}: {self.bands} bands, {takes} -> {self.num_classes}"

    # --- Sizes ----------------------------------------------------------------------------------------------------

    def _inputs(self, images: Tensor) -> Tensor:
        """What the network takes: normalised, channels in its order, padded at the right and below."""
        self._check(images)
        if not self.normalises and not images.is_floating_point():
            raise ValueError(
                f"expected normalised images in floating point, found {images.dtype}: give model.normalise(images), or "
                "create the model with normalise=True, which takes them as they are stored"
            )
        x = self.preprocess.in_order(images)
        x = self.preprocess.normalised(x) if self.normalises else x.to(self.preprocess.mean.dtype)
        height, width = images.shape[2:]
        rows, columns = self.preprocess.padded_size((height, width), train=False)
        x = _padded(x, rows, columns, self.preprocess.spec.pad_value)
        return _padded(x, max(rows, self.least_size), max(columns, self.least_size), 0.0)

    def _check(self, images: Tensor) -> None:
        """Raises ValueError for what is no batch of images of these bands."""
        if not isinstance(images, Tensor):
            raise ValueError(
                f"expected a tensor of images (N, {self.bands}, H, W), found a {type(images).__name__}. Files, arrays "
                "and PIL images are for the predictor of a weights file: intarsia.load(FILE).predict(...)"
            )
        if images.dim() == 4 and images.shape[1] == self.bands:
            return
        last = images.dim() == 4 and images.shape[3] == self.bands
        hint = "; channels stand before height and width: images.permute(0, 3, 1, 2)" if last else ""
        raise ValueError(f"expected images (N, {self.bands}, H, W), found {tuple(images.shape)}{hint}")

    def _at_size(self, scores: Tensor, images: Tensor) -> Tensor:
        """Scores (N, K, h, w) of padded images -> of the images, (N, K, H, W)."""
        height, width = images.shape[2:]
        rows, columns = self.preprocess.padded_size((height, width), train=False)
        rows, columns = max(rows, self.least_size), max(columns, self.least_size)
        scores = full_precision(scores)  # which autocast leaves as it is in a resizing
        if tuple(scores.shape[2:]) != (rows, columns):
            scores = resize(scores, (rows, columns), align_corners=self.align_corners)
        return scores if (rows, columns) == (height, width) else scores[:, :, :height, :width]


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Of all tensors, by name."""
    return {name: tuple(value.shape) for name, value in state.items()}


def _numbers(values: Sequence[float]) -> tuple[float, ...]:
    """A sequence of any kind as numbers; nothing for what is none."""
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return ()


def _padded(x: Tensor, rows: int, columns: int, value: float) -> Tensor:
    height, width = x.shape[2:]
    return x if (rows, columns) == (height, width) else F.pad(x, (0, columns - width, 0, rows - height), value=value)
