"""What a user is told of data workers that could not be started, or are gone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

from intarsia.io.processes import signal_name

ANEW = (
    "workers that are not forked (Windows, macOS, Python 3.14 and later) import the program anew: what it does must "
    'stand below `if __name__ == "__main__":`, and classes and functions of samples at the top of a module that can be '
    "imported, not in a notebook; or load samples without workers (workers=0)"
)
_MEMORY = (
    "the system ended a data worker, most likely for lack of memory or of shared memory (/dev/shm); use fewer workers "
    "(--workers) or a smaller batch, or give the container more (docker --shm-size)"
)
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGILL", "SIGFPE")


def cannot_start(error: Exception) -> ValueError:
    """Of workers that cannot be sent what they are to do."""
    return ValueError(f"data workers cannot be started: {error}; {ANEW}")


def is_lost(codes: Sequence[int | None]) -> ValueError:
    """Of workers that are gone. codes: exit codes of all, minus a signal's number; None of those that live."""
    signals = {signal_name(-code) for code in codes if code is not None and code < 0}
    if not codes or signals & {"SIGKILL", "SIGBUS"}:
        return ValueError(_MEMORY)
    for name in sorted(signals):
        if name in _CRASHES:
            return ValueError(
                f"a data worker has crashed ({name}), most likely in a library that reads or transforms samples; "
                "without workers (--workers 0) and with `python -X faulthandler` it says where"
            )
    if signals:
        return ValueError(f"a data worker was ended from outside ({', '.join(sorted(signals))})")
    own = next((code for code in codes if code), 0)
    forked = multiprocessing.get_start_method() == "fork"
    return ValueError(
        f"a data worker has ended with exit code {own}; what it said of that stands above"
        + ("" if forked or not own else f". If it could not begin: {ANEW}")
    )
