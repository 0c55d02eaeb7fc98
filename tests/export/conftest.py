"""A deployable network, and ONNX files of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made import Made, Task

from intarsia.export.deployable import Deployable
from intarsia.spec import InferenceSpec


@pytest.fixture
def make() -> Any:
    def made(*, logits: int = 3, align_corners: bool = False, threshold: float | None = None, **others: Any) -> Made:
        task = Task(logits=logits, **others).eval()
        one = threshold if logits == 1 else None
        two = threshold if logits == 2 else None
        inference = InferenceSpec(
            num_classes=max(logits, 2), align_corners=align_corners, threshold=one, two_class_threshold=two
        )
        return Made(task, inference)

    return made


@pytest.fixture
def onnx_file(tmp_path: Path) -> Any:
    """Writes a deployable module as ONNX."""
    pytest.importorskip("onnxruntime")

    def written(made: Made, module: Deployable, name: str = "model.onnx") -> Path:
        from intarsia.export.formats import onnx
        from intarsia.export.program import exported

        onnx.write(exported(module), tmp_path / name, made.meta(module.contract))
        return tmp_path / name

    return written
