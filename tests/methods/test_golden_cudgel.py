"""GCNet, the Golden Cudgel Network: what its blocks become, what they are called, and its recipes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.layers.activation import RELU
from intarsia.layers.norm import BN, Norm
from intarsia.methods.golden_cudgel import GoldenCudgelBlock, GoldenCudgelNet, contracted, single_convolution
from tests.recipes.test_recipes import own

BLOCKS = (1, 2, (2, 2), (3, 2), (2, 2))


def learnt(network: nn.Module) -> nn.Module:
    """With statistics and scales of norms that are not those at the start."""
    generator = torch.Generator().manual_seed(1)
    for norm in (part for part in network.modules() if isinstance(part, nn.BatchNorm2d)):
        for values in (norm.running_mean, norm.bias.data):
            assert values is not None
            values.copy_(0.5 * torch.randn(values.shape, generator=generator))
        for values in (norm.running_var, norm.weight.data):
            assert values is not None
            values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    return network.double().eval()


@pytest.mark.parametrize(("before", "stride", "activated"), [(6, 1, True), (6, 1, False), (4, 1, True), (6, 2, True)])
def test_a_block_is_one_convolution(before: int, stride: int, activated: bool) -> None:
    block = GoldenCudgelBlock(before, 6, stride=stride, activated=activated, norm=BN, activation=RELU)
    learnt(block)
    assert (block.path_residual is not None) == (before == 6 and stride == 1)
    x = torch.randn(2, before, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        summed = single_convolution(block)(x)
        torch.testing.assert_close(F.relu(summed) if activated else summed, block(x), rtol=1e-10, atol=1e-10)
        by_hand = block.path_3x3_1(x) + block.path_3x3_2(x) + block.path_1x1(x)
        by_hand = by_hand if block.path_residual is None else by_hand + block.path_residual(x)
        torch.testing.assert_close(summed, by_hand, rtol=1e-10, atol=1e-10)


def test_the_contracted_network_computes_the_same_and_is_the_authors_deployed_one() -> None:
    network: Any = learnt(GoldenCudgelNet(channels=4, ppm_channels=4, num_blocks_per_stage=BLOCKS))
    images = torch.randn(2, 3, 97, 130, dtype=torch.float64)
    with torch.no_grad():
        expected = network(images)
        single = contracted(copy.deepcopy(network))
        deployed = GoldenCudgelNet(channels=4, ppm_channels=4, num_blocks_per_stage=BLOCKS, deploy=True).double().eval()
        deployed.load_state_dict(single.state_dict())
        for found in (single(images), deployed(images)):
            for level, same in zip(found, expected, strict=True):
                torch.testing.assert_close(level, same, rtol=1e-10, atol=1e-10)
    assert not [name for name in single.state_dict() if "path_" in name]
    assert contracted(single) is single, "once is enough"


def test_only_what_has_learnt_is_contracted() -> None:
    with pytest.raises(ValueError, match=r"call \.eval\(\) first"):
        contracted(GoldenCudgelNet(channels=4, ppm_channels=4))
    with pytest.raises(ValueError, match="Conv2d has no GoldenCudgelBlock"):
        contracted(nn.Conv2d(1, 1, 1))
    grouped = GoldenCudgelBlock(4, 4, norm=Norm("GN", num_groups=2), activation=RELU).eval()
    with pytest.raises(ValueError, match="found GroupNorm"):
        single_convolution(grouped)


@pytest.mark.parametrize("blocks", [(4, 4, (5, 4), (5, 4)), (4, 4, 5, (5, 4), (2, 2)), (4, 4, (5, 4), (5, 1), (2, 2))])
def test_blocks_are_counted_by_stage_and_branch(blocks: Any) -> None:
    with pytest.raises(ValueError, match=r"such as \[4, 4, \[5, 4\], \[5, 4\], \[2, 2\]\]; got \[4, 4, "):
        GoldenCudgelNet(num_blocks_per_stage=blocks)


def state(name: str) -> dict[str, Tensor]:
    values = own(name, num_classes=19)
    with torch.device("meta"):
        task: Any = build_task(lower(Config.from_values(values, file=name)))
    found: dict[str, Tensor] = task.model.state_dict()
    return found


def test_names_of_tensors_are_the_published_ones() -> None:
    """As the authors' modules are called; their files are on Google Drive and were not read."""
    names = set(state("gcnet-s"))
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    block = {f"path_residual.{leaf}" for leaf in norm}
    for path in ("path_3x3_1", "path_3x3_2", "path_1x1"):
        for conv in ("conv1", "conv2"):
            block |= {f"{path}.{conv}.conv.weight", *(f"{path}.{conv}.bn.{leaf}" for leaf in norm)}
    for place, count in {"stem": 10, "semantic_branch_layers.0": 5, "semantic_branch_layers.2": 2,
                         "detail_branch_layers.1": 4, "detail_branch_layers.2": 2}.items():  # fmt: skip
        last = f"backbone.{place}.{count - 1}."
        assert {name.removeprefix(last) for name in names if name.startswith(last)} == block
        assert not [name for name in names if name.startswith(f"backbone.{place}.{count}.")]
    for name in ("compression_1.conv.weight", "down_1.bn.weight", "down_2.1.conv.weight", "spp.scales.0.conv.weight",
                 "spp.scales.4.1.bn.weight", "spp.processes.3.conv.weight", "spp.shortcut.conv.weight"):  # fmt: skip
        assert f"backbone.{name}" in names
    assert {name for name in names if name.startswith("decode_head.") and name.endswith("weight")} == {
        "decode_head.conv_seg.weight", "decode_head.head.0.weight", "decode_head.head.2.conv.weight",
        "decode_head.head.2.bn.weight", "decode_head.aux_head_c4.0.weight", "decode_head.aux_head_c4.2.conv.weight",
        "decode_head.aux_head_c4.2.bn.weight", "decode_head.aux_cls_seg_c4.weight"}  # fmt: skip


