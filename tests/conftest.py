"""Fixtures that several rooms use."""

from __future__ import annotations

import datetime
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("INTARSIA_OFFLINE", "1")  # no test fetches pretrained weights, nor do the commands that it runs

# On a machine with other work, any example may take long. The examples are the same in each run, so that a change is
# judged by what it changed; `make properties` draws others.
settings.register_profile("intarsia", deadline=None, derandomize="INTARSIA_OTHER_EXAMPLES" not in os.environ)
settings.load_profile("intarsia")

# torch starts autograd's threads in the first backward pass, one for each device that there is. FakeTensors make it
# believe in 255 of them where there is none; and after that no forked process can compute a gradient. So the first pass
# is this one, whatever test comes first.
torch.ones(1, requires_grad=True).sum().backward()

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("INTARSIA_SHARED", REPOSITORY.parent / "shared"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sample", type=int, default=1, metavar="N",
        help="of the cases of each parametrized test one in N, at least one; always the same",
    )  # fmt: skip
    parser.addoption(
        "--minutes", type=float, metavar="N",
        help="no test begins later than this after the start: those that are left are skipped, and counted at the end; "
        "files come in an order of their own each day, so that it is not always the same ones",
    )  # fmt: skip


def pytest_configure() -> None:
    os.environ.setdefault(_DAY, datetime.date.today().isoformat())  # one for all processes


_BEGAN = time.monotonic()
_DAY = "INTARSIA_TEST_DAY"
_TIME_IS_OVER = "not run: the time that --minutes gives was over"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("--minutes")
    if minutes is not None and time.monotonic() - _BEGAN > 60 * minutes:
        pytest.skip(_TIME_IS_OVER)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lost = [report for report in terminalreporter.stats.get("skipped", []) if _TIME_IS_OVER in str(report.longrepr)]
    if lost:
        terminalreporter.section(f"NOT RUN for lack of time: {len(lost)} tests", sep="=")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--minutes") is not None:
        items.sort(key=lambda item: zlib.crc32(f"{os.environ[_DAY]} {item.path.name}".encode()))
    every = config.getoption("--sample")
    if every <= 1:
        return
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        tests[item.nodeid.partition("[")[0]].append(item)
    chosen = {item.nodeid for cases in tests.values() for item in sampled(cases, every)}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in chosen])
    items[:] = [item for item in items if item.nodeid in chosen]


def sampled(cases: list[pytest.Item], every: int) -> list[pytest.Item]:
    """One in so many cases of a test by a hash of their names, which is the same in each process; at least one."""
    numbers = [zlib.crc32(case.nodeid.encode()) for case in cases]
    return [case for case, number in zip(cases, numbers, strict=True) if number % every == 0 or number == min(numbers)]


@pytest.fixture(params=["cpu", "cuda", "mps"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each kind of device that this machine has; tests/simulated_gpu.py stands for a GPU where there is none."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[request.param]:
        pytest.skip(f"this machine has no {request.param} device")
    return torch.device(request.param, 0) if request.param == "cuda" else torch.device(request.param)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout; tests that need it skip where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip(f"reference material not found at {SHARED} (set INTARSIA_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def realdata(shared: Path) -> Path:
    return shared / "realdata"


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this process and those that it starts: with more, sums of floats are taken in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)
