"""Twins beyond what the reference figures cover: windows written out, padding, sizes of the paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from intarsia.backbones.twins import PCPVT, SVT, PositionEncoding, WindowAttention

PCPVT_S: dict[str, Any] = {"embed_dims": (64, 128, 320, 512), "num_heads": (1, 2, 5, 8), "mlp_ratios": (8, 8, 4, 4),
                           "qkv_bias": True}  # fmt: skip
SVT_B: dict[str, Any] = {"embed_dims": (96, 192, 384, 768), "num_heads": (3, 6, 12, 24), "depths": (2, 2, 18, 2),
                         "qkv_bias": True}  # fmt: skip


@pytest.mark.parametrize(
    ("build", "arguments", "millions"),
    [(PCPVT, PCPVT_S, 24.1), (PCPVT, {**PCPVT_S, "depths": (3, 4, 18, 3)}, 43.8), (SVT, {"qkv_bias": True}, 24.0),
     (SVT, SVT_B, 56.0)],
    ids=["PCPVT-S", "PCPVT-B", "SVT-S", "SVT-B"],
)  # fmt: skip
def test_parameter_counts_of_the_paper(build: Any, arguments: dict[str, Any], millions: float) -> None:
    """Table 2, with the classifier of 1000 classes, which we do not have, and the norms of levels, which it has not."""
    with torch.device("meta"):
        model = build(**arguments)
    total = sum(parameter.numel() for parameter in model.parameters()) + 1001 * model.features[-1].channels
    assert total / 1e6 == pytest.approx(millions, abs=0.15)


def attended(layer: WindowAttention, window: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """A window (S, C) attending to those of its tokens that `seen` (S,) says, head by head."""
    heads = []
    q, k, v = layer.qkv(window).split(window.shape[-1], dim=-1)
    for head in range(layer.num_heads):
        width = window.shape[-1] // layer.num_heads
        part = slice(width * head, width * (head + 1))
        scores = (q[:, part] @ k[:, part].T / width**0.5).masked_fill(~seen, float("-inf"))
        heads.append(scores.softmax(dim=-1) @ v[:, part])
    out: torch.Tensor = layer.proj(torch.cat(heads, dim=-1))
    return out


@pytest.mark.parametrize(("size", "masked"), [((6, 9), False), ((5, 8), True), ((6, 8), False), ((5, 9), False)])
def test_windows_written_out(size: tuple[int, int], masked: bool) -> None:
    """Padding is seen where only one side has some: the original's, which published weights were trained with."""
    torch.manual_seed(0)
    layer = WindowAttention(8, 2, window_size=3, qkv_bias=True, attn_dropout=0.0, dropout=0.0).double().eval()
    height, width = size
    x = torch.randn(height, width, 8).double()
    padded = F.pad(x, (0, 0, 0, 9 - width, 0, 6 - height))
    inside = F.pad(torch.ones(height, width), (0, 9 - width, 0, 6 - height)).bool()
    expected = torch.zeros_like(padded)
    for top in range(0, 6, 3):
        for left in range(0, 9, 3):
            place = (slice(top, top + 3), slice(left, left + 3))
            seen = inside[place].flatten() | (not masked)
            expected[place] = attended(layer, padded[place].reshape(9, 8), seen).reshape(3, 3, 8)
    found = layer(x.flatten(0, 1)[None], height, width)
    torch.testing.assert_close(found, expected[:height, :width].reshape(1, -1, 8))


def test_positions_are_a_convolution_beside_a_shortcut() -> None:
    layer = PositionEncoding(4)
    x = torch.randn(2, 15, 4)
    grid = x.transpose(1, 2).reshape(2, 4, 3, 5)
    expected = grid + F.conv2d(grid, layer.proj.weight, layer.proj.bias, padding=1, groups=4)
    torch.testing.assert_close(layer(x, 3, 5), expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize(("build", "argument"), [(PCPVT, "sr_ratios"), (SVT, "window_sizes"), (SVT, "embed_dims")])
def test_sequences_need_one_entry_per_stage(build: Any, argument: str) -> None:
    with pytest.raises(ValueError, match="need one entry for each of the stages"):
        build(**{argument: (2, 2)})


def test_the_smallest_image() -> None:
    backbone = PCPVT(embed_dims=(8, 8, 8, 8), num_heads=(1, 1, 1, 1), depths=(1, 1, 1, 1)).eval()
    assert backbone.least_size == 29
    backbone(torch.randn(1, 3, 29, 29))
    with pytest.raises(RuntimeError):
        backbone(torch.randn(1, 3, 28, 28))
