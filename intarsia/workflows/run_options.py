"""Where a run happens and what it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.contracts import PathLike

if TYPE_CHECKING:
    from torch import Tensor

    from intarsia.engine.callbacks.base import Observer


@dataclass(frozen=True)
class GivenNetwork:
    """A network that is there already, in Python, and is to be trained with the weights that it has.

    values: the section `model` of a config. state: its tensors. frozen: names of what is not trained. loaded: of the
    weights that it once started from, as run.json notes them. knows_normalisation: whether mean and deviation in
    `values` mean anything; otherwise they are those of the data.
    """

    values: Mapping[str, Any]
    state: Mapping[str, Tensor]
    num_classes: int
    bands: int
    frozen: tuple[str, ...] = ()
    loaded: tuple[Mapping[str, Any], ...] = ()
    knows_normalisation: bool = True


@dataclass(frozen=True)
class RunOptions:
    """Where a run happens and what it starts from; all that is not in its config.

    device: "auto", "cpu", "cuda" or "mps". weights: file or name to start from, or None.
    network: whose weights it starts from instead.
    allow_partial: whether the model may have parts that the weights do not fit.
    key, prefix: where the network's tensors are in the weights, and what their names begin with there.
    notify: a command that is told how the run goes. It is never read from a file, which somebody else may have written.
    observers: told how the run goes, besides those of its config.
    """

    out: Path
    devices: int = 1
    device: str = "auto"
    resume: bool = False
    weights: PathLike | None = None
    network: GivenNetwork | None = None
    allow_partial: bool = False
    key: str | None = None
    prefix: str | None = None
    notify: str | None = None
    observers: tuple[Observer, ...] = ()
