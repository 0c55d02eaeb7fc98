"""Files for TensorRT: what it has no operator for is found, its types are kept to, and its API is called as it is.

There is no GPU here. What TensorRT makes of a file is not tested, but that the file says the same before and after, has
nothing that TensorRT's table of operators lacks, and that the calls for an engine are those of its documentation.
"""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import SIZES, image

from intarsia.export import runtime
from intarsia.export.contract import Contract
from intarsia.export.formats import tensorrt
from intarsia.export.formats.tensorrt_operators import OPERATORS, unknown_nodes

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
PROFILE = tensorrt.Profile((1, 32, 48), (1, 64, 96), (4, 128, 160))
TYPES = onnx.TensorProto


def model_of(*nodes: Any, inputs: Any, outputs: Any) -> Any:
    values = [
        [onnx.helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in ends.items()]
        for ends in (inputs, outputs)
    ]
    graph = onnx.helper.make_graph(list(nodes), "graph", *values)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])


@pytest.mark.parametrize("kind", [{}, {"logits": 1, "threshold": 0.6, "channel_order": "bgr"}], ids=str)
def test_prepared_files_have_what_tensorrt_has_and_say_the_same(
    make: Any, onnx_file: Any, tmp_path: Path, kind: dict[str, Any]
) -> None:
    made = make(eval_size_divisor=16, **kind)
    module = made.deployable("label")
    source, path = onnx_file(made, module), tmp_path / "model_tensorrt.onnx"
    assert any("UINT8" in problem for problem in unknown_nodes(onnx.load(source)))
    tensorrt.prepare(source, path, made.meta(module.contract))
    assert unknown_nodes(onnx.load(path)) == []
    onnx.checker.check_model(onnx.load(path), full_check=True)
    before, after = (runtime.open_file(file, threads=1) for file in (source, path))
    assert after.meta == before.meta
    for size in SIZES[:3]:
        pixels = np.stack([image(size, seed=seed) for seed in range(2)])
        (found,), (expected,) = after.run(pixels).values(), before.run(pixels).values()
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def test_half_precision_is_in_the_file(make: Any, onnx_file: Any, tmp_path: Path) -> None:
    made = make()
    module = made.deployable("logits", precision="fp16")
    original = made.predictor().predict(image((50, 70)), logits=True).logits
    module.model = module.model.half()
    tensorrt.prepare(onnx_file(made, module), tmp_path / "half.onnx", made.meta(module.contract))
    model = onnx.load(tmp_path / "half.onnx")
    assert unknown_nodes(model) == []
    assert {one.data_type for one in model.graph.initializer if len(one.dims) == 4} == {TYPES.FLOAT16}
    (found,) = runtime.open_file(tmp_path / "half.onnx", threads=1).run(image((50, 70))[None]).values()
    np.testing.assert_allclose(found[0], original, atol=0.02)


@pytest.mark.parametrize(
    ("node", "kind", "expected"),
    [
        (("Det", {}), "FLOAT", ["operator Det"]),
        (("Neg", {}), "FLOAT", []),
        (("Neg", {}), "INT8", ["Neg of INT8"]),
        (("Sigmoid", {}), "DOUBLE", []),
        (("Transpose", {"perm": [0, 1, 3, 2]}), "UINT8", ["Transpose of UINT8"]),
        (("Cast", {"to": TYPES.INT32}), "UINT8", ["Cast from UINT8 to INT32"]),
        (("Cast", {"to": TYPES.FLOAT16}), "UINT8", []),
        (("TopK", {"sorted": 0}), "FLOAT", ["TopK without order"]),
        (("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}), "FLOAT", ["MaxPool with indices or dilation"]),
    ],
    ids=str,
)
def test_what_tensorrt_has_not_is_found(node: tuple[str, dict[str, Any]], kind: str, expected: list[str]) -> None:
    name, attributes = node
    inputs = {"x": (getattr(TYPES, kind), [1, 2, 4, 4])}
    names = ["x"]
    if name == "TopK":
        inputs["k"], names = (TYPES.INT64, [1]), ["x", "k"]
    outputs = ["y", "indices"] if name == "TopK" else ["y"]
    result = attributes.get("to", getattr(TYPES, kind))
    made = onnx.helper.make_node(name, names, outputs, **attributes)
    model = model_of(made, inputs=inputs, outputs={"y": (result, None)})
    assert unknown_nodes(model) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"mode": "linear"}, []),
        ({"mode": "cubic"}, ["Resize of mode cubic"]),
        ({"mode": "linear", "antialias": 1}, ["Resize with antialiasing"]),
    ],
)
def test_only_some_ways_of_resizing_are_taken(attributes: dict[str, Any], expected: list[str]) -> None:
    node = onnx.helper.make_node("Resize", ["x", "", "", "size"], ["y"], **attributes)
    inputs = {"x": (TYPES.FLOAT, [1, 2, 4, 4]), "size": (TYPES.INT64, [4])}
    assert unknown_nodes(model_of(node, inputs=inputs, outputs={"y": (TYPES.FLOAT, None)})) == expected


