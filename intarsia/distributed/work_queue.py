"""A queue of items that are shared out among the processes of several devices: who is free takes the next.

What dies takes nothing along. The items that a process had when it ended, of which one may be the reason, come last and
each alone; an item that ends a second process is set aside, by name.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from intarsia.distributed.device_processes import DeviceProcesses, Link, Lost, Question
from intarsia.terminal import warn

T = TypeVar("T")

NAMED = 3
"""Items of a process that has ended which are named."""


class AllLostError(ValueError):
    """All processes have ended, and there are items left."""


@dataclass(frozen=True, slots=True)
class _Next:
    """A process is free. begins: it has finished all that it was given before, and may wait."""

    begins: bool


def rounds(link: Link) -> Iterator[Iterator[Any]]:
    """In a process: the items that it takes, as streams. At the end of a stream, all of it must be finished.

    Most often there is one stream: another begins where something is left over by a process that has died.
    """
    while (first := link.ask(_Next(begins=True))) is not None:
        yield itertools.chain([first], iter(lambda: link.ask(_Next(begins=False)), None))


class WorkQueue(Generic[T]):
    """The items, and who has which.

    named: what an item is called in messages. finished: the number of the item that a message of a process says to be
    finished, None if it says nothing of that. tell: is given every message. set_aside: an item that has ended two
    processes, and how.

    lost: how many processes have ended before their time.
    """

    def __init__(
        self,
        items: Sequence[T],
        *,
        named: Callable[[T], str],
        finished: Callable[[Any], int | None],
        tell: Callable[[Any], None],
        set_aside: Callable[[T, str], None],
    ) -> None:
        self._items, self._named, self._finished = items, named, finished
        self._tell, self._set_aside = tell, set_aside
        self._waiting = deque(range(len(items)))
        self._again: deque[int] = deque()  # of processes that have ended
        self._struck: set[int] = set()
        self._out: dict[int, dict[int, None]] = {}  # process -> what it has, in the order in which it was given
        self._alone: set[int] = set()
        self._idle: list[int] = []
        self.lost = 0

    def go(self, devices: Sequence[str], work: Callable[[Link], None]) -> None:
        """Have `work` done in a process for each device, until all items are finished or set aside.

        Raises ValueError for an error of the user in a process, and AllLostError.
        """
        self._out = {rank: {} for rank in range(len(devices))}
        with DeviceProcesses(devices, work) as processes:
            for rank, message in processes.events():
                if isinstance(message, Lost):
                    self._lose(message)
                elif isinstance(message, Question):
                    self._serve(processes, rank, message.content)
                else:
                    number = self._finished(message)
                    if number is not None:
                        self._out[rank].pop(number, None)
                    self._tell(message)
                for free in self._take_idle():
                    self._serve(processes, free, _Next(begins=True))

    def _serve(self, processes: DeviceProcesses, rank: int, question: _Next) -> None:
        if question.begins:
            self._out[rank].clear()
            self._alone.discard(rank)
        number = None
        if self._waiting and rank not in self._alone:
            number = self._waiting.popleft()
        elif question.begins and self._again:
            number = self._again.popleft()
            self._alone.add(rank)
        elif question.begins and any(self._out.values()):
            self._idle.append(rank)  # until it is known whether the others finish what they have
            return
        if number is None:
            processes.answer(rank, None)
            return
        self._out[rank][number] = None
        processes.answer(rank, self._items[number])

    def _take_idle(self) -> list[int]:
        """Processes that wait, if there is something for them, or nothing that could still come."""
        if not self._idle or not (self._waiting or self._again or not any(self._out.values())):
            return []
        idle, self._idle = self._idle, []
        return idle

    def _lose(self, lost: Lost) -> None:
        self.lost += 1
        had = list(self._out.pop(lost.rank))
        names = ", ".join(self._named(self._items[number]) for number in had[:NAMED])
        more = f" and {len(had) - NAMED} more" if len(had) > NAMED else ""
        when = f"; it had {names}{more}" if had else " before it had anything to do"
        warn(f"{lost}{when}")
        for number in had:
            if number in self._struck:
                self._set_aside(self._items[number], f"a second process has ended at it: {lost}")
            else:
                self._struck.add(number)
                self._again.append(number)
        if not self._out and (self._waiting or self._again):
            raise AllLostError(f"not one process is left; the last one: {lost}")
