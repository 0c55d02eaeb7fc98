"""Pools of processes: they end with the process that has made them, in whatever way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from intarsia.io.processes import process_pool

_OWNER = """
import os, sys, time
from intarsia.io.processes import process_pool

if __name__ == "__main__":
    with process_pool(2) as pool:
        work = [pool.submit(time.sleep, 0.5) for _ in range(4)]
        for one in work:
            one.result()
        print("done", flush=True)
        time.sleep(600)
"""


def test_work_is_done() -> None:
    with process_pool(2, os.putenv, ("INTARSIA_TEST", "1")) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_none_is_left_when_the_first_process_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(_OWNER)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "done\n"
            children = psutil.Process(owner.pid).children(recursive=True)
            assert len(children) >= 2
        finally:
            owner.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while any(map(_works, children)):
        assert time.monotonic() < until, "they wait for work that nobody will give"
        time.sleep(0.1)