def test_the_table_names_operators_of_onnx() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(OPERATORS) <= known | {"Attention", "RMSNormalization", "RotaryEmbedding"}


def test_truths_are_compared_without_equal(tmp_path: Path, make: Any) -> None:
    nodes = [
        onnx.helper.make_node("Less", ["x", "y"], ["a"]),
        onnx.helper.make_node("Greater", ["x", "z"], ["b"]),
        onnx.helper.make_node("Equal", ["a", "b"], ["same"]),
        onnx.helper.make_node("Cast", ["same"], ["label"], to=TYPES.UINT8),
    ]
    inputs = {name: (TYPES.FLOAT, [1, 3, 5]) for name in ("x", "y", "z")}
    model = model_of(*nodes, inputs=inputs, outputs={"label": (TYPES.UINT8, [1, 3, 5])})
    assert "Equal of BOOL" in unknown_nodes(model)
    model.ir_version = 10
    onnx.save(model, tmp_path / "a.onnx")
    tensorrt.prepare(tmp_path / "a.onnx", tmp_path / "b.onnx", make().meta(Contract("label", "NHWC", 3)))
    onnxruntime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=(1, 3, 5)).astype(np.float32) for name in "xyz"}
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "b.onnx")).run(None, given)
    np.testing.assert_array_equal(found, (given["x"] < given["y"]) == (given["x"] > given["z"]))


def test_an_operator_that_is_not_there_is_named(tmp_path: Path, make: Any) -> None:
    node = onnx.helper.make_node("Det", ["x"], ["y"])
    model = model_of(node, inputs={"x": (TYPES.FLOAT, [1, 4, 4])}, outputs={"y": (TYPES.FLOAT, [1])})
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"TensorRT 10\.15 has no operator Det: .*--to onnx"):
        tensorrt.prepare(tmp_path / "a.onnx", tmp_path / "b.onnx", make().meta(Contract("label", "NHWC", 3)))
    assert not (tmp_path / "b.onnx").exists()


# --- Sizes --------------------------------------------------------------------------------------------------------


def test_profiles_are_around_the_usual_size() -> None:
    contract = Contract("label", "NHWC", 3)
    assert tensorrt.profile_of(None, contract, (64, 96), most=4).all == ((1, 32, 48), (1, 64, 96), (4, 128, 192))
    asked = tensorrt.profile_of(["32x48", "64x96", "128x160"], contract, (1, 1), most=4)
    assert asked == PROFILE
    fixed = Contract("label", "NHWC", 3, size=(40, 50), why="--size", batch=2)
    assert tensorrt.profile_of(None, fixed, (1, 1), most=4).all == ((2, 40, 50),) * 3


