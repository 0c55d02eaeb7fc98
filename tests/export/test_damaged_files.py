"""Files of which a part is missing: an error that says which, whatever the program that runs them makes of it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intarsia import consent
from intarsia.export import runtime
from intarsia.export.contract import KEY, Contract


@pytest.mark.parametrize(
    ("entry", "message"), [("data.json", "that torch .* reads"), ("data/aotinductor/x.so", "for this machine")]
)
def test_archives_of_torch_without_their_graph(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, message: str
) -> None:
    """They were an internal error."""
    monkeypatch.setenv(consent.TRUST, "pt2")
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/extra/intarsia.json", make().meta(Contract("label", "NHWC", 3)).to_json())
        archive.writestr("archive/archive_format", "pt2")
        archive.writestr(f"archive/{entry}", "")
    with pytest.raises(ValueError, match=rf"model\.pt2 is no archive .*{message}: "):
        runtime.open_file(path)


@pytest.mark.parametrize("left", [None, 10])
def test_an_onnx_file_without_the_weights_beside_it(make: Any, tmp_path: Path, left: int | None) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, path = onnx.helper, tmp_path / "model.onnx"
    weights = onnx.numpy_helper.from_array(np.arange(64, dtype=np.float32), "weights")
    image, label = (helper.make_tensor_value_info(name, 1, [64]) for name in ("image", "label"))
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "weights"], ["label"])], "g", [image], [label], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {KEY: make().meta(Contract("label", "NHWC", 3)).to_json()})
    onnx.save(model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    runtime.open_file(path)
    beside = tmp_path / "model.onnx.data"
    beside.unlink() if left is None else beside.write_bytes(b"0" * left)
    with pytest.raises(
        ValueError, match=r"its weights, in model\.onnx\.data beside it, are missing or damaged: copy both"
    ):
        runtime.open_file(path)
