"""Names of the past: present weights renamed to what they once were come back and give the same logits."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from intarsia.config.build import build
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.weights.file import apply_state, load_state
from intarsia.weights.legacy_names import with_present_names

State = dict[str, Tensor]

SWIN = {
    "type": "EncoderDecoder",
    "backbone": {
        "type": "SwinTransformer", "embed_dims": 8, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 2, 4], "window_size": 3,
    },
    "decode_head": {
        "type": "UPerHead", "in_channels": [8, 16, 32, 64], "in_index": [0, 1, 2, 3], "channels": 8, "num_classes": 3,
        "norm_cfg": {"type": "BN"}, "loss_decode": {"type": "CrossEntropyLoss"},
    },
    "test_cfg": {"mode": "whole"},
}  # fmt: skip
SEGFORMER = {
    "type": "EncoderDecoder",
    "backbone": {
        "type": "MixVisionTransformer", "embed_dims": 8, "num_layers": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4],
    },
    "decode_head": {
        "type": "SegformerHead", "in_channels": [8, 16, 16, 32], "in_index": [0, 1, 2, 3], "channels": 8,
        "num_classes": 3, "norm_cfg": {"type": "BN"}, "linear_projection": True,
        "loss_decode": {"type": "CrossEntropyLoss"},
    },
    "test_cfg": {"mode": "whole"},
}  # fmt: skip


def model(config: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = build(lower(Config.from_values({"model": config}, file="test")).model)
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.2)
    return built.eval()


def published(shared: Path, name: str) -> nn.Module:
    with gzip.open(shared / "facts" / "mmseg_configs.json.gz") as file:
        config = json.load(file)[name]["model"]
    return model(config)


def check(built: nn.Module, old: State, *, said: str) -> None:
    """The old state under its present names is the built model's."""
    present, notes = with_present_names(old)
    assert any(said in note for note in notes)
    other = model_like(built)
    apply_state(other, present)
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = built(images), other(images)
    assert torch.equal(found, expected)
    assert expected.std() > 0


def model_like(built: nn.Module) -> nn.Module:
    """A copy whose numbers are all different."""
    other = copy.deepcopy(built)
    for value in other.state_dict().values():
        if value.is_floating_point():
            value.add_(1.0)
    return other


# --- The authors' forks -------------------------------------------------------------------------------------------


def old_swin(name: str, value: Tensor) -> tuple[str, Tensor]:
    for present, past in (
        ("backbone.stages", "backbone.layers"), (".attn.w_msa.", ".attn."), (".ffn.layers.0.0.", ".mlp.fc1."),
        (".ffn.layers.1.", ".mlp.fc2."), ("patch_embed.projection.", "patch_embed.proj."),
    ):  # fmt: skip
        name = name.replace(present, past)
    if ".downsample." in name:
        value = neighbour_by_neighbour(value)
    return name, value


def neighbour_by_neighbour(value: Tensor) -> Tensor:
    """The last axis goes by channel, row, column now; in the paper's code by neighbour, each with all channels."""
    channels = value.shape[-1] // 4
    parts = []
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
        parts += [value[..., 4 * c + 2 * row + column] for c in range(channels)]
    return torch.stack(parts, dim=-1)


def test_swin_of_its_authors() -> None:
    built = model(SWIN)
    old = dict(old_swin(name, value) for name, value in built.state_dict().items())
    old["backbone.layers.0.blocks.1.attn_mask"] = torch.zeros(4, 9, 9)
    assert "backbone.layers.0.downsample.reduction.weight" in old
    check(built, old, said="Swin Transformer's own segmentation code")


def old_segformer(state: State, prefix: str = "backbone.") -> State:
    """Queries apart from keys and values, linear layers as matrices, the levels fused from the coarsest on."""
    old: State = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        words = rest.removeprefix("layers.").split(".")
        if part == "backbone":
            stage, kind = int(words[0]) + 1, words[1]
            if kind == "0":
                old[f"{prefix}patch_embed{stage}.{'proj' if words[2] == 'projection' else 'norm'}.{words[3]}"] = value
            elif kind == "2":
                old[f"{prefix}norm{stage}.{words[2]}"] = value
            else:
                old |= old_block(f"{prefix}block{stage}.{words[2]}.", ".".join(words[3:]), value)
        elif words[0] == "convs":
            old[f"decode_head.linear_c{int(words[1]) + 1}.proj.{words[3]}"] = (
                value.flatten(1) if value.ndim == 4 else value
            )
        elif words[0] == "fusion_conv" and value.ndim == 4:
            width = value.shape[0]
            old["decode_head.linear_fuse.conv.weight"] = torch.cat(
                [value[:, i * width : (i + 1) * width] for i in (3, 2, 1, 0)], 1
            )
        elif words[0] == "fusion_conv":
            old[f"decode_head.linear_fuse.{'.'.join(words[1:])}"] = value
        else:
            old[f"decode_head.linear_pred.{words[1]}"] = value
    return old


