"""What an export is asked for, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.contracts import PathLike, Size
from intarsia.export.certificate import Certificate
from intarsia.export.receivers import qgis
from intarsia.version import versions_of

FORMATS = {
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "pt2": "model.pt2",
    "aoti": "model_aoti.pt2",
    "tensorrt": "model_tensorrt.onnx",
    "executorch": "model.pte",
    "litert": "model.tflite",
    "coreml": "model.mlpackage",
    "web": "model.onnx",
}
"""Format -> name of the file that is made of it; of the web, of the file that the page runs."""

ONE_SIZE = ("executorch", "litert", "coreml")
"""Formats whose files take images of one size, one at a time."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What an export is asked for.

    weights, config, key, prefix: the model, as `open_model` takes them. to: keys of `FORMATS`. out: folder.
    output: what the file gives, layout: of the images that it takes, see `export.contract`. size: (height, width), if
    it shall take no others; batch: images at once, None for any number. precision: a key of `AT_LEAST`.
    samples: images to compare with, by default the run's validation images, else drawn ones; count: how many at most.
    at_least: share of pixels that must have the label of the original, by default that of `AT_LEAST`. threads: of the
    runtime.
    receiver: one of `export_for.RECEIVERS`, which decides what of the file its program does. tile, resolution: of QGIS,
    see `receivers.qgis`. name: of the model in Triton, by default that of the weights.
    sizes: MIN, OPT, MAX of the images that an engine of TensorRT takes, as "HxW". most: images at once, of
    engines and in Triton.
    single_file, onnxruntime_web: of the web: everything in one page; a folder or archive of that package.
    """

    weights: PathLike
    to: Sequence[str]
    out: Path
    config: str | None = None
    output: str = "label"
    layout: str = "NHWC"
    size: Size | None = None
    batch: int | None = None
    precision: str = "fp32"
    samples: PathLike | None = None
    count: int = 16
    at_least: float | None = None
    threads: int | None = None
    key: str | None = None
    prefix: str | None = None
    receiver: str | None = None
    tile: int = qgis.TILE
    resolution: float | None = None
    name: str | None = None
    sizes: Sequence[str] | None = None
    most: int | None = None
    single_file: bool = False
    onnxruntime_web: Path | None = None


@dataclass(frozen=True)
class Exported:
    """What was written.

    file: the model. certificate: of its comparison with the original; None where nothing here runs such files.
    """

    file: Path
    certificate: Certificate | None

    @property
    def differs(self) -> bool:
        """Whether the file was found not to say what the original says."""
        return self.certificate is not None and not self.certificate.passed


_MADE_WITH = {
    "onnx": ["onnx", "onnxscript"], "openvino": ["onnx", "onnxscript", "openvino"],
    "tensorrt": ["onnx", "onnxscript", "tensorrt"],
    "executorch": ["executorch"], "litert": ["litert-torch"], "coreml": ["coremltools"],
}  # fmt: skip


def made_with(name: str, precision: str) -> dict[str, str]:
    """The programs that a file of this format is made with, and their versions."""
    measures = ["onnxruntime"] if precision == "int8" else []
    return versions_of(["intarsia", "torch", *_MADE_WITH.get(name, []), *measures])
