"""One process for each device of this machine: started, fed and watched by this one, which needs no device itself.

The processes know nothing of each other. What they tell and ask goes to this one, through a pipe each, and so do
numbers that are added up over all of them: no port, no group of torch.distributed, and a process that dies is known by
its name. Imports no torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from intarsia.io.cores import available_cores
from intarsia.io.processes import signal_name

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from torch import Tensor

PATIENCE = 10.0
"""Seconds that processes are given to end by themselves, before they are ended."""

CHECK_EVERY = 1.0
"""Seconds after which it is looked whether all processes live; the system says so sooner, if nobody has inherited
their pipes."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a process has asked, and waits for the answer of."""

    content: Any


@dataclass(frozen=True, slots=True)
class Lost:
    """A process that has ended without having said that its work is done. code: its exit code, or minus a signal."""

    rank: int
    device: str
    code: int | None

    def __str__(self) -> str:
        name = f", {signal_name(-self.code)}" if self.code is not None and self.code < 0 else ""
        killed = "; the system may have ended it for lack of memory" if name == ", SIGKILL" else ""
        return f"process {self.rank} ({self.device}) has ended with exit code {self.code}{name}{killed}"


@dataclass(frozen=True, slots=True)
class _Gathered:
    """A value that all processes are to have from each."""

    value: Any


@dataclass(frozen=True, slots=True)
class _Refused:
    """An error of the user, which is the same in all processes."""

    text: str


@dataclass(frozen=True, slots=True)
class _Over:
    """The work of a process is done."""


class Link:
    """What a process has of the one that has started it. Threads may share it, for `tell`.

    rank: its number, from 0. world_size: how many there are. device: "cuda" or "cpu"; of GPUs it sees its own alone.
    """

    def __init__(self, pipe: Connection, rank: int, world_size: int, device: str) -> None:
        self.rank, self.world_size, self.device = rank, world_size, device
        self._pipe = pipe
        self._turn = threading.Lock()

    def tell(self, message: Any) -> None:
        """Anything that can be pickled."""
        data = pickle.dumps(message)  # not `send`, which would leave tensors in this process and name them
        with self._turn:
            self._pipe.send_bytes(data)

    def ask(self, question: Any) -> Any:
        """The answer. Raises EOFError if there is nobody any more."""
        self.tell(Question(question))
        return pickle.loads(self._pipe.recv_bytes())

    def gather(self, value: Any) -> list[Any]:
        """What every process has given here, in the order of their numbers. All have to come here."""
        found: list[Any] = self.ask(_Gathered(value))
        return found

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, added up in the order of their numbers."""
        first, *others = self.gather(value.detach().cpu())
        for other in others:
            first = first + other
        return first.to(value.device)  # type: ignore[no-any-return]

    def autocast(self) -> AbstractContextManager[Any]:
        """Networks compute in their own precision."""
        return nullcontext()


class DeviceProcesses:
    """Processes that do `work`, one for each of the devices, for as long as the block lasts.

    devices: as `named_devices` gives them. work: is pickled, and called with a `Link` in every process. A ValueError
    of it is raised here, too; any other error is printed there and ends the process.

    Leaving the block ends all processes; what they do in the last moment they finish, for up to `PATIENCE`.
    """

    def __init__(self, devices: Sequence[str], work: Callable[[Link], None]) -> None:
        self.devices = tuple(devices)
        self._work = work
        self._processes: list[SpawnProcess] = []
        self._pipes: list[Connection] = []
        self._open: set[int] = set()
        self._gathered: dict[int, Any] = {}

    def __enter__(self) -> DeviceProcesses:
        context = multiprocessing.get_context("spawn")  # a forked process could not use a GPU
        for rank, device in enumerate(self.devices):
            ours, theirs = context.Pipe()
            kind = device.partition(":")[0]
            given = (self._work, theirs, rank, len(self.devices), kind)
            process = context.Process(target=_serve, args=given, name=f"intarsia-{device}")
            with _environment(device, len(self.devices)):
                process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
            self._open.add(rank)
        return self

    def __exit__(self, *error: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        until = time.monotonic() + PATIENCE
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
        for process in self._processes:
            if process.is_alive():
                process.kill()
            process.join()

    def events(self) -> Iterator[tuple[int, Any]]:
        """(number of the process, what it tells): anything, a `Question` to be answered, or `Lost`; until all are done.

        Raises ValueError for an error of the user in one of them.
        """
        while self._open:
            by_pipe = {self._pipes[rank]: rank for rank in self._open}
            ready = multiprocessing.connection.wait(list(by_pipe), timeout=CHECK_EVERY)
            silent = [rank for rank in self._open if not ready and not self._processes[rank].is_alive()]
            for rank in [by_pipe[pipe] for pipe in ready] + silent:  # type: ignore[index]
                message = self._received(rank)
                if isinstance(message, _Refused):
                    raise ValueError(message.text)
                if isinstance(message, _Over):
                    self._open.discard(rank)
                elif isinstance(message, Question) and isinstance(message.content, _Gathered):
                    self._gather(rank, message.content.value)
                else:
                    yield rank, message

    def answer(self, rank: int, content: Any) -> None:
        """Answer the question of a process. One that has died meanwhile is `Lost` among the next events."""
        with contextlib.suppress(OSError):
            self._pipes[rank].send_bytes(pickle.dumps(content))

    def _received(self, rank: int) -> Any:
        pipe, process = self._pipes[rank], self._processes[rank]
        try:
            if process.is_alive() or pipe.poll():
                return pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            pass
        self._open.discard(rank)
        process.join(PATIENCE)
        return Lost(rank, self.devices[rank], process.exitcode)

    def _gather(self, rank: int, value: Any) -> None:
        self._gathered[rank] = value
        if len(self._gathered) == len(self.devices):
            values = [self._gathered[rank] for rank in sorted(self._gathered)]
            self._gathered.clear()
            for each in range(len(self.devices)):
                self.answer(each, values)


def _serve(work: Callable[[Link], None], pipe: Connection, rank: int, world_size: int, device: str) -> None:
    """What a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides, and closes the pipe
    link = Link(pipe, rank, world_size, device)
    try:
        try:
            work(link)
        except ValueError as error:
            link.tell(_Refused(str(error)))
        link.tell(_Over())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody is there any more
    except BaseException:
        traceback.print_exc()
        sys.exit(1)


