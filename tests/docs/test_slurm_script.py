"""The SLURM script of docs/several-machines.md, with stand-ins for the commands that only a cluster has."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "several-machines.md"


def command(folder: Path, name: str, code: int) -> None:
    """A command that notes how it was called."""
    file = folder / name
    file.write_text(f'#!/bin/sh\necho {name} "$@" >> "{folder / "calls"}"\nexit {code}\n')
    file.chmod(0o755)


@pytest.mark.parametrize(
    ("begun", "code", "expected"),
    [
        (False, 0, ["srun intarsia train segformer_mit-b2 --data /data/roads --out {run} --batch 32 --for 80k steps"]),
        (True, 130, ["srun intarsia train --resume {run}", "scontrol requeue 4711"]),
        (True, 2, ["srun intarsia train --resume {run}"]),
    ],
    ids=["first", "stopped", "failed"],
)
def test_the_script_begins_goes_on_and_queues_again(
    begun: bool, code: int, expected: list[str], tmp_path: Path
) -> None:
    (script,) = re.findall(r"```bash\n(#!/bin/bash.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    run = tmp_path / "my run"
    run.mkdir()
    if begun:
        (run / "run.json").touch()
    command(tmp_path, "srun", code)
    command(tmp_path, "scontrol", 0)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "4711"}
    text = script.replace("run=/runs/roads", f"run='{run}'")
    done = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "calls").read_text().splitlines() == [line.format(run=run) for line in expected]
