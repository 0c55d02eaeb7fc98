"""How parameters can start, and what it takes to see that they do. `test_starts.py` has the table of all parts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

CERTAIN = 5.0
"""Deviations of an estimate that no seed gets beyond: one in two million."""
ENOUGH = 100
"""Values that a matrix must have here, for its deviation to be told from half of it."""


@dataclass(frozen=True)
class Start:
    """How values lie: "exact", or "normal" or "uniform" around a middle.

    scale: the values, the deviation, or the bound, of a layer and one of its parameters.
    """

    shape: Literal["exact", "normal", "uniform"]
    scale: Callable[[nn.Module, Tensor], Any]
    middle: float = 0.0

    def misfit(self, layer: nn.Module, parameter: Tensor) -> str:
        """What is wrong with the values; empty if nothing is."""
        scale, values = self.scale(layer, parameter), parameter.detach().double() - self.middle
        if self.shape == "exact":
            expected = torch.as_tensor(scale).double().expand_as(values)
            wrong = (values - expected).abs() > 1e-5
            return f"expected {expected[wrong][:3].tolist()}, found {values[wrong][:3].tolist()}" if wrong.any() else ""
        if self.shape == "uniform" and values.abs().max() > scale * (1 + 1e-6):
            return f"expected nothing beyond {scale:.4g}, found {values.abs().max():.4g}"
        # How far the deviation is estimated wrongly: a normal variable's fourth moment is 3, a uniform one's 1.8.
        deviation, spread = (scale, 0.5) if self.shape == "normal" else (scale / math.sqrt(3), 0.2)
        root = math.sqrt(values.numel())
        if abs(values.mean()) > CERTAIN * deviation / root:
            found = values.mean() + self.middle
            return f"expected the mean {self.middle:g}, found {found:.4g}, where the deviation is {deviation:.4g}"
        if values.numel() > 1 and abs(values.std() / deviation - 1) > CERTAIN * math.sqrt(spread) / root:
            return f"expected the deviation {deviation:.4g}, found {values.std():.4g} of {values.numel()} values"
        if self.shape == "normal" and values.numel() > 2 * ENOUGH and values.abs().max() < 1.9 * deviation:
            return (
                f"expected a normal distribution, found nothing beyond {values.abs().max() / deviation:.2f} deviations"
            )
        return ""


def fans(weight: Tensor) -> tuple[int, int]:
    """Values that an output of a layer is made of, and outputs that an input goes into."""
    return weight[0].numel(), weight.shape[0] * weight[0, 0].numel()


def star(heads: int, levels: int, points: int) -> Start:
    """Of offsets (heads, levels, points, 2), flat: a head's points lie in one direction, the first of them a cell away
    along the wider axis, and each of the others as far again (Zhu et al., arXiv:2010.04159, appendix A.4).
    """
    offsets = torch.zeros(heads, levels, points, 2)
    for head in range(heads):
        x, y = math.cos(2 * math.pi * head / heads), math.sin(2 * math.pi * head / heads)
        for point in range(points):
            offsets[head, :, point] = torch.tensor([x, y]) / max(abs(x), abs(y)) * (point + 1)
    return Start("exact", lambda layer, bias: offsets.flatten())


def exact(value: float) -> Start:
    return Start("exact", lambda layer, parameter: value)


def normal(std: float) -> Start:
    return Start("normal", lambda layer, parameter: std)


ZEROS, ONES = exact(0.0), exact(1.0)
HE = Start("normal", lambda layer, weight: math.sqrt(2 / fans(weight)[1]))
"""He et al., arXiv:1502.01852, by fan_out: MMCV's ConvModule, and MMEngine's dict(type="Kaiming", layer="Conv2d")."""
HE_FAN_IN = Start("normal", lambda layer, weight: math.sqrt(2 / fans(weight)[0]))
"""The same by fan_in: MMSegmentation's ViT."""
HE_UNIFORM = Start("uniform", lambda layer, weight: math.sqrt(6 / fans(weight)[0]))
"""The same, uniform: decoders of segmentation_models.pytorch."""
HE_PER_GROUP = Start("normal", lambda layer, weight: math.sqrt(2 * layer.groups / fans(weight)[1]))
"""The same, where a channel of a group counts the outputs of its own group: the code of MiT."""
HE_BY_FAN_IN = Start("normal", lambda layer, weight: math.sqrt(2 / fans(weight)[0]))
"""The same by fan_in: MMCV's ContextBlock."""
CLASSIFIER = normal(0.01)
"""MMSegmentation's BaseDecodeHead: dict(type="Normal", std=0.01, override=dict(name="conv_seg"))."""
TRUNCATED = normal(0.02)
"""The code of ViT, Swin and MiT, trunc_normal_(std=.02); cut at -2 and 2, hence nowhere."""
EMBEDDING = normal(1.0)
"""torch.nn.Embedding."""
XAVIER = Start("uniform", lambda layer, weight: math.sqrt(6 / sum(fans(weight))))
"""Glorot, Bengio, 2010: FPN, DETR and what follows it."""
CAFFE2 = Start("uniform", lambda layer, weight: math.sqrt(3 / fans(weight)[0]))
"""c2_xavier_fill of detectron2, caffe2_xavier_init of MMEngine."""
TORCH = Start("uniform", lambda layer, parameter: 1 / math.sqrt(fans(layer.weight)[0]))
"""torch.nn.Linear and Conv2d, weight and bias alike, which whoever initialises nothing gets."""


@dataclass(frozen=True)
class Starts:
    """The starts of a part: of the parameters that a regular expression names, then of all others by their layer.

    wide: arguments, besides those of the contract's tables, that leave every matrix enough values to be judged.
    few: names of those that have few whatever the arguments; they are judged as far as that goes.
    """

    conv: Start = HE
    conv_bias: Start = ZEROS
    linear: Start = TORCH
    linear_bias: Start = TORCH
    special: Mapping[str, Start] = field(default_factory=dict)
    wide: Mapping[str, Any] = field(default_factory=dict)
    few: str = "$^"

    def of(self, name: str, layer: nn.Module) -> Start | None:
        """How the parameter `name` of a layer starts; None if the table does not say."""
        for pattern, start in self.special.items():
            if re.search(f"{pattern}$", name):
                return start
        weight = name.endswith("weight")
        if isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm):
            return ONES if weight else ZEROS
        if isinstance(layer, nn.modules.conv._ConvNd):
            return self.conv if weight else self.conv_bias
        if isinstance(layer, nn.Linear):
            return self.linear if weight else self.linear_bias
        return EMBEDDING if isinstance(layer, nn.Embedding) else None

    def _too_few(self, name: str, parameter: Tensor) -> bool:
        return parameter.dim() > 1 and 1 < parameter.numel() < ENOUGH and not re.search(self.few, name)

    def misfits(self, part: nn.Module) -> Iterator[str]:
        """What starts otherwise than it should, a line each."""
        unused = set(self.special)
        for path, layer in part.named_modules():
            for leaf, parameter in layer.named_parameters(recurse=False):
                name = f"{path}.{leaf}" if path else leaf
                start = self.of(name, layer)
                unused -= {pattern for pattern in unused if re.search(f"{pattern}$", name)}
                if start is None:
                    yield f"{name}: the table does not say how it starts"
                elif start.shape != "exact" and self._too_few(name, parameter):
                    yield f"{name}: {parameter.numel()} values are too few to judge"
                elif said := start.misfit(layer, parameter):
                    yield f"{name}: {said}"
        yield from (f"{pattern}: names no parameter" for pattern in sorted(unused))
