"""Shared layers: each against torch's own, or against the formula written out."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import intarsia.layers
from intarsia.engine.optim.param_groups import by_rules, trained_parameters
from intarsia.layers.activation import Activation
from intarsia.layers.attention import MultiheadAttention
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct, DepthwiseSeparableConv
from intarsia.layers.drop_path import DropPath
from intarsia.layers.inverted_residual import InvertedResidual
from intarsia.layers.levels import concat_levels, paired_levels, resize
from intarsia.layers.norm import BN, Norm, NormKind
from intarsia.layers.pyramid_pooling import PyramidPooling


@pytest.mark.parametrize(
    ("norm", "layer", "name"),
    [
        (Norm("BN", eps=1e-3, momentum=0.01), nn.BatchNorm2d, "bn"),
        (Norm("SyncBN"), nn.BatchNorm2d, "bn"),
        (Norm("GN", num_groups=2), nn.GroupNorm, "gn"),
        (Norm("LN", eps=1e-6), nn.LayerNorm, "ln"),
        (Norm("IN"), nn.InstanceNorm2d, "in"),
    ],
)
def test_norms_are_torchs(norm: Norm, layer: type[nn.Module], name: str) -> None:
    built = norm(8)
    assert isinstance(built, layer)
    assert norm.name == name
    assert built.eps == (norm.eps or 1e-5)
    if norm.kind in ("BN", "SyncBN"):
        assert built.momentum == (norm.momentum or 0.1)
    assert bool(list(built.parameters())) is (norm.kind != "IN")


@pytest.mark.parametrize(
    ("norm", "layer"),
    [(BN, nn.BatchNorm2d), (Norm("SyncBN"), nn.BatchNorm2d), (Norm("GN", num_groups=2), nn.GroupNorm),
     (Norm("LN"), nn.LayerNorm), (Norm("IN"), nn.InstanceNorm2d)],
)  # fmt: skip
def test_norms_are_no_subclasses(norm: Norm, layer: type[nn.Module]) -> None:
    """Tools that fuse, quantise or trace networks know torch's classes only."""
    assert type(norm(8)) is layer


@pytest.mark.parametrize("kind", ["BN", "SyncBN", "GN", "LN", "IN", "LN2d"])
def test_weight_decay_finds_every_norm(kind: NormKind) -> None:
    norm = Norm(kind, affine=True, num_groups=2 if kind == "GN" else None)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), norm(8), nn.RMSNorm(8))
    parameters = [parameter for parameter, _ in trained_parameters(network)]
    settings = by_rules(parameters, {"norm_decay_mult": 0.0}, 0.1, 0.5)
    assert [value["weight_decay"] for value in settings] == [0.5, 0.5, 0.0, 0.0, 0.0]


def test_frozen_norm_has_parameters_without_gradients() -> None:
    assert [p.requires_grad for p in Norm("BN", requires_grad=False)(4).parameters()] == [False, False]


def test_layer_norm_of_maps_is_layer_norm_of_pixels() -> None:
    x = torch.randn(2, 6, 3, 5)
    built = Norm("LN2d", eps=1e-6)(6)
    nn.init.normal_(built.weight)
    expected = F.layer_norm(x.permute(0, 2, 3, 1), (6,), built.weight, built.bias, 1e-6).permute(0, 3, 1, 2)
    torch.testing.assert_close(built(x), expected)
    assert isinstance(built, nn.LayerNorm)
    assert list(built.state_dict()) == ["weight", "bias"]
    assert list(Norm("LN2d", affine=False)(6).state_dict()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "GN"}, "GN needs it"),
        ({"kind": "BN", "num_groups": 4}, "num_groups belongs to GN"),
        ({"kind": "LN", "momentum": 0.1}, "keeps no running statistics"),
        ({"kind": "BatchNorm"}, "unknown norm 'BatchNorm'; known are BN"),
    ],
)
def test_norms_that_cannot_be_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Norm(**arguments)


def test_activations() -> None:
    assert isinstance(Activation("GELU")(), nn.GELU)
    x = torch.linspace(-4, 4, 9)
    torch.testing.assert_close(Activation("QuickGELU")()(x), x / (1 + torch.exp(-1.702 * x)))
    assert Activation("ReLU")().inplace
    assert not Activation("ReLU", inplace=False)().inplace
    assert Activation("LeakyReLU", negative_slope=0.3)().negative_slope == 0.3
    with pytest.raises(ValueError, match="unknown activation 'Relu'"):
        Activation("Relu")
    with pytest.raises(ValueError, match="negative_slope belongs to LeakyReLU"):
        Activation("ReLU", negative_slope=0.1)


def test_conv_norm_act_is_the_three_in_order() -> None:
    layer = ConvNormAct(3, 6, 3, padding=1, norm=Norm("GN", num_groups=2)).eval()
    assert list(layer.state_dict()) == ["conv.weight", "gn.weight", "gn.bias"]
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(layer(x), F.relu(F.group_norm(F.conv2d(x, layer.conv.weight, padding=1), 2)))


