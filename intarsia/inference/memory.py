"""Whether a large image fits into memory, found out before it is tried; and one error for where it does not.

A processor's memory gives no error: the operating system promises more than it has, and ends the process later.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from intarsia.contracts import Size, Task

LARGE = 2**24
"""Pixels from which on an image is asked about, 4096 x 4096: what a network needs for fewer is there, or nearly."""

PROBE = 256
"""Side of the image by which it is measured what a network needs for a pixel."""

_NORMALISING = 12
"""Bytes that normalising takes for each number of an image: three copies in single precision."""

_CGROUP = ("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
"""Files in which a container's limit and use stand, in both generations of the kernel's interface."""

_MESSAGES = ("allocate memory", "not enough memory", "bad allocation", "bad_alloc")


class TooLargeError(ValueError):
    """An image does not fit into memory."""


def free_memory(device: torch.device, *, groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free on a device; of the processor no more than the limits of container and process leave."""
    if device.type == "cuda" and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    for limit, used in _CGROUP:
        try:
            free = min(free, int((groups / limit).read_text("ascii")) - int((groups / used).read_text("ascii")))
        except (OSError, ValueError):  # no such interface, or "max"
            continue
    if sys.platform != "win32":
        import resource

        limit_of_process = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit_of_process != resource.RLIM_INFINITY:
            free = min(free, limit_of_process - psutil.Process().memory_info().vms)
    return max(free, 0)


def bytes_per_pixel(
    model: Callable[[Tensor], Tensor],
    channels: int,
    device: torch.device,
    *,
    dtype: torch.dtype = torch.float32,
    side: int = 0,
) -> float:
    """What a network needs at most at a time for a pixel of its input, the input included, by a small image.

    Attention over the whole image needs more of a larger one: then this is too little. side: the least that it takes.
    """
    side = max(side, PROBE)
    tracker = _Tracker()
    with tracker:
        pixels = torch.zeros(1, channels, side, side, device=device, dtype=dtype)
        model(pixels)
        del pixels
    return float(tracker.peak / side**2)


class MemoryCheck:
    """Asks whether large images fit, of one network, which is measured when it is first asked.

    task: whose `model` takes (n, C, H, W). least_size: the smallest side that it takes.
    """

    def __init__(self, task: Task, device: torch.device, *, least_size: int = 1) -> None:
        self._task, self._device, self._least_size = task, device, least_size
        self._per_pixel: float | None = None

    def check(self, name: str, images: Tensor, *, at_once: int | None, normalised_whole: bool) -> None:
        """Raises TooLargeError if the network cannot look at stored images (n, C, H, W).

        at_once: pixels of the windows that it sees together, None if it sees whole images. normalised_whole: floating
        point copies of all of them are made.
        """
        count, channels, height, width = images.shape
        if self._per_pixel is None:
            dtype = next((parameter.dtype for parameter in self._task.parameters()), torch.float32)
            self._per_pixel = bytes_per_pixel(
                self._task.model, channels, self._device, dtype=dtype, side=self._least_size
            )
        pixels = count * height * width
        copies = _NORMALISING * channels * pixels if normalised_whole else 0
        seen = self._per_pixel * (pixels if at_once is None else at_once)
        needed = max(copies, seen) if at_once is None else copies + seen
        check_fits(name, (height, width), needed, self._device, by_windows=at_once is not None)


def check_fits(name: str, size: Size, needed: float, device: torch.device, *, by_windows: bool) -> None:
    """Raises TooLargeError if an image of this size needs more bytes than are free. by_windows: it is seen so now."""
    free = free_memory(device)
    if needed > free:
        amounts = f"about {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free"
        raise too_large(name, size, device, amounts, by_windows)


def too_large(name: str, size: Size, device: torch.device, amounts: str, by_windows: bool) -> TooLargeError:
    """The error, with the way out. amounts: of memory, "about 90 GB of memory, and 11 GB are free"."""
    where = " on the GPU" if device.type == "cuda" else ""
    windows = "" if by_windows else "through sliding windows, with --slide 512 341; or "
    return TooLargeError(
        f"{name}: its {size[1]:,} x {size[0]:,} pixels at once need {amounts}{where}: predict it {windows}"
        "as a raster, window by window in any memory, with  -o NAME.tif ; or cut it into tiles"
    )


@contextmanager
def memory_errors(name: str, size: Size, device: torch.device, *, by_windows: bool) -> Iterator[None]:
    """An allocation that fails becomes the error of the image that it was for."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise too_large(name, size, device, "more memory than there is", by_windows) from error
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise too_large(name, size, device, "more memory than there is", by_windows) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of a library says that memory was not there; most have no type for it."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(message in text for message in _MESSAGES)


class _Tracker(TorchDispatchMode):
    """Counts the bytes of all tensors that are made while it lasts. peak: the most that lived at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not say it
        self.peak = 0
        self._living = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known.add(storage)
        weakref.finalize(storage, self._forget, size)
        self._living += size
        self.peak = max(self.peak, self._living)

    def _forget(self, size: int) -> None:
        self._living -= size
