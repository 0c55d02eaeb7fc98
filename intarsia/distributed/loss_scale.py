"""Factors that keep 16-bit gradients away from zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

LossScale = float | Literal["dynamic"] | Mapping[str, Any] | None


class FixedScaler(torch.amp.GradScaler):
    """Scales losses by one factor for the whole run; steps whose gradients overflow are left out all the same."""

    def __init__(self, device: str, scale: float) -> None:
        super().__init__(device, init_scale=scale)
        self._fixed = scale

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Forget the overflow of this step, and keep the factor."""
        super().update(self._fixed if new_scale is None else new_scale)


def scaler_for(loss_scale: LossScale, device: str) -> torch.amp.GradScaler:
    """The loss scaler that a config asks for. Raises ValueError for arguments that it does not take."""
    if isinstance(loss_scale, Mapping):
        try:
            return torch.amp.GradScaler(device, **loss_scale)
        except (TypeError, AssertionError) as error:
            raise ValueError(f"loss_scale {dict(loss_scale)}: {error}") from error
    if isinstance(loss_scale, (int, float)):
        return FixedScaler(device, float(loss_scale))
    return torch.amp.GradScaler(device)
