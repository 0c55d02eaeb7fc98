"""Whether what a description says of images fits together."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.data.band_indices import Index, check_indices
from intarsia.data.bands import Bands, band_mode
from intarsia.data.description.errors import DescriptionError
from intarsia.data.value_range import Scale


def checked_bands(
    bands: str,
    channels: int,
    *,
    names: Sequence[str],
    indices: Sequence[Index] = (),
    scale: tuple[float | str, ...] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Bands:
    """How images are read. Raises DescriptionError if the parts of `image` contradict each other."""
    try:
        mode = band_mode(bands)
    except ValueError:
        raise DescriptionError(("image", "bands"), f"expected rgb or raw, found {bands!r}") from None
    if channels < 1 or (mode == "rgb" and channels != 3):
        raise DescriptionError(("image", "channels"), f"{channels}: rgb images have 3, others at least 1")
    if indices:
        _check_indices(indices, mode, names)
    if names and len(names) + len(indices) != channels:
        and_indices = f" and {len(indices)} indices" if indices else ""
        raise DescriptionError(("image", "names"), f"{len(names)} names{and_indices} for {channels} channels")
    if scale is not None:
        _check_scale(scale, mode, channels, indices)
    for key, numbers in (("mean", mean), ("std", std)):
        if numbers is not None and len(numbers) != channels:
            raise DescriptionError(("image", key), f"{len(numbers)} numbers for {channels} channels")
    if std is not None and min(std) <= 0:
        raise DescriptionError(("image", "std"), "must be greater than 0, since pixels are divided by it")
    return mode


def _check_indices(indices: Sequence[Index], bands: Bands, names: Sequence[str]) -> None:
    if bands != "raw":
        raise DescriptionError(("image", "indices"), "is for `bands: raw`, with `names` of the bands")
    try:
        check_indices(indices, names)
    except ValueError as error:
        raise DescriptionError(("image", "indices"), str(error)) from None


def _check_scale(scale: tuple[float | str, ...], bands: Bands, channels: int, indices: Sequence[Index]) -> None:
    try:
        found = Scale.of(scale)
        found.check_channels(channels - len(indices))
    except ValueError:
        raise DescriptionError(
            ("image", "scale"),
            "expected [MIN, MAX], each MIN below its MAX, or a pair a channel; [c40, w400] (centre and width) or "
            "percentiles [p1, p99] in their place; [zscore], or [clip, MIN, MAX]; found "
            f"{list(scale)}",
        ) from None
    if bands == "raw" and not found.is_of_training:
        message = "is for `bands: rgb`; raw images are taken as they are, or with [zscore] or [clip, MIN, MAX]"
        raise DescriptionError(("image", "scale"), message)
    if indices and found.is_of_training:
        raise DescriptionError(("image", "scale"), f"{found.kind} leaves no numbers to compute `indices` of")
