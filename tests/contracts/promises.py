"""What every backbone, neck, head and network of the catalogue promises, a function each; they raise if not."""

from __future__ import annotations

import copy
import inspect
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import pytest
import torch
from cases import Case, tensors
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from intarsia import catalog
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Size
from intarsia.export.formats.onnx import OPSET
from intarsia.export.formats.tensorrt_operators import unknown_nodes
from intarsia.export.program import portable, quiet
from intarsia.inference.network import at_least
from intarsia.tasks.preprocess import least_size

SIZE = (64, 96)
ODD = (65, 97)
"""Odd, not square, and no multiple of any stride."""


def assert_same(found: Any, expected: Any) -> None:
    """Up to rounding, which grows with the largest number that was summed."""
    for a, b in zip(tensors(found), tensors(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item())


def training_call(module: nn.Module) -> Callable[..., Any]:
    """What training calls: it may look at all heads of a network, all stages of a head, at points, at queries."""
    for name in ("training_outputs", "queries"):
        if hasattr(module, name):
            return cast("Callable[..., Any]", getattr(module, name))
    return module


def trained(module: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """What training gets from that call."""
    return tensors(training_call(module)(*inputs))


def without_gradient(module: nn.Module) -> list[str]:
    """Parameters that no gradient reached, or one of nothing but rounding; frozen ones get none."""
    learned = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    found = {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in learned}
    return [name for name, largest in found.items() if largest <= 1e-12 * max(found.values())]


def assert_finite(what: str, values: Iterable[Tensor]) -> None:
    if not all(value.isfinite().all() for value in values):
        raise AssertionError(f"{what} are not all finite")


# --- Construction -------------------------------------------------------------------------------------------------


def has_an_explicit_constructor(case: Case) -> None:
    parameters = inspect.signature(catalog.resolve(case.kind, case.name)).parameters.values()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    assert all(parameter.kind not in variadic for parameter in parameters)
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters)


def is_built_from_a_config(case: Case) -> None:
    """The config has no problems, and gives the same part as the constructor."""
    model, place = case.model_config()
    config = Config.from_values({"model": model}, file="minimal")
    assert check(config, shapes=True) == []
    part = build_task(lower(config)).model.get_submodule(place)  # type: ignore[attr-defined]
    found, expected = ({k: v.shape for k, v in m.state_dict().items()} for m in (part, case.build()))
    assert list(found.items()) == list(expected.items())


# --- Outputs ------------------------------------------------------------------------------------------------------


def gives_what_it_says(case: Case) -> None:
    """Levels of the channels and strides that it states; logits of `num_classes`; queries of one class more."""
    module: Any = case.build().eval()
    for size in (SIZE, ODD):
        with torch.no_grad():
            outputs = module(*case.inputs(size))
        assert_finite("outputs", tensors(outputs))
        if case.kind in ("backbone", "neck"):
            features = case.features(module)
            sizes = [[-(-side // level.stride) for side in size] for level in features]
            expected = [(2, level.channels, *sides) for level, sides in zip(features, sizes, strict=True)]
            found = [tuple(output.shape) for output in outputs]
            if found != expected:
                raise AssertionError(f"expected levels {expected}, found {found}")
            continue
        head = module.decode_head if case.kind == "model" else module
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        if isinstance(outputs, Tensor):
            assert outputs.shape[:2] == (2, head.num_classes)
            continue
        for classes, masks in outputs:
            assert classes.shape == (2, masks.shape[1], head.num_classes + 1)


def sees_images_of_one_pixel(case: Case) -> None:
    """In a network, which says what they are padded to."""
    config = Config.from_values({"model": case.model_config()[0]}, file="minimal")
    model: Any = build_task(lower(config)).model
    model.eval()
    for size in ((1, 1), (1, 41), (41, 1)):
        with torch.no_grad():
            assert_finite("outputs", [model(at_least(torch.rand(1, 3, *size), least_size(model)))])


def gives_every_parameter_a_gradient(case: Case) -> None:
    module = case.build().train().double()  # so that a gradient of 0 is told from a small one
    outputs = trained(module, case.inputs(SIZE, dtype=torch.float64))
    torch.stack([(output * torch.randn_like(output)).sum() for output in outputs]).sum().backward()
    assert_finite("gradients", (p.grad for p in module.parameters() if p.grad is not None))
    if names := without_gradient(module):
        raise AssertionError(f"without a gradient: {', '.join(names)}")


def trains_on_a_batch_of_one(case: Case) -> None:
    module = case.build().train()
    outputs = trained(module, case.inputs(SIZE, batch=1))
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    assert_finite("outputs", outputs)
    assert_finite("gradients", (p.grad for p in module.parameters() if p.grad is not None))


# --- Compilers ----------------------------------------------------------------------------------------------------


def is_captured_as_one_graph(case: Case) -> None:
    """By torch.compile, without a break; the graph is then run as it is."""
    module = case.build().eval()
    inputs = case.inputs(ODD)
    with torch.no_grad():
        assert_same(compiled(module, "eager")(*inputs), module(*inputs))


def is_captured_as_one_graph_in_training(case: Case) -> None:
    module, inputs = case.build().train(), case.inputs(SIZE)
    results = []
    other = copy.deepcopy(module)  # training may change what it remembers, which the next call would see
    for call in (training_call(module), compiled(training_call(other), "eager")):
        torch.manual_seed(0)
        results.append(tensors(call(*inputs)))
    assert_same(results[1], results[0])


def is_compiled_to_the_same(case: Case) -> None:
    """With code generated for it: outputs and gradients."""
    module, inputs = case.build().eval(), case.inputs(ODD)
    found = []
    for call in (module, compiled(module, "inductor")):
        module.zero_grad()
        outputs = tensors(call(*inputs))
        torch.stack([output.square().mean() for output in outputs]).sum().backward()
        found.append([*outputs, *(p.grad for p in module.parameters() if p.grad is not None)])
    assert_same(found[1], found[0])


def compiled(call: Callable[..., Any], backend: str) -> Callable[..., Any]:
    torch.compiler.reset()
    return torch.compile(call, fullgraph=True, backend=backend, dynamic=False)


def is_exported_for_any_batch(case: Case) -> None:
    export(case, (0,), SIZE, [(SIZE, 3), (SIZE, 1)])


def is_exported_for_any_size(case: Case) -> None:
    """Any that leaves two cells of the coarsest grid on each side: torch.export takes a 1 for something special."""
    export(case, (0, 2, 3), (128, 160), [((65, 97), 3), ((160, 96), 1), ((159, 230), 2)])


def export(case: Case, dynamic: tuple[int, ...], size: Size, others: Sequence[tuple[Size, int]]) -> None:
    """Exported with inputs for images of `size`, whose `dynamic` dimensions may change; tried with other sizes and
    batches.
    """
    module = case.build().eval()
    exported = torch.export.export(module, case.inputs(size), dynamic_shapes=case.dynamic(*dynamic))
    # Before 2.14, torch guards the parity of a pooled size, though the graph holds for others: they are tried below.
    program = exported.module(check_guards=torch.__version__ >= torch.torch_version.TorchVersion("2.14"))
    for size, batch in others:
        inputs = case.inputs(size, batch)
        with torch.no_grad():
            assert_same(program(*inputs), module(*inputs))


REPLACED = {"Equal of BOOL"}
"""What TensorRT has not and files for it have otherwise (`tensorrt.prepare`)."""
FOR_ONE_SIZE = {
    name: {"Resize of mode cubic"} for name in ("BEiT", "HFBackbone", "MAE")
}  # positions that are resized to the image; for one size they are numbers
"""Part -> what TensorRT has not of its graph for any size."""
LOOKED_UP = (
    "BiSeNetV1", "BiSeNetV2", "CGNet", "DDRNet", "ERFNet", "ConvNeXt", "FastSCNN", "GCNet", "HRNet",
    "MixVisionTransformer", "ICNet", "MSCAN", "MobileNetV2", "MobileNetV3", "ResNeSt", "PlainConvEncoder",
    "ResidualEncoder", "PIDNet", "ANNHead", "CCHead", "DAHead", "DNLHead", "APCHead", "ASPPHead", "DDRHead",
    "DPTHead", "DepthwiseSeparableASPPHead", "DepthwiseSeparableFCNHead",
    *FOR_ONE_SIZE,
)  # fmt: skip
"""Parts whose operators were compared with TensorRT's table; of the others nobody has looked yet."""


def is_right_as_onnx(case: Case) -> None:
    """In onnxruntime and in OpenVINO, at sizes and in batches that it was not exported with.

    Of operators that TensorRT has, too, where that was looked up.
    """
    onnxruntime, openvino = (pytest.importorskip(name) for name in ("onnxruntime", "openvino"))
    module = case.build().eval()
    with quiet(), torch.no_grad():
        graph = torch.export.export(module, case.inputs((128, 160)), dynamic_shapes=case.dynamic(0, 2, 3))
        program = torch.onnx.export(portable(graph), (), dynamo=True, opset_version=OPSET, verbose=False)
    assert program is not None
    if case.name in LOOKED_UP:
        assert set(unknown_nodes(program.model_proto)) - REPLACED == FOR_ONE_SIZE.get(case.name, set())
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level, settings.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), settings)
    names = [entry.name for entry in session.get_inputs()]
    model = openvino.Core().read_model(program.model_proto.SerializeToString())
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled_model = openvino.compile_model(model, "CPU", exact)
    for size, batch in [((128, 160), 2), ((65, 97), 3), ((160, 96), 1), ((159, 230), 2)]:
        inputs = case.inputs(size, batch)
        with torch.no_grad():
            expected = tensors(module(*inputs))
        given = {name: one.numpy() for name, one in zip(names, tensors(list(inputs)), strict=False)}
        read = {name for port in compiled_model.inputs for name in port.names}  # a level that is not read is left out
        found = compiled_model({name: one for name, one in given.items() if name in read}, share_outputs=False)
        for name, answers in (
            ("onnxruntime", session.run(None, given)),
            ("OpenVINO", [found[one] for one in compiled_model.outputs]),
        ):
            for answer, one in zip(answers, expected, strict=True):
                assert answer.shape == tuple(one.shape), f"{name}, {size}: {answer.shape} instead of {tuple(one.shape)}"
                difference = float((torch.from_numpy(answer) - one).abs().max() / one.abs().max())
                assert difference < 1e-4, f"{name}, {size}, {batch}: differs by {difference:.2g} of the largest value"


# --- State and precision ------------------------------------------------------------------------------------------


def keeps_its_state_in_a_file(case: Case) -> None:
    module = case.build().train()
    trained(module, case.inputs(SIZE))  # running statistics away from their start
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = case.build()
    other.load_state_dict(torch.load(file, weights_only=True))
    inputs = case.inputs(ODD)
    with torch.no_grad():
        for a, b in zip(tensors(other.eval()(*inputs)), tensors(module.eval()(*inputs)), strict=True):
            assert a.equal(b)


def is_finite_in_bfloat16(case: Case) -> None:
    finite_under_autocast(case, torch.bfloat16)


def is_finite_in_float16(case: Case) -> None:
    finite_under_autocast(case, torch.float16)


def finite_under_autocast(case: Case, dtype: torch.dtype) -> None:
    module = case.build().train()
    with torch.autocast("cpu", dtype=dtype):
        outputs = trained(module, case.inputs(SIZE))
    torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
    assert_finite("outputs", outputs)
    assert_finite("gradients", (p.grad for p in module.parameters() if p.grad is not None))


def waits_for_no_device(case: Case) -> None:
    """On a GPU all is made where the inputs are, and no number is asked for: FakeTensors say that they are there, and
    have none.
    """
    module, mode = case.build(), FakeTensorMode()

    def sent(tensor: Tensor) -> Tensor:
        fake = mode.from_tensor(tensor.detach())
        with mode, torch.no_grad():
            return fake.to("cuda")

    module._apply(sent)
    inputs = tree_map(lambda value: sent(value) if isinstance(value, Tensor) else value, case.inputs(SIZE))
    with mode:
        found = trained(module.train(), inputs)
        with torch.no_grad():
            found += tensors(module.eval()(*inputs))
    assert {output.device.type for output in found} == {"cuda"}


def computes_the_same_when_checkpointed(case: Case) -> None:
    """Outputs, gradients, and what batch norms remember."""
    plain: Any = case.build().train()
    saving = copy.deepcopy(plain)
    saving.checkpoint_activations = True
    (images,) = case.inputs(SIZE)
    for module in (plain, saving):
        torch.manual_seed(0)
        torch.stack([output.square().mean() for output in module(images)]).sum().backward()
    for (key, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=lambda text, key=key: f"{key}: {text}")
    for (key, a), b in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert a.equal(b), key


EVERY_PART = (
    has_an_explicit_constructor,
    is_built_from_a_config,
    gives_what_it_says,
    sees_images_of_one_pixel,
    gives_every_parameter_a_gradient,
    trains_on_a_batch_of_one,
    keeps_its_state_in_a_file,
    is_finite_in_bfloat16,
    is_finite_in_float16,
    waits_for_no_device,
)
COMPILERS = (
    is_captured_as_one_graph,
    is_captured_as_one_graph_in_training,
    is_exported_for_any_batch,
    is_exported_for_any_size,
)
"""Seconds for each part."""
EXPORTED = (is_right_as_onnx,)
"""Many seconds for each part."""
EVERY_BACKBONE = (computes_the_same_when_checkpointed,)
