"""Checks of the script itself: how it takes what goes wrong. They run only when they are named."""

from __future__ import annotations

import os
import time

from gpu_parts.notes import Notes


def wrong(notes: Notes, _: str) -> None:
    notes.holds("one is two", 1.0, 0.5)


def raises(notes: Notes, _: str) -> None:
    notes.figure(before="kept")
    raise RuntimeError("broken on purpose")


def crash(notes: Notes, _: str) -> None:
    notes.figure(before="kept")
    os.abort()


def hang(notes: Notes, _: str) -> None:
    notes.figure(before="kept")
    time.sleep(600)
