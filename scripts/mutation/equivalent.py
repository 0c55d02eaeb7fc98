"""Mutants that no test can kill, because nothing changes that anybody could see, with the reason for each.

The keys are names as the command prints them. A test keeps the list to mutants that exist.
"""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {}
