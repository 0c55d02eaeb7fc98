"""What tools for deployment do to each backbone, neck, head and network: torch.fx traces it, norms are fused away."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.fx
from cases import Case
from promises import ODD, SIZE, assert_same
from test_models import CASES
from torch import nn
from torch.fx.experimental.optimization import fuse

from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import BN

UNFUSED = {
    "BiSeNetV2": 1,
    "CGNet": 7,
    "DDRHead": 1,
    "DDRNet": 11,
    "DMHead": 4,
    "ERFNet": 5,
    "EncHead": 1,
    "Feature2Pyramid": 1,
    "GCNet": 22,
    "GCNetHead": 1,
    "LinearHead": 1,
    "LinknetHead": 5,
    "MSCAN": 10,
    "PIDHead": 1,
    "PIDNet": 8,
    "RegSeg": 2,
    "SCTHead": 1,
    "SCTNet": 17,
    "SegformerHead": 1,
    "VWCityHead": 1,
    "VWHead": 1,
    "DepthEstimator": 3,
    "VPDDepthHead": 3,
}
"""Batch norms that stay: behind a pooling, behind a convolution that is applied level by level or whose filters the
image makes (DMHead), behind a concatenation or a transposed convolution (CGNet, ERFNet, Feature2Pyramid, RegSeg),
behind an encoding (EncHead), before a convolution (DDRNet, GCNet, LinearHead, MSCAN, PIDNet, SCTHead, SCTNet), beside
one (GCNet), behind a transposed convolution (VPDDepthHead, LinknetHead).
"""


TRACED = [case for case in CASES if case.name not in ("HFBackbone", "ViTAdapter")]
"""Transformers' networks look at their own arguments in ways that torch.fx cannot follow, and so does timm with
positions; torch.export takes them."""


class OfLevels(nn.Module):
    """A neck or head as torch.fx takes it: tensors, not lists of them."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, a: Any, b: Any, c: Any, d: Any) -> Any:
        return self.part([a, b, c, d])


class OfThreeLevels(OfLevels):
    def forward(self, a: Any, b: Any, c: Any) -> Any:  # type: ignore[override]
        return self.part([a, b, c])


class OfTwoLevels(OfLevels):
    def forward(self, a: Any, b: Any) -> Any:  # type: ignore[override]
        return self.part([a, b])


class OfOneLevel(OfLevels):
    def forward(self, a: Any) -> Any:  # type: ignore[override]
        return self.part([a])


class OfNames(OfLevels):
    def forward(self, images: Any, a: Any, b: Any, c: Any, d: Any, classes: Any) -> Any:  # type: ignore[override]
        return self.part(images, [a, b, c, d], classes)


class OfLevelsAndLogits(OfLevels):
    def forward(self, a: Any, b: Any, c: Any, d: Any, logits: Any) -> Any:  # type: ignore[override]
        return self.part([a, b, c, d], logits)


def traceable(case: Case, size: tuple[int, int]) -> tuple[nn.Module, tuple[Any, ...]]:
    module, inputs = case.build().eval(), case.inputs(size)
    if not case.reads_levels:
        return module, inputs
    if case.naming:
        images, levels, classes = inputs
        return OfNames(module), (images, *levels, classes)
    of_levels = {1: OfOneLevel, 2: OfTwoLevels, 3: OfThreeLevels, 4: OfLevels}[len(case.levels)]
    wrapper = OfLevelsAndLogits if case.refining else of_levels
    return wrapper(module), (*inputs[0], *inputs[1:])


@pytest.mark.parametrize("case", TRACED, ids=lambda case: case.name)
def test_torch_fx_traces_it_for_any_size(case: Case) -> None:
    module, inputs = traceable(case, ODD)
    traced = torch.fx.symbolic_trace(module)
    with torch.no_grad():
        assert_same(traced(*inputs), module(*inputs))
        _, others = traceable(case, SIZE)
        assert_same(traced(*others), module(*others))


@pytest.mark.parametrize("case", TRACED, ids=lambda case: case.name)
def test_batch_norms_are_fused_into_convolutions(case: Case) -> None:
    module, inputs = traceable(case, ODD)
    fused = fuse(module)
    assert sum(isinstance(part, nn.BatchNorm2d) for part in fused.modules()) == UNFUSED.get(case.name, 0)
    with torch.no_grad():
        assert_same(fused(*inputs), module(*inputs))


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated:DeprecationWarning")
def test_modules_are_fused_by_name() -> None:
    layer = ConvNormAct(3, 4, 3, norm=BN).eval()
    fused = torch.ao.quantization.fuse_modules(layer, ["conv", "bn", "activate"])
    assert isinstance(fused.bn, nn.Identity)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(fused(images), layer(images))
