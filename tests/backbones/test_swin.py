"""Swin beyond what the reference figures cover: sizes of the paper, attention token by token, merging, freezing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from intarsia.backbones.swin import PatchMerging, ShiftedWindows, SwinTransformer, WindowAttention
from intarsia.layers.norm import Norm

SIZES = {
    "T": (96, (2, 2, 6, 2), (3, 6, 12, 24), 28.3),
    "S": (96, (2, 2, 18, 2), (3, 6, 12, 24), 49.6),
    "B": (128, (2, 2, 18, 2), (4, 8, 16, 32), 87.8),
    "L": (192, (2, 2, 18, 2), (6, 12, 24, 48), 196.5),
}
CLASSIFIER = 1000
"""Classes of the paper's networks, whose counts (table 1) include the last layer."""


@pytest.mark.parametrize("size", SIZES)
def test_parameter_counts_of_the_paper(size: str) -> None:
    embed_dims, depths, num_heads, millions = SIZES[size]
    with torch.device("meta"):
        model = SwinTransformer(embed_dims=embed_dims, depths=depths, num_heads=num_heads, out_indices=(3,))
    total = sum(parameter.numel() for parameter in model.parameters()) + CLASSIFIER * (model.features[0].channels + 1)
    assert total / 1e6 == pytest.approx(millions, rel=0.003)


def small(**more: object) -> SwinTransformer:
    torch.manual_seed(0)
    arguments: dict[str, object] = {"embed_dims": 8, "depths": (2, 2), "num_heads": (1, 2), "strides": (4, 2),
                                    "out_indices": (0, 1), "window_size": 4, "drop_path_rate": 0.0}  # fmt: skip
    return SwinTransformer(**(arguments | more)).eval()  # type: ignore[arg-type]


def slow_shifted_attention(layer: ShiftedWindows, x: Tensor) -> Tensor:
    """Every token of a map asks, one after the other, the tokens that share its window and its region."""
    attention, side, shift = layer.w_msa, layer.window_size, layer.shift
    height, width = x.shape[1:3]
    q, k, v = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).unbind(-3)  # (1, h, w, M, D) each
    out = torch.zeros_like(x)

    def window(y: int, length: int) -> tuple[int, int]:
        """The window of a row or column in the rolled map, and whether the roll brought it from the other end."""
        return (y - shift) % length // side, int(y < shift)

    for y in range(height):
        for z in range(width):
            seen = [
                (a, b)
                for a in range(height)
                for b in range(width)
                if (window(a, height), window(b, width)) == (window(y, height), window(z, width))
            ]
            rolled = {place: ((place[0] - shift) % height, (place[1] - shift) % width) for place in [*seen, (y, z)]}
            for head in range(attention.num_heads):
                scores = []
                for a, b in seen:
                    down = rolled[y, z][0] - rolled[a, b][0] + side - 1
                    right = rolled[y, z][1] - rolled[a, b][1] + side - 1
                    bias = attention.relative_position_bias_table[down * (2 * side - 1) + right, head]
                    scale = q.shape[-1] ** -0.5
                    scores.append(scale * (q[0, y, z, head] @ k[0, a, b, head]) + bias)
                weights = torch.stack(scores).softmax(dim=0)
                values = torch.stack([v[0, a, b, head] for a, b in seen])
                start = head * q.shape[-1]
                out[0, y, z, start : start + q.shape[-1]] = weights @ values
    return attention.proj(out)


@pytest.mark.parametrize("shift", [0, 1])
def test_windows_token_by_token(shift: int) -> None:
    torch.manual_seed(0)
    attention = WindowAttention(4, 2, window_size=3, qkv_bias=True, qk_scale=None, dropout=0.0)
    with torch.no_grad():
        attention.relative_position_bias_table.normal_()
        attention.qkv.weight.normal_()
        layer = ShiftedWindows(attention, window_size=3, shift=shift).double().eval()
        x = torch.randn(1, 6, 9, 4, dtype=torch.float64)
        torch.testing.assert_close(layer(x), slow_shifted_attention(layer, x))


def test_merging_takes_neighbours_channel_by_channel() -> None:
    merging = PatchMerging(2, norm=Norm("LN"))
    merging.norm = torch.nn.Identity()
    merging.reduction = torch.nn.Identity()
    x = torch.arange(1 * 3 * 2 * 2).view(1, 3, 2, 2).float()  # [row, column, channel]: 4 * row + 2 * column + channel
    merged = merging(x)
    assert merged.shape == (1, 2, 1, 8)
    assert merged[0, 0, 0].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert merged[0, 1, 0].tolist() == [8, 10, 0, 0, 9, 11, 0, 0]


def test_frozen_stages_stay_as_they_are() -> None:
    model = small(frozen_stages=1, drop_rate=0.5).train()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.partition(".")[0] for name in frozen} == {"patch_embed", "stages", "norm0"}
    assert all(name.startswith("stages.0.") for name in frozen if name.startswith("stages"))
    assert not model.stages[0].training
    assert not model.drop_after_pos.training
    assert model.stages[1].training


def test_absolute_positions_follow_the_size_of_the_image() -> None:
    model = small(use_abs_pos_embed=True, pretrain_img_size=32)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = model.patch_embed(images) + model.absolute_pos_embed.view(1, 8, 8, 8)
        plain = small()
        plain.load_state_dict({k: v for k, v in model.state_dict().items() if k != "absolute_pos_embed"})
        plain.patch_embed = torch.nn.Identity()
        for found, expected in zip(model(images), plain(before), strict=True):
            torch.testing.assert_close(found, expected)
        assert [tuple(level.shape) for level in model(torch.randn(1, 3, 45, 64))] == [(1, 8, 12, 16), (1, 16, 6, 8)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": (1,)}, "one entry for each stage"),
        ({"strides": (4, 4)}, "strides of SwinTransformer are its patch_size=4 and then 2"),
        ({"num_heads": (3, 2)}, "8 channels of stage 0 cannot be divided among 3"),
        ({"frozen_stages": 3}, "between -1"),
    ],
)
def test_contradictions_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**arguments)
