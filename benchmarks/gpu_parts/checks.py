"""Which checks there are, in the order of their importance. Imports nothing heavy: the supervisor reads it, too."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

EVENT = "\x1e"
"""Begins the lines of a worker that are for the supervisor."""

Kind = Literal["correctness", "figures", "self-test"]


@dataclass(frozen=True)
class Check:
    """One thing that is checked or measured.

    name: as in --only. seconds: after so many it is ended, and what it has found until then counts. work: "module:name"
    within this package, called with a `Notes` and `argument`. large: left out with --small. needs: a module of the
    package without which there is nothing to check. A self-test is of this script, and runs only when it is named.
    """

    name: str
    kind: Kind
    seconds: int
    work: str
    about: str
    argument: str = ""
    large: bool = False
    needs: str = ""


TRAINED = (
    ("segformer_mit-b0", 40, False),
    ("upernet_swin-b", 60, True),
    ("deeplabv3plus_r101", 60, True),
    ("segformer_mit-b5", 60, True),
    ("mask2former_swin-l-in22k-384x384-pre", 75, True),
)
"""Recipe, seconds, whether it is large."""

REAL_TIME = (
    ("pidnet-s", False), ("fast_scnn", False), ("segformer_mit-b0", True), ("ddrnet_23-slim", True),
    ("bisenetv2", True), ("stdc1", True), ("gcnet-s", True), ("sctnet-b", True), ("ppliteseg-t", True),
)  # fmt: skip
"""Recipe, whether it is left out with --small."""

CHECKS: tuple[Check, ...] = (
    Check("training", "correctness", 60, "training:deterministic", "trained, evaluated, saved; resumed bit for bit"),
    Check("kernel_argmax", "correctness", 40, "kernels:argmax", "labels in one kernel, beside strips and all at once"),
    Check("kernel_loss", "correctness", 40, "kernels:loss", "losses in kernels or strips, beside the plain ones",
          needs="intarsia.losses.resized_cross_entropy"),
    Check("golden", "correctness", 60, "golden:networks", "networks beside the reference: float64, float32, bfloat16"),
    Check("evaluation", "correctness", 40, "inference:scores", "scores are the processor's"),
    Check("prediction", "correctness", 30, "inference:labels", "labels are the processor's, away from ties"),
    Check("waits", "correctness", 30, "training:waits", "no step and no image waits for the device; memory is pinned"),
    Check("half_precision", "correctness", 40, "training:half", "bfloat16 and float16, resumed in any order of sums"),
    Check("compiled", "correctness", 75, "training:compiled", "--compile trains as without"),
    Check("batch_finder", "correctness", 30, "training:batch", "a batch that does not fit is found, and survived"),
    *(Check(f"latency:{name}", "figures", 20, "latency:network", "milliseconds at 1024 x 2048", name, large)
      for name, large in REAL_TIME),
    Check("evaluation_speed", "figures", 40, "inference:speed", "images a second from files to scores"),
    *(Check(f"speed:{name}", "figures", seconds, "speed:training", "images a second, peak memory", name, large)
      for name, seconds, large in TRAINED),
    *(Check(f"latency_compiled:{name}", "figures", 45, "latency:compiled", "the same by torch.compile", name, large)
      for name, large in REAL_TIME),
    Check("selftest_wrong", "self-test", 60, "selftests:wrong", "a check that finds something wrong"),
    Check("selftest_raises", "self-test", 60, "selftests:raises", "a check that breaks off"),
    Check("selftest_crash", "self-test", 60, "selftests:crash", "a check that takes the process with it"),
    Check("selftest_hang", "self-test", 1, "selftests:hang", "a check that never ends"),
)  # fmt: skip


def chosen(only: Sequence[str] | None, *, small: bool) -> list[Check]:
    """The checks of --only, or all but self-tests; without those that have nothing to check here."""
    return [
        check
        for check in CHECKS
        if (check.name.startswith(tuple(only)) if only else check.kind != "self-test")
        and not (small and check.large)
        and (not check.needs or importlib.util.find_spec(check.needs) is not None)
    ]
