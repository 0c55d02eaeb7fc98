"""FPN, PSPNet, DeepLabV3 and DPT in the form of segmentation_models.pytorch. That their logits are those of that
library: `tests/weights/test_maps_smp_decoders.py`, where it is installed.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia.contracts import TokenLevel
from intarsia.layers.norm import BN
from intarsia.methods.segformer import SegformerHead
from intarsia.methods.smp_deeplab import SmpASPPHead
from intarsia.methods.smp_dpt import SmpDPTHead
from intarsia.methods.smp_fpn import SmpFPNHead
from intarsia.methods.smp_pspnet import SmpPSPHead
from intarsia.methods.upernet import UPerHead

LEVELS = ((8, 4), (8, 8), (16, 16), (24, 32))
"""(channels, stride)."""
CHANNELS = [channels for channels, _ in LEVELS]
FPN = {"in_channels": CHANNELS, "num_classes": 3, "pyramid_channels": 8, "channels": 32}
DPT = {"in_channels": [8] * 4, "num_classes": 3, "channels": 8, "post_process_channels": (4, 4, 8, 8)}


def maps(height: int, width: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, -(-height // stride), -(-width // stride), generator=draw) for c, stride in LEVELS]


def patches(height: int, width: int) -> list[TokenLevel]:
    draw = torch.Generator().manual_seed(0)
    return [
        TokenLevel(torch.randn(2, 8, height, width, generator=draw), torch.randn(2, 8, generator=draw))
        for _ in range(4)
    ]


@pytest.mark.parametrize("merge", ["add", "cat"])
def test_fpn_ends_at_its_finest_level(merge: Any) -> None:
    head = SmpFPNHead(**FPN, merge=merge).eval()
    assert head(maps(64, 96)).shape == (2, 3, 16, 24)
    assert head(maps(65, 97)).shape == (2, 3, 17, 25)


def test_panels_of_fpn_are_summed_or_laid_side_by_side() -> None:
    torch.manual_seed(0)
    side_by_side, summed = SmpFPNHead(**FPN, merge="cat").eval(), SmpFPNHead(**FPN).eval()
    state = side_by_side.state_dict()
    weight = state["conv_seg.weight"].unflatten(1, (4, -1))[:, :1].expand(-1, 4, -1, -1, -1)  # alike for all panels
    side_by_side.conv_seg.weight.data = weight.flatten(1, 2).contiguous()
    summed.load_state_dict({**state, "conv_seg.weight": weight[:, 0]})
    torch.testing.assert_close(summed(maps(64, 96)), side_by_side(maps(64, 96)), rtol=1e-4, atol=1e-5)


def test_pspnet_trains_its_grid_of_one_cell_on_one_image() -> None:
    """It has no norm, which would have one value to average."""
    head = SmpPSPHead(in_channels=24, num_classes=3, channels=8).train()
    assert head([*maps(64, 96)[:3], maps(64, 96)[3][:1]]).shape == (1, 3, 2, 3)
    assert [hasattr(branch[1], "bn") for branch in head.psp_modules.children()] == [False, True, True, True]


def test_aspp_with_and_without_a_fine_level() -> None:
    both = SmpASPPHead(in_channels=(8, 24), in_index=(0, 3), num_classes=3, channels=8, dilations=(1, 2, 3)).eval()
    one = SmpASPPHead(in_channels=(24,), in_index=(3,), num_classes=3, channels=8, separable=False).eval()
    assert both(maps(65, 97)).shape == (2, 3, 17, 25)
    assert one(maps(65, 97)).shape == (2, 3, 3, 4)
    assert [name for name, _ in one.named_parameters() if name.startswith(("c1_", "fusion"))] == []


@pytest.mark.parametrize("grid", [(4, 6), (5, 7)])
@pytest.mark.parametrize("readout", ["ignore", "add", "project", "project_patches"])
def test_dpt_over_grids_of_any_size(readout: Any, grid: tuple[int, int]) -> None:
    head = SmpDPTHead(**DPT, readout_type=readout).eval()
    assert head.in_tokens == (readout in ("add", "project"))
    levels: Any = patches(*grid)
    if not head.in_tokens:
        levels = [level.map for level in levels]
    assert head(levels).shape == (2, 3, 8 * grid[0], 8 * grid[1])


@pytest.mark.parametrize("stride", [8, 32])
def test_dpt_over_patches_of_other_sides(stride: int) -> None:
    head = SmpDPTHead(**DPT, feature_strides=[stride] * 4, readout_type="ignore").eval()
    levels = [level.map for level in patches(64 // stride, 64 // stride)]
    assert head(levels).shape == (2, 3, 32, 32)


def test_upernet_has_norms_of_its_levels() -> None:
    head = UPerHead(in_channels=CHANNELS, channels=8, num_classes=3, norm=BN, level_norms=True).eval()
    levels = maps(64, 96)
    torch.testing.assert_close(head(levels), head([3 * level + 1 for level in levels]), rtol=1e-3, atol=1e-4)


def test_segformer_is_fused_at_the_size_that_is_asked_for() -> None:
    head = SegformerHead(in_channels=CHANNELS, channels=8, num_classes=3, norm=BN, fusion_level=1).eval()
    assert head(maps(64, 96)).shape == (2, 3, 8, 12)
    assert (head.align_corners, head.levels_align_corners) == (False, False)


@pytest.mark.parametrize(
    ("head", "arguments", "message"),
    [
        (SmpFPNHead, {**FPN, "merge": "max"}, "merges its panels by 'add' or 'cat'; got merge='max'"),
        (SmpFPNHead, {**FPN, "interpolation": "linear"}, "SmpFPNHead enlarges by one of nearest"),
        (SmpPSPHead, {"in_channels": 6, "num_classes": 3}, "divides the channels of its level among 4 grids; got"),
        (
            SmpASPPHead,
            {"in_channels": (8, 8, 8), "in_index": (0, 1, 2), "num_classes": 3},
            "reads one level, or a fine",
        ),
        (SmpASPPHead, {"in_channels": (8,), "in_index": (0,), "num_classes": 3, "dilations": (1,)}, "with 3 dilations"),
        (SmpDPTHead, {**DPT, "readout_type": "cat"}, "has the readouts ignore, add, project, project_patches; got"),
        (SmpDPTHead, {**DPT, "feature_strides": [14] * 4}, "needs a stride, a power of two, and channels for each of"),
        (
            SegformerHead,
            {"in_channels": CHANNELS, "channels": 8, "num_classes": 3, "fusion_level": 4},
            "reads 4 levels",
        ),
    ],
)
def test_settings_that_cannot_be(head: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(**arguments)
