"""Triton Inference Server: a folder of its model repository, NAME/config.pbtxt, NAME/labels.txt, NAME/1/model.*.

The configuration is a `ModelConfig` in protobuf's text format (model_config.proto of triton-inference-server/common).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from intarsia.export.contract import Contract, ExportMeta

FILES: Mapping[str, str] = {"onnx": "model.onnx", "openvino": "model.xml", "tensorrt": "model.plan"}
"""Format -> name that the server looks for."""

LABELS = "labels.txt"
DELAY = 2000
"""Microseconds that the server waits for further images of the same size, to show them together."""

_BACKENDS = {
    "onnx": ('platform: "onnxruntime_onnx"', "KIND_AUTO"),
    "openvino": ('backend: "openvino"', "KIND_CPU"),
    "tensorrt": ('platform: "tensorrt_plan"', "KIND_GPU"),
}
_TYPES = {"uint8": "TYPE_UINT8", "int32": "TYPE_INT32", "int64": "TYPE_INT64", "float32": "TYPE_FP32"}


def checked_name(name: str) -> str:
    """A name as it may be that of a model: of a folder and in an address. Raises ValueError for others."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise ValueError(f"--name: expected letters, digits, '.', '_' and '-' alone, found {name!r}")
    return name


def labels(classes: Sequence[str]) -> str:
    """The file of labels: a class a line, in the order of their indices."""
    return "".join(" ".join(name.split()) + "\n" for name in classes)


def config(name: str, kind: str, meta: ExportMeta, *, most: int) -> str:
    """The text of config.pbtxt. kind: a key of `FILES`. most: images at once, where the file takes any number.

    The server adds the axis of the batch to all inputs alike, and joins requests along it. A file that asks for the
    size of its answer has an input without that axis, and one of a fixed batch takes no other: of these, the shapes are
    written whole, and nothing is joined.
    """
    contract = meta.contract
    joins = contract.batch is None and not contract.asks_size
    batch = [] if joins else [contract.batch or -1]
    backend, device = _BACKENDS[kind]
    inputs = [_tensor("image", contract.dtype, batch + list(_image(contract)))]
    if contract.asks_size:
        # Of an engine it is known while shapes are found, on the host.
        inputs.append(_tensor("size", "int64", [2], " is_shape_tensor: true" if kind == "tensorrt" else ""))
    outputs = [_output(output, meta, batch) for output in contract.outputs]
    lines = [f"name: {_quoted(name)}", backend, f"max_batch_size: {most if joins else 0}",
             f"input [\n{_listed(inputs)}\n]", f"output [\n{_listed(outputs)}\n]",
             f"instance_group [ {{ count: 1 kind: {device} }} ]"]  # fmt: skip
    if joins and most > 1:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {DELAY} }}")
    palette = json.dumps([list(colour) for colour in meta.weights.palette])
    lines.append(f'parameters {{ key: "palette" value {{ string_value: {_quoted(palette)} }} }}')
    return "\n".join(lines) + "\n"


def _image(contract: Contract) -> tuple[int, ...]:
    height, width = contract.size or (-1, -1)
    return contract.shape(1, height, width)[1:]


def _output(output: str, meta: ExportMeta, batch: list[int]) -> str:
    contract, classes = meta.contract, len(meta.weights.classes)
    sides = [-1, -1] if contract.size is None or contract.asks_size else list(contract.size)
    if output == "label":
        names = f" label_filename: {_quoted(LABELS)}" if contract.answer == "class" else ""  # sets have none
        return _tensor(output, meta.label_dtype, batch + sides, names)
    of_classes = {"probs": [classes], "logits": [-1]}.get(output, [])  # two classes can have one logit
    return _tensor(output, "float32", batch + of_classes + sides)


def _tensor(name: str, dtype: str, dims: Sequence[int], more: str = "") -> str:
    shape = ", ".join(map(str, dims))
    return f"  {{ name: {_quoted(name)} data_type: {_TYPES[dtype]} dims: [ {shape} ]{more} }}"


def _quoted(text: str) -> str:
    return json.dumps(text)


def _listed(tensors: Sequence[str]) -> str:
    return ",\n".join(tensors)
