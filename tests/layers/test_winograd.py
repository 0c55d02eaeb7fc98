"""Convolutions of 3 x 3 in fewer products, and the networks that predict so with one thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from intarsia.backbones.resnet import ResNetV1c
from intarsia.layers import onednn, winograd
from intarsia.layers.norm import BN
from intarsia.methods.fcn import FCNHead
from intarsia.models.encoder_decoder import EncoderDecoder

pytestmark = [
    pytest.mark.skipif(
        not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() not in onednn.PROCESSORS,
        reason="measured, and done, on processors with AVX2 or AVX-512 alone",
    ),
    pytest.mark.usefixtures("one_thread"),
]


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def network() -> EncoderDecoder:
    """FCN-R18-D8, whose batch norms have seen something."""
    torch.manual_seed(0)
    model = EncoderDecoder(
        backbone=ResNetV1c(18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True),
        decode_head=FCNHead(in_channels=512, channels=128, num_classes=19, in_index=3, norm=BN),
    )
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small maps, too, of which tiles cover more."""
    monkeypatch.setattr(winograd, "LEAST_PIXELS", 1)
    monkeypatch.setattr(winograd, "WASTE", 100)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the weights with which `winograd.convolution` was called."""
    seen: list[tuple[int, ...]] = []
    plain = winograd.convolution

    def noted(x: Tensor, weight: Tensor, *others: Any) -> Tensor:
        seen.append(tuple(weight.shape))
        return plain(x, weight, *others)

    monkeypatch.setattr(winograd, "convolution", noted)
    return seen


def furthest(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).abs().max() / exact.abs().max())


# --- The convolution ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (1, 2), (24, 7)], ids=str)
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("strip", [1, 2**22])
@torch.no_grad()
def test_it_is_as_close_to_float64_as_a_plain_one(
    size: tuple[int, int], dilation: int, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "STRIP", strip)
    monkeypatch.setattr(winograd, "LEAST_ROWS", 1)
    x, weight, bias = drawn(2, 20, *size), drawn(12, 20, 3, 3), drawn(12)
    scratch = winograd.Scratch()
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=dilation, dilation=dilation)
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        found = winograd.convolution(given, weight, bias, dilation, scratch)
        assert found.shape == exact.shape
        assert furthest(found.double(), exact) < 1e-6
    without = winograd.convolution(x, weight, None, dilation, scratch)
    assert furthest(without.double(), exact - bias.double().view(-1, 1, 1)) < 1e-6


@torch.no_grad()
def test_many_channels_are_as_exact_as_onednn_in_channels_last() -> None:
    x, weight = drawn(1, 512, 32, 32).relu(), drawn(512, 512, 3, 3)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    found = winograd.convolution(x, weight, None, 1, winograd.Scratch())
    assert furthest(found.double(), exact) < 2e-6


@torch.no_grad()
def test_memory_is_that_of_a_strip() -> None:
    x, weight = drawn(1, 64, 512, 512), drawn(64, 64, 3, 3)
    scratch = winograd.Scratch()
    winograd.convolution(x, weight, None, 1, scratch)
    assert scratch._held["tiles"].numel() <= winograd.STRIP
    assert scratch._held["halves"].numel() <= winograd.STRIP


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({}, True),
        ({"dilation": 2, "padding": 2}, True),
        ({"in_channels": 64, "out_channels": 64}, False),  # sums cost more than products save
        ({"stride": 2}, False),
        ({"padding": 0}, False),
        ({"padding": "same"}, False),
        ({"dilation": 2, "padding": 1}, False),
        ({"groups": 2}, False),
        ({"kernel_size": 5, "padding": 1}, False),
        ({"kernel_size": 1, "padding": 0}, False),
        ({"dilation": 24, "padding": 24}, False),  # tiles of 48 cover 48 x 96 of 48 x 50
    ],
    ids=str,
)
@torch.no_grad()
def test_which_convolutions_are_computed_so(changed: dict[str, Any], taken: bool, calls: list[tuple[int, ...]]) -> None:
    settings = {"in_channels": 256, "out_channels": 128, "kernel_size": 3, "padding": 1, **changed}
    layer, x = nn.Conv2d(**settings), drawn(1, settings["in_channels"], 48, 50)
    plain = layer(x)
    with onednn.by_onednn(layer, x):
        found = layer(x)
    assert bool(calls) == taken
    assert furthest(found, plain) < 1e-5


@torch.no_grad()
def test_small_maps_are_not_worth_it(calls: list[tuple[int, ...]]) -> None:
    layer = nn.Conv2d(256, 256, 3, padding=1)
    for side, expected in ((32, 0), (64, 1)):
        x = drawn(1, 256, side, side)
        with onednn.by_onednn(layer, x):
            layer(x)
        assert len(calls) == expected


# --- Networks that predict ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
@pytest.mark.usefixtures("everywhere")
def test_a_network_predicts_as_exactly_as_before(
    without: type[AbstractContextManager[None]], calls: list[tuple[int, ...]]
) -> None:
    model, images = network(), drawn(2, 3, 40, 64)
    before = model(images).detach()  # with gradients
    assert not calls
    with without():
        found = model(images)
        again = model(images)
        exact = model.double()(images.double())
    assert len(calls) == 2 * 10  # two stages of four, and two in the head
    assert found.equal(again)
    assert furthest(before.double(), exact) < 2e-6
    assert furthest(found.double(), exact) < 2e-6


@pytest.mark.usefixtures("everywhere")
def test_a_training_is_what_it_was(calls: list[tuple[int, ...]]) -> None:
    model, images = network().train(), drawn(1, 3, 32, 32)
    model.training_outputs(images)["decode"].sum().backward()
    assert not calls
    assert model(images).is_contiguous()


@pytest.mark.parametrize(
    "why", ["threads", "float64", "bfloat16", "autocast", "no oneDNN", "foreign", "watched", "vmap"]
)
@pytest.mark.usefixtures("everywhere")
@torch.no_grad()
def test_elsewhere_nothing_changes(why: str, calls: list[tuple[int, ...]]) -> None:
    model, images = network(), drawn(1, 3, 16, 16)
    if why == "threads":
        torch.set_num_threads(2)
    elif why in ("float64", "bfloat16"):
        model, images = model.to(getattr(torch, why)), images.to(getattr(torch, why))
    elif why == "foreign":
        model.add_module("foreign", Foreign())

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    with torch.autocast("cpu", enabled=why == "autocast"), torch.backends.mkldnn.flags(enabled=why != "no oneDNN"):
        if why == "watched":
            with Watching():
                found = model(images)
        else:
            found = torch.vmap(model)(images[None])[0] if why == "vmap" else model(images)
    assert not calls
    assert found.is_contiguous()


class Foreign(nn.Identity):
    """A layer that is neither torch's nor ours."""


