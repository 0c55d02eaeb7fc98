"""Parts of many images: together they are all of them, whatever their number and whoever asks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.inference.outputs.parts import Part, files_of_parts

SLURM = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "3",
         "SLURM_ARRAY_TASK_MAX": "6"}  # fmt: skip
KUBERNETES = {"JOB_COMPLETION_INDEX": "2"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(), max_size=30), st.integers(1, 40))
def test_every_name_is_in_one_part(names: list[str], count: int) -> None:
    parts = [Part(number + 1, count) for number in range(count)]
    assert all(sum(part.has(name) for part in parts) == 1 for name in names)


def test_parts_are_the_same_on_every_machine_and_about_as_large() -> None:
    names = [f"day_{day}/{number:04}" for day in range(4) for number in range(500)]
    sizes = Counter(number for name in names for number in range(1, 9) if Part(number, 8).has(name))
    assert [sizes[number] for number in range(1, 9)] == [246, 249, 258, 248, 255, 238, 253, 253]


def test_names_that_are_no_text_have_a_part() -> None:
    assert Part(1, 1).has("photo_\udcff")


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("3/8", {}, Part(3, 8)),
        ("1/1", {}, Part(1, 1)),
        ("auto", SLURM, Part(3, 4)),
        ("auto/8", SLURM, Part(6, 8)),
        ("auto/3", KUBERNETES, Part(3, 3)),
        ("auto", KUBERNETES, "not how many there are: --part auto/8"),
        ("auto/2", KUBERNETES, "of 2 parts, the first is 1/2"),
        ("auto/4", SLURM, "--array=0-3"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_COUNT": "2"}, "without gaps"),
        ("auto", {}, "neither is set; give it as 3/8"),
        ("1/0", {}, "there must be one part at least"),
        ("0/8", {}, "the first is 1/8 and the last 8/8"),
        ("9/8", {}, "the first is 1/8 and the last 8/8"),
        ("three", {}, "found 'three'"),
        ("-1/3", {}, "found '-1/3'"),
    ],
)
def test_what_a_part_is_called(text: str, environment: dict[str, str], expected: Part | str) -> None:
    if isinstance(expected, Part):
        assert Part.parse(text, environment) == expected
        return
    with pytest.raises(ValueError, match=expected):
        Part.parse(text, environment)


def test_files_of_parts_are_found_and_no_others(tmp_path: Path) -> None:
    table = tmp_path / "areas.csv"
    assert files_of_parts(tmp_path / "nowhere" / "areas.csv") == []
    ours = [Part(1, 2).of(table), Part(2, 2).of(table)]
    for file in (*ours, table, tmp_path / "areas_part1.csv", tmp_path / "other_part1of2.csv"):
        file.touch()
    assert [file.name for file in ours] == ["areas_part1of2.csv", "areas_part2of2.csv"]
    assert files_of_parts(table) == ours
