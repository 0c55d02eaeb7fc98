"""The configuration of a model in Triton, read by protobuf with the fields that the server's description has."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from intarsia.export.contract import Contract
from intarsia.export.receivers import triton

FIELDS = {
    "ModelConfig": "1 name string, 2 platform string, 17 backend string, 4 max_batch_size int32, 5 input ModelInput*, "
    "6 output ModelOutput*, 7 instance_group ModelInstanceGroup*, 11 dynamic_batching ModelDynamicBatching, "
    "14 parameters ParametersEntry*",
    "ModelInput": "1 name string, 2 data_type string, 4 dims int64*, 6 is_shape_tensor bool",
    "ModelOutput": "1 name string, 2 data_type string, 3 dims int64*, 4 label_filename string",
    "ModelInstanceGroup": "4 kind string, 2 count int32",
    "ModelDynamicBatching": "1 preferred_batch_size int32*, 2 max_queue_delay_microseconds uint64",
    "ParametersEntry": "1 key string, 2 value ModelParameter",
    "ModelParameter": "1 string_value string",
}
"""The part of the server's `ModelConfig` that is written here, with its numbers of fields; * is repeated. Enumerations,
which stand in the text by name, are strings in quotes once they were read. The texts of these tests were read once with
tritonclient's own model_config_pb2, too."""


def description() -> Any:
    """The message of `FIELDS`, for protobuf's own reader of text."""
    protobuf = pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    assert protobuf.__version__
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="triton.proto", package="triton", syntax="proto3")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for number, field, kind in (one.split() for one in fields.split(", ")):
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in FIELDS:
                message.field.add(
                    name=field, number=int(number), label=label, type=kinds.TYPE_MESSAGE, type_name=f".triton.{kind}"
                )
            else:
                stored = getattr(kinds, f"TYPE_{kind.upper()}")
                message.field.add(name=field, number=int(number), label=label, type=stored)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("triton.ModelConfig"))()


def read(text: str) -> Any:
    from google.protobuf import text_format

    quoted = re.sub(r"(data_type|kind): ((?:TYPE|KIND)_\w+)", r'\1: "\2"', text)
    return text_format.Parse(quoted, description())


def config_of(make: Any, kind: str = "onnx", *, most: int = 4, **contract: Any) -> str:
    values = {"output": "label", "layout": "NHWC", "channels": 3} | contract
    return triton.config("streets", kind, make().meta(Contract(**values)), most=most)


def test_the_server_reads_inputs_outputs_and_batches(make: Any) -> None:
    found = read(config_of(make, output="scores"))
    assert (found.name, found.platform, found.max_batch_size) == ("streets", "onnxruntime_onnx", 4)
    (image,) = found.input
    assert (image.name, image.data_type, list(image.dims)) == ("image", "TYPE_UINT8", [-1, -1, 3])
    label, confidence = found.output
    assert (label.name, label.data_type, list(label.dims)) == ("label", "TYPE_UINT8", [-1, -1])
    assert label.label_filename == "labels.txt"
    assert (confidence.name, confidence.data_type) == ("confidence", "TYPE_FP32")
    assert found.dynamic_batching.max_queue_delay_microseconds == triton.DELAY
    assert [group.count for group in found.instance_group] == [1]
    (palette,) = found.parameters
    assert palette.key == "palette"
    assert palette.value.string_value == "[[70, 130, 180], [128, 64, 128], [0, 0, 142]]"


@pytest.mark.parametrize(
    ("contract", "batch", "image", "output"),
    [
        ({"output": "probs", "layout": "NCHW"}, 4, [3, -1, -1], [3, -1, -1]),
        ({"output": "logits"}, 4, [-1, -1, 3], [-1, -1, -1]),
        ({"size": (48, 64), "why": "--size"}, 4, [48, 64, 3], [48, 64]),
        ({"batch": 2}, 0, [2, -1, -1, 3], [2, -1, -1]),
        ({"asks_size": True, "size": (48, 64)}, 0, [-1, 48, 64, 3], [-1, -1, -1]),
    ],
    ids=str,
)
def test_shapes_are_those_of_the_file(
    make: Any, contract: dict[str, Any], batch: int, image: list[int], output: list[int]
) -> None:
    found = read(config_of(make, **contract))
    assert found.max_batch_size == batch
    assert list(found.input[0].dims) == image
    assert list(found.output[0].dims) == output
    assert found.HasField("dynamic_batching") == (batch > 0)
    assert [one.name for one in found.input[1:]] == (["size"] if contract.get("asks_size") else [])


@pytest.mark.parametrize(("kind", "platform", "backend", "device"), [
    ("onnx", "onnxruntime_onnx", "", "KIND_AUTO"),
    ("openvino", "", "openvino", "KIND_CPU"),
    ("tensorrt", "tensorrt_plan", "", "KIND_GPU"),
])  # fmt: skip
def test_each_format_has_its_backend(make: Any, kind: str, platform: str, backend: str, device: str) -> None:
    found = read(config_of(make, kind))
    assert (found.platform, found.backend) == (platform, backend)
    assert [group.kind for group in found.instance_group] == [device]


def test_the_size_of_the_answer_is_a_shape_to_an_engine_alone(make: Any) -> None:
    for kind in triton.FILES:
        _, size = read(config_of(make, kind, asks_size=True)).input
        assert (size.data_type, list(size.dims), size.is_shape_tensor) == ("TYPE_INT64", [2], kind == "tensorrt")


@pytest.mark.parametrize(("classes", "stored"), [(8, "TYPE_UINT8"), (9, "TYPE_INT32")])
def test_sets_of_classes_have_the_numbers_of_the_file_and_no_names(make: Any, classes: int, stored: str) -> None:
    meta = make().meta(Contract("label", "NHWC", 3, answer="classes"))
    meta = replace(meta, weights=replace(meta.weights, classes=tuple(map(str, range(classes))), palette=()))
    (label,) = read(triton.config("streets", "onnx", meta, most=4)).output
    assert (label.data_type, label.label_filename) == (stored, "")


def test_labels_are_a_line_each(make: Any) -> None:
    assert triton.labels(["road", "two\nlines", "wald ü"]) == "road\ntwo lines\nwald ü\n"
    many = replace(make().meta(Contract("label", "NHWC", 3)).weights, classes=tuple(map(str, range(300))), palette=())
    meta = replace(make().meta(Contract("label", "NHWC", 3)), weights=many)
    assert "TYPE_INT32" in triton.config("streets", "onnx", meta, most=4)


@pytest.mark.parametrize("name", ["", "a/b", "..", "-a", "ü", "a b"])
def test_names_that_are_no_folders_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="--name: expected letters, digits"):
        triton.checked_name(name)
