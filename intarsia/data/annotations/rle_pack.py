"""The packing of Label Studio's brushes: bits of runs and of single values, as the library rle-pack writes them.

32 bits say how many values there are, 5 how many bits a value has, four times 4 how many the lengths of blocks may
have (each less one). Then come blocks: a bit that says whether one value is repeated, two that choose the bits of the
length, the length less one, and one value or as many as the length says. The values are the channels of an RGBA
picture.

Source: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size

_CHANNELS = 4


def unpacked(numbers: Any, size: Size) -> npt.NDArray[np.bool_]:
    """Where the picture (H, W) is not transparent.

    Raises ValueError if the numbers are no bytes, are cut off, or make more or fewer pixels than the picture has.
    """
    bits = _Bits(numbers)
    count, word = bits.take(32), bits.take(5) + 1
    total = size[0] * size[1] * _CHANNELS
    if count != total:
        raise ValueError(
            f"its brush has {count // _CHANNELS:,} pixels, but {size[1]} x {size[0]} (width x height) are "
            f"{total // _CHANNELS:,}"
        )
    if word > 16:
        raise ValueError(f"its brush has values of {word} bits; expected 8")
    lengths = [bits.take(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint16)
    place = 0
    while place < total:
        repeats = bits.take(1)
        end = place + bits.take(lengths[bits.take(2)]) + 1
        if end > total:
            raise ValueError("its brush is damaged: it makes more pixels than it says")
        values[place:end] = bits.take(word) if repeats else bits.take_many(end - place, word)
        place = end
    return values[_CHANNELS - 1 :: _CHANNELS].reshape(size) > 0


class _Bits:
    """Reads numbers of any bits, the highest bit first."""

    def __init__(self, numbers: Any) -> None:
        try:
            self._data = bytes(numbers) if isinstance(numbers, list) else b""
        except (ValueError, TypeError):
            self._data = b""
        if not self._data:
            raise ValueError("its brush is damaged: expected run lengths as bytes from 0 to 255")
        self._place = 0

    def take(self, count: int) -> int:
        """The next number of so many bits."""
        begin, end = self._place, self._advance(count)
        part = int.from_bytes(self._data[begin >> 3 : (end + 7) >> 3], "big")
        return part >> (-end & 7) & ((1 << count) - 1)

    def take_many(self, count: int, width: int) -> npt.NDArray[np.int64]:
        """The next `count` numbers of `width` bits each."""
        begin, end = self._place, self._advance(count * width)
        part = np.frombuffer(self._data, np.uint8)[begin >> 3 : (end + 7) >> 3]
        found = np.unpackbits(part)[begin & 7 :][: count * width].reshape(count, width)
        result: npt.NDArray[np.int64] = found.astype(np.int64) @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))
        return result

    def _advance(self, count: int) -> int:
        self._place += count
        if self._place > 8 * len(self._data):
            raise ValueError("its brush is damaged: its run lengths are cut off")
        return self._place
