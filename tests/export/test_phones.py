"""Files for phones and small devices. Their packages want environments of their own, and are in no other extra."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import image

from intarsia.export import runtime
from intarsia.export.contract import Contract
from intarsia.export.formats import coreml, executorch, litert
from intarsia.export.program import exported

SIZE = (48, 64)


def test_programs_of_executorch_give_the_same(make: Any, tmp_path: Path) -> None:
    pytest.importorskip("executorch", reason="the extra executorch is not installed")
    made, path = make(), tmp_path / "model.pte"
    module = made.deployable("scores", size=SIZE, why="--size", batch=1)
    executorch.write(exported(module), path, made.meta(module.contract))
    opened = runtime.open_file(path)
    assert opened.meta.contract == module.contract
    for seed in range(3):
        pixels = image(SIZE, seed=seed)[None]
        with torch.no_grad():
            label, confidence = module(torch.from_numpy(pixels))
        found = opened.run(pixels)
        assert found["label"].dtype == np.uint8
        np.testing.assert_array_equal(found["label"], label.numpy())
        np.testing.assert_allclose(found["confidence"], confidence.numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="ExecuTorch fails on"):
        opened.run(image((60, 60))[None])
    executorch.describe(path, replace(opened.meta, weights_hash="other"))
    assert runtime.read_meta(path).weights_hash == "other"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="no program that ExecuTorch reads"):
        runtime.open_file(path)


@pytest.mark.parametrize("output", ["logits", "scores"])
def test_files_for_litert_give_the_same(make: Any, tmp_path: Path, output: str) -> None:
    pytest.importorskip("litert_torch", reason="the extra litert is not installed")
    made, path = make(), tmp_path / "model.tflite"
    module = made.deployable(output, size=SIZE, why="--size", batch=1)
    litert.write(exported(module), path, made.meta(module.contract))
    opened = runtime.open_file(path, threads=1)
    assert opened.meta.contract == module.contract
    for seed in range(3):
        pixels = image(SIZE, seed=seed)[None]
        with torch.no_grad():
            expected = dict(zip(module.contract.outputs, module(torch.from_numpy(pixels)), strict=True))
        found = opened.run(pixels)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name].dtype == values.numpy().dtype
            np.testing.assert_allclose(found[name], values.numpy(), atol=0 if name == "label" else 1e-5)
    with pytest.raises(ValueError, match="LiteRT fails on"):
        opened.run(image((60, 60))[None])
    litert.describe(path, replace(opened.meta, weights_hash="other"))
    assert runtime.read_meta(path).weights_hash == "other"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="no file that LiteRT reads"):
        runtime.open_file(path)


def test_graphs_for_core_ml_have_no_operators_by_their_names_in_python() -> None:
    """coremltools refused networks that pool to several cells: Fast-SCNN, PSPNet, UPerNet."""

    class Between(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inside = (x > -1) & (x < 1) | (x > 2)
            return torch.where(inside, x.detach(), 0.0)

    x = torch.linspace(-3, 3, 50)
    graph = torch.export.export(Between(), (x,)).run_decompositions({})
    assert "__and__" in str(graph.graph)
    found = coreml._readable(graph)
    assert not any(name in str(found.graph) for name in ("__and__", "__or__", "alias"))
    assert torch.equal(found.module()(x), Between()(x))


def test_packages_of_core_ml_say_what_they_take(make: Any, tmp_path: Path) -> None:
    pytest.importorskip("coremltools", reason="the extra coreml is not installed")
    made, path = make(), tmp_path / "model.mlpackage"
    module = made.deployable("label", size=SIZE, why="--size", batch=1, dtype="float32")
    coreml.write(exported(module), path, made.meta(module.contract))
    assert runtime.is_exported(path)
    meta = runtime.read_meta(path)
    assert meta.contract == module.contract
    assert meta.weights.classes == made.classes
    coreml.describe(path, replace(meta, weights_hash="other"))
    assert runtime.read_meta(path).weights_hash == "other"
    if not coreml.runs_here():
        with pytest.raises(ValueError, match="runs on macOS alone"):
            runtime.open_file(path)
        pytest.skip("Core ML runs on macOS alone: the package was written and read, and not run")
    pixels = image(SIZE)[None]
    with torch.no_grad():
        (label,) = module(torch.from_numpy(pixels).float())
    np.testing.assert_array_equal(runtime.open_file(path).run(pixels)["label"], label.numpy())


@pytest.mark.parametrize(
    ("module", "package", "suffix"),
    [(executorch, "executorch", ".pte"), (litert, "litert-torch", ".tflite"), (coreml, "coremltools", ".mlpackage")],
)
def test_a_package_that_is_missing_is_named(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, package: str, suffix: str
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    meta = make().meta(Contract("label", "NHWC", 3, size=SIZE, why="--size", batch=1))
    extra = {"coremltools": "coreml", "litert-torch": "litert"}.get(package, package)
    with pytest.raises(ValueError, match=rf"package {package}: pip install 'intarsia\[{extra}\]'"):
        module.write(None, tmp_path / f"model{suffix}", meta)
    assert not list(tmp_path.iterdir())
