"""Which recipes are proposed, from invented facts about data, machine and networks."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.workflows.advise import (
    FORWARD,
    SPARE,
    WORTH,
    Candidate,
    Facts,
    Machine,
    Measured,
    Outlook,
    Work,
    outlook,
    propose,
    scaled_memory,
    show_bytes,
    show_time,
)

GB, HOUR = 10**9, 3600.0
WORK = Work(images=100, batch=2, crop=(512, 512), steps=1000)
CANDIDATES = (
    Candidate("tiny", 1e9, 10**6, GB // 2, None),
    Candidate("small", 5e9, 4 * 10**6, GB, 37.0),
    Candidate("medium", 20e9, 25 * 10**6, 3 * GB, 45.0),
    Candidate("large", 80e9, 80 * 10**6, 6 * GB, 51.0),
    Candidate("huge", 800e9, 400 * 10**6, 40 * GB, 56.0),
)


def facts(second_per_step: float | None = 0.5, *, free: int = 16 * GB, within: float = 8 * HOUR) -> Facts:
    """second_per_step: of "small", the one that was measured."""
    measured = {} if second_per_step is None else {"small": Measured(second_per_step, GB, 2)}
    return Facts(WORK, Machine("cpu", free), CANDIDATES, measured, within=within)


def names(found: Facts) -> dict[str, str]:
    return {one.role: one.name for one in propose(found).proposals}


candidates = st.lists(
    st.builds(
        Candidate,
        name=st.uuids().map(str),
        multiply_adds=st.floats(1e8, 1e13),
        parameters=st.integers(10**5, 10**9),
        step_bytes=st.none() | st.integers(10**8, 10**11),
        score=st.none() | st.floats(1, 90),
    ),
    min_size=1,
    max_size=12,
)
works = st.builds(
    Work,
    images=st.integers(2, 10**5),
    batch=st.integers(1, 64),
    crop=st.tuples(st.integers(32, 1024), st.integers(32, 1024)),
    steps=st.integers(1, 20_000),
    evaluated=st.integers(0, 10_000),
)


@given(
    st.data(), candidates, works, st.integers(10**8, 10**12), st.floats(60, 10**6), st.floats(1e-4, 100), st.booleans()
)
def test_proposals_fit_memory_and_time_and_get_better_with_both(
    data: st.DataObject,
    given_candidates: list[Candidate],
    work: Work,
    free: int,
    within: float,
    step: float,
    is_measured: bool,
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(given_candidates), unique=True)) if is_measured else []
    measured = {one.name: Measured(step * (place + 1), 10**9 * (place + 1), 1) for place, one in enumerate(chosen)}
    known = Facts(work, Machine("cpu", free), given_candidates, measured, within=within)
    found = propose(known)
    assert len(found.proposals) <= 3
    assert len({one.name for one in found.proposals}) == len(found.proposals)
    fitting = [one for one in given_candidates if outlook(one, known).memory <= SPARE * free]
    assert bool(found.proposals) == bool(fitting)
    for one in found.proposals:
        assert one.outlook.memory <= SPARE * free
        assert (one.outlook.seconds is None) == (not measured)
        if one.duration is not None:
            assert one.duration == within
            assert one.outlook.seconds is not None
            assert one.outlook.seconds > within
        elif one.outlook.seconds is not None:
            assert one.outlook.seconds <= within
    scores = [
        -math.inf if one.outlook.candidate.score is None else one.outlook.candidate.score for one in found.proposals
    ]
    assert scores == sorted(scores)
    lengths = [one.outlook.seconds or one.outlook.candidate.multiply_adds for one in found.proposals]
    assert all(less <= WORTH * more for less, more in pairwise(lengths))
    if found.proposals and found.proposals[-1].duration is None:
        outlooks = [outlook(one, known) for one in fitting]
        best = [one.candidate.score or -math.inf for one in outlooks if one.seconds is None or one.seconds <= within]
        assert scores[-1] == max(best)


def test_the_best_scores_within_a_part_of_the_time_are_proposed() -> None:
    assert names(facts()) == {"quick": "small", "balanced": "medium", "accurate": "large"}


def test_a_short_limit_leaves_the_larger_out_and_says_what_the_best_would_take() -> None:
    found = propose(facts(within=1 * HOUR))
    assert [one.name for one in found.proposals] == ["tiny", "small", "medium"]
    assert found.note == (
        "huge has the best published score (ade20k 56 mIoU), but would need about 40.0 GB of memory; a smaller --batch "
        "or --crop needs less"
    )
    enough = propose(facts(free=100 * GB))
    assert enough.note.endswith("but would take about 22 h; --within 23h")
    assert propose(facts(free=100 * GB, within=23 * HOUR)).note == ""


def test_memory_decides_too() -> None:
    assert names(facts(free=4 * GB)) == {"quick": "tiny", "balanced": "small", "accurate": "medium"}


def test_where_nothing_is_done_in_time_the_schedule_is_shortened() -> None:
    (only,) = propose(facts(100.0, within=2 * HOUR)).proposals
    assert only.name == "tiny"
    assert only.duration == 2 * HOUR
    assert only.command(Path("my data")) == "intarsia train tiny --data 'my data' --out runs/tiny --for 2h"
    assert "1,000 steps would take 5.6 h" in only.reason
    assert "shortened to 2 h" in only.reason


def test_where_nothing_fits_the_smallest_is_named() -> None:
    found = propose(facts(free=GB // 4))
    assert not found.proposals
    assert "no network fits into 250 MB of memory: tiny, the smallest, needs about 500 MB" in found.note
    assert "a step of 2 images of 512 x 512" in found.note


def test_without_times_multiply_adds_stand_for_them() -> None:
    found = propose(facts(None, free=100 * GB))
    assert [one.name for one in found.proposals] == ["medium", "large", "huge"]
    assert all(one.outlook.seconds is None for one in found.proposals)
    assert "billion multiply-adds" in found.proposals[0].reason


def test_what_was_refused_is_not_proposed() -> None:
    found = propose(replace(facts(), refused={"large": "too large"}))
    assert [one.name for one in found.proposals][-1] == "medium"
    none = propose(replace(facts(), refused={one.name: f"{one.name} has no crop" for one in CANDIDATES}))
    assert none.proposals == ()
    assert none.note == "none of the networks can be trained here: tiny has no crop"


def test_reasons_count_the_networks_that_were_chosen_from() -> None:
    first, second, third = propose(facts()).proposals
    assert first.reason == "the best published score (ade20k 37 mIoU) of the 2 networks that are done within 8 min"
    assert second.reason.startswith("the best published score (ade20k 45 mIoU) of the 3 networks that are done within")
    assert third.reason == (
        "the best published score (ade20k 51 mIoU) of the 4 networks that are done within 8 h and fit into 16.0 GB"
    )


def test_estimates_come_from_the_nearest_measured_network() -> None:
    measured = {"small": Measured(0.5, GB, 2), "large": Measured(4.0, 7 * GB, 2)}
    known = replace(facts(), measured=measured)
    by_name = {one.name: outlook(one, known) for one in (*CANDIDATES, Candidate("other", 40e9, 1, GB))}
    assert by_name["tiny"].seconds == pytest.approx(1000 * 0.5 / 5)
    assert by_name["other"].seconds == pytest.approx(1000 * 4.0 * 40 / 80)
    assert by_name["huge"].seconds == pytest.approx(1000 * 4.0 * 10)
    assert by_name["large"].memory == 7 * GB
    assert by_name["large"].measured is measured["large"]
    assert by_name["huge"].memory == 40 * GB  # two images of 512 x 512, as they were counted


def test_memory_follows_the_pixels_but_for_the_parameters() -> None:
    assert scaled_memory(10**7, 10**9, 4 * 2 * 512 * 512) == pytest.approx(16e7 + 4 * (1e9 - 16e7))
    assert scaled_memory(10**7, 10**9, 8, 2) == scaled_memory(10**7, 10**9, 4 * 2 * 512 * 512)
    assert scaled_memory(10**9, 10**9, 100, 1) == 10**9  # measured without all of the optimizer's state


def test_what_was_not_counted_is_guessed_from_the_hungriest_alike() -> None:
    alike = [Candidate(str(number), 1e9 * (1 + number / 100), 0, number * GB) for number in range(1, 9)]
    others = [Candidate("far", 1e12, 0, 10**15)]
    unknown = Candidate("unknown", 1e9, 10**6)
    found = outlook(unknown, Facts(WORK, Machine("cpu", GB), [*alike, *others, unknown]))
    assert found.memory == pytest.approx(16e6 + 8e9 / 1.08)


def test_evaluations_count_as_steps_by_their_pixels() -> None:
    work = Work(images=10, batch=2, crop=(100, 100), steps=50, evaluated=30, image_size=(200, 100))
    assert work.whole == pytest.approx(50 + FORWARD * 30 * 2 / 2)


def test_equal_scores_are_decided_by_time() -> None:
    given_candidates = [Candidate("slow", 9e9, 1, GB, 40.0), Candidate("fast", 8e9, 1, GB, 40.0)]
    known = Facts(WORK, Machine("cpu", 9 * GB), given_candidates, {"slow": Measured(1.0, GB, 2)})
    assert [one.name for one in propose(known).proposals] == ["fast"]


def test_what_takes_nearly_as_long_as_something_better_is_no_proposal() -> None:
    near = [Candidate("less", 8e9, 1, GB, 40.0), Candidate("more", 10e9, 1, GB, 44.0)]
    known = Facts(WORK, Machine("cpu", 9 * GB), near, {"less": Measured(1.0, GB, 2)})
    assert [one.name for one in propose(known).proposals] == ["more"]
    assert [one.name for one in propose(replace(known, within=1000.0)).proposals] == ["less"]


def test_the_command_has_the_options_that_cost_depends_on() -> None:
    first = propose(facts()).proposals[0]
    command = first.command(Path("data"), ["--crop", "64", "96"])
    assert shlex.split(command)[:6] == ["intarsia", "train", "small", "--data", "data", "--out"]
    assert command.endswith("runs/small --crop 64 96")
    assert isinstance(first.outlook, Outlook)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (61, "61 s"),
        (600, "10 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (43_200, "12 h"),
        (400_000, "5 days"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert show_time(seconds) == words


def test_bytes_in_words() -> None:
    assert [show_bytes(count) for count in (1, 2.5e8, 9.6e8, 3.24e9)] == ["1 MB", "250 MB", "1.0 GB", "3.2 GB"]
