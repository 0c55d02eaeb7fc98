"""Which convolutions of 1 x 1 go to oneDNN where there is one thread, that results are equal, and that nobody sees it.

A dilation of 2 is what sends them there: a mode of torch below everything shows the dilation of every call.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.fx
from torch import Tensor, nn
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

from intarsia.contracts import FeatureSpec, MaskPredictions
from intarsia.layers import onednn
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.onednn import by_onednn
from intarsia.models.cascade import CascadeEncoderDecoder
from intarsia.models.depth_estimator import DepthEstimator
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.models.mask_classifier import MaskClassifier
from intarsia.models.shared_trunk import SharedTrunk

WIDE = 384
"""Channels from which on a convolution between as many is computed by oneDNN."""

without_processor = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() not in onednn.PROCESSORS,
    reason="measured, and done, on processors with AVX2 or AVX-512 alone",
)
pytestmark = [without_processor, pytest.mark.usefixtures("one_thread")]


class Trunk(nn.Module):
    """A stem, a block with a convolution that oneDNN takes, one with too few channels, and one of 3 x 3."""

    features = (FeatureSpec(64, 4),)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDE, 4, stride=4, bias=False)
        self.wide = nn.Conv2d(WIDE, WIDE, 1, bias=False)
        self.behind = nn.Sequential(self.wide, nn.BatchNorm2d(WIDE))
        self.narrow = nn.Conv2d(WIDE, 64, 1)
        self.around = nn.Conv2d(64, 64, 3, padding=1)
        self.checkpoint = False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = run_block(self.behind, self.stem(images), checkpoint=self.checkpoint)
        return (self.around(self.narrow(x.relu())),)


class Reader(nn.Module):
    """A head, or one that refines."""

    in_channels, in_index, num_classes = (64,), (0,), 2

    def __init__(self, *, masks: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(64, 2, 1)
        self.masks = masks

    def forward(self, features: Sequence[Tensor], *coarse_logits: Tensor) -> Any:
        x = self.conv(features[0])
        return (MaskPredictions(x.mean(dim=3), x),) if self.masks else x


class Calls(TorchDispatchMode):
    """Convolutions that were computed: forwards or backwards, kernel and dilation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("convolution", "convolution_backward"):
            ahead = int(name == "convolution_backward")
            weight, dilation = args[1 + ahead], args[5 + ahead]
            self.seen.append((name, weight.shape[-1], tuple(dilation)))
        return func(*args, **(kwargs or {}))

    @property
    def dilated(self) -> int:
        return sum(dilation != (1, 1) for _, _, dilation in self.seen)


def network() -> EncoderDecoder:
    torch.manual_seed(0)
    return EncoderDecoder(backbone=Trunk(), decode_head=Reader(), auxiliary_head=Reader())


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)).to(dtype)


def dilated(call: Callable[[], Any]) -> int:
    with Calls() as calls:
        call()
    return calls.dilated


def step(model: nn.Module, given: Tensor) -> dict[str, Tensor]:
    """Outputs and gradients of one."""
    model.zero_grad()
    outputs = model.training_outputs(given)  # type: ignore[operator]
    sum(output.square().mean() for output in outputs.values()).backward()
    return {**outputs, **{name: value.grad for name, value in model.named_parameters() if value.grad is not None}}


# --- What is computed by oneDNN -----------------------------------------------------------------------------------


def test_one_thread_takes_onednn_for_what_is_wide_forwards_and_backwards() -> None:
    model = network()
    with Calls() as calls:
        step(model, images())
    found = [call for call in calls.seen if call[1] == 1 and call[2] == (2, 2)]
    assert found == [("convolution", 1, (2, 2)), ("convolution_backward", 1, (2, 2))]
    assert len(calls.seen) == 12  # of six layers
    assert calls.dilated == 2


def test_the_kernel_is_torchs_for_mkldnn() -> None:
    """As its profiler names it; alone, the layer is left to the product of matrices."""
    layer, x = nn.Conv2d(WIDE, WIDE, 1), torch.randn(2, WIDE, 8, 8)
    names = []
    for context in (by_onednn(nn.Identity(), x), by_onednn(layer, x)):
        with profile() as seen, context:
            layer(x)
        names.append({event.key for event in seen.key_averages()})
    assert "aten::mkldnn_convolution" not in names[0]
    assert "aten::mkldnn_convolution" in names[1]


