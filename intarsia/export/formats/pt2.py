"""PyTorch's own archives: a graph of torch.export (pt2), or what Inductor compiled of it for servers in C++ (aoti).

Both hold more than numbers: the second is machine code, which runs when the file is opened. So they are opened only if
the person has agreed to it (`--trust pt2`, `intarsia.trust("pt2")`).
"""

from __future__ import annotations

import shutil
import threading
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia import consent
from intarsia.contracts import Size
from intarsia.export.contract import ExportMeta, check_described
from intarsia.inference.memory import is_out_of_memory
from intarsia.io.whole_files import whole_file

if TYPE_CHECKING:
    from torch.export import ExportedProgram

NAME = "intarsia.json"
"""Of the entry of an archive that describes the model."""

CONSENT = "pt2"
LONGEST = 2**26
"""Bytes of a description; no longer one is read."""


def write(program: ExportedProgram, path: Path, meta: ExportMeta) -> None:
    """Write a graph of torch.export."""
    import torch

    with whole_file(path) as aside:
        torch.export.save(program, aside, extra_files={NAME: meta.to_json()})


def compile_to(program: ExportedProgram, path: Path, meta: ExportMeta) -> None:
    """Compile a graph for this kind of machine and write it. Raises ValueError with the compiler's reason."""
    import torch
    from torch._inductor import aoti_compile_and_package

    from intarsia.export.program import quiet, reason_of

    with whole_file(path) as aside:
        try:
            with quiet(), torch.no_grad():
                aoti_compile_and_package(program, package_path=str(aside))
        except Exception as error:  # Inductor, its C++ compiler, or what is missing of it
            raise ValueError(f"Inductor cannot compile it (it needs a C++ compiler): {reason_of(error)}") from error
        _append(aside, meta)


def read_meta(path: Path) -> ExportMeta:
    """See `runtime.read_meta`. Opens nothing but the description."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(f"extra/{NAME}")]
            if not entries or entries[-1].file_size > LONGEST:
                raise ValueError(
                    f"{path} does not say what it takes and gives: it was not exported by Intarsia (`intarsia export`)"
                )
            text = archive.read(entries[-1]).decode("utf-8")
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no archive of torch ({error})") from error
    try:
        return ExportMeta.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def open_file(path: Path, *, device: str = "cpu", threads: int | None = None) -> PT2Runtime:
    """See `runtime.open_file`. Raises ConsentError for a file that nobody has agreed to open. threads: torch's."""
    if not consent.given(CONSENT):
        raise consent.ConsentError(
            f"{path} is an archive of torch, which can hold code that runs with your rights. If you made it, or trust "
            f"who did: --trust {CONSENT} (or {consent.TRUST}={CONSENT}; in a program, intarsia.trust({CONSENT!r}))"
        )
    return PT2Runtime(path, device)


class PT2Runtime:
    """A graph in torch, or compiled code; see `runtime.Runtime`."""

    name = "torch"

    def __init__(self, path: Path, device: str) -> None:
        import torch

        from intarsia.export.program import quiet, reason_of

        self.meta = read_meta(path)
        self._path, self._device = path, device
        self._lock = threading.Lock()  # compiled code has buffers of its own
        with zipfile.ZipFile(path) as archive:
            is_compiled = any("/aotinductor/" in name for name in archive.namelist())
        try:
            with quiet():
                if is_compiled:
                    self._call: Any = torch._inductor.aoti_load_package(str(path))
                else:
                    program = torch.export.load(path)
                    self._call = program.module().to(device)
        except Exception as error:  # what its many parts raise, for archives of others and of other machines, too
            what = "compiled for this machine" if is_compiled else f"that torch {torch.__version__} reads"
            raise ValueError(f"{path} is no archive {what}: {reason_of(error)}") from error
        if not is_compiled:  # compiled code does not say what it takes
            (image, *_), contract = program.graph_signature.user_inputs, self.meta.contract
            shape = next(node for node in program.graph.nodes if node.name == image).meta["val"].shape
            check_described(path, contract, shape, contract.outputs)

    def run(self, image: npt.NDArray[Any], size: Size | None = None) -> dict[str, npt.NDArray[Any]]:
        """See `Runtime`."""
        import torch

        given = [torch.from_numpy(np.ascontiguousarray(image)).to(self._device)]
        if self.meta.contract.asks_size:
            given.append(torch.tensor(size, device=self._device))
        try:
            with self._lock, torch.no_grad():
                found = self._call(*given)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            if is_out_of_memory(error):
                raise MemoryError(reason) from error  # the predictor knows the way out
            if reason.startswith("Guard failed"):
                raise ValueError(
                    f"{self._path} takes no images of shape {image.shape}: when the network was followed, torch took "
                    f"something for granted that is not true of them ({reason}). The file of --to onnx takes them"
                ) from error
            raise ValueError(f"{self._path}: torch fails on {image.shape}: {reason}") from error
        answers = found if isinstance(found, list | tuple) else [found]
        return {name: one.cpu().numpy() for name, one in zip(self.meta.contract.outputs, answers, strict=True)}


def describe(path: Path, meta: ExportMeta) -> None:
    """Give an archive another description, behind the old one, whose last entry counts. All else stays."""
    with whole_file(path) as aside:
        shutil.copyfile(path, aside)
        _append(aside, meta)


def _append(path: Path, meta: ExportMeta) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")  # of a name that is there already
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/extra/{NAME}", meta.to_json())
