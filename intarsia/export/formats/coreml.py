"""Core ML: packages for Apple's devices. They are written on Linux and macOS, and run on macOS alone.

Core ML has no numbers of 8 bits outside of images of its own, so that a package takes float32 of the same values, 0 to
255, and gives labels as int32. It takes images of one size.
"""

from __future__ import annotations

import platform
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.export.contract import KEY, ExportMeta
from intarsia.io.whole_files import folder_aside

if TYPE_CHECKING:
    from torch.export import ExportedProgram

MISSING = "packages of Core ML need the package coremltools: pip install 'intarsia[coreml]'"
ELSEWHERE = "Core ML runs on macOS alone: `intarsia export verify` compares the package there"


def write(program: ExportedProgram, path: Path, meta: ExportMeta) -> None:
    """Convert a graph of torch.export. Raises ValueError with the converter's reason."""
    from intarsia.export.program import quiet, reason_of

    tools = _package()
    names = ["image", "size"][: 1 + meta.contract.asks_size]
    try:
        with quiet():
            model = tools.convert(
                _readable(program.run_decompositions({})),
                outputs=[tools.TensorType(name=name) for name in meta.contract.outputs],
                minimum_deployment_target=tools.target.iOS17,
                compute_precision=_precision(tools, meta),
                skip_model_load=True,
            )
    except Exception as error:  # of its many passes, each has its own
        raise ValueError(f"coremltools {tools.__version__} with {_torch()}: {reason_of(error)}") from error
    found = [one.name for one in model.get_spec().description.input]
    assert found == names, f"inputs {found}"
    _save(model, path, meta)


def describe(path: Path, meta: ExportMeta) -> None:
    """Give a package another description."""
    _save(_package().models.MLModel(str(path), skip_model_load=True), path, meta)


def read_meta(path: Path) -> ExportMeta:
    """See `runtime.read_meta`."""
    return _meta(path, _opened(path, skip_model_load=True))


def open_file(path: Path, *, device: str = "cpu", threads: int | None = None) -> CoreMLRuntime:
    """See `runtime.open_file`. Where it computes is Core ML's to choose."""
    if not runs_here():
        raise ValueError(f"{path}: {ELSEWHERE}")
    return CoreMLRuntime(path)


def runs_here() -> bool:
    """Whether this machine runs packages."""
    return platform.system() == "Darwin"


class CoreMLRuntime:
    """A loaded package; see `runtime.Runtime`. It was run nowhere but on macOS, so not by our tests."""

    name = "Core ML"

    def __init__(self, path: Path) -> None:
        self._model = _opened(path, skip_model_load=False)
        self.meta = _meta(path, self._model)
        self._path = path

    def run(self, image: npt.NDArray[Any], size: Size | None = None) -> dict[str, npt.NDArray[Any]]:
        """See `Runtime`."""
        given = {"image": np.ascontiguousarray(image, dtype=np.float32)}
        if self.meta.contract.asks_size:
            given["size"] = np.array(size, dtype=np.int32)
        try:
            found = self._model.predict(given)
        except Exception as error:  # what Core ML says comes as several
            raise ValueError(f"{self._path}: Core ML fails on {image.shape}: {str(error)[:300]}") from error
        return {name: np.asarray(found[name]) for name in self.meta.contract.outputs}


def _readable(program: ExportedProgram) -> ExportedProgram:
    """The same graph without what coremltools 9.0 does not know and torch 2.14 writes: other names of a tensor, and the
    names that Python's operators have of truth values.
    """
    import torch

    aten = torch.ops.aten
    logical = {aten.__and__.Tensor: aten.logical_and.default, aten.__or__.Tensor: aten.logical_or.default}
    for node in list(program.graph.nodes):
        if node.target is aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
        elif node.target in logical and node.meta["val"].dtype == torch.bool:
            node.target = logical[node.target]
    return program


def _save(model: Any, path: Path, meta: ExportMeta) -> None:
    model.user_defined_metadata[KEY] = meta.to_json()
    with folder_aside(path.parent) as folder:
        model.save(str(folder / path.name))
        shutil.rmtree(path, ignore_errors=True)
        (folder / path.name).rename(path)


def _opened(path: Path, **how: Any) -> Any:
    tools = _package()
    try:
        return tools.models.MLModel(str(path), **how)
    except Exception as error:
        raise ValueError(f"{path} is no package of Core ML: {str(error)[:300]}") from error


def _meta(path: Path, model: Any) -> ExportMeta:
    if KEY not in model.user_defined_metadata:
        raise ValueError(
            f"{path} does not say what it takes and gives: it was not exported by Intarsia (`intarsia export`)"
        )
    try:
        return ExportMeta.from_json(model.user_defined_metadata[KEY])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _precision(tools: Any, meta: ExportMeta) -> Any:
    return tools.precision.FLOAT16 if meta.contract.precision == "fp16" else tools.precision.FLOAT32


def _torch() -> str:
    from importlib.metadata import version

    return f"torch {version('torch')}"


def _package() -> Any:
    if find_spec("coremltools") is None:
        raise ValueError(MISSING)
    import coremltools

    return coremltools
