"""SegNeXt beyond what the reference figures cover."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from intarsia.contracts import FeatureSpec
from intarsia.methods.segnext import MSCAN, LightHamHead, MultiScaleAttention

TINY = {"embed_dims": (32, 64, 160, 256), "mlp_ratios": (8, 8, 4, 4), "depths": (3, 3, 5, 2)}
SMALL = {"embed_dims": (64, 128, 320, 512), "mlp_ratios": (8, 8, 4, 4), "depths": (2, 2, 4, 2)}


@pytest.mark.parametrize(("arguments", "millions"), [(TINY, 4.2), (SMALL, 13.9)])
def test_parameter_counts_of_the_paper(arguments: dict[str, Any], millions: float) -> None:
    """Table 2, which counts a head of some tenths of a million along."""
    with torch.device("meta"):
        total = sum(parameter.numel() for parameter in MSCAN(**arguments).parameters())
    assert total / 1e6 == pytest.approx(millions, rel=0.1)
    assert total / 1e6 < millions


def test_strips_see_as_far_as_they_are_long() -> None:
    torch.manual_seed(0)
    attention = MultiScaleAttention(2, kernel_sizes=(5, (1, 7)), paddings=(2, (0, 3)))
    assert attention.conv0_1.kernel_size == (1, 7)
    assert attention.conv0_2.kernel_size == (7, 1)
    assert attention.conv0_2.padding == (3, 0)
    plain = torch.ones(1, 2, 31, 31)
    dotted = plain.clone()
    dotted[..., 15, 15] = 2.0
    changed = (attention(dotted) - attention(plain)).abs().amax((0, 1, 3)).nonzero().flatten()
    assert (changed[0].item(), changed[-1].item()) == (15 - 5, 15 + 5)  # two of the square, three of the strip


def test_fewer_stages() -> None:
    network = MSCAN(num_stages=2, embed_dims=(8, 12), mlp_ratios=(2, 2), depths=(1, 1)).eval()
    assert network.features == (FeatureSpec(8, 4), FeatureSpec(12, 8))
    assert [tuple(level.shape) for level in network(torch.randn(1, 3, 33, 50))] == [(1, 8, 9, 13), (1, 12, 5, 7)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": (1, 1)}, "one entry for each of num_stages=4"),
        ({"attention_kernel_paddings": (2,)}, "must have equal length"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MSCAN(**arguments)


def test_the_head_predicts_the_same_twice() -> None:
    torch.manual_seed(0)
    head = LightHamHead(in_channels=(4, 8), in_index=(0, 1), channels=8, num_classes=3, ham_channels=8, num_bases=4)
    levels = [torch.randn(1, 4, 12, 10), torch.randn(1, 8, 6, 5)]
    expected = head.eval()(levels)
    head.train()(levels)
    assert head.eval()(levels).equal(expected)
    assert expected.shape == (1, 3, 12, 10)
