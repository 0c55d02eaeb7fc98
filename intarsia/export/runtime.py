"""Running exported files: one protocol for all formats, found by a file's suffix."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.export.contract import ExportMeta

_MODULES: Mapping[str, str] = {
    ".onnx": "intarsia.export.formats.onnx",
    ".xml": "intarsia.export.formats.openvino",
    ".pt2": "intarsia.export.formats.pt2",
    ".plan": "intarsia.export.formats.tensorrt",
    ".pte": "intarsia.export.formats.executorch",
    ".tflite": "intarsia.export.formats.litert",
    ".mlpackage": "intarsia.export.formats.coreml",
}
"""Suffix -> module with `read_meta(path)` and `open_file(path, device, threads)`."""

SUFFIXES = tuple(_MODULES)


class Runtime(Protocol):
    """An exported file that is ready to run. Threads may share it. name: of the program that runs it."""

    meta: ExportMeta
    name: str

    def run(self, image: npt.NDArray[Any], size: Size | None = None) -> dict[str, npt.NDArray[Any]]:
        """Images as the contract has them, and the answer's size where it asks for one -> outputs by name.

        Raises ValueError with what the runtime says, if it fails on these images; MemoryError if they are too large.
        """
        ...


class NormalisedOutside:
    """A file that does not normalise (`Contract.mean`), as one that does. Of one probability it gives both."""

    def __init__(self, inner: Runtime) -> None:
        self.meta, self.name = inner.meta, inner.name
        self._inner = inner
        shape = (-1,) if self.meta.contract.layout == "NHWC" else (-1, 1, 1)
        self._mean, self._std = (
            np.array(values, dtype=np.float32).reshape(shape)
            for values in (self.meta.contract.mean, self.meta.contract.std)
        )

    def run(self, image: npt.NDArray[Any], size: Size | None = None) -> dict[str, npt.NDArray[Any]]:
        """See `Runtime`."""
        found = self._inner.run((image.astype(np.float32) - self._mean) / self._std, size)
        probs = found.get("probs")
        if probs is not None and probs.shape[1] == 1:
            found["probs"] = np.concatenate([1 - probs, probs], axis=1)
        return found


def is_exported(path: Path) -> bool:
    """Whether a file of this name is an exported model."""
    suffix = path.suffix.lower()
    return suffix in _MODULES and (path.is_dir() if suffix == ".mlpackage" else path.is_file())


def check_execution(path: Path, *, precision: str, compile: bool) -> None:
    """Raises ValueError for what an exported file has decided: its precision, and the program that it is."""
    if precision != "32":
        raise ValueError(
            f"{path} is an exported file: its precision is in it, and stays. `intarsia export` makes files of another "
            "one: --precision fp16 or int8"
        )
    if compile:
        raise ValueError(
            f"{path} is an exported file: its runtime has a program of its own, and --compile is for weights. "
            "`intarsia export --to aoti` makes a file of what torch compiles"
        )


def read_meta(path: Path) -> ExportMeta:
    """What an exported file says about itself. Raises ValueError for files that are damaged or not of Intarsia."""
    found: ExportMeta = _format(path).read_meta(path)
    return found


def open_file(path: Path, *, device: str = "cpu", threads: int | None = None) -> Runtime:
    """An exported file, ready to run.

    device: "cpu" or "cuda". threads: of the processor; by default what the runtime chooses.

    Raises ValueError for files that are damaged or not of Intarsia, for a device that the runtime does not have, and
    if it is not installed.
    """
    runtime: Runtime = _format(path).open_file(path, device=device, threads=threads)
    return NormalisedOutside(runtime) if runtime.meta.contract.mean else runtime


def _format(path: Path) -> Any:
    module = _MODULES.get(path.suffix.lower())
    if module is None:
        raise ValueError(f"{path}: expected an exported model ({', '.join(SUFFIXES)})")
    return importlib.import_module(module)
