"""ONNX files: operator set 18, without operators of our own; run by onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.export.contract import KEY, ExportMeta, check_described
from intarsia.export.quantise import SCOPES
from intarsia.inference.memory import is_out_of_memory
from intarsia.io.whole_files import folder_aside, put_in_place, whole_file

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OPSET = 18
"""The last whose resizing and maxima onnxruntime has on GPUs, and the first that torch's exporter writes."""

LARGEST = 2**31 - 2**20
"""Bytes of weights above which they go into a file of their own: no protocol buffer holds 2 GiB."""

MISSING = "ONNX files need the packages onnx, onnxscript and onnxruntime: pip install 'intarsia[export]'"


def write(program: ExportedProgram, path: Path, meta: ExportMeta, *, also: Mapping[str, str] | None = None) -> None:
    """Write a graph of torch.export as one file, or as two where it is larger than such files can be.

    also: further entries of the metadata, for other readers.

    Raises ValueError naming the operator that ONNX does not have, and if packages are missing.
    """
    import torch

    from intarsia.export.program import quiet, reason_of

    _need("onnx", "onnxscript")
    try:
        with quiet():
            found = torch.onnx.export(
                program, (), dynamo=True, opset_version=OPSET, optimize=True, verbose=False,
                input_names=["image", "size"][: 1 + meta.contract.asks_size], output_names=list(meta.contract.outputs),
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        operator = re.search(r"target=torch\.ops\.([\w.]+)\]", str(error))
        reason = f"it has nothing for torch's operator {operator[1]}" if operator else reason_of(error)
        raise ValueError(f"ONNX: {reason}") from error
    assert found is not None
    for node in found.model.graph:  # the paths of this machine's files are nobody's business
        for key in [key for key in node.metadata_props if key != SCOPES]:
            del node.metadata_props[key]
    found.model.metadata_props.update({KEY: meta.to_json(), **(also or {})})
    found.model.producer_name = "Intarsia"
    values = [one.const_value for one in found.model.graph.initializers.values()]
    if sum(value.nbytes for value in values if value is not None) > LARGEST:
        with folder_aside(path.parent) as folder:
            between = folder / path.name
            found.save(between, external_data=True)
            put_in_place(weights_of(between), weights_of(path))
            put_in_place(between, path)
        return
    weights_of(path).unlink(missing_ok=True)  # of an earlier, larger model
    with whole_file(path) as aside:
        found.save(aside, external_data=False)


def weights_of(path: Path) -> Path:
    """The file beside it that has the weights of an ONNX file too large for them."""
    return path.with_name(f"{path.name}.data")


def move(source: Path, path: Path, meta: ExportMeta) -> None:
    """Put a file, with the weights beside it if there are such, where it shall be, with this description.

    Weights that have become few enough for one file are put into it.
    """
    import onnx

    weights = weights_of(source)
    is_large = weights.is_file() and weights.stat().st_size > LARGEST
    model = onnx.load(source, load_external_data=not is_large)
    if not is_large:
        weights.unlink(missing_ok=True)
    save(model, path, meta, source)


def save(model: Any, path: Path, meta: ExportMeta, source: Path) -> None:
    """Write what a file at `source` was made into, with this description, as one file or two.

    model: of onnx, loaded without the weights that lie beside `source`. These are moved as they are: a model that has
    more than 2 GiB inside can be neither measured nor checked nor written by onnx.
    """
    import onnx

    _set(model, meta)
    if weights_of(source).is_file():
        for value in model.graph.initializer:
            for entry in value.external_data:
                if entry.key == "location":
                    entry.value = weights_of(path).name
        weights_of(source).chmod(source.stat().st_mode)  # onnxruntime lets nobody else read them
        put_in_place(weights_of(source), weights_of(path))
    else:
        weights_of(path).unlink(missing_ok=True)
    with whole_file(path) as aside:
        onnx.save(model, aside)


def _set(model: Any, meta: ExportMeta) -> None:
    import onnx

    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, KEY: meta.to_json()})


def describe(path: Path, meta: ExportMeta) -> None:
    """Give a file another description. Its graph stays, byte for byte."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    _set(model, meta)
    with whole_file(path) as aside:
        onnx.save(model, aside)


def read_meta(path: Path) -> ExportMeta:
    """See `runtime.read_meta`."""
    return ONNXRuntime.metadata(path, _session(path, "cpu", 1))


def open_file(path: Path, *, device: str = "cpu", threads: int | None = None) -> ONNXRuntime:
    """See `runtime.open_file`."""
    return ONNXRuntime(path, _session(path, device, threads))


class ONNXRuntime:
    """A session of onnxruntime; see `runtime.Runtime`."""

    name = "onnxruntime"

    def __init__(self, path: Path, session: Any) -> None:
        self.meta = self.metadata(path, session)
        given = {one.name: one.shape for one in session.get_inputs()}
        check_described(path, self.meta.contract, given.get("image", ()), [one.name for one in session.get_outputs()])
        self._path, self._session = path, session

    @staticmethod
    def metadata(path: Path, session: Any) -> ExportMeta:
        """What the file says about itself."""
        found = session.get_modelmeta().custom_metadata_map
        if KEY not in found:
            raise ValueError(
                f"{path} does not say what it takes and gives: it was not exported by Intarsia (`intarsia export`)"
            )
        try:
            return ExportMeta.from_json(found[KEY])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def run(self, image: npt.NDArray[Any], size: Size | None = None) -> dict[str, npt.NDArray[Any]]:
        """See `Runtime`."""
        given = {"image": np.ascontiguousarray(image)}
        if self.meta.contract.asks_size:
            given["size"] = np.array(size, dtype=np.int64)
        try:
            found = self._session.run(list(self.meta.contract.outputs), given)
        except Exception as error:  # its own classes derive from nothing else
            if is_out_of_memory(error):
                raise MemoryError(_last(error)) from error  # the predictor knows the way out
            raise ValueError(f"{self._path}: onnxruntime fails on {image.shape}: {_last(error)}") from error
        return dict(zip(self.meta.contract.outputs, found, strict=True))


def _session(path: Path, device: str, threads: int | None) -> Any:
    _need("onnxruntime")
    import onnxruntime

    wanted = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[device]
    if wanted not in onnxruntime.get_available_providers():
        raise ValueError(
            f"onnxruntime has no {wanted} here; it has {', '.join(onnxruntime.get_available_providers())}. "
            "For GPUs: pip install onnxruntime-gpu"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[wanted])
    except Exception as error:
        beside = weights_of(path).name
        if any(words in str(error) for words in ("External data path", "External initializer", beside)):
            raise ValueError(
                f"{path}: its weights, in {beside} beside it, are missing or damaged: copy both files ({_last(error)})"
            ) from error
        raise ValueError(f"{path} is no ONNX file that onnxruntime reads: {_last(error)}") from error


def _last(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][-300:] if lines else type(error).__name__


def _need(*names: str) -> None:
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in names):
        raise ValueError(MISSING)
