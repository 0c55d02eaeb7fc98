"""HRNet beyond what the reference figures cover: the exchange written out, odd sizes, freezing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intarsia.backbones.hrnet import HRModule, HRNet
from intarsia.layers.norm import BN

SMALL = {
    "channels": ((4,), (4, 6), (4, 6, 8)),
    "num_blocks": ((1,), (1, 1), (1, 1, 1)),
    "num_modules": (1, 1, 2),
}


def test_w18_has_the_papers_strides_and_channels() -> None:
    with torch.device("meta"):
        model = HRNet()
    assert [(level.channels, level.stride) for level in model.features] == [(18, 4), (36, 8), (72, 16), (144, 32)]


def test_every_branch_receives_all_others() -> None:
    torch.manual_seed(0)
    exchange = HRModule((4, 6, 8), (1, 1, 1), norm=BN).double().eval()
    branches = [torch.randn(2, c, 9 if i == 0 else 5 if i == 1 else 3, 2 ** (4 - i)).double()
                for i, c in enumerate((4, 6, 8))]  # fmt: skip
    inner = [blocks(x) for blocks, x in zip(exchange.branches, branches, strict=True)]
    # To the middle one: the finest strided, itself, the coarsest projected and enlarged (3 rows to 6, then to 5).
    down = exchange.fuse_layers[1][0](inner[0])
    up = F.interpolate(exchange.fuse_layers[1][2](inner[2]), scale_factor=2, mode="bilinear")
    up = F.interpolate(up, size=(5, 8), mode="bilinear")
    found = exchange(*branches)
    torch.testing.assert_close(found[1], (down + inner[1] + up).relu())
    assert [x.shape for x in found] == [x.shape for x in branches]


def test_frozen_stages_stay_as_they_are() -> None:
    model = HRNet(**SMALL, frozen_stages=2).train()
    frozen = {name.partition(".")[0] for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"conv1", "bn1", "conv2", "bn2", "layer1", "transition1", "stage2", "transition2"}
    assert not model.stage2.training
    assert model.stage3.training
    HRNet(**SMALL, frozen_stages=3).train()


def test_norm_eval_keeps_running_statistics() -> None:
    model = HRNet(**SMALL, norm_eval=True).train()
    assert model.training
    assert not any(module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_modules": (1, 1)}, "for the same stages; got 3, 3 and 2"),
        ({"channels": ((4,), (4,), (4, 6, 8))}, "stage 2 of HRNet has 2 branches"),
        ({"frozen_stages": 4}, "between -1"),
    ],
)
def test_contradictions_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HRNet(**(SMALL | arguments))
