"""Data workers: whose errors they bring, and how they end; forked, spawned, or by a server."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.loader import eval_loader, train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.sample_errors import Failure, with_text

START_METHODS = ["fork", "spawn", "forkserver"] if hasattr(os, "fork") else ["spawn"]


@dataclass(frozen=True)
class Grey:
    """Eight small images without files."""

    classes: tuple[str, ...] = ("a",)
    palette: tuple[tuple[int, int, int], ...] = ((0, 0, 0),)
    ignore_index: int = 255

    def __len__(self) -> int:
        return 8

    def load(self, index: int) -> Sample:
        meta = SampleMeta(name=f"grey{index}", original_size=(8, 8))
        return Sample(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), meta=meta)


# --- Errors -------------------------------------------------------------------------------------------------------


class OddError(Exception):
    """Cannot be made from its text."""

    def __init__(self, *, code: int, reason: str) -> None:
        super().__init__(code)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"{self.reason} (code {self.code})"


ERRORS: dict[str, Callable[[], Exception]] = {
    "RuntimeError": lambda: RuntimeError("DataLoader worker: the table of colours is used up"),
    "KeyError": lambda: KeyError("elevation"),
    "TypeError": lambda: TypeError("'NoneType' object is not subscriptable"),
    "IndexError": lambda: IndexError("index 3 is out of bounds"),
    "ZeroDivisionError": lambda: ZeroDivisionError("division by zero"),
    "AssertionError": lambda: AssertionError("an odd number of rows"),
    "FileNotFoundError": lambda: FileNotFoundError(2, "No such file or directory", "colours.txt"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "MemoryError": lambda: MemoryError("out of memory"),
    "NotImplementedError": lambda: NotImplementedError("for 16 bits"),
    "ValueError": lambda: ValueError("too dark"),
    "OddError": lambda: OddError(code=7, reason="odd"),
}


@dataclass(frozen=True)
class Failing:
    """A transform of the user's own."""

    kind: str

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        raise ERRORS[self.kind]()


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_keeps_its_type_and_text_and_names_sample_and_transform(kind: str, workers: int) -> None:
    error = ERRORS[kind]()
    with pytest.raises(type(error)) as caught:
        next(train_loader(Pipeline(Grey(), (Failing(kind),)), batch_size=1, seed=0, workers=workers))
    assert type(caught.value).__name__ == kind
    for part in (str(error).strip("'"), "grey", "(transform Failing)"):
        assert part in str(caught.value)
    assert "memory or of shared memory" not in str(caught.value)
    assert "raise ERRORS[self.kind]()" in str(caught.value.__cause__)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_data_set_says_which_sample(workers: int) -> None:
    pipeline = Pipeline(Broken(), ())
    with pytest.raises(AttributeError, match=r"sample 0: no attribute 'x' \(loading, by Broken\)"):
        next(iter(eval_loader(pipeline, batch_size=1, workers=workers)))


@dataclass(frozen=True)
class Broken(Grey):
    def load(self, index: int) -> Sample:
        raise AttributeError("no attribute 'x'")


class Stopping:
    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        raise StopIteration("that was all")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_transform_cannot_end_a_data_set_in_silence(workers: int) -> None:
    with pytest.raises(RuntimeError, match=r"StopIteration: grey0: that was all \(transform Stopping\)"):
        list(eval_loader(Pipeline(Grey(), (Stopping(),)), batch_size=1, workers=workers))


class LocalError(Exception):
    """Stands for a type that the other process cannot find."""

    __module__ = "nowhere"


@pytest.mark.parametrize("make", [*ERRORS.values(), lambda: LocalError("hidden")])
def test_errors_travel(make: Callable[[], Exception]) -> None:
    error = make()
    try:
        raise with_text(error, f"photo.png: {error} (transform Own)") from error
    except Exception as placed:
        text = str(placed)
        failure = pickle.loads(pickle.dumps(Failure.of(placed)))
    found = failure.error()
    assert text in str(found)
    assert isinstance(found, type(error)) or isinstance(error, LocalError)
    if isinstance(error, OSError):
        assert found.errno == error.errno
    if isinstance(error, OddError):
        assert found.code == 7


# --- Ending -------------------------------------------------------------------------------------------------------

PROGRAM = """
import multiprocessing, os, subprocess, sys, time
from test_workers import Grey
from intarsia.data.loader import eval_loader, train_loader
from intarsia.data.pipeline import Pipeline

def other(started):
    started.set()
    time.sleep(60)

def main():
    multiprocessing.set_start_method(sys.argv[1], force=True)
{body}

if __name__ == "__main__":
    main()
"""