@pytest.mark.parametrize(("size", "millions", "giga"), [("s", 9.2, 45.2), ("m", 34.2, 178.0), ("l", 45.2, 232.0)])
def test_parameters_and_multiply_adds_are_the_published_ones(size: str, millions: float, giga: float) -> None:
    """Of the contracted network with its auxiliary head, on 1024 x 2048; theirs count some more than convolutions."""
    from torch.utils.flop_counter import FlopCounterMode

    values = own(f"gcnet-{size}", num_classes=19)
    values["model"]["backbone"]["deploy"] = True
    with torch.device("meta"):
        task: Any = build_task(lower(Config.from_values(values, file=size)))
    assert round(sum(p.numel() for p in task.model.parameters()) / 1e6, 1) == millions
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        task.model.eval()(torch.zeros(1, 3, 1024, 2048, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga, rel=0.003)


@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_published_recipes_are_those_of_ddrnet_but_for_the_network(size: str) -> None:
    name = f"gcnet-{size}_4xb3-120k_cityscapes-1024x1024"
    config, like = recipes.get(name), recipes.get("ddrnet_23_in1k-pre_2xb6-120k_cityscapes-1024x1024")
    assert check(Config.from_values(config, file=name)) == []
    for key in ("optim_wrapper", "param_scheduler", "train_cfg"):
        assert config[key] == like[key]
    assert config["train_dataloader"]["batch_size"] == 3
    theirs = like["model"]["decode_head"]["loss_decode"]
    assert config["model"]["decode_head"]["loss_decode"] == theirs[::-1], "the detail branch comes first"
    spec = lower(Config.from_values(config, file=name))
    assert [(term.name, term.output, term.weight) for term in spec.losses[0].terms][:2] == [
        ("loss_c4", "c4", 0.4), ("loss_c6", "", 1.0)]  # fmt: skip
