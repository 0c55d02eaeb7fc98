"""Values of a training for Weights & Biases."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from intarsia.engine.callbacks.base import ObservedRun, Observer
from intarsia.io.whole_files import write_text


class WandB(Observer):
    """Every value as a metric of a Weights & Biases run. Without network: WANDB_MODE=offline.

    project, name, entity, group, tags: as in wandb.init; the name is the run's folder if it is None.
    Raises ValueError if wandb is not installed, or if nobody has logged in on this machine and nobody can be asked.
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
        if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.api.api_key and not sys.stdin.isatty():
            raise ValueError(
                "nobody is logged in at Weights & Biases on this machine: run 'wandb login' or set WANDB_API_KEY "
                "first, or WANDB_MODE=offline to keep the log in the run's folder"
            )
        self._wandb: Any = wandb
        self._options = {"project": project, "name": name, "entity": entity, "group": group, "tags": list(tags)}
        self._run: Any = None

    def begin(self, run: ObservedRun, step: int) -> None:
        """A resumed run goes on in the same run of the service: its id is kept in the run's folder."""
        identity = run.out / "wandb_id.txt"
        known = identity.read_text(encoding="utf-8").strip() if identity.exists() and step else None
        options = {**self._options, "name": self._options["name"] or run.out.name}
        self._run = self._wandb.init(
            dir=str(run.out), config=dict(run.meta.config), id=known, resume="allow", **options
        )
        write_text(identity, f"{self._run.id}\n")

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """All of a line at its step."""
        self._run.log(dict(values), step=step)

    def end(self, step: int, status: str) -> None:
        """Send the rest."""
        if self._run is not None:
            self._run.finish(exit_code=0 if status == "finished" else 1)
