"""Samples of several data sets drawn by weight: exact shares, functions of seed and position alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.data.sampling import LEAST_PERIOD, WeightedOrder

PARTS = st.lists(st.tuples(st.integers(1, 60), st.floats(0.01, 100)), min_size=1, max_size=5)


def parts_of(order: WeightedOrder, positions: range) -> list[int]:
    ends = np.cumsum(order.lengths)
    return [int(np.searchsorted(ends, order.index(position), side="right")) for position in positions]


@settings(max_examples=15, deadline=None)
@given(PARTS, st.integers(0, 2**40), st.integers(0, 3))
def test_each_stretch_has_the_shares_to_one_position(parts, seed, stretch):
    lengths, weights = zip(*parts, strict=True)
    order = WeightedOrder(lengths, weights, seed=seed, shuffle=True)
    found = Counter(parts_of(order, range(stretch * order.period, (stretch + 1) * order.period)))
    for part, weight in enumerate(weights):
        exact = order.period * weight / sum(weights)
        small = sum(order.period * w / sum(weights) < 1 for w in weights)  # those are shown once all the same
        assert found[part] >= 1
        assert abs(found[part] - exact) <= 1 + small


def test_two_to_one_is_two_to_one_whatever_the_sizes():
    order = WeightedOrder((7, 500), (2, 1), seed=3, shuffle=True)
    assert order.period == LEAST_PERIOD
    assert Counter(parts_of(order, range(3 * order.period))) == {0: 2001, 1: 999}


def test_a_rare_data_set_is_not_left_out():
    order = WeightedOrder((5, 5, 5), (1e-9, 1.0, 1e-9), seed=0, shuffle=True)
    assert order.turns == (1, LEAST_PERIOD - 2, 1)


def test_every_sample_of_a_data_set_comes_before_any_comes_again():
    order = WeightedOrder((11, 4), (1, 3), seed=5, shuffle=True)
    for part, first, length in ((0, 0, 11), (1, 11, 4)):
        drawn = [i for i in map(order.index, range(2 * order.period)) if first <= i < first + length]
        rounds = [drawn[start : start + length] for start in range(0, len(drawn) - length, length)]
        assert all(sorted(one) == list(range(first, first + length)) for one in rounds), part
        assert len({tuple(one) for one in rounds}) > 3, part  # each in an order of its own


@settings(max_examples=20, deadline=None)
@given(PARTS, st.integers(0, 100), st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_a_position_has_one_sample_whoever_asks_and_whenever(parts, seed, positions):
    lengths, weights = zip(*parts, strict=True)
    there = WeightedOrder(lengths, weights, seed=seed, shuffle=True)
    forwards = {position: there.index(position) for position in sorted(positions)}
    for position in sorted(positions, reverse=True):
        assert WeightedOrder(lengths, weights, seed=seed, shuffle=True).index(position) == forwards[position]


def test_seeds_differ_and_unshuffled_samples_come_as_stored():
    drawn = {
        tuple(WeightedOrder((9, 9), (1, 1), seed=seed, shuffle=True).index(p) for p in range(50)) for seed in (0, 1)
    }
    assert len(drawn) == 2
    order = WeightedOrder((3, 2), (1, 1), seed=0, shuffle=False)
    found = [order.index(position) for position in range(40)]
    assert [i for i in found if i < 3][:5] == [0, 1, 2, 0, 1]
    assert [i for i in found if i >= 3][:5] == [3, 4, 3, 4, 3]


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, float("nan")), (1.0, -1.0)])
def test_what_cannot_be_drawn_is_refused(weights):
    with pytest.raises(ValueError, match="weight"):
        WeightedOrder((2, 2), weights, seed=0, shuffle=True)
