"""What TensorRT's reader of ONNX files takes, after its table of operators, and what of a file is not in it.

Facts of onnx-tensorrt's docs/operators.md for TensorRT 10.15 (operator sets 9 to 24): operators by the types of the
numbers that they take. uint8 is a type of the network's inputs and outputs alone, and is made of, and becomes, floats
alone (`DataType.UINT8` of TensorRT's documentation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

TABLE = "TensorRT 10.15"

_HALVES = ("FLOAT", "FLOAT16")
_FLOATS = (*_HALVES, "BFLOAT16")
_NUMBERS = (*_FLOATS, "INT32", "INT64")
_ANY = (*_NUMBERS, "BOOL")

_OPERATORS: Mapping[tuple[str, ...], str] = {
    ("BOOL",): "And Not Or Xor",
    (*_ANY, "UINT8"): "Cast CastLike",
    _ANY: """
        Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND Identity If Loop OneHot
        Reshape ReverseSequence Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where""",
    _NUMBERS: """
        Abs Add ArgMax ArgMin DepthToSpace Div Equal Gelu Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean Min Mod
        Mul Neg Pad Pow Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
        ReduceSum ReduceSumSquare Relu Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK""",
    _FLOATS: """
        Acos Acosh Asin Asinh Atan Atanh Attention AveragePool BatchNormalization Ceil Celu Clip Conv ConvTranspose Cos
        Cosh CumSum Dropout Einsum Elu Erf Exp Floor Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
        GroupNormalization GRU HardSigmoid HardSwish Hardmax InstanceNormalization IsInf LayerNormalization LeakyRelu
        Log LogSoftmax LRN LSTM LpNormalization LpPool MatMul MaxPool MeanVarianceNormalization PRelu QuantizeLinear
        RandomNormal RandomNormalLike RandomUniform RandomUniformLike Reciprocal RMSNormalization RNN RotaryEmbedding
        Round Scan Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample Resize""",
    _HALVES: """
        BlackmanWindow DeformConv GridSample HammingWindow HannWindow Mish NonMaxSuppression NonZero RoiAlign""",
    ("INT8",): "DequantizeLinear",
}
OPERATORS: Mapping[str, tuple[str, ...]] = {
    name: types for types, names in _OPERATORS.items() for name in names.split()
}
"""Operator -> names of the types that its numbers may have."""


def unknown_nodes(model: Any) -> list[str]:
    """What of an ONNX model is not in the table, in words, each once.

    Raises ValueError for a model whose types cannot be inferred.
    """
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise ValueError(f"the types of the ONNX file cannot be inferred: {error}") from error
    types = _types(inferred.graph)
    ends = {one.name for one in (*inferred.graph.input, *inferred.graph.output)}
    found: dict[str, None] = {}
    for node in inferred.graph.node:
        found.update(dict.fromkeys(_problems(node, types, ends)))
    return list(found)


def _types(graph: Any) -> dict[str, str]:
    """Names of tensors -> names of their types."""
    import onnx

    name_of = onnx.TensorProto.DataType.Name
    found = {one.name: name_of(one.type.tensor_type.elem_type)
             for one in (*graph.input, *graph.output, *graph.value_info)}  # fmt: skip
    return found | {one.name: name_of(one.data_type) for one in graph.initializer}


def _problems(node: Any, types: Mapping[str, str], ends: set[str]) -> Iterator[str]:
    known = OPERATORS.get(node.op_type)
    if node.domain not in ("", "ai.onnx") or known is None:
        yield f"operator {f'{node.domain}.' if node.domain else ''}{node.op_type}"
        return
    for name in _numbers(node):
        kind = types.get(name, "")
        if kind == "DOUBLE":
            kind = "FLOAT"  # which TensorRT makes of it
        if kind and kind not in known:
            yield f"{node.op_type} of {kind}"
    if node.op_type == "Cast":
        pair = {name: types.get(name, "") for name in (node.input[0], node.output[0])}
        if "UINT8" in pair.values() and not set(pair.values()) <= {"UINT8", *_HALVES}:
            yield f"Cast from {pair[node.input[0]]} to {pair[node.output[0]]}"
        if any(kind == "UINT8" and name not in ends for name, kind in pair.items()):
            yield "UINT8 inside of the network"
    yield from _settings(node)


def _numbers(node: Any) -> list[str]:
    """The tensors that the types of the table are about: those of the type of the first, not indices and sizes."""
    import onnx

    schema = onnx.defs.get_schema(node.op_type, _VERSION)
    if node.op_type == "ConstantOfShape" or not schema.inputs:
        return list(node.output)
    main = "T" if node.op_type == "Where" else schema.inputs[0].type_str
    last = schema.inputs[-1]
    described = [schema.inputs[min(number, len(schema.inputs) - 1)] for number in range(len(node.input))]
    assert len(node.input) <= len(schema.inputs) or last.option == onnx.defs.OpSchema.FormalParameterOption.Variadic
    return [name for name, one in zip(node.input, described, strict=True) if name and one.type_str == main]


def _settings(node: Any) -> Iterator[str]:
    """Restrictions of the table that files of segmentation meet."""
    import onnx

    set_to = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Resize":
        if set_to.get("antialias"):
            yield "Resize with antialiasing"
        if set_to.get("mode", b"nearest") not in (b"nearest", b"linear"):
            yield f"Resize of mode {set_to['mode'].decode()}"
        if set_to.get("coordinate_transformation_mode", b"half_pixel") == b"tf_crop_and_resize":
            yield "Resize of a part"
    if node.op_type == "MaxPool" and (len([name for name in node.output if name]) > 1 or _dilated(set_to)):
        yield "MaxPool with indices or dilation"
    if node.op_type == "AveragePool" and _dilated(set_to):
        yield "AveragePool with dilation"
    if node.op_type == "ScatterND" and set_to.get("reduction", b"none") != b"none":
        yield "ScatterND with a reduction"
    if node.op_type == "TopK" and not set_to.get("sorted", 1):
        yield "TopK without order"


def _dilated(set_to: Mapping[str, Any]) -> bool:
    return any(step != 1 for step in set_to.get("dilations", ()))


_VERSION = 18
"""Of the operator set that types are looked up in, that of our files."""
