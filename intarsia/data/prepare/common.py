"""Jobs that several benchmarks have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from intarsia.data.prepare.archives import Member
from intarsia.data.prepare.benchmark import Job, Result
from intarsia.data.prepare.pixels import decoded_bgr, png_of_bgr, png_of_label, size_of


def one(source: Member | bytes, target: str, convert: Callable[[bytes], bytes]) -> Job:
    """One file becomes one."""
    return Job(source, partial(_one, target, convert), target)


def _one(target: str, convert: Callable[[bytes], bytes], data: bytes) -> Iterator[Result]:
    yield target, partial(convert, data)


def same_bytes(data: bytes) -> bytes:
    """An image file that is kept as it is. Raises ValueError if it is none."""
    size_of(data)
    return data


def as_png(data: bytes) -> bytes:
    """Any image as a colour PNG."""
    return png_of_bgr(decoded_bgr(data))


def halves(data: bytes) -> bytes:
    """A mask as a label: 1 where it is at least 128 (in its blue band)."""
    return png_of_label(decoded_bgr(data)[:, :, 0] // 128)
