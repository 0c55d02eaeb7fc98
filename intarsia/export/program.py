"""From a deployable module to a graph of torch.export, for any size of image where the network allows it."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.modules.module import register_module_forward_pre_hook

from intarsia.contracts import Size
from intarsia.export.contract import Contract
from intarsia.export.deployable import Deployable
from intarsia.layers.resizing_matrices import antialiased_bicubic

EXAMPLE: Size = (128, 160)
"""Size of the image that a network is followed with, unless its least size is larger. Sides differ, so that the graph
cannot take one for the other."""

LARGER: Size = (640, 800)
"""The same for networks that pool so far that of a small image one cell is left, or cut maps into windows, of which a
small image has one: torch.export takes a one for one that never changes."""

PROBES: tuple[tuple[int, Size], ...] = ((1, (1, 1)), (2, (1, 97)), (1, (160, 97)), (3, (61, 83)))
"""Images, how many and of which size, by which graphs for torch are chosen."""

LARGE: tuple[Size, ...] = ((733, 941), (1290, 1021))
"""Images by which graphs are asked whether they are right at other sizes than the one that they were followed with."""

LARGEST_SIDE = 2**15
"""Pixels; no graph should end at a smaller size."""

PATIENCE = 600.0
"""Seconds of the processor for following a network with images of any size. torch carries sizes along as formulas, and
where each is made of all before it (timm's Swin, whose maps are padded to windows at each level) it does not end."""

ANY = Dim.DYNAMIC


def exported(module: Deployable, *, device: torch.device | str = "cpu", for_torch: bool = False) -> ExportedProgram:
    """The graph of a module in evaluation, whose contract says whether size and batch may change.

    for_torch: for a file that torch runs, which checks at each call that all holds that was taken for granted when the
    network was followed. See `sizes_left_open`.

    Raises ValueError with torch's reason if they may not in this network, or if it cannot be followed at all.
    """
    program = _followed(module, LARGER if _has_windows(module) else EXAMPLE, device)
    if module.contract.size is None and _is_of_small_images(program):
        program = _followed(module, LARGER, device)
    if module.contract.size is None and (condition := _tied(program, module)):
        raise ValueError(
            "the network makes a number of the size of its image, so that the graph is right for images of the size "
            f"that it was followed with alone: {condition}"
        )
    if for_torch and module.contract.size is None:
        with contextlib.suppress(ValueError), sizes_left_open():  # a network may ask such questions itself
            other = exported(module, device=device)
            program = max(program, other, key=lambda one: _taken(one, module, device))  # of equals the first
    return portable(program)


def _followed(module: Deployable, size: Size, device: torch.device | str) -> ExportedProgram:
    contract = module.contract
    inputs = example(module, size, device=device)
    shapes = {"image": dict.fromkeys(_free_dimensions(contract), ANY), "size": None}
    try:
        with quiet(), torch.no_grad(), _patient(PATIENCE if contract.size is None else math.inf):
            return torch.export.export(
                module, inputs, dynamic_shapes={name: shapes[name] for name in ("image", "size")[: len(inputs)]}
            )
    except Exception as error:  # whatever it cannot follow has an error of its own
        raise ValueError(reason_of(error)) from error


@contextlib.contextmanager
def _patient(seconds: float) -> Iterator[None]:
    """Raises ValueError where a network is entered further when the time is over."""
    end = time.thread_time() + seconds

    def look(module: nn.Module, _: object) -> None:
        if time.thread_time() > end:
            raise ValueError(
                f"torch had not followed the sizes of its maps after {seconds:.0f} seconds, when it came to "
                f"{type(module).__name__}"
            )

    handle = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def sizes_left_open() -> Iterator[None]:
    """Meanwhile, torch takes each size for the general case where it asks whether it is 1 only to choose an order in
    memory, and does not write the answer into the graph as a condition: "no image below 513 pixels", where a map was
    pooled 512 times. Conditions of the network itself stay.
    """
    from torch._decomp import decompositions
    from torch.fx.experimental import _config
    from torch.fx.experimental.sym_node import SymNode
    from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

    # Which kernel a convolution prefers, and which order, decides no number, and is asked again when the file is run.
    kernel, order = torch._C._select_conv_backend, torch._C._conv_determine_backend_memory_format
    torch._C._select_conv_backend = lambda *_, **__: None  # type: ignore[assignment]
    torch._C._conv_determine_backend_memory_format = lambda *_: None  # type: ignore[assignment]
    # Distances in memory are products of sizes and of max(size, 1), which torch compares without seeing that they are
    # the same where a size is 1 at least. It takes sides of images for positive, but bounds them by 0.
    largest = SymNode.sym_max

    def sym_max(self: SymNode, other: SymNode) -> SymNode:
        if self.shape_env is None or other.maybe_as_int() != 1:
            return largest(self, other)
        known = self.shape_env.var_to_range
        ranges = {
            one: ValueRanges(max(known[one].lower, 1), known[one].upper) if one.is_positive else known[one]
            for one in self.expr.free_symbols
        }
        return self if bound_sympy(self.expr, ranges).lower >= 1 else largest(self, other)

    # How far pixels are apart where corners stay corners: torch asks whether there is one row, of which there is no
    # distance. What it finds is for the shape of the answer alone, which does not depend on it.
    scale: Any = decompositions._compute_scale

    def compute_scale(before: Any, after: Any, align_corners: bool, factor: float | None = None) -> Any:
        if align_corners:
            return (before - 1.0) / torch.sym_max(after - 1, 1)
        return scale(before, after, align_corners, factor)

    SymNode.sym_max = sym_max  # type: ignore[method-assign]
    decompositions._compute_scale = compute_scale
    try:
        with _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # made at run time
            yield
    finally:
        torch._C._select_conv_backend, torch._C._conv_determine_backend_memory_format = kernel, order
        SymNode.sym_max = largest  # type: ignore[method-assign]
        decompositions._compute_scale = scale


def _has_windows(module: Deployable) -> bool:
    return any(hasattr(part, "window_size") for part in module.modules())


def _is_of_small_images(program: ExportedProgram) -> bool:
    """Whether a graph ends at some size of images: a map of one cell, which has rules of its own, had one in it."""
    return any(bool(found.upper < LARGEST_SIDE) for found in program.range_constraints.values())


def _tied(program: ExportedProgram, module: Deployable) -> str:
    """The first of the conditions "a size is this number" that torch takes for granted, and that does not hold of large
    images; "" for none.

    It is there where a network made a number of a size, as `float(height)` does: the number is in the graph. Archives
    of torch check what was taken for granted at each call; ONNX has nothing for it, and would be silently wrong. (Two
    sizes that are the same in the example are no number: most such conditions are of the order in memory alone.)
    """
    assumed: Any = program
    conditions = getattr(assumed, "_guards_code", None) or []
    asked = [one for one in conditions if _NUMBER.search(one)]
    if not asked:
        return ""
    assumed._guards_code = asked
    try:
        check: Any = getattr(assumed.module(), "_guards_fn", None)
    finally:
        assumed._guards_code = conditions
    for size in LARGE if check is not None else ():
        height, width = at_least(size, 4 * module.least_size)
        shape = module.contract.shape(module.contract.batch or 3, height, width)
        try:
            check(torch.empty(shape, dtype=getattr(torch, module.contract.dtype), device="meta"), None)
        except AssertionError as error:
            return reason_of(error)
    return ""


_NUMBER = re.compile(r" == (?!0$|1$)\d+$")
"""A condition that is an equation with a number; 0 and 1 are those of remainders and of axes that are copied along."""


def _taken(program: ExportedProgram, module: Deployable, device: torch.device | str) -> int:
    """How many of `PROBES` a graph takes."""
    run, contract, count = program.module(), module.contract, 0
    for batch, size in PROBES:
        shape = contract.shape(contract.batch or batch, *size)
        image = torch.zeros(shape, dtype=getattr(torch, contract.dtype), device=device)
        asked = (torch.tensor(size, device=device),) if contract.asks_size else ()
        with contextlib.suppress(RuntimeError, AssertionError), torch.no_grad():
            run(image, *asked)
            count += 1
    return count


def portable(program: ExportedProgram) -> ExportedProgram:
    """The same graph with what OpenVINO does not have, and says nothing of, written as products of matrices."""
    if not any(node.target in _ANTIALIASED for node in program.graph.nodes):
        return program
    written_out: ExportedProgram = program.run_decompositions(_ANTIALIASED)
    return written_out


def _bicubic(x: Tensor, size: Sequence[int], align_corners: bool, *_: float | None) -> Tensor:
    assert not align_corners  # nobody resamples positions so
    height, width = size
    return antialiased_bicubic(x, (height, width))


_ANTIALIASED = {
    torch.ops.aten._upsample_bicubic2d_aa.default: _bicubic, torch.ops.aten._upsample_bicubic2d_aa.vec: _bicubic,
}  # fmt: skip


def example(module: Deployable, size: Size = EXAMPLE, *, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Inputs of a module, of the right shape and type; images of about this size, unless it takes one alone."""
    contract = module.contract
    height, width = contract.size or at_least(size, 2 * module.least_size)
    shape = contract.shape(contract.batch or 2, height, width)
    image = torch.zeros(shape, dtype=getattr(torch, contract.dtype), device=device)
    if not contract.asks_size:
        return (image,)
    return image, torch.tensor([height + 7, width - 5], device=device)


def at_least(size: Size, side: int) -> Size:
    """A size in the same order of sides, both of them large enough."""
    if min(size) >= side:
        return size
    return side, side * size[1] // size[0]


def as_fixed(contract: Contract, size: Size, why: str) -> Contract:
    """The same for images of one size."""
    return replace(contract, size=size, why=why)


def reason_of(error: BaseException) -> str:
    """What of torch's pages of explanation says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in _TELLING)]
    return (telling or lines or [type(error).__name__])[0].removeprefix("- ")[:300]


_TELLING = ("specialized", "Not all values of", "data-dependent", "not supported", "Guard", "Error when translating")


def _free_dimensions(contract: Contract) -> list[int]:
    sides = [1, 2] if contract.layout == "NHWC" else [2, 3]
    return ([] if contract.batch else [0]) + ([] if contract.size else sides)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters say to standard output, the log and as warnings while they try one way after another."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
