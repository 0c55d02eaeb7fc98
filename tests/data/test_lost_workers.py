"""Data workers that cannot be started, or are gone: what is said of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from test_workers import START_METHODS, Grey, run_program

from intarsia.contracts import Sample
from intarsia.data.loader import eval_loader
from intarsia.data.lost_workers import is_lost
from intarsia.data.pipeline import Pipeline

ANEW = [method for method in START_METHODS if method != "fork"]


@dataclass(frozen=True)
class EndBy:
    """Ends the process it is in: by a signal, or with an exit code."""

    signal_name: str
    code: int = 0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if not self.signal_name:
            os._exit(self.code)
        number = getattr(signal, self.signal_name)
        if self.signal_name != "SIGKILL":  # pytest has a handler of its own for crashes
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        raise AssertionError("unreachable")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        (EndBy("SIGKILL"), r"the system ended a data worker, .*fewer workers \(--workers\)"),
        (EndBy("SIGBUS"), r"the system ended a data worker, .*--shm-size"),
        (EndBy("SIGSEGV"), r"a data worker has crashed \(SIGSEGV\), .*--workers 0"),
        (EndBy("SIGFPE"), r"a data worker has crashed \(SIGFPE\), "),
        (EndBy("SIGHUP"), r"a data worker was ended from outside \(SIGHUP\)$"),
        (
            EndBy("", code=3),
            r"a data worker has ended with exit code 3; what it said .* stands above($|\. If it could not begin: )",
        ),
    ],
    ids=lambda value: f"{value.signal_name}{value.code}" if isinstance(value, EndBy) else "",
)
def test_what_ended_a_worker_is_told_by_its_exit_code(how: EndBy, message: str, workers: int) -> None:
    with pytest.raises(ValueError, match=message):
        list(eval_loader(Pipeline(Grey(), (how,)), batch_size=1, workers=workers))


def test_numbers_without_a_name_are_given_as_they_are() -> None:
    assert str(is_lost([None, -250])) == "a data worker was ended from outside (signal 250)"
    assert "lack of memory" in str(is_lost([]))  # torch has not said whose


@pytest.mark.parametrize("method", ANEW)
def test_a_data_set_that_a_worker_cannot_import_is_explained(method: str) -> None:
    """As one in a notebook: a program that is no file is not imported by its workers."""
    program = (
        "import multiprocessing\nfrom test_workers import Grey\n"
        "from intarsia.data.loader import train_loader\nfrom intarsia.data.pipeline import Pipeline\n"
        f"multiprocessing.set_start_method({method!r}, force=True)\n"
        "class Mine(Grey): pass\n"
        "next(train_loader(Pipeline(Mine(), ()), batch_size=2, seed=0, workers=2))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    assert "AttributeError: Can't get attribute 'Mine'" in done.stderr
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith(
        "ValueError: a data worker has ended with exit code 1; what it said of that stands above. If"
    )
    assert "not in a notebook" in last


def test_a_program_without_its_guard_is_told_of_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import multiprocessing, sys\nfrom test_workers import Grey\n"
        "from intarsia.data.loader import train_loader\nfrom intarsia.data.pipeline import Pipeline\n"
        "multiprocessing.set_start_method('spawn', force=True)\n"
        "next(train_loader(Pipeline(Grey(), ()), batch_size=2, seed=0, workers=1))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 1
    assert 'must stand below `if __name__ == "__main__":`' in done.stderr.rstrip().splitlines()[-1]


@pytest.mark.parametrize("method", ANEW)
def test_a_transform_that_cannot_be_sent_is_explained(method: str, tmp_path: Path) -> None:
    body = "next(train_loader(Pipeline(Grey(), (lambda sample, rng: sample,)), batch_size=2, seed=0, workers=1))"
    done = run_program(body, method, tmp_path)
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("ValueError: data workers cannot be started: ")
    assert "lambda" in last
    assert "at the top of a module" in last
