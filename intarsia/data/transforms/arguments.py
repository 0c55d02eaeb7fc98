"""What several transforms ask of their arguments: chances, ranges, values for each band; samples that are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample

Array = npt.NDArray[Any]


def check_chance(owner: str, **chances: float) -> None:
    """Raises ValueError unless all are numbers between 0 and 1."""
    for name, value in chances.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{owner}: {name} must be a chance between 0 and 1, got {value!r}")


def check_alike(owner: str, parts: Sequence[Sample]) -> None:
    """Raises ValueError unless samples that become one agree in their bands, types, labels and maps."""
    first = parts[0]
    for part in parts[1:]:
        for what, one, other in (
            ("bands", first.image.shape[2], part.image.shape[2]),
            ("type", str(first.image.dtype), str(part.image.dtype)),
            ("labels", first.label is not None, part.label is not None),
            ("maps", sorted(first.maps), sorted(part.maps)),
        ):
            if one != other:
                raise ValueError(
                    f"{owner}: expected samples that agree in their {what}, found {one!r} "
                    f"({first.meta.image_path or first.meta.name}) and {other!r} "
                    f"({part.meta.image_path or part.meta.name})"
                )


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


def checked_extent(owner: str, name: str, value: float | Sequence[float]) -> tuple[float, float]:
    """(least, greatest); one number that is not negative stands for both directions. Raises ValueError for others."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        ends: Sequence[Any] = (-value, value)
    else:
        ends = value if isinstance(value, list | tuple) else ()
    if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends) or not ends[0] <= ends[1]:
        raise ValueError(f"{owner}: {name} must be a number of at least 0, or (low, high), got {value!r}")
    return ends[0], ends[1]


def around_one(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """A factor from a range: below and above 1 are as likely, as far as the range has both."""
    low, high = ends
    if rng.random() < 0.5 and low < 1:
        return float(rng.uniform(low, min(high, 1)))
    # With a range below 1 the original (batchgenerators) draws between 1 and `high` all the same.
    return float(rng.uniform(max(low, 1), high) if high > 1 else rng.uniform(low, high))


def value_range(image: Array) -> tuple[float, float]:
    """What strengths of noise and contrast are shares of: of 8 bits 0 to 255, of other types what the image holds.

    Sixteen bits may hold twelve, and reflectances end where they end: a type's own limits say nothing about them. An
    image without a finite number has (0, 0).
    """
    if image.dtype == np.uint8:
        return 0.0, 255.0
    finite = image[np.isfinite(image)] if image.dtype.kind == "f" else image
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


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


def label_and_fill(label: Array, value: int) -> tuple[Array, int]:
    """The label in a type that holds `value` too, and what to fill it with: of depths 0, which is one not known."""
    if label.dtype.kind == "f":
        return label, 0
    limits = np.iinfo(label.dtype)
    if limits.min <= value <= limits.max:
        return label, value
    return label.astype(np.promote_types(label.dtype, np.min_scalar_type(value))), value


def in_type_of(result: Array, image: Array) -> Array:
    """Real numbers in the type of `image`: whole numbers are rounded and stay within their limits."""
    if image.dtype.kind not in "iu":
        return result.astype(image.dtype)
    limits = np.iinfo(image.dtype)
    return np.rint(result).clip(limits.min, limits.max).astype(image.dtype)
