"""The factorisation of SegNeXt's head: what it finds, what it begins with, and in which precision."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.fx
from torch import Tensor

from intarsia.layers.matrix_decomposition import NonnegativeFactorisation


def low_rank(rank: int) -> Tensor:
    """(2, 8, 5, 6) without negative values, of this rank."""
    generator = torch.Generator().manual_seed(3)
    factors = torch.rand(2, 8, rank, generator=generator), torch.rand(2, rank, 30, generator=generator)
    return (factors[0] @ factors[1]).unflatten(2, (5, 6))


def test_a_map_of_few_bases_is_found_again() -> None:
    x = low_rank(2)
    errors = [
        (NonnegativeFactorisation(8, num_bases=4, eval_steps=steps).eval()(x) - x).abs().max().item()
        for steps in (0, 7, 500)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_training_and_inference_have_their_own_rounds() -> None:
    layer, x = NonnegativeFactorisation(8, num_bases=4, train_steps=3, eval_steps=5), low_rank(3)
    torch.manual_seed(0)
    trained = layer.train()(x)
    layer.fixed_bases = torch.rand(2, 8, 4, generator=torch.Generator().manual_seed(0))
    layer.eval_steps = 3
    torch.testing.assert_close(layer.eval()(x), trained)
    layer.eval_steps = 5
    assert not layer(x).allclose(trained)


def test_inference_begins_with_the_same_bases_whatever_came_before() -> None:
    x = low_rank(3)
    layer = NonnegativeFactorisation(8, num_bases=4).eval()
    expected = layer(x)
    torch.manual_seed(5)
    layer.train()(x)
    assert layer.eval()(x).equal(expected)
    assert NonnegativeFactorisation(8, num_bases=4).eval()(x).equal(expected)
    assert copy.deepcopy(layer)(x).equal(expected)
    torch.testing.assert_close(layer(x[:1]), expected[:1])
    torch.testing.assert_close(layer(torch.cat([x, x])), torch.cat([expected, expected]))


def test_training_draws_from_torchs_generator() -> None:
    layer, x = NonnegativeFactorisation(8, num_bases=4).train(), low_rank(3)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(layer(x))
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


def test_it_has_no_state_and_no_parameters() -> None:
    layer = NonnegativeFactorisation(8)
    assert not layer.state_dict()
    assert not list(layer.parameters())
    assert layer.num_bases == 64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_over_pixels_stay_in_full_precision(dtype: torch.dtype) -> None:
    """A map of 160 x 160 pixels, whose sums of squares are beyond the range of float16."""
    x = (4 + torch.rand(1, 4, 160, 160)).to(dtype)
    layer = NonnegativeFactorisation(4, num_bases=3).eval()
    found = layer(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, layer(x.float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x.float()), found)


def test_torch_fx_traces_it() -> None:
    layer, x = NonnegativeFactorisation(8, num_bases=4).eval(), low_rank(3)
    assert torch.fx.symbolic_trace(layer)(x).equal(layer(x))