@pytest.mark.parametrize(
    ("sizes", "contract", "message"),
    [
        (["64", "64x64", "64x64"], {}, "expected three of HxW, as 512x1024, found '64'"),
        (["64x64", "32x32", "64x64"], {}, "MIN <= OPT <= MAX on every side"),
        (["0x64", "64x64", "64x64"], {}, "all at least 1"),
        (["64x64", "64x64", "64x64"], {"size": (32, 32), "why": "--size"}, "32 x 32 pixels alone, since --size"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes: list[str], contract: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tensorrt.profile_of(sizes, Contract("label", "NHWC", 3, **contract), (64, 64), most=4)


def test_the_script_calls_trtexec_with_the_shapes(tmp_path: Path, make: Any) -> None:
    meta = make().meta(Contract("label", "NHWC", 3))
    script = tensorrt.write_script(tmp_path / "model_tensorrt.onnx", PROFILE, meta)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    fake = bin_folder / "trtexec"
    fake.write_text('#!/bin/sh\nif [ "$1" = --help ]; then echo " --stronglyTyped  ..."; else echo "$@"; fi\n')
    fake.chmod(0o755)
    done = subprocess.run(
        [str(script)], cwd="/", env={"PATH": f"{bin_folder}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [
        "--onnx=model_tensorrt.onnx", "--saveEngine=model.plan", "--minShapes=image:1x32x48x3",
        "--optShapes=image:1x64x96x3", "--maxShapes=image:4x128x160x3", "--stronglyTyped",
    ]  # fmt: skip
    assert tensorrt.read_meta(tmp_path / "model.plan") == meta


def test_a_size_that_is_asked_for_is_a_shape_too(make: Any) -> None:
    meta = make().meta(Contract("label", "NCHW", 3, asks_size=True))
    assert "--optShapes=image:1x3x64x96,size:64x96" in tensorrt.command("a.onnx", PROFILE, meta)


# --- The engine, with a stand-in of TensorRT ----------------------------------------------------------------------


class Calls:
    """Anything that is called, with what it was called with."""

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers = answers

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any) -> Any:
            self.calls.append((name, *values))
            return self.answers.get(name)

        return call


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    config, shapes = Calls(), Calls()
    builder = Calls(
        create_network="network", create_builder_config=config, create_optimization_profile=shapes,
        build_serialized_network=memoryview(b"engine"),
    )  # fmt: skip
    parser = Calls(parse_from_file=True, get_error=types.SimpleNamespace(desc=lambda: "no such layer"))
    parser.num_errors = 1
    module = types.ModuleType("tensorrt")
    module.__dict__.update(
        __version__="11.4.0", Logger=type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None}),
        Builder=lambda logger: builder, OnnxParser=lambda network, logger: parser,
        NetworkDefinitionCreationFlag=types.SimpleNamespace(STRONGLY_TYPED=1),
        Runtime=lambda logger: Calls(), __spec__=types.SimpleNamespace(name="tensorrt"),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return types.SimpleNamespace(builder=builder, parser=parser, shapes=shapes, config=config)


def test_engines_are_strongly_typed_and_have_a_profile(stand_in: Any, make: Any, tmp_path: Path) -> None:
    meta = make().meta(Contract("label", "NHWC", 3, asks_size=True))
    tensorrt.build(tmp_path / "a.onnx", tmp_path / "model.plan", PROFILE, meta)
    assert ("create_network", 2) in stand_in.builder.calls
    assert stand_in.parser.calls == [("parse_from_file", str(tmp_path / "a.onnx"))]
    assert stand_in.shapes.calls == [
        ("set_shape", "image", (1, 32, 48, 3), (1, 64, 96, 3), (4, 128, 160, 3)),
        ("set_shape_input", "size", (32, 48), (64, 96), (128, 160)),
    ]
    assert stand_in.config.calls == [("add_optimization_profile", stand_in.shapes)]
    assert (tmp_path / "model.plan").read_bytes() == b"engine"
    assert runtime.read_meta(tmp_path / "model.plan") == meta


def test_what_tensorrt_says_is_told(stand_in: Any, make: Any, tmp_path: Path) -> None:
    meta = make().meta(Contract("label", "NHWC", 3))
    stand_in.builder.answers["build_serialized_network"] = None
    with pytest.raises(ValueError, match=r"TensorRT 11\.4\.0 makes no engine of a\.onnx"):
        tensorrt.build(tmp_path / "a.onnx", tmp_path / "model.plan", PROFILE, meta)
    stand_in.parser.answers["parse_from_file"] = False
    with pytest.raises(ValueError, match=r"does not take a\.onnx: no such layer"):
        tensorrt.build(tmp_path / "a.onnx", tmp_path / "model.plan", PROFILE, meta)
    (tmp_path / "model.plan").write_bytes(b"")
    tensorrt.describe(tmp_path / "model.plan", meta)
    with pytest.raises(ValueError, match="is no engine of this TensorRT"):
        runtime.open_file(tmp_path / "model.plan")


def test_an_engine_without_tensorrt_says_what_is_missing(make: Any, tmp_path: Path) -> None:
    if tensorrt.is_installed():
        pytest.skip("TensorRT is installed here")
    (tmp_path / "model.plan").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected model\.plan\.json beside it"):
        runtime.read_meta(tmp_path / "model.plan")
    tensorrt.describe(tmp_path / "model.plan", make().meta(Contract("label", "NHWC", 3)))
    with pytest.raises(ValueError, match="pip install tensorrt"):
        runtime.open_file(tmp_path / "model.plan")
