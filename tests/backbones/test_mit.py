"""MiT beyond what the reference figures cover: sizes of the paper, attention written out, stochastic depth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intarsia.backbones.mit import Block, MixVisionTransformer
from intarsia.layers.norm import Norm
from intarsia.layers.spatial_reduction_attention import SpatialReductionAttention

LAYERS = {
    "B0": (2, 2, 2, 2),
    "B1": (2, 2, 2, 2),
    "B2": (3, 4, 6, 3),
    "B3": (3, 4, 18, 3),
    "B4": (3, 8, 27, 3),
    "B5": (3, 6, 40, 3),
}
MILLIONS = {"B0": 3.4, "B1": 13.1, "B2": 24.2, "B3": 44.0, "B4": 60.8, "B5": 81.4}


@pytest.mark.parametrize("size", LAYERS)
def test_parameter_counts_of_the_paper(size: str) -> None:
    """The encoders' sizes, in millions as the paper prints them."""
    with torch.device("meta"):
        model = MixVisionTransformer(
            embed_dims=32 if size == "B0" else 64, num_layers=LAYERS[size], num_heads=(1, 2, 5, 8)
        )
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total / 1e6 == pytest.approx(MILLIONS[size], abs=0.1)


def test_spatial_reduction_attention_written_out() -> None:
    torch.manual_seed(0)
    norm = Norm("LN", eps=1e-6)
    layer = SpatialReductionAttention(8, 2, sr_ratio=2, bias=True, attn_dropout=0, dropout=0, norm=norm).double().eval()
    x = torch.randn(3, 24, 8).double()
    reduced = F.conv2d(x.transpose(1, 2).reshape(3, 8, 4, 6), layer.sr.weight, layer.sr.bias, stride=2)
    memory = layer.norm(reduced.flatten(2).transpose(1, 2))
    weight, bias = layer.attn.in_proj_weight, layer.attn.in_proj_bias
    q, k, v = (F.linear(t, weight[i : i + 8], bias[i : i + 8]) for t, i in ((x, 0), (memory, 8), (memory, 16)))
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = (q[..., part] @ k[..., part].transpose(1, 2) / 2.0).softmax(dim=-1)  # sqrt of 4 channels per head
        heads.append(scores @ v[..., part])
    torch.testing.assert_close(layer(x, 4, 6), layer.attn.out_proj(torch.cat(heads, dim=-1)))


def test_stochastic_depth_grows_linearly() -> None:
    model = MixVisionTransformer(embed_dims=8, num_layers=(1, 2, 1, 1), num_heads=(1, 1, 1, 1), drop_path_rate=0.4)
    rates = [module.drop_path.rate for module in model.modules() if isinstance(module, Block)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_sequences_need_one_entry_per_stage() -> None:
    with pytest.raises(ValueError, match="one entry for each of num_stages=4"):
        MixVisionTransformer(num_heads=(1, 2, 5))
