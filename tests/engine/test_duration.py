from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.engine.optim.duration import format_duration, parse_duration, to_steps
from intarsia.spec import Duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200 steps", Duration(200, "steps")),
        ("1 step", Duration(1, "steps")),
        ("80k steps", Duration(80_000, "steps")),
        ("80,000 iters", Duration(80_000, "steps")),
        ("1.5k it", Duration(1500, "steps")),
        ("20 epochs", Duration(20, "epochs")),
        ("0.5 epochs", Duration(0.5, "epochs")),
        ("30m", Duration(1800, "seconds")),
        ("6h", Duration(21600, "seconds")),
        ("90s", Duration(90, "seconds")),
        (" 1.5 hours ", Duration(5400, "seconds")),
    ],
)
def test_durations_are_read(text: str, expected: Duration) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("200", "'200 steps'"),
        ("80k", "'80k steps'"),
        ("", "is no duration"),
        ("many steps", "is no duration"),
        ("-3 steps", "is no duration"),
        ("0 steps", "longer than zero"),
        ("2.5 steps", "whole number"),
        ("3 fortnights", "known units"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_fix(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_duration(text)


@given(st.integers(1, 10**7), st.sampled_from(["steps", "epochs", "seconds"]))
def test_words_are_read_back(value: int, unit: str) -> None:
    duration = Duration(float(value), unit)  # type: ignore[arg-type]
    assert parse_duration(format_duration(duration)) == duration


def test_steps_of_a_duration() -> None:
    assert to_steps(Duration(200, "steps"), images=10, batch=4) == 200
    assert to_steps(Duration(2, "epochs"), images=10, batch=4) == 5
    assert to_steps(Duration(1, "epochs"), images=11, batch=4) == 3
    assert to_steps(Duration(1, "epochs"), images=1, batch=8) == 1
    assert to_steps(Duration(60, "seconds"), images=10, batch=4, seconds_per_step=0.5) == 120
    with pytest.raises(ValueError, match="not measured"):
        to_steps(Duration(60, "seconds"), images=10, batch=4)
