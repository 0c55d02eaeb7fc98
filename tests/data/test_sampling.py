from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.data.sampling import Order, sample_rng


@given(st.integers(1, 50), st.integers(0, 2**40), st.integers(0, 5))
def test_every_epoch_holds_every_sample_once(length, seed, epoch):
    order = Order(length, seed=seed, shuffle=True)
    drawn = [order.index(epoch * length + place) for place in range(length)]
    assert sorted(drawn) == list(range(length))


@given(st.integers(1, 50), st.integers(0, 100), st.lists(st.integers(0, 400), min_size=1, max_size=40))
def test_a_position_has_one_sample_whoever_asks_and_whenever(length, seed, positions):
    there = Order(length, seed=seed, shuffle=True)
    forwards = {position: there.index(position) for position in sorted(positions)}
    backwards = {
        position: Order(length, seed=seed, shuffle=True).index(position) for position in sorted(positions, reverse=True)
    }
    assert forwards == backwards


def test_epochs_and_seeds_differ():
    def epoch(seed, number):
        order = Order(100, seed=seed, shuffle=True)
        return tuple(order.index(100 * number + place) for place in range(100))

    assert len({epoch(seed, number) for seed in range(3) for number in range(3)}) == 9


def test_without_shuffling_samples_come_as_stored():
    order = Order(3, seed=0, shuffle=False)
    assert [order.index(position) for position in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_random_streams_depend_on_seed_and_position_only():
    assert sample_rng(3, 9).random() == sample_rng(3, 9).random()
    assert len({sample_rng(seed, position).random() for seed in range(5) for position in range(5)}) == 25


def test_impossible_orders():
    with pytest.raises(ValueError, match="no samples"):
        Order(0, seed=0, shuffle=True)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        Order(3, seed=-1, shuffle=True)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        sample_rng(-1, 0)
