"""Normalisation layers, chosen by value.

`Norm` says which layer, before the number of channels is known: `Norm("BN", eps=1e-3)(64)` is a batch norm of 64
channels. `Norm.name` is the attribute under which the layers of published weights keep it ("bn", "gn", "ln", "in").
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from torch import Tensor, nn

NormKind = Literal["BN", "SyncBN", "GN", "LN", "IN", "LN2d"]

_NAMES: dict[NormKind, str] = {"BN": "bn", "SyncBN": "bn", "GN": "gn", "LN": "ln", "IN": "in", "LN2d": "ln"}
_WITH_MOMENTUM: tuple[NormKind, ...] = ("BN", "SyncBN", "IN")


@dataclass(frozen=True, slots=True)
class Norm:
    """A kind of normalisation with its settings; calling it with a number of channels builds the layer.

    "SyncBN" is an ordinary batch norm here: what is synchronised over several processes is decided where those are
    started, not in the network.

    eps: added to the variance; 1e-5 unless given.
    momentum: share of the new batch in the running statistics (BN, SyncBN, IN); 0.1 unless given.
    num_groups: of GN, which needs it.
    affine: whether a scale and a shift are learned; by default they are, except for IN.
    requires_grad: False freezes scale and shift.

    Raises ValueError for a setting that the kind does not have, or lacks.
    """

    kind: NormKind
    _: KW_ONLY
    eps: float | None = None
    momentum: float | None = None
    num_groups: int | None = None
    affine: bool | None = None
    requires_grad: bool = True

    def __post_init__(self) -> None:
        if self.kind not in _NAMES:
            raise ValueError(f"unknown norm {self.kind!r}; known are {', '.join(_NAMES)}")
        if (self.kind == "GN") != (self.num_groups is not None):
            raise ValueError(f"num_groups belongs to GN and GN needs it; got {self.kind} with {self.num_groups}")
        if self.momentum is not None and self.kind not in _WITH_MOMENTUM:
            raise ValueError(f"{self.kind} keeps no running statistics, so it has no momentum; got {self.momentum}")

    @property
    def name(self) -> str:
        """The attribute under which a layer keeps this norm, hence part of the state-dict names."""
        return _NAMES[self.kind]

    def __call__(self, channels: int) -> nn.Module:
        """The layer for `channels` channels."""
        layer = self._layer(channels)
        for parameter in layer.parameters():
            parameter.requires_grad_(self.requires_grad)
        return layer

    def _layer(self, channels: int) -> nn.Module:
        eps = 1e-5 if self.eps is None else self.eps
        momentum = 0.1 if self.momentum is None else self.momentum
        affine = self.kind != "IN" if self.affine is None else self.affine
        if self.kind == "GN":
            assert self.num_groups is not None
            return nn.GroupNorm(self.num_groups, channels, eps=eps, affine=affine)
        if self.kind == "LN":
            return nn.LayerNorm(channels, eps=eps, elementwise_affine=affine)
        if self.kind == "LN2d":
            return LayerNorm2d(channels, eps=eps, affine=affine)
        if self.kind == "IN":
            return nn.InstanceNorm2d(channels, eps=eps, momentum=momentum, affine=affine)
        return nn.BatchNorm2d(channels, eps=eps, momentum=momentum, affine=affine)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a feature map: every pixel on its own.

    One of torch's layer norms, so that whoever asks for them (weight decay of norms, precision, fusion) finds it.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(channels, eps=eps, elementwise_affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (N, H, W, C) inside


BN = Norm("BN")
"""Batch norm as nearly every published recipe has it."""
