"""LiteRT, which was TensorFlow Lite: .tflite files for phones and small devices.

A file takes images of one size. What it says of itself lies beside it, where every reader finds it.
"""

from __future__ import annotations

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.export.contract import Contract, ExportMeta
from intarsia.export.formats import sidecar
from intarsia.io.whole_files import whole_file

if TYPE_CHECKING:
    from torch.export import ExportedProgram

MISSING = "files for LiteRT need the package litert-torch: pip install 'intarsia[litert]'"
NO_RUNTIME = "files for LiteRT are run by the package ai-edge-litert: pip install ai-edge-litert"

describe = sidecar.describe
read_meta = sidecar.read_meta


def write(program: ExportedProgram, path: Path, meta: ExportMeta) -> None:
    """Convert a graph of torch.export. Raises ValueError with the converter's reason."""
    import torch

    from intarsia.export.program import quiet, reason_of

    if find_spec("litert_torch") is None:
        raise ValueError(MISSING)
    shown = (torch.zeros(_shape(meta.contract), dtype=getattr(torch, meta.contract.dtype)),)
    try:
        with quiet():
            import litert_torch

            converted = litert_torch.convert(program.module(), shown)
    except ImportError as error:
        raise ValueError(f"litert-torch does not load here, {_versions()}: {reason_of(error)}. {_FIX}") from error
    except Exception as error:  # of its many passes, each has its own
        raise ValueError(f"LiteRT, {_versions()}: {reason_of(error)}") from error
    with whole_file(path) as aside, quiet():
        converted.export(str(aside))
    describe(path, meta)


def open_file(path: Path, *, device: str = "cpu", threads: int | None = None) -> LiteRTRuntime:
    """See `runtime.open_file`."""
    if device != "cpu":
        raise ValueError(f"files for LiteRT run on processors here, found --device {device}")
    return LiteRTRuntime(path, threads)


class LiteRTRuntime:
    """A file in LiteRT's interpreter; see `runtime.Runtime`."""

    name = "LiteRT"

    def __init__(self, path: Path, threads: int | None) -> None:
        self.meta = read_meta(path)
        if find_spec("ai_edge_litert") is None:
            raise ValueError(NO_RUNTIME)
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
            self._call = self._interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is no file that LiteRT reads: {str(error)[:300]}") from error
        self._path, self._lock = path, threading.Lock()  # an interpreter has buffers of its own

    def run(self, image: npt.NDArray[Any], size: Size | None = None) -> dict[str, npt.NDArray[Any]]:
        """See `Runtime`."""
        wanted = _shape(self.meta.contract)
        if image.shape != wanted:  # which the interpreter would compute with what was made for the size that it knows
            raise ValueError(f"{self._path}: LiteRT fails on {image.shape}, the file takes {wanted}")
        try:
            with self._lock:
                found = self._call(args_0=np.ascontiguousarray(image))
                answers = [found[f"output_{number}"].copy() for number in range(len(self.meta.contract.outputs))]
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{self._path}: LiteRT fails on {image.shape}: {str(error)[:300]}") from error
        return dict(zip(self.meta.contract.outputs, answers, strict=True))


def _shape(contract: Contract) -> tuple[int, ...]:
    assert contract.size is not None
    return contract.shape(contract.batch or 1, *contract.size)


_FIX = "It wants certain versions of torch and others: pip install litert-torch, in an environment of its own"


def _versions() -> str:
    from importlib.metadata import version

    return f"litert-torch {version('litert-torch')} with torch {version('torch')}"
