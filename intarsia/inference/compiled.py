"""A network through torch.compile, for prediction: one graph for images of any size, kept for the next process.

What Inductor makes of a graph (C++ or Triton code, compiled) lies in a folder below that of `INTARSIA_CACHE`, one for
each version of torch and kind of processor, so that a shared folder serves different machines. In it Inductor finds
things by the graph, the shapes of the weights, the device and its own settings, and not by the weights' values.
Another process follows the network's Python once more, and reads the rest.

Sizes are symbols in the graph. Where torch asks for more about them than that (whether they are even, say), there are
several graphs: `MOST` at most, and what fits none of these is computed as without torch.compile.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from intarsia.inference.kept_code import keep_compiled, remove_named
from intarsia.terminal import say, warn

MOST = 4
"""Times that graphs are made of one network: for one image and for several, and where sizes have to be told apart."""

REPAIRS = 3
"""Times that what is kept and cannot be loaded is removed, and made anew, for one graph."""


class CompiledNetwork:
    """Calls a network through torch.compile; it says what was compiled, how long that took, and what was there already.

    device: where it computes. A network, or a size, for which torch.compile has no code, is called as it is, which is
    said once.

    Raises ValueError if there is no compiler for that device.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._kept = keep_compiled()
        check_compiler(device)
        self._network = network
        self._call = torch.compile(network, backend=self._compile, dynamic=True)
        self._times = 0  # that graphs were made
        self._made: list[str] = []  # how those of a running call came about
        self._given_up = False
        self._begun = False
        self._talking = threading.Lock()

    def __call__(self, *inputs: Any) -> Tensor:
        """What the network says of its inputs."""
        if self._given_up:
            return self._plain(*inputs)
        from torch._dynamo.exc import TorchDynamoException
        from torch.fx.experimental import _config as of_symbols

        self._say_at_first()
        began = time.perf_counter()
        try:
            # A square image says nothing of the next one.
            with of_symbols.patch(use_duck_shape=False):  # type: ignore[attr-defined]
                found: Tensor = self._call(*inputs)
        except TorchDynamoException as error:
            found = self._plain(*inputs)  # raises by itself where the inputs are at fault
            self._give_up(error)
        self._tell(time.perf_counter() - began)
        return found

    def _say_at_first(self) -> None:
        """One line before the first call, which may take long without another one."""
        with self._talking:
            begun, self._begun = self._begun, True
        if not begun:
            say(
                "torch.compile: the first image waits for code, which takes seconds where it is kept, minutes where not"
            )

    def _plain(self, *inputs: Any) -> Tensor:
        found: Tensor = self._network(*inputs)
        return found

    def _compile(self, graph: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        """Inductor's code for a graph; the graph itself where there is none, or there are too many."""
        if self._times >= MOST or self._given_up:
            self._made += [""] * (not self._given_up)
            return graph.forward
        from torch._dynamo.exc import RestartAnalysis

        before = _from_cache()
        try:
            code = _made_in_the_end(graph, inputs)
        except RestartAnalysis:  # the network will be followed again, and the next graph is another one
            raise
        except Exception as error:  # Inductor, its C++ compiler or Triton, whatever they raise
            self._give_up(error)
            return graph.forward
        self._made.append("read" if _from_cache() > before else "compiled")
        return code

    def _give_up(self, error: Exception) -> None:
        with self._talking:
            if not self._given_up:
                warn(f"torch.compile has made no code of this network, which is computed without: {_reason(error)}")
            self._given_up = True

    def _tell(self, seconds: float) -> None:
        """One line of what a call has made besides its answer; what another thread has made meanwhile is in it."""
        if not self._made:
            return
        with self._talking:
            made, self._made = self._made, []
            self._times += bool(made)
        if made and not all(made):
            if self._times == MOST + 1:
                warn(f"torch.compile: this is the {MOST + 1}th kind of size; such and further ones are not compiled")
        elif made:
            read = made.count("read")
            where, unwritable = self._kept.folder, self._kept.unwritable
            what = f"was read from {where}" if read == len(made) else f"was compiled, and is kept in {where}"
            if 0 < read < len(made):
                what = f"was compiled, of {len(made)} graphs {read} were read from {where}"
            if read < len(made) and unwritable:
                what = f"was compiled, and is not kept: {where} cannot be written ({unwritable})"
            say(f"torch.compile: the network {what}; its first image took {seconds:.1f} s")


def _made_in_the_end(graph: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
    """`make_code`, where what is kept and cannot be loaded is removed and made anew."""
    from torch._dynamo.exc import RestartAnalysis

    for _ in range(REPAIRS):
        try:
            return make_code(graph, inputs)
        except RestartAnalysis:
            raise
        except Exception as error:  # of the system's loader, of Python's import, put into others by Inductor
            if not remove_named(error):
                raise
    return make_code(graph, inputs)


def make_code(graph: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
    """Inductor's code for a graph of torch.fx, from its cache where it has made it before."""
    from torch._inductor.compile_fx import compile_fx

    code: Callable[..., Any] = compile_fx(graph, inputs)  # type: ignore[assignment]
    return code


def check_compiler(device: torch.device) -> None:
    """Raises ValueError, saying what to install, if torch.compile has no compiler for a device."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise ValueError(
                "--compile on a GPU needs Triton, which is not installed or does not know this GPU (it knows compute "
                "capability 7.0 and later): `pip install triton` on Linux, `pip install triton-windows` on Windows"
            )
    elif device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except (InvalidCxxCompiler, RuntimeError) as error:
            raise ValueError(
                "--compile on a processor needs a C++ compiler: `apt-get install g++`, `dnf install gcc-c++`, on macOS "
                "`xcode-select --install`, on Windows the Build Tools of Visual Studio with C++; the environment "
                f"variable CXX names another one ({_reason(error)})"
            ) from None


def _from_cache() -> int:
    """Graphs that this process has read from Inductor's cache."""
    from torch._dynamo.utils import counters

    return int(counters["aot_autograd"]["autograd_cache_hit"] + counters["inductor"]["fxgraph_cache_hit"])


def _reason(error: BaseException) -> str:
    """The first line of what torch says; of an error that it has put into another, of the inner one; of the compiler's,
    the first one that names an error.
    """
    inner = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    said = [line.strip() for line in str(getattr(inner, "output", "")).splitlines() if _TELLING.search(line)]
    return f"{type(inner).__name__}: {(said or lines)[0]}" if lines else type(inner).__name__


_TELLING = re.compile(r"error:|No space left|cannot |failed", re.IGNORECASE)
