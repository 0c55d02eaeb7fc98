"""The layer of plain transformers against torch's own, and its mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intarsia.layers.drop_path import DropPath
from intarsia.layers.norm import Norm
from intarsia.layers.transformer import EncoderLayer, ListedEncoderLayer

LN = Norm("LN", eps=1e-6)


def layer() -> EncoderLayer:
    torch.manual_seed(0)
    made = EncoderLayer(12, 3, hidden=20, norm=LN)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def torchs(ours: EncoderLayer) -> nn.TransformerEncoderLayer:
    theirs = nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    names = {"ln1": "norm1", "ln2": "norm2", "attn.attn": "self_attn", "ffn.layers.0.0": "linear1",
             "ffn.layers.1": "linear2"}  # fmt: skip
    state = {f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value
             for name, value in ours.state_dict().items() if "out_proj" not in name}  # fmt: skip
    theirs.load_state_dict({
        **state,
        "self_attn.out_proj.weight": ours.attn.attn.out_proj.weight,
        "self_attn.out_proj.bias": ours.attn.attn.out_proj.bias,
    })  # fmt: skip
    return theirs


def test_it_is_a_pre_norm_layer() -> None:
    ours, x = layer(), torch.randn(2, 7, 12)
    torch.testing.assert_close(ours(x), torchs(ours)(x))


def test_what_the_mask_forbids_is_not_seen() -> None:
    ours, x = layer(), torch.randn(2, 7, 12)
    mask = torch.full((7, 7), -torch.inf).triu(1)
    found = ours(x, mask)
    torch.testing.assert_close(found, torchs(ours)(x, src_mask=mask))
    torch.testing.assert_close(found[:, :4], ours(x[:, :4], mask[:4, :4]))
    assert not torch.allclose(found, ours(x))


def test_a_mask_of_each_head_and_image() -> None:
    ours, x = layer(), torch.randn(2, 7, 12)
    mask = torch.randn(2, 3, 7, 7)
    for i in range(2):
        torch.testing.assert_close(ours(x, mask)[i : i + 1], ours(x[i : i + 1], mask[i : i + 1]))
    assert not torch.allclose(ours(x, mask), ours(x, mask.mean(1, keepdim=True)))


def test_projections_without_biases() -> None:
    names = [name for name, _ in EncoderLayer(12, 3, hidden=20, norm=LN, qkv_bias=False).attn.named_parameters()]
    assert names == ["attn.in_proj_weight", "attn.out_proj.weight"]


def test_branches_are_dropped_where_it_says() -> None:
    x = torch.randn(3, 7, 12)

    def run(*names: str) -> Tensor:
        """The layer in training, with these of its layers dropping everything."""
        made = layer().train()
        for name in names:
            dropping = made.get_submodule(name)
            setattr(dropping, "rate" if isinstance(dropping, DropPath) else "p", 1 - 1e-9)
        out: Tensor = made(x)
        return out

    made = layer()
    attended = made.attn(made.ln1(x))
    assert run("drop_path").equal(x)
    torch.testing.assert_close(run("attn.dropout"), x + made.ffn(made.ln2(x)))
    torch.testing.assert_close(run("ffn.layers.2"), x + attended)
    torch.testing.assert_close(run("ffn.layers.0.2"), x + attended + made.ffn.layers[1].bias)


def test_rates_are_those_of_the_arguments() -> None:
    made = EncoderLayer(12, 3, hidden=20, norm=LN, drop_rate=0.1, attn_drop_rate=0.2, drop_path_rate=0.3)
    assert [module.p for module in made.modules() if isinstance(module, nn.Dropout)] == [0.1, 0.1, 0.1]
    assert made.attn.attn.dropout == 0.2
    assert made.drop_path.rate == 0.3


def test_the_layer_with_lists_computes_the_same() -> None:
    ours = layer()
    listed = ListedEncoderLayer(12, 3, hidden=20, norm=LN)
    names = {"ln1": "norms.0", "attn": "attentions.0", "ln2": "norms.1", "ffn": "ffns.0"}
    old = ours.state_dict()
    listed.load_state_dict({
        f"{names[name.partition('.')[0]]}.{name.partition('.')[2]}": value for name, value in old.items()
    })  # fmt: skip
    x, mask = torch.randn(2, 5, 12), torch.randn(2, 3, 5, 5)
    assert listed(x).equal(ours(x))
    assert listed(x, mask).equal(ours(x, mask))
    assert (
        "attentions.0.attn.in_proj_bias"
        not in ListedEncoderLayer(12, 3, hidden=20, qkv_bias=False, norm=LN).state_dict()
    )
