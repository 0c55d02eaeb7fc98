"""What several transforms ask of their arguments: chances, ranges, values for each band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def check_chance(owner: str, **chances: float) -> None:
    """Raises ValueError unless all are numbers between 0 and 1."""
    for name, value in chances.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{owner}: {name} must be a chance between 0 and 1, got {value!r}")


def checked_angles(owner: str, degree: float | Sequence[float]) -> tuple[float, float]:
    """(lowest, highest) angle of rotation; one number stands for both directions. Raises ValueError for others."""
    if isinstance(degree, int | float):
        if degree <= 0:
            raise ValueError(f"{owner}: one number of degrees must be positive, got {degree!r}; or give (low, high)")
        return -degree, degree
    if len(degree) != 2 or not all(isinstance(angle, int | float) for angle in degree):
        raise ValueError(f"{owner}: degree must be a number or (low, high), got {degree!r}")
    return min(degree), max(degree)


def checked_range(owner: str, name: str, value: Sequence[float], *, above: float = 0.0) -> tuple[float, float]:
    """`value` as (low, high). Raises ValueError unless above < low <= high."""
    if len(value) != 2 or not above < value[0] <= value[1]:
        raise ValueError(f"{owner}: {name} must be (low, high) with {above:g} < low <= high, got {value!r}")
    return value[0], value[1]


def band_values(owner: str, name: str, value: float | Sequence[float], image: Array) -> Array:
    """(C,) in the image's type: one number for all bands of `image` (..., C), or one for each.

    Raises ValueError if there are as many numbers as bands in no way, or if the type cannot hold them.
    """
    bands = image.shape[-1]
    given = np.asarray(value, np.float64).ravel()
    if given.size not in (1, bands):
        raise ValueError(f"{owner}: {name} has {given.size} numbers for images of {bands} bands, got {value!r}")
    if image.dtype.kind in "iu":
        limits = np.iinfo(image.dtype)
        if given.min() < limits.min or given.max() > limits.max:
            raise ValueError(
                f"{owner}: {name} must lie within {limits.min} and {limits.max} for images of {image.dtype}, "
                f"got {value!r}"
            )
    return np.broadcast_to(given.astype(image.dtype), (bands,))


def with_label_value(label: Array, value: int) -> Array:
    """The label in a type that holds `value` too."""
    limits = np.iinfo(label.dtype)
    fits = limits.min <= value <= limits.max
    return label if fits else label.astype(np.promote_types(label.dtype, np.min_scalar_type(value)))


def in_type_of(result: Array, image: Array) -> Array:
    """Real numbers in the type of `image`: whole numbers are rounded and stay within their limits."""
    if image.dtype.kind not in "iu":
        return result.astype(image.dtype)
    limits = np.iinfo(image.dtype)
    return np.rint(result).clip(limits.min, limits.max).astype(image.dtype)
