"""Resize, cut, flip and argmax in one kernel: the labels of the strips, by Triton's interpreter and without a GPU.

Whether kernels are interpreted is decided when Triton is first imported, so that this file runs itself in a process
with the switch on. For some GPUs the kernel is compiled, too, which no interpreter does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated_gpu import DEVICE, simulated_gpu
from torch import Tensor

from intarsia.inference.logits.lazy import CropFlip, HeadLogits, LogitMap, Resized
from intarsia.inference.logits.postprocess import (
    TIE,
    Geometry,
    Postprocessed,
    RequestedFields,
    at_original,
    postprocess,
)
from intarsia.inference.logits.sliding import Feed, SlidingLogits, Window
from intarsia.layers.triton import available

pytest.importorskip("triton", reason="Triton comes with torch on Linux only")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="run by test_all_of_this_file_in_the_interpreter")
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")


@compiled
def test_all_of_this_file_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passed = [word for line in done.stdout.splitlines() if " passed" in line for word in line.split() if word.isdigit()]
    assert int(passed[0]) > 35, done.stdout


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """With large tiles, since the interpreter takes as long for a small one."""
    from intarsia.inference.logits import triton_argmax

    monkeypatch.setattr(triton_argmax, "TILE", (64, 128))
    return triton_argmax


def logits_of(channels: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(channels + height)
    return (3 * torch.randn(channels, height, width, generator=generator)).to(dtype)


def picture(logits: Tensor, geometry: Geometry, align_corners: bool = False) -> LogitMap:
    at_input = Resized(HeadLogits(logits), geometry.network, align_corners=align_corners)
    return at_original(at_input, geometry, align_corners=align_corners)


def in_one_pass(kernel: Any, source: LogitMap, wanted: RequestedFields, **asked: Any) -> Postprocessed:
    """What the kernel makes, which must not have left it to the strips."""
    taken = []
    original = kernel.label_in_one_pass

    def noted(*args: Any, **kwargs: Any) -> bool:
        taken.append(original(*args, **kwargs))
        return bool(taken[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "label_in_one_pass", noted)
        found = postprocess([source], wanted=wanted, **asked)
    assert taken == [True]
    return found


def assert_same(found: Postprocessed, source: LogitMap, **asked: Any) -> None:
    """Labels but at ties, and probabilities to rounding, are those of strips."""
    everything = RequestedFields(probabilities=True, confidence=True, logits=True)
    strips = postprocess([source], wanted=everything, budget=2**20, **asked)
    assert strips.logits is not None
    assert strips.probabilities is not None
    assert strips.confidence is not None
    # Places on the way are rounded by torch as numbers of a few thousand, and with them the weights of neighbours.
    side = max(*source.size, 16)
    unit = torch.finfo(torch.float32).eps * float(strips.logits.abs().max()) * max(TIE, side)
    if "thresholds" in asked:
        limits = torch.tensor(asked["thresholds"]).view(-1, 1, 1)
        clear = ((strips.probabilities - limits).abs() > unit).all(dim=0)
    elif "threshold" in asked:
        clear = (strips.probabilities[-1] - asked["threshold"]).abs() > unit
    else:
        best = strips.logits.topk(2, dim=0).values
        clear = best[0] - best[1] > unit
    assert clear.float().mean() > 0.9
    assert found.label.dtype == strips.label.dtype
    assert torch.equal(found.label[clear], strips.label[clear])
    if found.confidence is not None:
        torch.testing.assert_close(found.confidence[clear], strips.confidence[clear], rtol=0, atol=max(4 * unit, 1e-6))


GEOMETRIES = {
    "not resized": Geometry((9, 13), (9, 13), (9, 13)),
    "one resize": Geometry((36, 52), (36, 52), (36, 52)),
    "cut": Geometry((36, 52), (33, 47), (33, 47)),
    "enlarged twice": Geometry((36, 52), (35, 51), (61, 77)),
    "enlarged and reduced": Geometry((36, 52), (36, 50), (23, 31)),
    "reduced twice": Geometry((7, 10), (7, 10), (3, 5)),
    "reduced and enlarged": Geometry((5, 7), (5, 7), (29, 40)),
    "reduced, cut and enlarged": Geometry((5, 7), (4, 6), (29, 40)),
    "to one pixel": Geometry((36, 52), (36, 52), (1, 1)),
    "from one pixel": Geometry((36, 52), (1, 1), (5, 9)),
    "mirrored": Geometry((36, 52), (33, 47), (50, 60), ("horizontal",)),
    "turned": Geometry((36, 52), (33, 47), (50, 60), ("horizontal", "vertical")),
    "only wider": Geometry((9, 52), (9, 47), (9, 60)),
}


@interpreted
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_labels_of_any_geometry(kernel: Any, name: str, align_corners: bool) -> None:
    source = picture(logits_of(5, 9, 13), GEOMETRIES[name], align_corners)
    assert_same(in_one_pass(kernel, source, RequestedFields(confidence=True)), source)


@interpreted
@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(2, torch.bfloat16), (3, torch.float16), (19, torch.bfloat16), (150, torch.float16), (300, torch.float32)],
)
def test_any_number_of_classes_of_any_precision(kernel: Any, channels: int, dtype: torch.dtype) -> None:
    """Without the confidence, which has a branch of its own; more than 256 are labels of 32 bits."""
    source = picture(logits_of(channels, 5, 6, dtype), Geometry((20, 24), (19, 23), (27, 33)))
    found = in_one_pass(kernel, source, RequestedFields())
    assert found.label.dtype == (torch.uint8 if channels <= 256 else torch.int32)
    assert_same(found, source)


@interpreted
@pytest.mark.parametrize("threshold", [0.5, 0.2])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_foreground_has_a_threshold(kernel: Any, channels: int, threshold: float) -> None:
    source = picture(logits_of(channels, 9, 13, torch.bfloat16), GEOMETRIES["mirrored"])
    wanted = RequestedFields(confidence=True, foreground=True)
    found = in_one_pass(kernel, source, wanted, threshold=threshold)
    assert_same(found, source, threshold=threshold)
    assert found.foreground is not None
    assert torch.equal(found.label, (found.foreground > threshold).to(torch.uint8)), "the very number that is compared"
    strips = postprocess([source], wanted=wanted, threshold=threshold, budget=2**20)
    torch.testing.assert_close(found.foreground, strips.foreground, rtol=0, atol=1e-5)


@interpreted
@pytest.mark.parametrize("channels", [3, 10])
def test_several_classes_of_a_pixel_are_a_set(kernel: Any, channels: int) -> None:
    thresholds = [0.3 + 0.05 * k for k in range(channels)]
    source = picture(logits_of(channels, 9, 13), GEOMETRIES["enlarged twice"])
    found = in_one_pass(kernel, source, RequestedFields(confidence=True), thresholds=thresholds)
    assert_same(found, source, thresholds=thresholds)


@interpreted
def test_tiles_of_the_real_size_and_logits_of_any_layout() -> None:
    """Channels last, as a network in that layout gives them; a part of a batch; the confidence in half precision."""
    from intarsia.inference.logits import triton_argmax

    assert triton_argmax.TILE == (8, 32)
    values = logits_of(2 * 4, 9, 13).view(2, 4, 9, 13).contiguous(memory_format=torch.channels_last)[1]
    source = picture(values, Geometry((36, 52), (33, 47), (17, 41)))
    wanted = RequestedFields(confidence=True, dtype=torch.float16)
    found = in_one_pass(triton_argmax, source, wanted)
    assert_same(replace(found, confidence=None), source)
    assert found.confidence is not None
    assert found.confidence.dtype == torch.float16


@interpreted
def test_ties_go_to_the_lower_class(kernel: Any) -> None:
    same = logits_of(1, 9, 13).expand(6, 9, 13)
    assert not in_one_pass(kernel, picture(same, GEOMETRIES["enlarged twice"]), RequestedFields()).label.any()


@interpreted
def test_what_is_no_chain_of_two_resizes_is_left_to_the_strips(kernel: Any) -> None:
    size = (16, 20)
    windows = [Window(0, 0, 0, *size)]
    feed = Feed(lambda _: torch.zeros(3, *size), windows, lambda pixels, _: pixels[:, :, ::2, ::2], batch=1)
    label = torch.empty(size, dtype=torch.uint8)
    assert not kernel.label_in_one_pass(SlidingLogits(size, windows, feed, align_corners=False), label)
    head = HeadLogits(logits_of(3, 4, 5))
    three = Resized(Resized(Resized(head, (8, 10), align_corners=False), (12, 15), align_corners=False), size,
                    align_corners=False)  # fmt: skip
    assert not kernel.label_in_one_pass(three, label)
    assert not kernel.label_in_one_pass(Resized(HeadLogits(head.values.double()), size, align_corners=False), label)
    elsewhere = torch.empty(size, dtype=torch.float32, device="meta")
    one = Resized(head, size, align_corners=False)
    assert not kernel.label_in_one_pass(one, label, confidence=elsewhere)
    assert kernel.label_in_one_pass(CropFlip(one, size), label)


@compiled
def test_without_a_gpu_there_are_the_strips() -> None:
    assert not available(torch.device("cpu"))
    if torch.cuda.is_available():
        return
    assert not available(DEVICE)
    with simulated_gpu():
        source = picture(logits_of(5, 9, 13).to(DEVICE), GEOMETRIES["cut"])
        assert postprocess([source]).label.device == DEVICE


@compiled
@pytest.mark.parametrize(
    ("kind", "taps", "dtype", "capability"),
    [(0, 1, "fp16", 80), (1, 3, "bf16", 80), (1, 3, "bf16", 90), (1, 2, "fp32", 100), (2, 4, "fp32", 90)],
)
def test_it_compiles_for_gpus(kind: int, taps: int, dtype: str, capability: int) -> None:
    """And keeps what it counts in registers: nothing is spilled into memory."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from intarsia.inference.logits.triton_argmax import TILE, _label_kernel

    constants = {
        "KIND": kind, "COMPARES": True, "ROW_TAPS": taps, "COLUMN_TAPS": taps, "TILE_HEIGHT": TILE[0],
        "TILE_WIDTH": TILE[1], "foreground": None,
    }  # fmt: skip
    pointers = {
        "logits": f"*{dtype}", "row_places": "*i32", "column_places": "*i32", "label": "*u8", "row_weights": "*fp32",
        "column_weights": "*fp32", "confidence": "*fp32", "thresholds": "*fp32", "threshold": "fp32",
    }  # fmt: skip
    names = _label_kernel.arg_names
    signature = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names}
    source = ASTSource(_label_kernel, signature, {(names.index(name),): value for name, value in constants.items()})
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert made.asm["cubin"]
    assert ".local" not in made.asm["ptx"]
