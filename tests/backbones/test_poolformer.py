"""PoolFormer beyond what the reference figures cover: sizes of the paper, pooling at the border, frozen stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from intarsia.backbones.poolformer import PoolFormer, Pooling

SMALL: dict[str, Any] = {"arch": {"layers": (1, 1, 2, 1), "embed_dims": (8, 12, 16, 24)}}


@pytest.mark.parametrize(("arch", "millions"), [("s12", 12), ("s24", 21), ("s36", 31), ("m36", 56), ("m48", 73)])
def test_parameter_counts(arch: str, millions: int) -> None:
    """Table 1, with its classifier of 1000 classes and one norm instead of a norm for each level."""
    with torch.device("meta"):
        model = PoolFormer(arch=arch, out_indices=(6,))
    total = sum(parameter.numel() for parameter in model.parameters()) + 1001 * model.features[-1].channels
    assert total / 1e6 == pytest.approx(millions, abs=0.5)


def test_pooling_counts_pixels_of_the_map_only() -> None:
    assert Pooling(3)(torch.ones(1, 2, 5, 4)).equal(torch.zeros(1, 2, 5, 4))
    x = torch.zeros(1, 1, 3, 3)
    x[..., 0, 0] = 12.0
    assert Pooling(3)(x)[0, 0].tolist() == [[3 - 12, 2, 0], [2, pytest.approx(4 / 3), 0], [0, 0, 0]]


@pytest.mark.parametrize("sizes", [{}, {"in_pad": 3}, {"down_pad": 0}, {"in_patch_size": 4, "in_pad": 0}])
def test_the_least_size_is_exact(sizes: dict[str, int]) -> None:
    backbone = PoolFormer(**SMALL, **sizes).eval()
    backbone(torch.rand(1, 3, backbone.least_size, backbone.least_size))
    if backbone.least_size > 1:
        with pytest.raises(RuntimeError):
            backbone(torch.rand(1, 3, backbone.least_size - 1, 64))


def test_outputs_between_two_stages() -> None:
    backbone = PoolFormer(**SMALL, out_indices=(0, 1, 5, 6)).eval()
    assert [(level.channels, level.stride) for level in backbone.features] == [(8, 4), (12, 8), (24, 32), (24, 32)]
    assert [tuple(x.shape) for x in backbone(torch.randn(1, 3, 64, 96))] == [
        (1, 8, 16, 24), (1, 12, 8, 12), (1, 24, 2, 3), (1, 24, 2, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frozen_stages", "prefixes"),
    [(-1, ()), (0, ("patch_embed",)), (3, ("patch_embed", "network.0", "network.1", "network.2", "norm0", "norm2"))],
)
def test_frozen_stages_stand_still(frozen_stages: int, prefixes: tuple[str, ...]) -> None:
    backbone = PoolFormer(**SMALL, frozen_stages=frozen_stages).train()
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in backbone.named_parameters() if name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"arch": "s13"}, "arch must be one of s12"), ({"frozen_stages": 8}, "between -1"),
     ({"arch": {"layers": (1,), "embed_dims": (8, 8)}}, "one entry for each stage")],
)  # fmt: skip
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoolFormer(**arguments)
