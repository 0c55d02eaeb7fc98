"""What the table says of each benchmark: from whom, under which licence, how much; its counts are of the layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from intarsia import recipes
from intarsia.catalog import resolve
from intarsia.cli.main import main
from intarsia.data.datasets.family import Family
from intarsia.data.prepare.benchmark import NOT_KNOWN, Benchmark
from intarsia.data.prepare.table import BENCHMARKS
from intarsia.workflows.prepare_data import FACTS, benchmark_rows

EVERY = pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
UNKNOWN_LICENCE = {"nyu", "potsdam", "refuge", "stare", "synapse"}
UNCOUNTED = {"levircd", "synapse"}
"""Two releases; lists of the user's own."""
NOT_COUNTED = {
    "cityscapes": {"gtFine/train", "gtFine/val"},  # there and in the next, OUT may be the folder of the download
    "coco_stuff164k": {"annotations/train2017", "annotations/val2017"},
    "drive": {"annotations/validation"},  # not published any more, and in older copies
    "pascal_context": {"JPEGImages"},
    "voc_aug": {"JPEGImages", "SegmentationClass"},
}
"""Folders with files of the publisher beside those that are made."""
UNKNOWN_SIZE = {"drive", "hrf", "refuge", "stare"}


@EVERY
def test_everything_is_said_or_said_to_be_unknown(benchmark: Benchmark) -> None:
    assert benchmark.address.startswith(("http://", "https://"))
    assert benchmark.downloads
    assert benchmark.files != NOT_KNOWN
    assert re.search(r"\d", benchmark.files)
    assert benchmark.sources
    assert benchmark.licence.startswith(NOT_KNOWN) == (benchmark.name in UNKNOWN_LICENCE)
    assert benchmark.gigabytes.startswith(NOT_KNOWN) == (benchmark.name in UNKNOWN_SIZE)
    if benchmark.name not in UNKNOWN_SIZE:
        assert 0 < float(benchmark.gigabytes.split(",")[0].split()[0]) < 100


def sums(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


@EVERY
def test_gigabytes_of_several_archives_add_up(benchmark: Benchmark) -> None:
    parts = re.fullmatch(r"([\d.]+) \(([\d., and]+)\)(?:;.*)?", benchmark.gigabytes)
    if parts is not None:
        assert len(sums(parts[2])) == len(benchmark.downloads)
        assert sum(sums(parts[2])) == pytest.approx(float(parts[1]), abs=0.06)


def folders(value: Any, root: str) -> Iterator[str]:
    """Folders below a root that a config reads images or labels of."""
    if isinstance(value, Mapping):
        if value.get("data_root", "").rstrip("/") == root:
            yield from (value.get("data_prefix") or {}).values()
        for inner in value.values():
            yield from folders(inner, root)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from folders(inner, root)


@EVERY
def test_counts_are_of_folders_that_the_data_set_reads(benchmark: Benchmark) -> None:
    """The family of a data set and the published config say where images and labels lie: all of it is counted there."""
    family = resolve("dataset", benchmark.dataset)
    own = {family.images, family.labels} if isinstance(family, Family) and family.root == benchmark.root else set()
    read = own | set(folders(recipes.get(benchmark.recipe), benchmark.root) if benchmark.recipe else ())
    assert read
    assert read - benchmark.counts.keys() == NOT_COUNTED.get(benchmark.name, read if not benchmark.counts else set())
    assert bool(benchmark.counts) != (benchmark.name in UNCOUNTED)


@EVERY
def test_files_and_counts_are_the_same_numbers(benchmark: Benchmark) -> None:
    """Images of each split, or of all together, stand in the text too."""
    said = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", benchmark.files)}
    images = [count for folder, count in benchmark.counts.items() if not folder.startswith(("ann", "gt"))]
    assert not images or set(images) <= said or sum(images) in said


def test_the_list_fits_120_columns_and_leaves_the_sources_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "--list"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    assert FACTS not in text
    assert text.count("licence  ") == len(BENCHMARKS)


@pytest.mark.parametrize("words", [["--list", "nyu"], ["nyu", "--list"]])
def test_one_benchmark_with_its_sources(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", *words]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    said = " ".join(text.split())
    assert f"{FACTS} {'; '.join(BENCHMARKS['nyu'].sources)}" in said
    assert "images/train 24,231, images/test 654" in said
    assert "name chase_db1" not in said


def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "--list", "potsdam"]) == 0
    page = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert f"```\n{capsys.readouterr().out}```" in page


def test_a_list_of_what_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "--list", "chase"]) == 2
    assert "'chase'; there are chase_db1" in " ".join(capsys.readouterr().err.split())


def test_rows_have_the_sources() -> None:
    rows = benchmark_rows()
    assert [row["name"] for row in rows] == sorted(BENCHMARKS)
    assert all(row[FACTS] for row in rows)
    assert benchmark_rows("drive") == [row for row in rows if row["name"] == "drive"]
