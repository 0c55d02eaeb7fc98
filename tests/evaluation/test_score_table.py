"""The printed table of scores is legible at any width: nothing cut, nothing lost, nothing beyond the edge."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from intarsia.contracts import ClassScore, Report
from intarsia.evaluation.score_table import report_table, score_lines

NAMES = ("road", "traffic light, traffic signal, stoplight", "a-name-without-any-blank-in-it-at-all", "[sky]", "sea")
SCORES = ("IoU", "Acc", "Dice", "Fscore", "Precision", "Recall", "BoundaryIoU")


def report(names: tuple[str, ...] = NAMES, scores: tuple[str, ...] = SCORES) -> Report:
    """Each number is another one: 10 * class + score, in percent. The last class is not in the labels."""
    classes = tuple(
        ClassScore(name, {score: (10 * k + j + 0.25) / 100 for j, score in enumerate(scores)}, 1000 * (k + 1))
        for k, name in enumerate(names)
    )
    return Report({}, classes, names[-1:], 3)


def printed(found: Report, width: int) -> str:
    """As the command line prints it: its console wraps nothing by itself."""
    console = Console(width=width, soft_wrap=True, record=True, highlight=False)
    with console.capture() as capture:
        console.print(report_table(found, "val, 3 images"))
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_cut_and_nothing_is_lost(width: int) -> None:
    text = printed(report(), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert text.count("val, 3 images") == 1
    tables = sum("class" in line for line in lines)
    assert tables == {60: 3, 80: 2, 120: 1}[width]
    for score in (*SCORES, "pixels"):
        assert len(re.findall(rf"\b{score}\b", text)) == 1
    for k in range(len(NAMES)):
        for j in range(len(SCORES)):
            assert len(re.findall(rf"(?<!\d){10 * k + j}\.25\b", text)) == 1
    for pixels in ("1,000", "2,000", "3,000", "4,000", "not in the labels"):
        assert text.count(pixels) == 1
    letters = "".join(re.sub(r"\d[\d.,]*$|not in the labels$", "", line.strip()).strip() for line in lines)
    letters = re.sub(r"[\s\d.]|─", "", letters)
    for name in NAMES:
        assert letters.count(re.sub(r"[\s]", "", name)) == tables, "a name that goes on in the next line is whole, too"


def test_few_scores_stay_in_one_table_with_names_in_one_line() -> None:
    lines = printed(report(("road", "pedestrian crossing"), ("IoU", "Acc")), 60).splitlines()
    assert sum("class" in line for line in lines) == 1
    assert any(re.fullmatch(r" *pedestrian crossing +10\.25 +11\.25 +not in the labels *", line) for line in lines)


def test_names_shorter_than_the_head_of_their_column_do_not_cut_it() -> None:
    lines = printed(report(("sky", "car"), ("IoU",)), 60).splitlines()
    assert any(re.fullmatch(r" *class +IoU +pixels *", line) for line in lines)


@given(
    st.lists(st.text(min_size=1, max_size=50), min_size=1, max_size=4).map(tuple),
    st.integers(0, 7),
    st.integers(50, 160),
)
def test_any_name_fits(names: tuple[str, ...], scores: int, width: int) -> None:
    text = printed(report(names, SCORES[:scores]), width)
    assert "pixels" in text
    assert sum(text.count(f"{score} ") for score in SCORES[:scores]) >= scores


def test_numbers_that_are_none_are_dashes() -> None:
    found = Report({}, (ClassScore("sea", {"IoU": math.nan}, 0),), ("sea",), 1)
    assert re.search(r"sea +- +not in the labels", printed(found, 80))


def test_scores_without_classes_have_no_table() -> None:
    assert printed(Report({"rmse": 0.25}, (), (), 3), 80) == "val, 3 images\n"


def test_scores_of_a_foreground_have_lines_of_their_own() -> None:
    pooled = {"Dice(ship)": 0.5, "IoU(ship)": 1 / 3, "Precision(ship)": 0.25, "Recall(ship)": 1.0}
    images = {f"image{name}": value / 2 for name, value in pooled.items()}
    assert score_lines({"mIoU": 0.75, **pooled, **images, "loss": math.nan}, "val/") == [
        "val/mIoU 0.7500  val/loss nan",
        "ship, over all pixels: Dice 0.5000  IoU 0.3333  Precision 0.2500  Recall 1.0000",
        "ship, mean of images: Dice 0.2500  IoU 0.1667  Precision 0.1250  Recall 0.5000",
    ]
    assert score_lines({"mIoU": 0.75, "IoU(ground)": 0.5}) == ["mIoU 0.7500  IoU(ground) 0.5000"]
    assert score_lines({"imageDice(ship)": 0.5}) == ["imageDice(ship) 0.5000"]
