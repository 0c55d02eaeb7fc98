"""FPN: its pyramid against sums written out, and the levels beyond the backbone's."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import RELU
from intarsia.layers.norm import BN
from intarsia.necks.fpn import FPN

SIZES = ((17, 25), (9, 13), (5, 7), (3, 4))  # each half of the one before, rounded up


def levels() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4 * (i + 1), *size, generator=generator) for i, size in enumerate(SIZES)]


def neck(**more: Any) -> FPN:
    torch.manual_seed(1)
    return FPN(**{"in_channels": (4, 8, 12, 16), "out_channels": 6, "num_outs": 4, **more}).eval()


def nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    rows = torch.tensor([row * x.shape[2] // size[0] for row in range(size[0])])
    columns = torch.tensor([column * x.shape[3] // size[1] for column in range(size[1])])
    return x[:, :, rows][..., columns]


def test_coarse_levels_are_added_to_fine_ones() -> None:
    fpn = neck()
    outs = fpn(levels())
    above = None
    for i in reversed(range(4)):
        lateral = F.conv2d(levels()[i], fpn.lateral_convs[i].conv.weight, fpn.lateral_convs[i].conv.bias)
        above = lateral if above is None else lateral + nearest(above, SIZES[i])
        expected = F.conv2d(above, fpn.fpn_convs[i].conv.weight, fpn.fpn_convs[i].conv.bias, padding=1)
        torch.testing.assert_close(outs[i], expected)


def test_it_says_what_it_makes_of_the_levels_that_it_is_given() -> None:
    given = tuple(FeatureSpec(4 * (i + 1), 4 * 2**i) for i in range(4))
    assert neck(num_outs=5).connect(given) == tuple(FeatureSpec(6, stride) for stride in (4, 8, 16, 32, 64))
    dilated = tuple(FeatureSpec(level.channels, stride) for level, stride in zip(given, (4, 8, 8, 8), strict=True))
    later = neck(num_outs=4, start_level=1, in_strides=(4, 8, 8, 8))
    assert later.connect(dilated) == (*(FeatureSpec(6, 8),) * 3, FeatureSpec(6, 16))
    assert len(later(levels())) == 4
    with pytest.raises(ValueError, match=r"in_strides=\(4, 8, 8, 8\), but .* have strides \(4, 8, 16, 32\)"):
        later.connect(given)


def test_levels_in_between_can_be_read_alone() -> None:
    fpn = neck(start_level=1, end_level=3, num_outs=2)
    assert [conv.conv.in_channels for conv in fpn.lateral_convs] == [8, 12]
    changed = levels()
    changed[0], changed[3] = changed[0] + 1, changed[3] + 1
    for a, b in zip(fpn(levels()), fpn(changed), strict=True):
        assert a.equal(b)


def test_further_levels_without_convolutions_are_every_other_pixel() -> None:
    outs = neck(num_outs=6)(levels())
    for finer, coarser in itertools.pairwise(outs[3:]):
        assert coarser.equal(F.max_pool2d(finer, kernel_size=1, stride=2))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("place", [True, "on_input", "on_lateral", "on_output"])
def test_further_levels_start_where_they_are_told(place: Any, relu: bool) -> None:
    fpn = neck(num_outs=6, add_extra_convs=place, relu_before_extra_convs=relu)
    assert fpn.fpn_convs[4].conv.in_channels == (16 if place in (True, "on_input") else 6)
    lateral = fpn.lateral_convs[3](levels()[3])
    *_, last, fifth, sixth = fpn(levels())
    source = {"on_lateral": lateral, "on_output": last}.get(place, levels()[3])
    torch.testing.assert_close(fifth, fpn.fpn_convs[4](source))
    torch.testing.assert_close(sixth, fpn.fpn_convs[5](F.relu(fifth) if relu else fifth))
    assert fifth.shape[2:] == (2, 2)
    assert sixth.shape[2:] == (1, 1)


def test_norms_and_activations_go_where_they_are_told() -> None:
    names = set(neck(norm=BN, no_norm_on_lateral=True, activation=RELU).state_dict())
    assert {"lateral_convs.0.conv.bias", "fpn_convs.0.bn.weight"} <= names
    assert not {"lateral_convs.0.bn.weight", "fpn_convs.0.conv.bias"} & names
    assert all((out >= 0).all() for out in neck(activation=RELU)(levels()))


def test_bilinear_enlarging() -> None:
    fpn = neck(upsample_mode="bilinear")
    coarsest, coarse = (fpn.lateral_convs[i](levels()[i]) for i in (3, 2))
    expected = fpn.fpn_convs[2](coarse + F.interpolate(coarsest, size=SIZES[2], mode="bilinear"))
    torch.testing.assert_close(fpn(levels())[2], expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_outs": 3}, "reads 4 levels, but num_outs is 3. Set it to 4 or more"),
        ({"num_outs": 4, "end_level": 3}, "reads 3 levels, but num_outs is 4. Set it to 3; further levels need"),
        ({"end_level": 5}, "0 <= start_level < end_level <= 4 must hold; got start_level=0 and end_level=5"),
        ({"start_level": 4}, "got start_level=4 and end_level=4"),
        ({"in_strides": (4, 8)}, r"reads 4 levels \(in_channels\), but in_strides has 2 entries"),
    ],
)
def test_numbers_of_levels_that_contradict_each_other_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        neck(**given)
