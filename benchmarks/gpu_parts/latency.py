"""Milliseconds from one image of 1024 x 2048 to its labels, of networks that are made to be fast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from gpu_parts.networks import batch_of, seconds_of, shown, task_of
from gpu_parts.notes import Notes
from intarsia.contracts import SampleMeta
from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec

SIZE = (1024, 2048)
PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)


def network(notes: Notes, recipe: str) -> None:
    """The network alone, called and as a CUDA graph, in each precision; and our predictor, from pixels to labels."""
    size = (64, 128) if notes.small else SIZE
    repeat = 2 if notes.small else 30
    task = task_of(recipe, notes.device)
    batch = batch_of(task, 1, size, notes.device)
    module: nn.Module = task  # type: ignore[assignment]
    module.eval().requires_grad_(False)
    names = [str(k) for k in range(task.num_classes)]
    predictor = Predictor(
        task, inference=InferenceSpec(num_classes=task.num_classes), classes=names,
        palette=[(k, k, k) for k in range(len(names))],
    )  # fmt: skip
    metas = (SampleMeta(name="image", original_size=size),)
    images = type(batch)(batch.images, None, batch.sizes, metas)
    with notes.attempt("pixels to labels"):
        _row(notes, recipe, "pixels to labels", torch.float32, lambda: predictor.predict_batch(images), repeat)
    seen = shown(batch, task)
    model = task.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for precision in PRECISIONS[: 1 if notes.small else 3]:
        model.to(precision)
        pixels = seen.to(precision).contiguous(memory_format=torch.channels_last)
        with notes.attempt(f"eager, {precision}"), torch.inference_mode():
            _row(notes, recipe, "eager", precision, partial(model, pixels), repeat)
        if notes.on_gpu:
            with notes.attempt(f"CUDA graph, {precision}"), torch.inference_mode():
                _row(notes, recipe, "CUDA graph", precision, _graph(notes, model, pixels, precision), repeat)


def compiled(notes: Notes, recipe: str) -> None:
    """torch.compile, by itself and with CUDA graphs."""
    size = (64, 128) if notes.small else SIZE
    task = task_of(recipe, notes.device)
    seen = shown(batch_of(task, 1, size, notes.device), task)
    task.model.eval().requires_grad_(False)
    precision = torch.float32 if notes.small else torch.float16
    model = task.model.to(precision, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = seen.to(precision).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        plain = model(pixels)
        for mode in ("default",) if notes.small else ("default", "reduce-overhead"):
            with notes.attempt(mode):
                options = {"backend": "eager"} if notes.small else {"mode": mode}
                fast = torch.compile(model, dynamic=False, **options)
                _same(notes, f"compiled, {mode}", fast(pixels), plain, precision)
                how = f"compiled, {mode}"
                _row(notes, recipe, how, precision, partial(fast, pixels), 2 if notes.small else 30)
            torch._dynamo.reset()


def _graph(notes: Notes, model: nn.Module, pixels: Tensor, precision: torch.dtype) -> Callable[[], None]:
    """The network as one launch; what it gives is what it gives when it is called."""
    expected = model(pixels)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # what is set up at the first calls may not be recorded
            model(pixels)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = model(pixels)
    graph.replay()
    _same(notes, "CUDA graph", found, expected, precision)
    return graph.replay


def _same(notes: Notes, what: str, found: Tensor, expected: Tensor, precision: torch.dtype) -> None:
    """Both took another way through the same numbers: relative to the largest logit."""
    error = (found.float() - expected.float()).abs().max() / expected.float().abs().max()
    notes.holds(
        f"{what}, {precision}".replace("torch.", ""), float(error), 1e-3 if precision == torch.float32 else 3e-2
    )


def _row(notes: Notes, recipe: str, how: str, precision: torch.dtype, work: Callable[[], object], repeat: int) -> None:
    seconds = seconds_of(work, notes, repeat=repeat, warm_up=1 if notes.small else 5)
    values = {"network": recipe, "way": how, "precision": str(precision).removeprefix("torch.")}
    notes.figure(**values, **{"ms": 1000 * seconds, "images/s": 1 / seconds})
