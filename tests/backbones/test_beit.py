"""BEiT and MAE beyond what the reference figures cover: attention written out, other sizes of images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from intarsia.backbones.beit import Attention, BEiT
from intarsia.backbones.mae import MAE
from intarsia.layers.position_embedding import relative_position_bias, relative_positions_of_all

SMALL: dict[str, Any] = {"img_size": (32, 48), "embed_dims": 8, "num_layers": 2, "num_heads": 2}


def test_attention_written_out() -> None:
    torch.manual_seed(0)
    layer = Attention(8, 2, grid=(2, 3), bias="query and value", dropout=0.0).double().eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(1, 7, 8).double()
    q, k, v = (F.linear(x[0], weight) for weight in layer.qkv.weight.split(8))
    q, v = q + layer.q_bias, v + layer.v_bias
    places = [(row, column) for row in range(2) for column in range(3)]
    table = layer.relative_position_bias_table
    heads = []
    for head in range(2):
        bias = torch.zeros(7, 7).double()
        for i in range(7):
            for j in range(7):
                if i and j:
                    (y, x_), (y2, x2) = places[i - 1], places[j - 1]
                    row = (y - y2 + 1) * 5 + (x_ - x2 + 2)
                else:
                    row = 17 if not i and not j else 15 if not i else 16
                bias[i, j] = table[row, head]
        part = slice(4 * head, 4 * head + 4)
        heads.append((q[:, part] @ k[:, part].T / 2.0 + bias).softmax(dim=-1) @ v[:, part])
    torch.testing.assert_close(layer(x, 2, 3)[0], layer.proj(torch.cat(heads, dim=-1)))


def test_a_resized_table_keeps_its_middle_and_its_token() -> None:
    torch.manual_seed(0)
    table = torch.randn(3 * 5 + 3, 2)
    index = relative_positions_of_all(2, 3)
    bias = relative_position_bias(table, index, (2, 3), (4, 5))
    assert bias.shape == (2, 21, 21)
    torch.testing.assert_close(bias[:, 1, 1], table[7])  # no way at all
    torch.testing.assert_close(bias[:, 0, 5], table[15])
    torch.testing.assert_close(bias[:, 5, 0], table[16])
    torch.testing.assert_close(bias[:, 0, 0], table[17])


def test_a_linear_table_stays_linear_inside() -> None:
    """How far down a token lies: a patch of a coarser grid is as far as several of the table's; cubics are near it."""
    down = torch.arange(-7.0, 8.0).repeat_interleave(15)[:, None]
    table = torch.cat([down, torch.zeros(3, 1)])
    bias = relative_position_bias(table, relative_positions_of_all(8, 8), (8, 8), (4, 4))
    steps = bias[0, 1:, 1].reshape(4, 4)[:, 0]
    torch.testing.assert_close(steps[:3], torch.tensor([0.0, 15 / 7, 30 / 7]), rtol=0, atol=0.05)


@pytest.mark.parametrize("build", [BEiT, MAE])
def test_the_size_that_positions_are_for_is_not_interpolated(build: Any) -> None:
    torch.manual_seed(0)
    backbone = build(**SMALL).eval()
    images = torch.randn(1, 3, 32, 48)
    (expected,) = backbone(images)
    with torch.no_grad():
        for layer in backbone.layers:
            layer.attn.grid = (-1, -1)  # no such grid: the index must have been used
    with pytest.raises(RuntimeError):
        backbone(images)
    assert expected.shape == (1, 8, 2, 3)


def test_keys_have_no_bias_in_beit_and_one_in_mae() -> None:
    names = {build: {name.rpartition("attn.")[2] for name in build(**SMALL).state_dict() if "attn" in name}
             for build in (BEiT, MAE)}  # fmt: skip
    assert names[BEiT] - names[MAE] == {"q_bias", "v_bias"}
    assert names[MAE] - names[BEiT] == {"qkv.bias"}
    assert "layers.0.attn.q_bias" not in BEiT(**SMALL, qv_bias=False).state_dict()


def test_a_norm_behind_the_last_layer() -> None:
    torch.manual_seed(0)
    backbone = BEiT(**SMALL, final_norm=True, out_indices=(0, 1)).eval()
    first, last = backbone(torch.randn(1, 3, 32, 48))
    torch.testing.assert_close(last.mean(dim=1), torch.zeros(1, 2, 3), atol=1e-5, rtol=0)
    assert first.mean(dim=1).abs().max() > 1e-3


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="8 channels cannot be divided among 3"):
        BEiT(**{**SMALL, "num_heads": 3})
