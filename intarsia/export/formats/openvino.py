"""OpenVINO's files, model.xml with model.bin beside it: made of an ONNX file, run by OpenVINO."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.export.contract import KEY, ExportMeta, check_described
from intarsia.inference.memory import is_out_of_memory
from intarsia.io.whole_files import folder_aside, write_whole

MISSING = "OpenVINO's files need the package openvino: pip install 'intarsia[export]'"


def write(onnx: Path, path: Path, meta: ExportMeta) -> None:
    """Convert an ONNX file. Weights stay in float32, or in float16 where the file's precision is that.

    Raises ValueError for what OpenVINO does not read, and if it is not installed.
    """
    openvino = _package()
    try:
        model = openvino.convert_model(onnx)
    except Exception as error:
        raise ValueError(f"OpenVINO does not take {onnx.name}: {_first(error)}") from error
    _save(openvino, model, path, meta)


def describe(path: Path, meta: ExportMeta) -> None:
    """Give a file another description. Its graph stays."""
    openvino = _package()
    model = openvino.Core().read_model(path)
    _save(openvino, model.clone(), path, meta)


def read_meta(path: Path) -> ExportMeta:
    """See `runtime.read_meta`."""
    return _meta(path, _read(path))


def open_file(path: Path, *, device: str = "cpu", threads: int | None = None) -> OpenVINORuntime:
    """See `runtime.open_file`. device "cuda" is not one of OpenVINO's."""
    if device != "cpu":
        raise ValueError(f"OpenVINO runs on processors here, found --device {device}: use the ONNX file on a GPU")
    return OpenVINORuntime(path, threads)


class OpenVINORuntime:
    """A compiled model of OpenVINO; see `runtime.Runtime`."""

    name = "OpenVINO"

    def __init__(self, path: Path, threads: int | None) -> None:
        model = _read(path)
        self.meta = _meta(path, model)
        shape = [one.get_length() if one.is_static else None for one in model.input("image").partial_shape]
        check_described(path, self.meta.contract, shape, [one.any_name for one in model.outputs])
        # Else processors that have it compute in bfloat16, which is not what was exported.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._path = path
        self._model = _package().compile_model(model, "CPU", settings)

    def run(self, image: npt.NDArray[Any], size: Size | None = None) -> dict[str, npt.NDArray[Any]]:
        """See `Runtime`."""
        given = {"image": np.ascontiguousarray(image)}
        if self.meta.contract.asks_size:
            given["size"] = np.array(size, dtype=np.int64)
        try:
            found = self._model.create_infer_request().infer(given, share_outputs=False)
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError(_first(error)) from error  # the predictor knows the way out
            raise ValueError(f"{self._path}: OpenVINO fails on {image.shape}: {_first(error)}") from error
        return {name: np.asarray(found[name]) for name in self.meta.contract.outputs}


def _save(openvino: Any, model: Any, path: Path, meta: ExportMeta) -> None:
    model.set_rt_info(meta.to_json(), KEY)
    with folder_aside(path.parent) as folder:
        found = folder / path.name
        openvino.save_model(model, found, compress_to_fp16=meta.contract.precision == "fp16")
        for suffix in (".bin", ".xml"):
            with open(found.with_suffix(suffix), "rb") as source:
                write_whole(path.with_suffix(suffix), partial(shutil.copyfileobj, source))


def _read(path: Path) -> Any:
    openvino = _package()
    if not path.is_file() or not path.with_suffix(".bin").is_file():
        raise ValueError(f"{path}: expected this file and {path.with_suffix('.bin').name} beside it")
    try:
        return openvino.Core().read_model(path)
    except Exception as error:
        raise ValueError(f"{path} is no model that OpenVINO reads: {_first(error)}") from error


def _meta(path: Path, model: Any) -> ExportMeta:
    if not model.has_rt_info(KEY):
        raise ValueError(
            f"{path} does not say what it takes and gives: it was not exported by Intarsia (`intarsia export`)"
        )
    try:
        return ExportMeta.from_json(model.get_rt_info(KEY).astype(str))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _package() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ValueError(MISSING) from error
    return openvino
