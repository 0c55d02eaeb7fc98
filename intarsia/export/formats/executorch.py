"""ExecuTorch: programs for phones and small devices, whose products XNNPACK computes on their processors.

A program takes images of one size. It has no room for a description, which lies beside it.
"""

from __future__ import annotations

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.export.contract import ExportMeta
from intarsia.export.formats import sidecar
from intarsia.io.whole_files import write_bytes

if TYPE_CHECKING:
    from torch.export import ExportedProgram

MISSING = "programs of ExecuTorch need the package executorch: pip install 'intarsia[executorch]'"

describe = sidecar.describe
read_meta = sidecar.read_meta


def write(program: ExportedProgram, path: Path, meta: ExportMeta) -> None:
    """Write a graph of torch.export as a program. Raises ValueError with ExecuTorch's reason."""
    from intarsia.export.program import quiet, reason_of

    _need()
    try:
        with quiet():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    except ImportError as error:
        raise ValueError(f"executorch does not load here, {_versions()}: {reason_of(error)}. {_FIX}") from error
    except Exception as error:  # of its many passes, each has its own
        raise ValueError(f"ExecuTorch, {_versions()}: {reason_of(error)}") from error
    write_bytes(path, bytes(lowered.buffer))
    describe(path, meta)


def open_file(path: Path, *, device: str = "cpu", threads: int | None = None) -> ExecuTorchRuntime:
    """See `runtime.open_file`. threads: the runtime takes what it finds."""
    if device != "cpu":
        raise ValueError(f"programs of ExecuTorch run on processors here, found --device {device}")
    return ExecuTorchRuntime(path)


class ExecuTorchRuntime:
    """A loaded program; see `runtime.Runtime`."""

    name = "ExecuTorch"

    def __init__(self, path: Path) -> None:
        self.meta = read_meta(path)
        _need()
        try:
            from executorch.runtime import Runtime

            self._program: Any = Runtime.get().load_program(path)
            self._method = self._program.load_method("forward")
        except ImportError as error:
            raise ValueError(f"executorch does not load here, {_versions()}: {error}. {_FIX}") from error
        except RuntimeError as error:
            raise ValueError(f"{path} is no program that ExecuTorch reads: {str(error)[:300]}") from error
        self._path, self._lock = path, threading.Lock()  # a method has buffers of its own

    def run(self, image: npt.NDArray[Any], size: Size | None = None) -> dict[str, npt.NDArray[Any]]:
        """See `Runtime`."""
        import torch

        given = [torch.from_numpy(np.ascontiguousarray(image))]
        if self.meta.contract.asks_size:
            given.append(torch.tensor(size, dtype=torch.int64))
        try:
            with self._lock:
                found = [one.clone().numpy() for one in self._method.execute(given)]
        except RuntimeError as error:
            raise ValueError(f"{self._path}: ExecuTorch fails on {image.shape}: {str(error)[:300]}") from error
        return dict(zip(self.meta.contract.outputs, found, strict=True))


_FIX = "Each version of it is built for one of torch: pip install --upgrade executorch, in an environment of its own"


def _versions() -> str:
    from importlib.metadata import version

    return f"executorch {version('executorch')} with torch {version('torch')}"


def _need() -> None:
    if find_spec("executorch") is None:
        raise ValueError(MISSING)
