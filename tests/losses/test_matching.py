"""Label maps as masks, and the cheapest pairs: against every permutation, pair by pair, pixel by pixel."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from intarsia.losses.focal import focal_cost
from intarsia.losses.matching import (
    at_size,
    class_costs,
    dice_costs,
    hungarian_match,
    mask_costs,
    masks_from_labels,
)

SIZES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)
LABELS = hnp.arrays(np.int64, SIZES, elements=st.sampled_from([0, 1, 3, 4, 255]))


@given(LABELS)
def test_masks_of_a_label_map_are_its_classes(labels: np.ndarray) -> None:
    classes, masks = masks_from_labels(torch.from_numpy(labels), ignore_index=255)
    assert classes.tolist() == sorted(set(labels.flatten().tolist()) - {255})
    assert masks.shape == (len(classes), *labels.shape)
    for value, mask in zip(classes.tolist(), masks.numpy(), strict=True):
        np.testing.assert_array_equal(mask, labels == value)
    np.testing.assert_array_equal(masks.sum(0).numpy(), labels != 255)  # no pixel twice, the ignored ones never


@given(LABELS)
def test_another_index_may_be_ignored(labels: np.ndarray) -> None:
    classes, masks = masks_from_labels(torch.from_numpy(labels), ignore_index=3)
    assert 3 not in classes.tolist()
    np.testing.assert_array_equal(masks.any(0).numpy(), labels != 3)


def test_smaller_masks_take_the_nearest_pixel() -> None:
    labels = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
    small = at_size(masks_from_labels(labels, ignore_index=255).masks, (2, 2))
    assert small.tolist() == [[[1, 0], [1, 1]], [[0, 1], [0, 0]]]


def cheapest_by_trying(costs: np.ndarray) -> float:
    """The least sum over all ways to give each column another row, or each row another column."""
    rows, columns = costs.shape
    if rows < columns:
        return cheapest_by_trying(costs.T)
    ways = itertools.permutations(range(rows), columns)
    return min(math.fsum(costs[row, column] for column, row in enumerate(way)) for way in ways)


@settings(max_examples=60, deadline=None)  # the first one imports scipy
@given(
    st.integers(1, 5).flatmap(
        lambda queries: st.lists(
            st.integers(0, 4).flatmap(
                lambda masks: hnp.arrays(np.float32, (2, queries, masks), elements=st.floats(-8, 8, width=32))
            ),
            min_size=1,
            max_size=3,
        )
    )
)
def test_pairs_are_the_cheapest_of_all(costs: list[np.ndarray]) -> None:
    found = hungarian_match([torch.from_numpy(cost) for cost in costs])
    for cost, pairs in zip(costs, found, strict=True):
        layers, queries, masks = cost.shape
        assert pairs.shape == (layers, 2, min(queries, masks))
        for layer, (rows, columns) in zip(cost, pairs.tolist(), strict=True):
            assert len(set(rows)) == len(rows)
            assert len(set(columns)) == len(columns)
            total = math.fsum(layer[row, column] for row, column in zip(rows, columns, strict=True))
            assert total == pytest.approx(cheapest_by_trying(layer), abs=1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_costs_of_a_diverging_network_still_pair(bad: float) -> None:
    (pairs,) = hungarian_match([torch.tensor([[[bad, 1.0], [0.0, bad], [2.0, 3.0]]])])
    assert sorted(pairs[0, 1].tolist()) == [0, 1]


def sampled(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 4, 30, generator=random, dtype=torch.float64)
    return logits, torch.rand(3, 30, generator=random, dtype=torch.float64)


def test_class_cost_is_minus_the_probability() -> None:
    logits = torch.randn(2, 4, 6, dtype=torch.float64)
    costs = class_costs(logits, torch.tensor([5, 0, 0]))
    for layer, query, (mask, value) in itertools.product(range(2), range(4), enumerate([5, 0, 0])):
        exponentials = logits[layer, query].exp()
        assert costs[layer, query, mask].item() == pytest.approx(-(exponentials[value] / exponentials.sum()).item())


def test_mask_cost_is_the_mean_cross_entropy_of_every_pair() -> None:
    logits, truth = sampled()
    costs = mask_costs(F.softplus(-logits), F.softplus(logits), truth)
    for layer, query, mask in itertools.product(range(2), range(4), range(3)):
        inside, wanted = logits[layer, query].sigmoid().tolist(), truth[mask].tolist()
        expected = np.mean([-t * math.log(p) - (1 - t) * math.log(1 - p) for p, t in zip(inside, wanted, strict=True)])
        assert costs[layer, query, mask].item() == pytest.approx(expected, rel=1e-9)


def test_mask_cost_is_the_mean_focal_loss_of_every_pair() -> None:
    logits, truth = sampled()
    truth = truth.round()
    alpha = torch.tensor(0.25, dtype=torch.float64)
    everywhere = torch.ones_like(logits, dtype=torch.bool)
    inside, outside = (focal_cost(logits, answer, gamma=2.0, alpha=alpha) for answer in (everywhere, ~everywhere))
    costs = mask_costs(inside, outside, truth)
    for layer, query, mask in itertools.product(range(2), range(4), range(3)):
        pairs = zip(logits[layer, query].sigmoid().tolist(), truth[mask].tolist(), strict=True)
        yes_or_no = [-0.25 * (1 - p) ** 2 * math.log(p) if t else -0.75 * p**2 * math.log(1 - p) for p, t in pairs]
        assert costs[layer, query, mask].item() == pytest.approx(np.mean(yes_or_no), rel=1e-9)


def test_dice_cost_of_every_pair() -> None:
    logits, truth = sampled()
    costs = dice_costs(logits, truth, eps=1.0)
    for layer, query, mask in itertools.product(range(2), range(4), range(3)):
        inside, wanted = logits[layer, query].sigmoid().tolist(), truth[mask].tolist()
        overlap = math.fsum(p * t for p, t in zip(inside, wanted, strict=True))
        expected = 1 - (2 * overlap + 1) / (math.fsum(inside) + math.fsum(wanted) + 1)
        assert costs[layer, query, mask].item() == pytest.approx(expected, rel=1e-9)