def test_conv_has_a_bias_exactly_where_no_norm_cancels_it() -> None:
    assert ConvNormAct(3, 6, 1).conv.bias is not None
    assert ConvNormAct(3, 6, 1, norm=BN).conv.bias is None
    assert ConvNormAct(3, 6, 1, norm=BN, bias=True).conv.bias is not None


def test_conv_keeps_the_variance_of_rectified_signals() -> None:
    """What Kaiming initialisation is for: many layers deep, forward signals neither vanish nor explode."""
    torch.manual_seed(0)
    x = torch.randn(1, 64, 32, 32)
    deep = nn.Sequential(*(ConvNormAct(64, 64, 3, padding=1, bias=False) for _ in range(10)))
    assert 0.2 < deep(x).square().mean() / F.relu(x).square().mean() < 5


def test_depthwise_separable_conv() -> None:
    layer = DepthwiseSeparableConv(4, 6, 3, stride=2, padding=1, norm=BN, depthwise_activation=None).eval()
    assert layer.depthwise_conv.activate is None
    x = torch.randn(1, 4, 9, 9)
    inner = layer.depthwise_conv.bn(F.conv2d(x, layer.depthwise_conv.conv.weight, stride=2, padding=1, groups=4))
    torch.testing.assert_close(layer(x), layer.pointwise_conv(inner))


@pytest.mark.parametrize(("stride", "out_channels", "shortcut"), [(1, 4, True), (2, 4, False), (1, 8, False)])
def test_inverted_residual_adds_its_input_where_it_fits(stride: int, out_channels: int, shortcut: bool) -> None:
    block = InvertedResidual(4, out_channels, stride=stride, expand_ratio=2, norm=BN).eval()
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(block(x), block.conv(x) + x if shortcut else block.conv(x))
    assert len(InvertedResidual(4, 4, stride=1, expand_ratio=1).conv) == 2


def test_pyramid_pooling() -> None:
    layer = PyramidPooling((1, 2), 4, 3).eval()
    x = torch.randn(2, 4, 6, 8)
    whole, quarters = layer(x)
    assert (whole.shape, quarters.shape) == ((2, 3, 1, 1), (2, 3, 2, 2))
    project = layer.get_submodule("0.1")
    torch.testing.assert_close(whole, project(x.mean(dim=(2, 3), keepdim=True)))


def test_classifier_starts_near_equal_probabilities() -> None:
    logits = pixel_classifier(64, 10)(torch.randn(2, 64, 8, 8))
    assert (logits.softmax(1) - 0.1).abs().max() < 0.05
    assert isinstance(channel_dropout(-1), nn.Identity)
    assert channel_dropout(0.1).p == 0.1


def test_drop_path_keeps_the_expectation_and_drops_whole_samples() -> None:
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    out = DropPath(0.25).train()(x)
    per_sample = out.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert sorted(set(per_sample[:, 0].tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert out.mean() == pytest.approx(1.0, abs=0.03)
    assert DropPath(0.25).eval()(x) is x
    assert DropPath(0.0).train()(x) is x
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        DropPath(1.0)


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_torchs_with_the_same_weights(bias: bool) -> None:
    torch.manual_seed(0)
    ours = MultiheadAttention(12, 3, bias=bias).double().eval()
    theirs = nn.MultiheadAttention(12, 3, bias=bias, batch_first=True).double().eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    assert theirs.load_state_dict(ours.state_dict()).missing_keys == []
    query, memory = torch.randn(2, 7, 12).double(), torch.randn(2, 4, 12).double()
    torch.testing.assert_close(ours(query, memory), theirs(query, memory, memory, need_weights=False)[0])


def test_attention_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="10 channels cannot be divided among 3"):
        MultiheadAttention(10, 3)


def test_levels_meet_at_the_size_of_the_first() -> None:
    fine, coarse = torch.randn(1, 2, 8, 6), torch.randn(1, 3, 4, 3)
    joined = concat_levels([fine, coarse])
    assert joined.shape == (1, 5, 8, 6)
    torch.testing.assert_close(joined[:, :2], fine)
    torch.testing.assert_close(joined[:, 2:], resize(coarse, (8, 6)))


def test_levels_must_pair_up() -> None:
    assert paired_levels("H", [0, 1], [8, 16]) == ((0, 1), (8, 16))
    for indices, channels in [(0, [8]), ([0], 8), ([0, 1], [8])]:
        with pytest.raises(ValueError, match="H reads several levels"):
            paired_levels("H", indices, channels)


def test_nothing_aligns_corners_unless_told() -> None:
    """As in the recipes, which write `align_corners=True` where they mean it."""
    seen = 0
    for module in pkgutil.iter_modules(intarsia.layers.__path__, "intarsia.layers."):
        for part in vars(importlib.import_module(module.name)).values():
            if not callable(part) or not getattr(part, "__module__", "").startswith("intarsia."):
                continue
            parameters = inspect.signature(part).parameters
            if "align_corners" in parameters:
                assert parameters["align_corners"].default is False, part
                seen += 1
    assert seen >= 5