@pytest.mark.usefixtures("everywhere")
@torch.no_grad()
def test_graphs_do_not_show_it(calls: list[tuple[int, ...]]) -> None:
    model, images = network(), drawn(1, 3, 16, 16)
    graphs = [torch.export.export(model, (images,)).graph, torch.fx.symbolic_trace(model).graph]
    assert not calls
    graphs.append(torch.jit.trace(model, images, check_trace=False).inlined_graph)
    assert not calls
    assert not any("mkldnn" in str(graph) for graph in graphs)


@pytest.mark.usefixtures("everywhere")
def test_threads_do_not_share_what_is_held_in_between() -> None:
    model, images = network(), [drawn(1, 3, 32, 32 + side) for side in (0, 16, 32)]
    found: dict[int, Tensor] = {}

    def predict(number: int) -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            found[number] = model(images[number])

    with torch.inference_mode():
        expected: Sequence[Tensor] = [model(each) for each in images]
    threads = [threading.Thread(target=predict, args=(number,)) for number in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number].equal(each) for number, each in enumerate(expected))


@pytest.mark.usefixtures("everywhere")
def test_weights_that_changed_are_the_new_ones() -> None:
    layer, x = nn.Conv2d(256, 128, 3, padding=1), drawn(1, 256, 16, 16)
    with torch.no_grad():
        for _ in range(2):
            with onednn.by_onednn(layer, x):
                assert furthest(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1)) < 1e-5
            layer.weight.mul_(-2)