@contextlib.contextmanager
def _environment(device: str, processes: int) -> Iterator[None]:
    """Inside, a process that is started sees its own GPU alone, or has its share of the processor's cores."""
    kind, _, number = device.partition(":")
    if kind == "cuda":
        visible = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
        changed = {"CUDA_VISIBLE_DEVICES": visible[int(number)] if visible else number}
    else:
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, available_cores() // processes))
        changed = {"OMP_NUM_THREADS": threads}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def named_devices(wanted: str | None, device: str) -> tuple[str, ...]:
    """The devices that --devices and --device mean: "cuda:0", or "cpu:1" for a second process of the processor.

    wanted: "2" for that many GPUs, "0,2" for these, "cpu:2" for two processes on the processor. One of a kind means
    this process alone: then there is none.

    Raises ValueError for what this machine does not have.
    """
    if wanted is None or wanted.strip() == "1":
        return ()
    words = [word.strip() for word in wanted.split(",")]
    if wanted.startswith("cpu:") or (device == "cpu" and len(words) == 1):
        count = _number(wanted.removeprefix("cpu:"), wanted)
        if count < 1:
            raise ValueError(f"--devices {wanted}: expected how many processes on the processor, at least 1")
        if device not in ("auto", "cpu"):
            raise ValueError(f"--devices {wanted} means processes on the processor, and --device says {device}")
        return tuple(f"cpu:{number}" for number in range(count)) if count > 1 else ()
    if device not in ("auto", "cuda"):
        raise ValueError(f"--devices {wanted} is for several GPUs of CUDA, and --device says {device}")
    import torch

    found = torch.cuda.device_count()
    numbers = [_number(word, wanted) for word in words]
    if len(numbers) == 1:
        if numbers[0] < 1:
            raise ValueError(f"--devices {wanted}: expected how many, at least 1, or several numbers such as 0,2")
        numbers = list(range(numbers[0]))
    if max(numbers) >= found:
        less = "--devices cpu:2 takes two processes on the processor" if not found else f"they are 0 to {found - 1}"
        raise ValueError(f"--devices {wanted}: this machine has {found} CUDA devices; {less}")
    return tuple(f"cuda:{number}" for number in numbers)


def _number(word: str, wanted: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"--devices takes a number (2), several devices (0,2) or cpu:2, found {wanted!r}")
    return int(word)
