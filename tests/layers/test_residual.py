"""Stages of residual blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from intarsia.layers.activation import RELU
from intarsia.layers.norm import BN
from intarsia.layers.residual import BasicBlock, Bottleneck, residual_stage


@pytest.mark.parametrize(
    ("block", "blocks", "activated"),
    [
        (BasicBlock, 1, [False]),
        (BasicBlock, 3, [True, True, False]),
        (Bottleneck, 1, [False]),
        (Bottleneck, 4, [False, True, True, False]),
    ],
)
def test_the_last_sum_of_a_stage_is_not_activated(block: Any, blocks: int, activated: list[bool]) -> None:
    def project(before: int, behind: int, stride: int) -> nn.Module:
        return nn.Conv2d(before, behind, 1, stride=stride)

    stage = residual_stage(block, 8, 8, blocks, stride=2, project=project, norm=BN, activation=RELU)
    assert [part.act is not None for part in stage] == activated
    assert [part.downsample is not None for part in stage] == [True] + [False] * (blocks - 1)
    assert stage(torch.randn(2, 8, 9, 10)).shape == (2, 8 * block.expansion, 5, 5)
