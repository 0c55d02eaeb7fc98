"""Measurements are run by hand, and would go unnoticed when they no longer run: here at toy sizes, for that alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOYS = {
    "inference.py": ("--repeat", "1", "--only", "whole"),
    "methods.py": ("--repeat", "1", "--only", "fast_scnn"),
    "model_step.py": ("--repeat", "0", "--networks", "fast_scnn"),
    "photo_folder.py": ("--photos", "1"),
    "raster.py": ("--sides", "700", "--blend", "crop"),
    "train_overhead.py": ("--size", "64", "64", "--batch", "2", "--steps", "2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOYS)
def test_it_runs(name: str) -> None:
    pytest.importorskip("rasterio" if name == "raster.py" else "torch")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / name, *TOYS[name]],
        capture_output=True, text=True, encoding="utf-8", timeout=600, check=False, cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "failed" not in done.stdout
