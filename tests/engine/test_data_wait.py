"""What a training says about waiting for its data, and the times that it says it by."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standins import Pictures, tiny_run

from intarsia.contracts import LoadTimes, Sample
from intarsia.data.loader import train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.sample_cache import Ledger, SampleCache
from intarsia.data.stage_times import COLLATING, READING, StageTimes
from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
from intarsia.data.transforms.resize import RandomResize
from intarsia.engine.training.data_wait import DataWait
from intarsia.engine.training.loop import train

LOADING = LoadTimes({READING: 6.1, "PhotoMetricDistortion": 2.2, COLLATING: 1.7}, 10, 10 * 10**6)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.engine.training.data_wait.available_cores", lambda: 8)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 10**11})())


def said(wait: float = 0.23, laps: int = 2, loading: LoadTimes = LOADING, **changes: Any) -> list[str]:
    given: dict[str, Any] = {"workers": 2, "processes": 1, "images": 12_000, **changes}
    found = DataWait(**given)
    found.add(loading)
    return [line for _ in range(laps) for line in found.lines(wait)]


def test_the_slowest_stages_and_what_would_help() -> None:
    assert said() == [
        "waiting for data takes 23 % of a step; slowest: reading files 61 %, PhotoMetricDistortion 22 %; "
        "try --workers 4 or --cache memory (about 12.0 GB)"
    ]


def test_it_is_said_once_and_not_of_the_beginning_nor_of_little() -> None:
    assert len(said(laps=9)) == 1
    assert said(laps=1) == []
    assert said(wait=0.1, laps=9) == []


def test_what_is_proposed_depends_on_the_machine_and_the_run(tmp_path: Path) -> None:
    assert said(workers=8)[0].endswith("; try --cache memory (about 12.0 GB)")
    assert "--workers 4 " in said(workers=3, processes=2)[0], "the cores are shared"
    assert said(workers=4, processes=2, images=10**6)[0].endswith("; try --cache DIR (about 1000.0 GB)")
    cache = SampleCache.opened(tmp_path, 1000)
    assert said(cache=cache, workers=8)[0].endswith("PhotoMetricDistortion 22 %")
    colours = LoadTimes({READING: 1.0, "PhotoMetricDistortion": 3.0}, 1, 1)
    moved = said(loading=colours, movable=frozenset({"PhotoMetricDistortion"}), workers=8)
    assert moved[0].endswith("try --augment-on device")
    assert said(loading=LoadTimes(), workers=8) == ["waiting for data takes 23 % of a step"]


def test_a_cache_is_proposed_only_for_data_that_it_takes() -> None:
    assert said(workers=8, cacheable=lambda: True)[0].endswith("try --cache memory (about 12.0 GB)")
    assert said(workers=8, cacheable=lambda: False)[0].endswith("PhotoMetricDistortion 22 %")


def test_a_training_on_other_data_than_files_is_offered_no_cache(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Windows of scenes, packed data: `--cache` would be refused."""
    train(tiny_run(out, pipeline=Pipeline(SlowPictures(), ()), log_every=2, workers=0, validate=False))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "waiting for data takes" in line]
    assert "slowest: reading files" in line
    assert "--cache" not in line


def test_a_full_cache_is_said_once(tmp_path: Path) -> None:
    cache = SampleCache.opened(tmp_path, 1000)
    assert said(wait=0.0, laps=3, cache=cache) == []
    cache._write_ledger(Ledger(999_000_000, 1234, full=True))
    assert said(wait=0.0, laps=3, cache=cache) == [
        "the cache is full: 1,234 samples, 1.0 GB; the others are read from their files, as before"
    ]


class SlowPictures(Pictures):
    def load(self, index: int) -> Sample:
        time.sleep(0.05)
        return super().load(index)


# --- Measuring ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slow:
    seconds: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        time.sleep(self.seconds)
        return sample


def test_times_by_stage_come_with_the_batch() -> None:
    resized = (RandomResize((20, 16), (1.0, 2.0), keep_ratio=True), RandomCrop((8, 8)))
    pipeline = Pipeline(Pictures(), (*resized, RandomFlip(0.5), Slow(0.02)))
    batches = list(itertools.islice(train_loader(pipeline, batch_size=3, seed=0, workers=0), 2))
    for batch in batches:
        assert batch.loading is not None
        names = {READING, "RandomResize+RandomCrop", "RandomFlip", "Slow", COLLATING}
        assert set(batch.loading.seconds) == names
        assert 0.06 <= batch.loading.seconds["Slow"] < 1
        assert batch.loading.samples == 3
        assert batch.loading.bytes == 3 * 12 * 16 * 4
    total = LoadTimes()
    for batch in batches:
        assert batch.loading is not None
        total += batch.loading
    assert total.samples == 6


def test_a_stage_inside_another_has_its_time() -> None:
    times = StageTimes()
    with times.measure("mixing"):
        time.sleep(0.01)
        with times.measure(READING):
            time.sleep(0.05)
    taken = times.take().seconds
    assert taken["mixing"] < taken[READING]
    assert times.take() == LoadTimes()


def test_a_training_that_waits_says_so(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(out, pipeline=Pipeline(Pictures(), (Slow(0.05),)), log_every=2, workers=0, validate=False)
    train(run)
    lines = [line for line in capsys.readouterr().out.splitlines() if "waiting for data takes" in line]
    assert len(lines) == 1
    assert "slowest: Slow 9" in lines[0] or "slowest: Slow 100 %" in lines[0]
    assert "; try --workers 2" in lines[0]
