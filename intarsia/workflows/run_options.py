"""Where a run happens and what it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from intarsia.contracts import PathLike


@dataclass(frozen=True)
class RunOptions:
    """Where a run happens and what it starts from; all that is not in its config.

    device: "auto", "cpu", "cuda" or "mps". weights: file or name to start from, or None.
    allow_partial: whether the model may have parts that the weights do not fit.
    key, prefix: where the network's tensors are in the weights, and what their names begin with there.
    notify: a command that is told how the run goes. It is never read from a file, which somebody else may have written.
    """

    out: Path
    devices: int = 1
    device: str = "auto"
    resume: bool = False
    weights: PathLike | None = None
    allow_partial: bool = False
    key: str | None = None
    prefix: str | None = None
    notify: str | None = None
