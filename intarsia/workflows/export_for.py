"""``--for``: programs that take an exported file in a form of their own (`export.receivers`), or none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from intarsia.export.contract import Contract, ExportMeta
from intarsia.export.deployable import Deployable
from intarsia.export.receivers import qgis, triton
from intarsia.io.whole_files import write_text
from intarsia.tasks.preprocess import Preprocess
from intarsia.terminal import say
from intarsia.workflows.export_request import ExportRequest
from intarsia.workflows.trained_model import OpenModel

RECEIVERS = ("qgis", "triton")
MOST = 4
"""Images at once, unless the request says it: of engines, and in Triton."""


class Receiver(Protocol):
    """Who an export is for."""

    def folder(self, out: Path) -> Path:
        """Where the files lie, in the folder that was named."""
        ...

    def contract(self, usual: Contract, model: OpenModel) -> Contract:
        """What the file takes and gives."""
        ...

    def module(self, usual: Deployable, model: OpenModel) -> Deployable:
        """What is exported."""
        ...

    def also(self, meta: ExportMeta, model: OpenModel) -> dict[str, str]:
        """Further entries of the file's metadata, as text."""
        ...

    def finish(self, kind: str, file: Path, meta: ExportMeta) -> None:
        """Write what belongs beside a file of this format, and say what is to be done with it."""
        ...


def receiver_of(request: ExportRequest) -> Receiver:
    """Who a request names. Raises ValueError for nobody known, and for what is not theirs."""
    if request.receiver is None:
        return Anybody()
    if request.receiver == "qgis":
        return Qgis(request)
    if request.receiver == "triton":
        return Triton(request)
    raise ValueError(f"--for: expected {', '.join(RECEIVERS)}, found {request.receiver!r}")


class Anybody:
    """Files as they are."""

    def folder(self, out: Path) -> Path:
        """See `Receiver`."""
        return out

    def contract(self, usual: Contract, model: OpenModel) -> Contract:
        """See `Receiver`."""
        return usual

    def module(self, usual: Deployable, model: OpenModel) -> Deployable:
        """See `Receiver`."""
        return usual

    def also(self, meta: ExportMeta, model: OpenModel) -> dict[str, str]:
        """See `Receiver`."""
        return {}

    def finish(self, kind: str, file: Path, meta: ExportMeta) -> None:
        """See `Receiver`."""


class Qgis:
    """An ONNX file for the plugin Deepness, see `receivers.qgis`."""

    def __init__(self, request: ExportRequest) -> None:
        if list(request.to) != ["onnx"]:
            raise ValueError(f"--for qgis: its plugin Deepness reads ONNX, found --to {','.join(request.to)}")
        if request.size is not None or request.batch is not None:
            raise ValueError("--for qgis: tiles are square and come one at a time; --tile says how large they are")
        if request.precision == "int8":
            raise ValueError("--for qgis: expected --precision fp32 or fp16, found int8")
        if request.resolution is not None and request.resolution <= 0:
            raise ValueError(f"--resolution: expected centimetres per pixel, found {request.resolution:g}")
        self._request = request

    def folder(self, out: Path) -> Path:
        """See `Receiver`."""
        return out

    def contract(self, usual: Contract, model: OpenModel) -> Contract:
        """See `Receiver`. Raises ValueError for models of other numbers than the plugin gives."""
        if usual.dtype != "uint8":
            raise ValueError(
                "--for qgis: its plugin gives a model numbers of 8 bits, and this one was trained on others; "
                "`intarsia predict -o map.tif` reads them"
            )
        if usual.resize:
            say(f"note: the model's images were resized ({usual.resize}), tiles of QGIS are not: set the resolution")
        if self._request.resolution is None:
            say("note: without --resolution CM, centimetres per pixel of the training images, QGIS asks for it")
        assert isinstance(model.task.preprocess, Preprocess)
        return qgis.contract_of(model.task.preprocess, self._request.tile, self._request.precision)

    def module(self, usual: Deployable, model: OpenModel) -> Deployable:
        """See `Receiver`."""
        return qgis.Tile(usual, model.spec.inference)

    def also(self, meta: ExportMeta, model: OpenModel) -> dict[str, str]:
        """See `Receiver`."""
        resolution = self._request.resolution
        return qgis.metadata(meta.contract, meta.weights.classes, model.spec.inference, resolution=resolution)

    def finish(self, kind: str, file: Path, meta: ExportMeta) -> None:
        """See `Receiver`."""
        say(f"{file}: in QGIS, Plugins > Deepness, choose it as model file of type Segmentor; the rest is in the file")


class Triton:
    """A folder of a model repository, see `receivers.triton`."""

    def __init__(self, request: ExportRequest) -> None:
        if len(request.to) != 1 or request.to[0] not in triton.FILES:
            raise ValueError(
                f"--for triton: expected one of --to {', '.join(triton.FILES)}, found --to {','.join(request.to)}"
            )
        self._name = triton.checked_name(request.name or _name_of(Path(request.weights)))
        self._most = request.most or MOST

    def folder(self, out: Path) -> Path:
        """See `Receiver`."""
        return out / self._name / "1"

    def contract(self, usual: Contract, model: OpenModel) -> Contract:
        """See `Receiver`."""
        return usual

    def module(self, usual: Deployable, model: OpenModel) -> Deployable:
        """See `Receiver`."""
        return usual

    def also(self, meta: ExportMeta, model: OpenModel) -> dict[str, str]:
        """See `Receiver`."""
        return {}

    def finish(self, kind: str, file: Path, meta: ExportMeta) -> None:
        """See `Receiver`."""
        folder = file.parent.parent
        write_text(folder / "config.pbtxt", triton.config(self._name, kind, meta, most=self._most))
        write_text(folder / triton.LABELS, triton.labels(meta.weights.classes))
        say(f"{folder}: tritonserver --model-repository {folder.parent}")


def _name_of(weights: Path) -> str:
    """Of a run its name, of other files theirs, with what a model's name cannot have left out."""
    stem = weights.parent.name if weights.stem in ("weights", "best", "last") else weights.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-") or "segmentation"
