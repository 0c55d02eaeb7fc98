"""Cross entropy of logits that nobody enlarges: the numbers and gradients of the plain way, in strips and in Triton.

Whether kernels are interpreted is decided when Triton is first imported, so that the tests of the kernels are run again
in a process with the switch on. For some GPUs they are compiled, too, which no interpreter does.
"""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from resized_losses import SIZES, assert_as_plain, example, value_and_gradient
from simulated_gpu import DEVICE, simulated_gpu
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from intarsia.guide.counting import peak_counter
from intarsia.losses import bilinear, resized_cross_entropy, resized_logits, strips
from intarsia.losses.accuracy import accuracy_of_resized, pixel_accuracy
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.losses.dice import DiceLoss
from intarsia.losses.focal import FocalLoss
from intarsia.losses.ohem import OhemCrossEntropy, OHEMPixelSampler
from intarsia.losses.resized_logits import ResizedLogits, takes_resized

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
in_strips = pytest.mark.skipif(INTERPRETED, reason="tests of the strips")


@pytest.fixture(autouse=True)
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that a few rows are one, of which the last has fewer."""
    monkeypatch.setattr(resized_logits, "_LEAST", 0)
    monkeypatch.setattr(strips, "_STRIP", 700)
    monkeypatch.setattr(strips, "_STRIP_ON_DEVICES", 700)


# --- Losses in strips ---------------------------------------------------------------------------------------------


@in_strips
@settings(max_examples=60)
@given(
    sizes=st.sampled_from(SIZES), classes=st.sampled_from([2, 5, 19]), align_corners=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]), use_sigmoid=st.booleans(), avg_non_ignore=st.booleans(),
    classed=st.booleans(), weighted=st.booleans(), smoothing=st.sampled_from([0.0, 0.1]),
    reduction=st.sampled_from(["mean", "sum"]),
)  # fmt: skip
def test_every_combination_is_as_plain(
    sizes: Any, classes: int, dtype: torch.dtype, align_corners: bool, use_sigmoid: bool, avg_non_ignore: bool,
    classed: bool, weighted: bool, smoothing: float, reduction: Any,
) -> None:  # fmt: skip
    logits, labels, weight = example(classes, *sizes, dtype)
    loss = CrossEntropyLoss(
        use_sigmoid=use_sigmoid, class_weight=[0.7 + k for k in range(classes)] if classed else None,
        avg_non_ignore=avg_non_ignore, label_smoothing=smoothing, reduction=reduction,
    )  # fmt: skip
    assert_as_plain(loss, logits, labels, align_corners=align_corners, **({"weight": weight} if weighted else {}))


@in_strips
@pytest.mark.parametrize("options", [{}, {"class_weight": [3.0], "label_smoothing": 0.1, "avg_non_ignore": True}])
def test_a_single_logit_is_enlarged(options: Any) -> None:
    logits, labels, weight = example(1, (4, 5), (16, 20))
    loss = CrossEntropyLoss(use_sigmoid=True, **options)
    resized = ResizedLogits(logits, (16, 20))
    found, expected = loss.of_resized(resized, labels, weight=weight), loss(resized.whole, labels, weight=weight)
    assert found == expected
    (gradient,) = torch.autograd.grad(found, logits)
    assert gradient.abs().max() > 0


@in_strips
@pytest.mark.parametrize("class_weight", [None, (1.0, 2.0, 0.5, 0.7, 1.3)])
@pytest.mark.parametrize(("thres", "min_kept"), [(0.7, 1), (0.05, 100), (0.9, 100_000)])
def test_hard_pixels_are_the_same(class_weight: Any, thres: float, min_kept: int) -> None:
    logits, labels, _ = example(5, (4, 5), (16, 20))
    assert_as_plain(OhemCrossEntropy(thres=thres, min_kept=min_kept, class_weight=class_weight), logits, labels)
    for threshold in (thres, None):
        sampler = OHEMPixelSampler(thresh=threshold, min_kept=min_kept)
        resized = ResizedLogits(logits, (16, 20))
        chosen = sampler.of_resized(resized, labels)
        assert chosen.equal(sampler(resized.whole, labels))
        assert_as_plain(CrossEntropyLoss(avg_non_ignore=True), logits, labels, weight=chosen)


LOSSES = [
    CrossEntropyLoss(class_weight=[1.0, 0.0, 2.0]), CrossEntropyLoss(use_sigmoid=True), OhemCrossEntropy(min_kept=9),
    DiceLoss(),
]  # fmt: skip


@in_strips
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_are_integers_of_any_type(loss: Any, dtype: torch.dtype) -> None:
    """Bytes were taken for masks, and other types refused by torch, by the plain way alone."""
    logits, labels, _ = example(3, *SIZES[0])
    expected = loss(ResizedLogits(logits, SIZES[0][1]).whole, labels)
    assert loss(ResizedLogits(logits, SIZES[0][1]).whole, labels.to(dtype)).equal(expected)
    assert_as_plain(loss, logits, labels.to(dtype))
    sampler, whole = OHEMPixelSampler(min_kept=9), ResizedLogits(logits, SIZES[0][1]).whole
    assert sampler(whole, labels.to(dtype)).equal(sampler(whole, labels))


@in_strips
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_batch_without_images_is_as_plain(loss: Any) -> None:
    logits, labels, _ = example(3, *SIZES[0])
    empty = logits.detach()[:0].requires_grad_()
    found = loss.of_resized(ResizedLogits(empty, SIZES[0][1]), labels[:0])
    plain = loss(ResizedLogits(empty, SIZES[0][1]).whole, labels[:0])  # nan where it is a mean over images
    torch.testing.assert_close(found, plain, rtol=0, atol=0, equal_nan=True)
    found.backward()
    assert empty.grad is not None


@in_strips
def test_of_equal_logits_the_first_is_the_answer() -> None:
    logits = torch.zeros(2, 3, 4, 4)
    logits[1, 1:] = 1.0
    labels = torch.arange(16).view(1, 4, 4).expand(2, 4, 4) % 3
    found = accuracy_of_resized(ResizedLogits(logits, (4, 4)), labels, ignore_index=255)
    assert found.equal(pixel_accuracy(logits, labels, ignore_index=255))
    assert found.item() == pytest.approx(100 * 11 / 32)


@in_strips
@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_logits_far_apart_overflow_nowhere(use_sigmoid: bool) -> None:
    logits, labels, _ = example(5, (4, 5), (8, 10), torch.float64)
    loss = CrossEntropyLoss(use_sigmoid=use_sigmoid)
    assert_as_plain(loss, (300 * logits.detach() + 1000).requires_grad_(), labels)


@in_strips
def test_nothing_labelled_is_nothing_and_nan_shows() -> None:
    logits, labels, _ = example(3, (4, 5), (8, 10))
    nothing = torch.full_like(labels, 255)
    value, gradient = value_and_gradient(
        logits, lambda low: CrossEntropyLoss().of_resized(ResizedLogits(low, (8, 10)), nothing)
    )
    assert value == 0
    assert not gradient.any()
    broken = torch.full_like(logits, torch.nan)
    assert CrossEntropyLoss().of_resized(ResizedLogits(broken, (8, 10)), nothing) == 0
    assert CrossEntropyLoss().of_resized(ResizedLogits(broken, (8, 10)), labels).isnan()


# --- What it is good for ------------------------------------------------------------------------------------------


@in_strips
@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_memory_is_that_of_the_logits_and_a_strip(use_sigmoid: bool) -> None:
    logits, labels, _ = example(19, (8, 8), (64, 64))
    resized = ResizedLogits(logits, (64, 64), labels=labels)
    with peak_counter([logits, labels]) as memory:
        before = memory.alive
        CrossEntropyLoss(use_sigmoid=use_sigmoid).of_resized(resized, labels).backward()
    kept = 2 * logits.numel() * 4 + 8 * labels.numel() * 4
    assert memory.peak - before < kept + 20 * 19 * 64 * 4  # strips of one row
    assert memory.peak - before < 0.5 * 19 * labels.numel() * 4, (
        "half of the enlarged logits, which the plain way has thrice"
    )


@in_strips
def test_a_second_derivative_is_refused_by_name() -> None:
    logits, labels, _ = example(3, (4, 5), (8, 10))
    value = CrossEntropyLoss().of_resized(ResizedLogits(logits, (8, 10)), labels)
    with pytest.raises(RuntimeError, match=r"no second derivative.*loss\(logits\.whole, target\)"):
        torch.autograd.grad(value, logits, create_graph=True)


@in_strips
def test_it_is_not_taken_where_it_is_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(classes: int, side: int) -> bool:
        return ResizedLogits(torch.empty(2, classes, 4, 4), (side, side)).worthwhile

    assert found(19, 64)
    assert not found(3, 64)
    monkeypatch.undo()
    assert found(19, 256)
    assert not found(19, 32)


@in_strips
def test_what_inherits_it_and_computes_another_thing_is_not_asked() -> None:
    class Doubled(CrossEntropyLoss):
        def forward(self, logits: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
            return 2 * super().forward(logits, target, weight=weight)

    class Renamed(CrossEntropyLoss):
        pass

    assert [
        takes_resized(part) for part in (CrossEntropyLoss(), Renamed(), OHEMPixelSampler(), OhemCrossEntropy())
    ] == [True] * 4
    assert not takes_resized(Doubled())
    assert takes_resized(DiceLoss())
    assert not takes_resized(FocalLoss())


@in_strips
def test_shares_are_those_of_interpolate() -> None:
    for length, outputs in ((7, 31), (16, 128), (33, 20), (1, 5), (5, 1), (9, 9)):
        for align_corners in (False, True):
            x = torch.randn(length, 3)
            made = bilinear.Direction.of(length, outputs, x, align_corners=align_corners)
            expected = F.interpolate(
                x.t()[None, :, :, None], size=(outputs, 1), mode="bilinear", align_corners=align_corners
            )[0, :, :, 0].t()
            torch.testing.assert_close(made.enlarge(x, 0), expected, rtol=1e-6, atol=1e-6)
            begin, part = made.part(outputs // 3, outputs, align_corners)
            slab = x[begin : begin + part.length]
            torch.testing.assert_close(part.enlarge(slab, 0), expected[outputs // 3 :], rtol=1e-6, atol=1e-6)


# --- On devices ---------------------------------------------------------------------------------------------------


@in_strips
@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_on_a_device_nothing_waits_and_numbers_are_the_same(use_sigmoid: bool) -> None:
    logits, labels, _ = example(5, (4, 5), (16, 20))
    loss = CrossEntropyLoss(use_sigmoid=use_sigmoid, class_weight=(1.0, 2.0, 3.0, 4.0, 5.0))
    resized = ResizedLogits(logits.detach(), (16, 20), labels=labels)
    expected = loss.of_resized(resized, labels).item()
    hard = OhemCrossEntropy(min_kept=20).of_resized(resized, labels).item()
    with simulated_gpu() as waits:
        there = loss.to(DEVICE), logits.detach().to(DEVICE).requires_grad_(), labels.to(DEVICE)
        waits.found.clear()
        on_device = ResizedLogits(there[1], (16, 20), labels=there[2])
        value = there[0].of_resized(on_device, there[2])
        value.backward()
        of_hard = OhemCrossEntropy(min_kept=20).of_resized(on_device, there[2])
        accuracy = accuracy_of_resized(on_device, there[2], ignore_index=255)
        assert waits.found == []
        assert value.item() == pytest.approx(expected, rel=1e-5)
        assert of_hard.item() == pytest.approx(hard, rel=1e-5)
        assert accuracy.item() == accuracy_of_resized(resized, labels, ignore_index=255).item()
        unknown = there[2].clone()
        unknown[0, 0, 0] = 7
        assert there[0].of_resized(on_device, unknown).isnan().item()
    with pytest.raises(ValueError, match="the value 7, but there are 5 classes"):
        CrossEntropyLoss().of_resized(resized, torch.full_like(labels, 7))


@in_strips
def test_on_a_device_that_is_only_thought_of() -> None:
    with FakeTensorMode():
        logits = torch.empty(2, 5, 4, 5, device="cuda", requires_grad=True)
        labels = torch.empty(2, 16, 20, dtype=torch.long, device="cuda")
        value = CrossEntropyLoss().of_resized(ResizedLogits(logits, (16, 20), labels=labels), labels)
        assert value.shape == ()
        assert value.requires_grad
        assert value.device.type == "cuda"


# --- Triton -------------------------------------------------------------------------------------------------------

has_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton comes with torch on Linux only"
)


@has_triton
@in_strips
def test_kernels_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "kernel", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout, done.stdout


@has_triton
@pytest.mark.skipif(not INTERPRETED, reason="run by test_kernels_in_the_interpreter")
@pytest.mark.parametrize(
    ("options", "sizes", "align_corners"),
    [({}, SIZES[0], False), ({"class_weight": (1.0, 2.0, 3.0), "label_smoothing": 0.1}, SIZES[1], True),
     ({"label_smoothing": 0.2, "avg_non_ignore": True}, SIZES[4], False), ({}, SIZES[2], True),
     ({"use_sigmoid": True, "class_weight": (1.0, 2.0, 0.3), "label_smoothing": 0.1}, ((3, 4), (6, 9)), False),
     ({"use_sigmoid": True, "avg_non_ignore": True}, SIZES[2], True)],
)  # fmt: skip
def test_kernels_are_as_plain(options: Any, sizes: Any, align_corners: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from intarsia.losses import triton_cross_entropy

    monkeypatch.setattr(triton_cross_entropy, "TILE", (16, 16))  # the interpreter takes as long for a small one
    monkeypatch.setattr(triton_cross_entropy, "TILE_BACKWARDS", (2, 8, 8))
    logits, labels, weight = example(3, *sizes)
    assert resized_cross_entropy._has_kernels(logits.detach())
    assert_as_plain(CrossEntropyLoss(**options), logits, labels, align_corners=align_corners, weight=weight)


@has_triton
@pytest.mark.skipif(not INTERPRETED, reason="run by test_kernels_in_the_interpreter")
def test_kernels_find_the_hard_pixels() -> None:
    logits, labels, _ = example(3, (3, 4), (6, 9))
    assert_as_plain(OhemCrossEntropy(thres=0.6, min_kept=10), logits, labels)


@has_triton
@pytest.mark.skipif(not INTERPRETED, reason="run by test_kernels_in_the_interpreter")
def test_kernels_keep_what_is_left_of_sure_answers() -> None:
    """A loss of 1e-7 for each class, of which float32 keeps nothing beside a logit or beside 1."""
    logits = torch.tensor([16.0, -16.0, -16.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2).contiguous()
    found = CrossEntropyLoss(use_sigmoid=True).of_resized(ResizedLogits(logits, (4, 4)), torch.zeros(1, 4, 4).long())
    assert found.item() == pytest.approx(math.log1p(math.exp(-16)), rel=1e-5)


@has_triton
@in_strips
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("name", ["_loss_kernel", "_gradient_kernel"])
@pytest.mark.parametrize("form", ["softmax", "smooth", "sigmoid"])
def test_they_compile_for_gpus(name: str, form: str, capability: int) -> None:
    """And keep what they add up in registers: nothing is spilled into memory."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from intarsia.losses import triton_cross_entropy

    kernel = getattr(triton_cross_entropy, name)
    tile = triton_cross_entropy.TILE if name == "_loss_kernel" else triton_cross_entropy.TILE_BACKWARDS
    names = kernel.arg_names
    constants: dict[str, Any] = dict(zip([n for n in names if n.isupper()], (*tile,)[-len(tile) :], strict=True))
    absent = {"softmax": ("of_each", "class_weight", "no_share"), "smooth": ("no_share",)}
    constants |= dict.fromkeys(absent.get(form, ("of_own", "of_each", "log_sums")))
    types = {"labels": "*i64", "watched": "*i64", "right": "*u8", "no_share": "fp32"}
    whole = {"classes", "height", "width", "low_height", "low_width", "most_rows", "most_columns"}

    def type_of(argument: str) -> str:
        if argument in constants:
            return "constexpr"
        table = argument.startswith(("row_", "column_")) and not argument.endswith("share")
        return "i32" if argument in whole else types.get(argument, "*i32" if table else "*fp32")

    source = ASTSource(
        kernel, {n: type_of(n) for n in names}, {(names.index(n),): value for n, value in constants.items()}
    )
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert made.asm["cubin"]
    assert ".local" not in made.asm["ptx"]
