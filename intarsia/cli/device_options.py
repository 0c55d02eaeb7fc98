"""Options of commands that several devices, or several jobs, can do together."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

_MACHINE = "Machine"

Devices = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--devices",
        metavar="N|I,J|cpu:N",
        help="Several GPUs of this machine, a process for each: how many, or which (0,2); cpu:2 is two processes of "
        "the processor. Results are those of one.",
        rich_help_panel=_MACHINE,
    ),
]
Part = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--part",
        metavar="I/N|auto|auto/N",
        help="Only part I of N of the images or scenes, by their names: for jobs of a cluster. auto: the task of "
        "SLURM's array; auto/N also the job of Kubernetes. Tables have the part in their names, until the same command "
        "with --skip-existing in place of --part puts them together.",
        rich_help_panel=_MACHINE,
    ),
]
