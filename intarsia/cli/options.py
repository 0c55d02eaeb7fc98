"""Options that several commands take, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

_DATA, _LENGTH, _MACHINE, _MORE = "Data", "Length", "Machine", "More"

# typer reads these annotations when the program starts, on Python 3.10 too: hence Optional.
Data = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--data", help="Folder of images and masks, or a data description (YAML).", rich_help_panel=_DATA),
]
Crop = Annotated[
    Optional[tuple[int, int]],  # noqa: UP045
    typer.Option("--crop", metavar="H W", help="Size of the training crops, in pixels.", rich_help_panel=_DATA),
]
Batch = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--batch", min=1, help="Images per step, in TOTAL over all devices.", rich_help_panel=_DATA),
]
Workers = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--workers", min=0, help="Processes that load data, per device.", rich_help_panel=_DATA),
]
For = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--for",
        metavar="DURATION",
        help="Length of the training: '200 steps', '80k steps', '20 epochs', '30m', '6h'. Schedules are rescaled.",
        rich_help_panel=_LENGTH,
    ),
]
EvalEvery = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--eval-every", metavar="DURATION", help="Time between evaluations.", rich_help_panel=_LENGTH),
]
SaveEvery = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--save-every", metavar="DURATION", help="Time between checkpoints.", rich_help_panel=_LENGTH),
]
Seed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--seed", min=0, help="Decides weights, order and augmentation.", rich_help_panel=_MORE),
]
Weights = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--weights", help="Start from these weights (.safetensors, .pth); takes what fits.", rich_help_panel=_MORE
    ),
]
Devices = Annotated[int, typer.Option("--devices", min=1, help="GPUs or processes.", rich_help_panel=_MACHINE)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", rich_help_panel=_MACHINE)]
Precision = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--precision", help="32, 16 (mixed) or bf16 (mixed).", rich_help_panel=_MACHINE),
]
Set = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set",
        "--cfg-options",
        metavar="PATH=VALUE",
        help="Change a value of the config: --set model.decode_head.dropout_ratio=0 optim_wrapper.optimizer.lr=1e-3",
        rich_help_panel=_MORE,
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust-config", help="Run a Python config as Python instead of reading it.", rich_help_panel=_MORE),
]
ConfigBeside = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--config", help="Config or recipe of the model, for weights that do not say it (.pth).", rich_help_panel=_MORE
    ),
]
