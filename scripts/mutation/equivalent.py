"""Mutants that no test can kill, because nothing changes that anybody could see, with the reason for each.

The keys are names as the command prints them. A test keeps the list to mutants that exist.
"""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "intarsia/layers/distributed.py mean_over_processes [call] torch.distributed.is_available() -> torch.distributed": (
        "a build of torch without processes is asked for; here there are none such"
    ),
    "intarsia/metrics/confusion.py check_outside [call] counts.tolist() -> counts": (
        "the numbers are asked for one by one then; what is found and said is the same"
    ),
}
