"""Activation functions, chosen by value: `Activation("ReLU")()` is the layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial

from torch import Tensor, nn


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), close to a GELU (Hendrycks, Gimpel, arXiv:1606.08415, section 2), which CLIP has."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape -> the same shape."""
        return x * (1.702 * x).sigmoid()


_IN_PLACE: dict[str, Callable[..., nn.Module]] = {
    "ReLU": nn.ReLU,
    "ReLU6": nn.ReLU6,
    "LeakyReLU": nn.LeakyReLU,
    "RReLU": nn.RReLU,
    "ELU": nn.ELU,
    "SiLU": nn.SiLU,
    "Swish": nn.SiLU,
    "HSwish": nn.Hardswish,
    "HSigmoid": nn.Hardsigmoid,
}
_OUT_OF_PLACE: dict[str, Callable[..., nn.Module]] = {
    "GELU": nn.GELU,
    "GELUTanh": partial(nn.GELU, approximate="tanh"),
    "PReLU": nn.PReLU,
    "QuickGELU": QuickGELU,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
}


@dataclass(frozen=True, slots=True)
class Activation:
    """A kind of activation with its settings; calling it builds the layer.

    inplace: overwrite the input, where the kind can; saves one feature map per activation in training.
    negative_slope: of LeakyReLU.
    num_parameters: slopes that a PReLU learns, one for each channel; a single one for all of them unless given.

    Raises ValueError for an unknown kind, or for a setting that the kind does not have.
    """

    kind: str
    _: KW_ONLY
    inplace: bool = True
    negative_slope: float | None = None
    num_parameters: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _IN_PLACE and self.kind not in _OUT_OF_PLACE:
            raise ValueError(f"unknown activation {self.kind!r}; known are {', '.join((*_IN_PLACE, *_OUT_OF_PLACE))}")
        if self.negative_slope is not None and self.kind != "LeakyReLU":
            raise ValueError(f"negative_slope belongs to LeakyReLU, not to {self.kind}")
        if self.num_parameters is not None and self.kind != "PReLU":
            raise ValueError(f"num_parameters belongs to PReLU, not to {self.kind}")

    def __call__(self) -> nn.Module:
        """A new layer."""
        if self.num_parameters is not None:
            return nn.PReLU(self.num_parameters)
        if self.kind in _OUT_OF_PLACE:
            return _OUT_OF_PLACE[self.kind]()
        if self.negative_slope is not None:
            return nn.LeakyReLU(self.negative_slope, inplace=self.inplace)
        return _IN_PLACE[self.kind](inplace=self.inplace)

    def per_channel(self, channels: int) -> Activation:
        """The same for maps of so many channels: a PReLU learns a slope for each of them, others are as they were."""
        return replace(self, num_parameters=channels) if self.kind == "PReLU" else self


RELU = Activation("ReLU")
GELU = Activation("GELU")
