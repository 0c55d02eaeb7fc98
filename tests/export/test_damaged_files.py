"""Files of which a part is missing: an error that says which, whatever the program that runs them makes of it."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intarsia import consent
from intarsia.export import runtime
from intarsia.export.contract import KEY, Contract
from intarsia.export.formats import onnx, openvino, pt2
from intarsia.export.program import exported


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
    library = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, path = library.helper, tmp_path / "model.onnx"
    weights = library.numpy_helper.from_array(np.arange(3, dtype=np.float32), "weights")
    image, label = (helper.make_tensor_value_info(name, 1, ["n", "h", "w", 3]) for name in ("image", "label"))
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "weights"], ["label"])], "g", [image], [label], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {KEY: make().meta(Contract("label", "NHWC", 3)).to_json()})
    library.save(model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    runtime.open_file(path)
    beside = tmp_path / "model.onnx.data"
    beside.unlink() if left is None else beside.write_bytes(b"0" * left)
    with pytest.raises(
        ValueError, match=r"its weights, in model\.onnx\.data beside it, are missing or damaged: copy both"
    ):
        runtime.open_file(path)


@pytest.mark.parametrize("suffix", ["onnx", "xml", "pt2"])
def test_files_that_say_something_else_than_they_are(
    make: Any, onnx_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """A false number of channels was taken for true, and the program that runs the file failed later, in its words."""
    monkeypatch.setenv(consent.TRUST, "pt2")
    made, path = make(), tmp_path / f"model.{suffix}"
    module = made.deployable("label")
    if suffix == "pt2":
        pt2.write(exported(module, for_torch=True), path, made.meta(module.contract))
    else:
        source = onnx_file(made, module)
    if suffix == "xml":
        pytest.importorskip("openvino")
        openvino.write(source, path, made.meta(module.contract))
    write = {"onnx": onnx, "xml": openvino, "pt2": pt2}[suffix]
    for wrong, message in [
        ({"channels": 4}, r"NHWC \(any, any, any, 4\), but its graph takes \(any, any, any, 3\)"),
        ({"layout": "NCHW"}, r"NCHW \(any, 3, any, any\), but its graph takes \(any, any, any, 3\)"),
        ({"size": (64, 96)}, r"NHWC \(any, 64, 96, 3\), but"),
        ({"batch": 2}, r"NHWC \(2, any, any, 3\), but"),
    ]:
        write.describe(path, made.meta(replace(module.contract, **wrong)))
        with pytest.raises(ValueError, match=rf"model\.{suffix}: its description says images of {message}"):
            runtime.open_file(path)
    if suffix != "pt2":
        write.describe(path, made.meta(replace(module.contract, output="probs")))
        with pytest.raises(ValueError, match="says that it gives probs, but its graph gives label"):
            runtime.open_file(path)
    write.describe(path, made.meta(module.contract))
    runtime.open_file(path)