@pytest.mark.parametrize(
    "model",
    [
        network(),
        DepthEstimator(backbone=Trunk(), decode_head=Reader()),
        CascadeEncoderDecoder(backbone=Trunk(), decode_head=[Reader(), Reader()]),
        MaskClassifier(backbone=Trunk(), decode_head=Reader(masks=True)),
        SharedTrunk({"a": network()}),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_kind_of_network_does_in_each_of_its_calls(model: Any) -> None:
    for name in ("forward", "training_outputs", "queries"):
        if hasattr(model, name):
            assert dilated(lambda name=name: getattr(model, name)(images())) == 1, name


@pytest.mark.parametrize("size", [(8, 12), (32, 48), (64, 64)])
def test_results_are_equal_to_float_rounding(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = network(), torch.randn(2, 3, *size)
    found = step(model, given)
    monkeypatch.setattr(onednn, "LEAST_WORK", 10**9)
    assert dilated(lambda: model(given)) == 0
    expected = step(model, given)
    for name, value in expected.items():
        scale = float(value.detach().abs().max())
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5 * scale)
    exact = step(model.double(), given.double())
    for name, value in exact.items():
        scale = float(value.detach().abs().max())
        torch.testing.assert_close(found[name].double(), value, rtol=0, atol=1e-5 * scale)


def test_a_second_derivative_is_the_same() -> None:
    layer, x = nn.Conv2d(WIDE, WIDE, 1), torch.randn(1, WIDE, 3, 4, requires_grad=True)

    def twice(context: Any) -> Tensor:
        with context:
            y = layer(x).sin().sum()
        (gradient,) = torch.autograd.grad(y, x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), layer.weight)[0]

    expected = twice(by_onednn(nn.Identity(), x))
    torch.testing.assert_close(twice(by_onednn(layer, x)), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_a_block_that_is_computed_again_has_the_bits_of_one_that_is_not() -> None:
    model, given = network(), images()
    expected = step(model, given)
    model.backbone.checkpoint = True
    with Calls() as calls:
        found = step(model, given)
    assert [call[0] for call in calls.seen if call[2] == (2, 2)].count("convolution") == 2
    assert all(found[name].equal(value) for name, value in expected.items())


# --- What is not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["threads", "float64", "bfloat16", "autocast", "no oneDNN", "meta"])
def test_elsewhere_nothing_changes(why: str) -> None:
    model = network()
    if why == "threads":
        torch.set_num_threads(2)
    if why in ("float64", "bfloat16"):
        model, given = model.to(getattr(torch, why)), images(getattr(torch, why))
    elif why == "meta":
        model, given = model.to("meta"), images().to("meta")
    else:
        given = images()
    with torch.autocast("cpu", enabled=why == "autocast"), torch.backends.mkldnn.flags(enabled=why != "no oneDNN"):
        assert dilated(lambda: model.training_outputs(given)) == 0


@pytest.mark.parametrize(
    "settings",
    [{"stride": 2}, {"padding": 1}, {"groups": 3}, {"dilation": 3}, {"padding": "same"}, {"kernel_size": 3}],
    ids=str,
)
def test_other_convolutions_are_what_they_were(settings: dict[str, Any]) -> None:
    layer = nn.Conv2d(**{"in_channels": 3 * WIDE, "out_channels": WIDE, "kernel_size": 1, **settings})
    x = torch.randn(1, 3 * WIDE, 4, 4)
    with Calls() as calls, by_onednn(nn.Conv2d(WIDE, WIDE, 1), x):
        layer(x)
    assert [dilation for _, _, dilation in calls.seen] == [tuple(layer.dilation)]


def test_half_precision_inside_a_network_is_left_alone() -> None:
    layer = nn.Conv2d(WIDE, WIDE, 1)
    x = torch.randn(1, WIDE, 4, 4)
    with Calls() as calls, by_onednn(layer, x):
        with torch.autocast("cpu"):
            layer(x)
        layer(x)
    assert [dilation for _, _, dilation in calls.seen] == [(1, 1), (2, 2)]


# --- Who sees it --------------------------------------------------------------------------------------------------


def test_layers_say_what_they_said_while_the_network_runs_and_after_an_error() -> None:
    model, said = network(), []
    model.backbone.wide.register_forward_hook(lambda layer, *_: said.append(layer.dilation))
    model(images())
    assert said == [(1, 1)]
    model.decode_head.conv = nn.Conv2d(63, 2, 1)
    with pytest.raises(RuntimeError):
        model(images())
    assert dilated(lambda: model.backbone(images())) == 0


def test_other_threads_do_not_see_it() -> None:
    layer, x, found = nn.Conv2d(WIDE, WIDE, 1), torch.randn(1, WIDE, 4, 4), []

    def other() -> None:
        torch.set_num_threads(1)
        found.append(dilated(lambda: layer(x)))
        found.append(dilated(lambda: _called(layer, x)))

    with by_onednn(layer, x):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [0, 1]


def _called(layer: nn.Module, x: Tensor) -> None:
    with by_onednn(layer, x):
        layer(x)


def graph_of(model: nn.Module, way: str) -> Any:
    """The graph that somebody makes of the network."""
    if way == "fx":
        return torch.fx.symbolic_trace(model).graph
    if way == "make_fx":
        return torch.fx.experimental.proxy_tensor.make_fx(model)(images()).graph
    if way in ("export", "strict export"):
        return torch.export.export(model, (images(),), strict=way == "strict export").graph
    graphs: list[str] = []

    def keep(module: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(str(module.graph))
        return module.forward

    torch.compiler.reset()
    if way == "compiled":
        torch.compile(model, backend=keep, fullgraph=True)(images())
    elif way == "compiled training":
        torch.compile(model.training_outputs, backend=keep, fullgraph=True)(images())  # type: ignore[arg-type]
    else:
        model.backbone = torch.compile(model.backbone, backend=keep)
        model(images())
    return "\n".join(graphs)


@pytest.mark.parametrize(
    "way", ["fx", "make_fx", "export", "strict export", "compiled", "compiled training", "a compiled part"]
)
@pytest.mark.filterwarnings("ignore")
def test_graphs_do_not_show_it(way: str) -> None:
    model = network().eval()
    found = str(graph_of(model, way))
    assert "conv" in found
    assert "2, 2" not in found
    assert dilated(lambda: network()(images())) == 1  # it works here, but for the graph


@pytest.mark.filterwarnings("ignore")
def test_traces_do_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def traced() -> str:
        graph = str(torch.jit.trace(network().eval(), images()).inlined_graph)
        return re.sub(r"\.___torch_mangle_\d+", "", graph)

    found = traced()
    monkeypatch.setattr(onednn, "LEAST_WORK", 10**9)
    assert found == traced()
