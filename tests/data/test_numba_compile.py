"""What numba compiles, and what is done where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

pytest.importorskip("numba")
from numba import types

from intarsia.data import numba_compile
from intarsia.data.transforms import colour_kernel, resize_kernel, resize_window
from intarsia.terminal import Notice


def twice(value):
    return 2 * value


def test_a_cache_that_cannot_be_used_is_no_obstacle(monkeypatch):
    usual, asked = numba_compile._njit, []

    def without_cache(*arguments, cache=False, **options):
        asked.append(cache)
        if cache:
            raise EOFError("Ran out of input")  # what numba says of an index that was cut off
        return usual(*arguments, **options)

    monkeypatch.setattr(numba_compile, "_njit", without_cache)
    assert numba_compile.compiled(types.int64(types.int64), twice)(21) == 42
    assert asked == [True, False]


def test_a_machine_where_numba_cannot_compile_goes_on_without(monkeypatch):
    def unable(*arguments, **options):
        raise RuntimeError("no target")

    monkeypatch.setattr(numba_compile, "_njit", unable)
    for make in (lambda: colour_kernel.make_kernel(None), lambda: resize_kernel.make_window(None)):
        with pytest.warns(Notice, match=r"samples are made without it \(no target\)"):
            assert make() is None
    resize_window.fast_window.cache_clear()
    with pytest.warns(Notice, match="no target"):
        assert resize_window.fast_window() is None
    resize_window.fast_window.cache_clear()


def test_who_has_turned_numba_off_gets_samples_without_it():
    """In a process of its own: numba reads the variable when it is imported."""
    program = (
        "from intarsia.data.transforms.colour import PhotoMetricDistortion, _fast_distorted\n"
        "from intarsia.data.transforms.resize import fast_chooser\n"
        "from intarsia.data.transforms.resize_window import fast_window\n"
        "PhotoMetricDistortion().prepare()\n"
        "assert fast_chooser() is fast_window() is _fast_distorted() is None\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_what_takes_long_is_said_once(patience, monkeypatch, capsys):
    usual = numba_compile._njit

    def slow(*arguments, **options):
        time.sleep(0.3)
        return usual(*arguments, **options)

    monkeypatch.setattr(numba_compile, "_njit", slow)
    monkeypatch.setattr(numba_compile, "PATIENCE", patience)
    numba_compile._tell.cache_clear()
    for _ in range(2):
        numba_compile.compiled(types.int64(types.int64), twice)
    assert capsys.readouterr().err.count("numba compiles") == (patience == 0)
    monkeypatch.setenv("LOCAL_RANK", "1")  # the first process of a machine says it
    numba_compile._tell.cache_clear()
    numba_compile.compiled(types.int64(types.int64), twice)
    assert capsys.readouterr().err == ""
