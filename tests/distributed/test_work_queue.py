"""Processes that share out a queue: all of it is done whatever dies, and numbers are added up over all.

Every process imports this module: torch is imported where it is needed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from intarsia.distributed.device_processes import DeviceProcesses, Link, Lost, named_devices
from intarsia.distributed.work_queue import AllLostError, WorkQueue, rounds
from intarsia.io.cores import available_cores

TWO = ("cpu:0", "cpu:1")


def square(deadly: dict[int, Path | None], link: Link) -> None:
    """Tells squares. deadly: numbers that kill the process; those with a file, only while it is not there."""
    for numbers in rounds(link):
        for number in numbers:
            if number in deadly:
                mark = deadly[number]
                if mark is None or not mark.exists():
                    if mark is not None:
                        mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            link.tell((number, number**2))


def shared_out(count: int, work: Callable[[Link], None]) -> tuple[dict[int, int], dict[int, str]]:
    found: dict[int, int] = {}
    aside: dict[int, str] = {}
    queue = WorkQueue(
        range(count),
        named=str,
        finished=lambda message: int(message[0]),
        tell=lambda message: found.update([message]),
        set_aside=lambda number, reason: aside.update({number: reason}),
    )
    queue.go(TWO, work)
    return found, aside


def test_everything_is_done_once() -> None:
    found, aside = shared_out(50, partial(square, {}))
    assert found == {number: number**2 for number in range(50)}
    assert not aside


def test_what_a_dead_process_had_is_done_by_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, aside = shared_out(20, partial(square, {4: tmp_path / "died"}))
    assert found == {number: number**2 for number in range(20)}
    assert not aside
    said = " ".join(capsys.readouterr().err.split())
    assert "has ended with exit code -9, SIGKILL; the system may have ended it for lack of memory; it had 4" in said


def test_all_that_die_end_it_clearly() -> None:
    with pytest.raises(AllLostError, match=r"not one process is left; the last one: process [01] \(cpu:[01]\) has"):
        shared_out(20, partial(square, {2: None, 7: None}))


def test_an_item_that_kills_twice_is_set_aside_at_the_end() -> None:
    found, aside = shared_out(12, partial(square, {3: None}))
    assert found == {number: number**2 for number in range(12) if number != 3}
    assert list(aside) == [3]
    assert "a second process has ended at it: process" in aside[3]


def refuse(link: Link) -> None:
    for _ in rounds(link):
        raise ValueError("this cannot be")


def test_errors_of_the_user_come_from_there() -> None:
    with pytest.raises(ValueError, match="this cannot be"):
        shared_out(3, refuse)


def fail(link: Link) -> None:
    raise RuntimeError("a bug")


def test_a_process_that_never_begins_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AllLostError, match="exit code 1"):
        shared_out(3, fail)
    said = capfd.readouterr().err
    assert "RuntimeError: a bug" in said
    assert "before it had anything to do" in " ".join(said.split())


def add_up(link: Link) -> None:
    import torch

    own = torch.tensor([link.rank + 1, 2**60])
    link.tell((link.rank, link.all_reduce_sum(own).tolist(), link.gather(link.rank), os.environ["OMP_NUM_THREADS"]))


def test_sums_and_values_of_all() -> None:
    with DeviceProcesses(TWO, add_up) as processes:
        found = sorted(message for _, message in processes.events())
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, available_cores() // 2))
    assert found == [(rank, [3, 2**61], [0, 1], threads) for rank in (0, 1)]


def wait_forever(link: Link) -> None:
    link.tell(os.getpid())
    link.ask("never answered")


def test_leaving_the_block_ends_the_processes() -> None:
    pids = []
    with DeviceProcesses(TWO, wait_forever) as processes:
        for _, message in processes.events():
            if isinstance(message, int):
                pids.append(message)
            if len(pids) == 2:
                break
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("wanted", "device", "cuda", "expected"),
    [
        (None, "auto", 4, ()),
        ("1", "cuda", 4, ()),
        ("2", "auto", 4, ("cuda:0", "cuda:1")),
        ("0,2", "cuda", 4, ("cuda:0", "cuda:2")),
        ("cpu:2", "auto", 4, TWO),
        ("2", "cpu", 0, TWO),
        ("2", "auto", 0, "0 CUDA devices; --devices cpu:2"),
        ("0,4", "auto", 4, "they are 0 to 3"),
        ("0", "auto", 4, "at least 1"),
        ("cpu:0", "auto", 4, "how many processes on the processor, at least 1"),
        ("cpu:2", "cuda", 4, "means processes on the processor, and --device says cuda"),
        ("2", "mps", 0, "--device says mps"),
        ("two", "auto", 4, r"found 'two'"),
    ],
)
def test_what_devices_mean(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, device: str, cuda: int, expected: str | tuple[str, ...]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: cuda)
    if isinstance(expected, tuple):
        assert named_devices(wanted, device) == expected
        return
    with pytest.raises(ValueError, match=expected):
        named_devices(wanted, device)


def test_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from intarsia.distributed.device_processes import _environment

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with _environment("cuda:1", 2):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"


def test_words_for_a_lost_process() -> None:
    assert str(Lost(1, "cuda:3", 1)) == "process 1 (cuda:3) has ended with exit code 1"
