"""The notebook of docs/ runs from top to bottom, draws what it says, and is stored without what it gives."""

from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "predictor.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_stored_without_outputs(notebook) -> None:
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 20_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 8
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_every_cell_is_python_or_a_command(notebook) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code" and not cell.source.startswith("!"):
            compile(cell.source, cell.id, "exec")


@pytest.mark.slow
def test_it_runs(notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises for a cell that fails, assertions of the notebook included
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "24 of 25 images" in text
    assert "empty.jpg: the file is empty" in text
    assert "(160, 240) uint8" in text
    assert "Traceback" not in text
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert np.asarray(image.convert("RGB")).std() > 20
    with Image.open(tmp_path / "label.png") as label:
        assert (label.mode, label.size) == ("P", (240, 160))
    assert (tmp_path / "overlay.jpg").stat().st_size > 1000