def run_program(body: str, method: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "program.py"
    file.write_text(PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    ")))
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    warnings = "ignore:This DataLoader will create"  # more workers than this machine has cores
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": warnings}
    return subprocess.run(
        [sys.executable, str(file), method], capture_output=True, text=True, timeout=240, check=False, env=environment
    )


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize(
    "body",
    {
        "left early": """
            for batch in train_loader(Pipeline(Grey(), ()), batch_size=2, seed=0, workers=2):
                print(len(batch.metas))
                break
        """,
        "alive to the end": """
            sys.batches = train_loader(Pipeline(Grey(), ()), batch_size=2, seed=0, workers=2)
            print(len(next(sys.batches).metas))
        """,
        "kept": """
            sys.loader = eval_loader(Pipeline(Grey(), ()), batch_size=2, workers=2, persistent_workers=True)
            print(len(list(sys.loader)[0].metas))
            next(iter(sys.loader))
        """,
    }.items(),
    ids=lambda case: case[0],
)
def test_a_program_that_leaves_ends_without_a_word(body: tuple[str, str], method: str, tmp_path: Path) -> None:
    """Workers ignore SIGTERM, by which Python would end them."""
    began = time.monotonic()
    done = run_program(body[1], method, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
    assert time.monotonic() - began < 120


class SlowToSend:
    """What torch is still working on, in the thread that sends it, when the worker ends."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        side = torch.ones(2000, 2000)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            torch.mm(side, side)
        return SlowToSend, ()


class SlowBatches:
    """Of which the first is sent at once."""

    def __getitem__(self, number: int) -> SlowToSend | str:
        return SlowToSend() if number else "first"


@pytest.mark.parametrize("method", START_METHODS)
def test_a_worker_ends_in_the_midst_of_sending(method: str, tmp_path: Path) -> None:
    """Python stops the sending thread inside torch's C++, which aborted the process once in some hundred endings."""
    done = run_program(
        """
        from intarsia.data.loader import BatchLoader
        from test_workers import SlowBatches
        sys.batches = iter(BatchLoader(SlowBatches(), lambda: range(6), workers=1))
        print(next(sys.batches))
        time.sleep(0.5)
        """,
        method,
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "first\n", "")


class KilledBatches:
    """Whose worker aborts while it is being ended."""

    def __getitem__(self, number: int) -> str:
        if number:
            time.sleep(1.5)
            os.abort()
        return "first"


@pytest.mark.skipif(os.name != "posix", reason="SIGCHLD tells of it")
@pytest.mark.parametrize("method", START_METHODS)
def test_a_worker_that_dies_while_it_ends_is_no_error(method: str, tmp_path: Path) -> None:
    done = run_program(
        """
        from intarsia.data.loader import BatchLoader
        from test_workers import KilledBatches
        batches = iter(BatchLoader(KilledBatches(), lambda: range(6), workers=1))
        print(next(batches))
        time.sleep(0.5)
        batches.close()
        print("closed")
        """,
        method,
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "first\nclosed\n", "")


@pytest.mark.skipif(os.name != "posix", reason="asks for a child by its number")
def test_children_of_the_users_are_left_alone(tmp_path: Path) -> None:
    """Until Python itself ends them: a program that is ending may still wait for them, and they may clean up."""
    done = run_program(
        """
        import atexit
        batches = train_loader(Pipeline(Grey(), ()), batch_size=2, seed=0, workers=1)
        started = multiprocessing.Event()
        child = multiprocessing.Process(target=other, args=(started,), daemon=True)
        child.start()
        started.wait()
        plain = subprocess.Popen(["sleep", "60"])
        sys.keep = batches
        def look():
            print(child.is_alive(), plain.poll() is None, flush=True)
            plain.terminate()
            plain.wait()
        from multiprocessing import util
        util.Finalize(None, look, exitpriority=1000)  # the first thing that multiprocessing does at the end
        print(len(next(batches).metas))
        """,
        "fork",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\nTrue True\n", "")


def test_workers_live_through_several_passes_if_they_are_kept() -> None:
    loader = eval_loader(Pipeline(Grey(), (ProcessName(),)), batch_size=4, workers=1, persistent_workers=True)
    seen = [{meta.name for batch in loader for meta in batch.metas} for _ in range(3)]
    assert seen[0] == seen[1] == seen[2]
    half = iter(loader)
    next(half)  # a pass that is not finished disturbs no other
    assert {meta.name for batch in loader for meta in batch.metas} == seen[0]
    loader.close()
    after = {meta.name for batch in loader for meta in batch.metas}
    loader.close()
    assert after != seen[0]
    plain = eval_loader(Pipeline(Grey(), (ProcessName(),)), batch_size=4, workers=1)
    assert {m.name for batch in plain for m in batch.metas} != {m.name for batch in plain for m in batch.metas}


class ProcessName:
    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        from dataclasses import replace

        return replace(sample, meta=replace(sample.meta, name=str(os.getpid())))


@pytest.mark.parametrize("method", START_METHODS)
def test_batches_are_the_same_however_workers_start(method: str, tmp_path: Path) -> None:
    done = run_program(
        """
        from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
        pipeline = Pipeline(Grey(), (RandomFlip(prob=0.5), RandomCrop((4, 4))))
        for workers in (0, 2):
            batches = train_loader(pipeline, batch_size=3, seed=4, workers=workers)
            print([meta.name for _ in range(4) for meta in next(batches).metas])
            batches.close()
        """,
        method,
        tmp_path,
    )
    alone, two = done.stdout.splitlines()
    assert alone == two, done.stderr


def test_a_closed_pass_is_over() -> None:
    batches: Any = train_loader(Pipeline(Grey(), ()), batch_size=2, seed=0, workers=1)
    next(batches)
    batches.close()
    batches.close()
    assert next(batches, None) is None