def old_block(block: str, name: str, value: Tensor) -> State:
    names = {
        "attn.attn.out_proj.": "attn.proj.", "ffn.layers.0.": "mlp.fc1.", "ffn.layers.1.": "mlp.dwconv.dwconv.",
        "ffn.layers.4.": "mlp.fc2.",
    }  # fmt: skip
    if name.startswith("attn.attn.in_proj_"):
        kind, width = name.removeprefix("attn.attn.in_proj_"), len(value) // 3
        return {f"{block}attn.q.{kind}": value[:width], f"{block}attn.kv.{kind}": value[width:]}
    for present, past in names.items():
        if name.startswith(present):
            flat = value.flatten(1) if value.ndim == 4 and "fc" in past else value
            return {block + past + name.removeprefix(present): flat}
    return {block + name: value}


def test_segformer_of_its_authors() -> None:
    built = model(SEGFORMER)
    old = old_segformer(built.state_dict())
    assert old["backbone.block2.1.attn.kv.weight"].shape == (32, 16)
    assert old["decode_head.linear_c3.proj.weight"].shape == (8, 16)
    old["decode_head.conv_seg.weight"] = torch.zeros(3, 128, 1, 1)
    check(built, old, said="SegFormer's own code")


def test_a_backbone_of_segformer_alone() -> None:
    built = model(SEGFORMER)
    backbone = {name: value for name, value in built.state_dict().items() if name.startswith("backbone.")}
    old = old_segformer(backbone, prefix="") | {"head.weight": torch.zeros(1000, 32)}
    present, _ = with_present_names(old)
    assert present.keys() == backbone.keys()
    assert all(torch.equal(present[name], value) for name, value in backbone.items())


# --- MaskFormer and Mask2Former of the release candidates ---------------------------------------------------------


def numbered(name: str, order: tuple[str, str]) -> str:
    """Attentions by their place in the layer, as generic layers have it."""
    if "transformer_decoder.layers" in name:
        for place, attention in enumerate(order):
            name = name.replace(f".{attention}.", f".attentions.{place}.")
    elif "pixel_decoder.encoder.layers" in name:
        name = name.replace(".self_attn.", ".attentions.0.")
    else:
        return name
    return name.replace(".ffn.", ".ffns.0.")


@pytest.mark.parametrize(
    ("name", "order", "said"),
    [
        ("maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512", ("self_attn", "cross_attn"), "MaskFormer of"),
        ("mask2former/mask2former_r50_8xb2-160k_ade20k-512x512", ("cross_attn", "self_attn"), "Mask2Former of"),
    ],
    ids=["MaskFormer", "Mask2Former"],
)
def test_release_candidates(shared: Path, name: str, order: tuple[str, str], said: str) -> None:
    built = published(shared, name)
    old = {numbered(name, order): value for name, value in built.state_dict().items()}
    assert any(".attentions.1.attn.in_proj_weight" in name for name in old)
    assert order_of_attentions(built) == order
    check(built, old, said=said)


def order_of_attentions(built: nn.Module) -> tuple[str, ...]:
    """In which order the first layer of the decoder runs them: the numbers of the past follow it."""
    layer = built.get_submodule("decode_head.transformer_decoder.layers.0")
    seen: list[str] = []
    for name in ("self_attn", "cross_attn"):
        layer.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    with torch.no_grad():
        built(torch.randn(1, 3, 64, 64))
    return tuple(seen)


# --- 0.x and backbones ---------------------------------------------------------------------------------------------


def test_averaged_weights_of_a_hook_are_left_out() -> None:
    built = model(SEGFORMER)
    state = built.state_dict()
    old = state | {f"ema_{name.replace('.', '_')}": torch.zeros_like(value) for name, value in state.items()}
    present, notes = with_present_names(old)
    assert present.keys() == state.keys()
    assert notes == [f"{len(state)} averaged weights of a hook of MMSegmentation 0.x (ema_...) are left out"]
    own = {"ema_rate.weight": torch.zeros(1)}
    assert with_present_names(own) == (own, [])


@pytest.mark.parametrize(
    "backbone",
    [
        {"type": "ResNetV1c", "depth": 18, "base_channels": 8},
        {"type": "ResNetV1d", "depth": 18, "base_channels": 8},
        {**SWIN["backbone"]},  # type: ignore[dict-item]
        {**SEGFORMER["backbone"]},  # type: ignore[dict-item]
    ],
    ids=lambda backbone: backbone["type"],
)
def test_a_backbone_alone(backbone: dict[str, Any], tmp_path: Path) -> None:
    config = {**SEGFORMER, "backbone": backbone}
    spec = lower(Config.from_values({"model": config}, file="test"))
    state = build(spec.model.args["backbone"]).state_dict()
    torch.save({"state_dict": state | {"fc.weight": torch.zeros(1000, 8)}}, tmp_path / "a.pth")
    found = load_state(tmp_path / "a.pth")
    assert {name for name in found if "fc" not in name} == {f"backbone.{name}" for name in state}


def test_present_names_stay(shared: Path) -> None:
    """All reference models, whose names are those of published checkpoints."""
    from intarsia.weights.maps import recognise

    for file in sorted((shared / "golden" / "models").glob("*.json")):
        names = json.loads(file.read_text())["state"]
        state = dict.fromkeys(names if isinstance(names, dict) else [entry[0] for entry in names], torch.zeros(1))
        assert with_present_names(state) == (state, []), file.name
        assert recognise(state) is None, file.name
