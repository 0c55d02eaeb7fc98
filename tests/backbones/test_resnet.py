"""The ResNet family beyond what the reference figures cover: published sizes, variants, freezing, initialisation."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from intarsia.backbones.resnet import BasicBlock, Bottleneck, ResNet, ResNetV1c, ResNetV1d, ResNeXt
from intarsia.contracts import FeatureSpec
from intarsia.layers.norm import Norm

SMALL = {"base_channels": 8, "stem_channels": 8}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# torchvision's published totals less the classifier (channels x 1000 + 1000).
@pytest.mark.parametrize(
    ("depth", "total", "channels"),
    [
        (18, 11_689_512, 512),
        (34, 21_797_672, 512),
        (50, 25_557_032, 2048),
        (101, 44_549_160, 2048),
        (152, 60_192_808, 2048),
    ],
)
def test_parameter_counts_of_the_literature(depth: int, total: int, channels: int) -> None:
    with torch.device("meta"):
        assert parameters(ResNet(depth)) == total - (channels * 1000 + 1000)


def test_parameter_counts_of_the_relatives() -> None:
    """torchvision's resnext50_32x4d and resnext101_32x8d, timm's resnext101_32x4d, resnet50d and resnet18d."""
    classifier = 2048 * 1000 + 1000
    with torch.device("meta"):
        assert parameters(ResNeXt(50)) == 25_028_904 - classifier
        assert parameters(ResNeXt(101, base_width=8)) == 88_791_336 - classifier
        assert parameters(ResNeXt(101)) == 44_177_704 - classifier
        assert parameters(ResNetV1d(50)) == parameters(ResNetV1c(50)) == 25_576_264 - classifier
        assert parameters(ResNetV1d(18)) == 11_708_744 - (512 * 1000 + 1000)


@pytest.mark.parametrize(
    ("strides", "dilations", "expected"),
    [((1, 2, 2, 2), (1, 1, 1, 1), (4, 8, 16, 32)), ((1, 2, 2, 1), (1, 1, 1, 2), (4, 8, 16, 16)),
     ((1, 2, 1, 1), (1, 1, 2, 4), (4, 8, 8, 8))],
)  # fmt: skip
def test_features_are_told(strides: tuple[int, ...], dilations: tuple[int, ...], expected: tuple[int, ...]) -> None:
    model = ResNet(50, strides=strides, dilations=dilations, out_indices=(1, 3), **SMALL)
    assert model.features == (FeatureSpec(64, expected[1]), FeatureSpec(256, expected[3]))


def test_fewer_stages() -> None:
    model = ResNet(18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2), **SMALL)
    assert [tuple(x.shape[1:]) for x in model(torch.randn(1, 3, 64, 64))] == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]


def dilations_of(model: ResNet, stage: int) -> list[int]:
    return [block.conv2.dilation[0] for block in model.get_submodule(f"layer{stage}")]


def test_dilations_block_by_block() -> None:
    dilated = {"strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4), **SMALL}
    assert dilations_of(ResNet(50, **dilated), 4) == [4, 4, 4]
    contracted = ResNet(50, contract_dilation=True, **dilated)
    assert [dilations_of(contracted, stage) for stage in (1, 2, 3, 4)] == [[1] * 3, [1] * 4, [1] + [2] * 5, [2, 4, 4]]
    gridded = ResNet(50, contract_dilation=True, multi_grid=(1, 2, 4), **dilated)
    assert dilations_of(gridded, 3) == [1] + [2] * 5
    assert dilations_of(gridded, 4) == [1, 2, 4]


@pytest.mark.parametrize(("style", "strided"), [("pytorch", "conv2"), ("caffe", "conv1")])
def test_where_a_bottleneck_strides(style: str, strided: str) -> None:
    block = ResNet(50, style=style, **SMALL).get_submodule("layer2.0")
    assert {name: block.get_submodule(name).stride for name in ("conv1", "conv2")} == {
        "conv1": (1, 1), "conv2": (1, 1), strided: (2, 2)
    }  # fmt: skip


def slow_bottleneck(block: Bottleneck, x: torch.Tensor) -> torch.Tensor:
    """The block written out from its state dict, as the papers draw it."""
    state = {key: value.double() for key, value in block.state_dict().items()}

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        layer = block.get_submodule(name)
        return nn.functional.conv2d(
            x, state[f"{name}.weight"], None, layer.stride, layer.padding, layer.dilation, layer.groups
        )

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scaled = (x - mean.view(-1, 1, 1)) / (var.view(-1, 1, 1) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"].view(-1, 1, 1) + state[f"{name}.bias"].view(-1, 1, 1)

    out = x
    for i in (1, 2, 3):
        out = norm(conv(out, f"conv{i}"), f"bn{i}")
        out = out.clamp_min(0) if i < 3 else out
    # ResNet-D's shortcut: the mean of each 2 x 2 window that exists, then the projection.
    windows = x.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
    return (out + norm(conv(windows, "downsample.1"), "downsample.2")).clamp_min(0)


def test_a_block_of_v1d_and_of_resnext_written_out() -> None:
    torch.manual_seed(0)
    model = ResNeXt(50, groups=4, base_width=2, avg_down=True, **SMALL).double().eval()
    block = model.get_submodule("layer2.0")
    for name, entry in block.state_dict().items():
        if entry.is_floating_point():
            entry.copy_(torch.rand_like(entry) + 0.5 if name.endswith("var") else torch.randn_like(entry))
    assert block.conv2.groups == 4
    x = torch.randn(2, 32, 8, 12).double()
    torch.testing.assert_close(block(x), slow_bottleneck(block, x))


def test_averaging_shortcut_at_odd_sizes_averages_what_is_there() -> None:
    pool = ResNetV1d(18, **SMALL).get_submodule("layer2.0.downsample.0")
    x = torch.arange(9.0).view(1, 1, 3, 3)
    assert pool(x).flatten().tolist() == [2.0, 3.5, 6.5, 8.0]


def test_names_of_the_stems() -> None:
    assert [name for name in ResNet(18, **SMALL).state_dict() if "layer" not in name][:2] == [
        "conv1.weight",
        "bn1.weight",
    ]
    deep = [name for name in ResNetV1c(18, **SMALL).state_dict() if name.startswith("stem.") and "conv" not in name]
    assert [name for name in deep if name.endswith(".weight")] == [f"stem.{i}.weight" for i in (0, 1, 3, 4, 6, 7)]
    grouped = ResNet(18, norm=Norm("GN", num_groups=2), **SMALL).state_dict()
    assert {"gn1.weight", "layer1.0.gn2.bias"} <= set(grouped)


@pytest.mark.parametrize(("deep_stem", "stages"), list(itertools.product([False, True], [-1, 0, 2])))
def test_frozen_stages_stay_as_they_are(deep_stem: bool, stages: int) -> None:
    model = ResNet(18, deep_stem=deep_stem, frozen_stages=stages, **SMALL).train()
    before = {name: entry.clone() for name, entry in model.state_dict().items()}
    torch.stack([x.square().mean() for x in model(torch.randn(2, 3, 64, 64))]).sum().backward()
    frozen = tuple(f"layer{i}." for i in range(1, stages + 1))
    if stages >= 0:
        frozen += ("stem.", "conv1.", "bn1.")
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad is not name.startswith(frozen), name
    for name, entry in model.state_dict().items():
        if name.endswith("running_mean"):
            assert entry.equal(before[name]) is name.startswith(frozen), name


def test_norm_eval_stops_every_batch_norm_and_nothing_else() -> None:
    model = ResNet(18, norm_eval=True, **SMALL).train()
    assert model.layer1.training
    assert not any(module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d))


def test_residual_branches_start_at_zero() -> None:
    for depth, block in ((18, BasicBlock), (50, Bottleneck)):
        for module in ResNet(depth, **SMALL).modules():
            if isinstance(module, block):
                last = module.get_submodule(module.norm_names[-1])
                assert last.weight.abs().max() == 0
    untouched = ResNet(18, zero_init_residual=False, **SMALL)
    assert untouched.get_submodule("layer1.0.bn2").weight.min() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 20}, "no published layout of depth 20; depths are 18, 34, 50, 101, 152"),
        ({"depth": 18, "strides": (1, 2, 2)}, "one stride and one dilation each"),
        ({"depth": 18, "out_indices": (4,)}, "from 0 to 3; got \\(4,\\)"),
        ({"depth": 18, "frozen_stages": 5}, "frozen_stages must lie between"),
        ({"depth": 50, "multi_grid": (1, 2)}, "last stage's 3 blocks; got \\(1, 2\\)"),
        ({"depth": 18, "groups": 2}, "depth 50 or more; got depth 18"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(**arguments)
