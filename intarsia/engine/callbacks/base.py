"""Observers: what wants to know how a training goes, without being part of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from intarsia.contracts import Report
from intarsia.io.whole_files import write_text

if TYPE_CHECKING:
    from intarsia.engine.training.run import Run


class Observer:
    """Is told of everything that happens in a run; override what you care for.

    Only the first of several processes has observers, so that they may write files, and must not communicate between
    processes. What they raise ends the run like any other error. In a config: `custom_hooks = [dict(type=
    "mypackage.module:MyObserver", ...)]`.
    """

    def begin(self, run: Run, step: int) -> None:
        """The run begins, or goes on, after `step` steps."""

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """A line of metrics.jsonl: means of the loss terms, "lr", or the scores of an evaluation as "val/..."."""

    def evaluated(self, run: Run, step: int, report: Report) -> None:
        """An evaluation was made after `step` steps; the network is still the one that was evaluated."""

    def saved(self, step: int, path: Path) -> None:
        """A checkpoint was written."""

    def end(self, step: int, status: Literal["finished", "interrupted", "failed"]) -> None:
        """The run ends after `step` steps. Comes after an error, too."""


class TensorBoard(Observer):
    """Every value as a scalar, for `tensorboard --logdir RUNS`.

    folder: of the event files; None means "tensorboard" in the run's folder.
    Raises ValueError if tensorboard is not installed.
    """

    def __init__(self, *, folder: str | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("logging for TensorBoard needs it: pip install 'intarsia[log]'") from error
        self._make = SummaryWriter
        self._folder = folder
        self._writer: Any = None

    def begin(self, run: Run, step: int) -> None:
        """Events after `step` that an interrupted run left are hidden by the writer."""
        folder = self._folder or str(run.folder.path / "tensorboard")
        self._writer = self._make(folder, purge_step=step + 1 if step else None)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar each."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self, step: int, status: str) -> None:
        """Bring everything to the disk."""
        if self._writer is not None:
            self._writer.close()


class WandB(Observer):
    """Every value as a metric of a Weights & Biases run. Without network: WANDB_MODE=offline.

    project, name, entity, group, tags: as in wandb.init; the name is the run's folder if it is None.
    Raises ValueError if wandb is not installed.
    """

    def __init__(
        self,
        *,
        project: str = "intarsia",
        name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ValueError("logging for Weights & Biases needs wandb: pip install 'intarsia[log]'") from error
        self._wandb: Any = wandb
        self._options = {"project": project, "name": name, "entity": entity, "group": group, "tags": list(tags)}
        self._run: Any = None

    def begin(self, run: Run, step: int) -> None:
        """A resumed run goes on in the same run of the service: its id is kept in the run's folder."""
        identity = run.folder.path / "wandb_id.txt"
        known = identity.read_text(encoding="utf-8").strip() if identity.exists() and step else None
        options = {**self._options, "name": self._options["name"] or run.folder.path.name}
        self._run = self._wandb.init(
            dir=str(run.folder.path), config=dict(run.meta.config), id=known, resume="allow", **options
        )
        write_text(identity, f"{self._run.id}\n")

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """All of a line at its step."""
        self._run.log(dict(values), step=step)

    def end(self, step: int, status: str) -> None:
        """Send the rest."""
        if self._run is not None:
            self._run.finish(exit_code=0 if status == "finished" else 1)
