"""Without `--workers` an evaluation starts no more processes than there are images, or cores for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from intarsia.workflows import evaluate
from intarsia.workflows.evaluate import EvaluationRequest


@pytest.mark.parametrize(
    ("images", "cores", "given", "expected"),
    [(9, 16, None, 2), (1, 16, None, 1), (9, 1, None, 1), (9, 1, 4, 4), (9, 16, 0, 0)],
)
def test_workers(monkeypatch: pytest.MonkeyPatch, images: int, cores: int, given: int | None, expected: int) -> None:
    monkeypatch.setattr(evaluate, "available_cores", lambda: cores)
    request = cast("EvaluationRequest", SimpleNamespace(workers=given))
    assert evaluate._workers(request, cast("Any", [Path()] * images)) == expected
