"""The pyramid out of levels of one size: what each factor does, and what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intarsia.contracts import FeatureSpec
from intarsia.necks.feature2pyramid import Feature2Pyramid

PLAIN = (FeatureSpec(8, 16),) * 4


@pytest.mark.parametrize("rescales", [(4, 2, 1, 0.5), (2, 1, 0.5, 0.25), (0.5, 1, 2, 4)])
def test_levels_in_the_order_of_their_factors(rescales: tuple[float, ...]) -> None:
    neck = Feature2Pyramid(embed_dim=8, rescales=rescales).eval()
    levels = [torch.randn(2, 8, 4, 8) for _ in rescales]
    outputs = neck(levels)
    assert [tuple(x.shape) for x in outputs] == [(2, 8, int(4 * scale), int(8 * scale)) for scale in rescales]
    assert neck.connect(PLAIN) == tuple(FeatureSpec(8, int(16 / scale)) for scale in rescales)
    by_scale = dict(zip(rescales, zip(levels, outputs, strict=True), strict=True))
    assert by_scale[1][1].equal(by_scale[1][0])
    assert by_scale[0.5][1].equal(F.max_pool2d(by_scale[0.5][0], 2))
    if 0.25 in by_scale:
        assert by_scale[0.25][1].equal(F.max_pool2d(by_scale[0.25][0], 4))


@pytest.mark.parametrize("rescales", [(), (4, 4), (3, 1)])
def test_factors_that_are_refused(rescales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be different ones of 4, 2, 1, 0\.5, 0\.25"):
        Feature2Pyramid(embed_dim=8, rescales=rescales)


def test_strides_are_whole_numbers() -> None:
    with pytest.raises(ValueError, match="which must be whole numbers"):
        Feature2Pyramid(embed_dim=8).connect((FeatureSpec(8, 2),) * 4)
