"""Faults of images, and of images beside their labels."""

from __future__ import annotations

from collections.abc import Iterable

from intarsia.data.description.model import DataDescription
from intarsia.data.doctor.findings import Finding, many, show_size
from intarsia.data.doctor.measure import BySplit, Measured, all_of

SMALLEST_SIDE = 32
"""Most networks reduce an image by so much before they decide."""

_CLEARLY = 0.9
_UPRIGHT = (
    "save the images upright (ImageMagick: mogrify -auto-orient; or Pillow's ImageOps.exif_transpose), or write "
    "`image: {bands: raw, channels: 3}` in the description, which leaves them as they are stored"
)


def image_faults(measured: BySplit, description: DataDescription | None = None) -> tuple[list[Finding], list[Finding]]:
    """(problems, warnings). description: None if none could be made."""
    entries = all_of(measured)
    problems = list(_sizes_differ(entries))
    warnings = [*_turned(entries), *_alpha(entries), *_mixed(entries), *_tiny(entries)]
    warnings += _band_names(entries, description)
    return problems, warnings


def _sizes_differ(entries: list[Measured]) -> Iterable[Finding]:
    wrong = [e for e in entries if e.image is not None and e.label is not None and e.image.size != e.label.size]
    by_exif = [e for e in wrong if e.image and e.label and e.image.orientation > 4 and _is_turned(e)]
    if by_exif:
        yield Finding(
            "size mismatch",
            f"{many(len(by_exif), 'image')} turned by 90 degrees by the EXIF orientation, which the labels ignore",
            _UPRIGHT,
            tuple(_sizes_of(entry) for entry in by_exif),
        )
    others = [entry for entry in wrong if entry not in by_exif]
    if others:
        turned = sum(_is_turned(entry) for entry in others)
        hint = f"; {turned} of them turned by 90 degrees" if turned else ""
        drawn = all(entry.pair.annotations is not None for entry in others)
        advice = "resize the labels with nearest neighbour, or pair the right files"
        if drawn:
            advice = "put those images here on which they were drawn: these were resized or turned afterwards"
        yield Finding(
            "size mismatch",
            f"{many(len(others), 'label')} of another size than the image{hint}",
            advice,
            tuple(_sizes_of(entry) for entry in others),
        )


def _sizes_of(entry: Measured) -> str:
    assert entry.image is not None
    assert entry.label is not None
    return f"{entry.pair.image}: {show_size(entry.image.size)}, its label {show_size(entry.label.size)}"


def _is_turned(entry: Measured) -> bool:
    return entry.image is not None and entry.label is not None and entry.image.size == entry.label.size[::-1]


def _turned(entries: list[Measured]) -> Iterable[Finding]:
    """Images that EXIF turns without a trace in their size: their labels must follow the upright picture."""
    found = [e for e in entries if e.image is not None and e.image.orientation > 1]
    found = [e for e in found if e.label is None or (e.image is not None and e.image.size == e.label.size)]
    if not found:
        return
    fits = [entry.image.fits for entry in found if entry.image is not None and entry.image.fits is not None]
    as_read, as_stored = sum(fit[0] for fit in fits), sum(fit[1] for fit in fits)
    text = f"{many(len(found), 'image')} with an EXIF orientation: they are turned upright when read, labels are not"
    if as_stored < _CLEARLY * as_read:
        text += ", and seem to be drawn on the pictures as they are stored: training would learn nonsense"
    elif as_read < _CLEARLY * as_stored:
        text += ", and seem to be drawn on the upright pictures, as they must be"
    yield Finding(
        "EXIF orientation",
        text,
        f"look at them (intarsia data show); where labels follow the stored picture, {_UPRIGHT}",
        tuple(entry.pair.image for entry in found),
    )


def _alpha(entries: list[Measured]) -> Iterable[Finding]:
    alpha = [entry.pair.image for entry in entries if entry.image is not None and entry.image.alpha]
    if alpha:
        yield Finding(
            "alpha",
            f"{many(len(alpha), 'image')} with an alpha channel that is not opaque everywhere; it is dropped",
            "if it means something, write `image: {bands: raw, channels: 4}` in the description",
            tuple(alpha),
        )


def _band_names(entries: list[Measured], description: DataDescription | None) -> Iterable[Finding]:
    """Raw images whose files name their bands in different ways."""
    orders = {entry.image.names for entry in entries if entry.image is not None and entry.image.bands == "raw"}
    if len(orders) > 1 and not (description is not None and any(description.names)):
        yield Finding(
            "bands",
            "files that name their bands differently: "
            + "; ".join(", ".join(name or "unnamed" for name in order) for order in sorted(orders)[:4]),
            "bands are taken in the order of each file; where names can be trusted, write `image: {names: [...]}`",
        )


def _mixed(entries: list[Measured]) -> Iterable[Finding]:
    modes: dict[str, int] = {}
    for entry in entries:
        if entry.image is not None:
            modes[entry.image.mode] = modes.get(entry.image.mode, 0) + 1
    if len({(entry.image.bands, entry.image.channels) for entry in entries if entry.image is not None}) > 1:
        yield Finding(
            "mixed images",
            f"images of several kinds: {', '.join(f'{count} {mode}' for mode, count in modes.items())}; "
            "all are read as 8-bit RGB",
            "convert them to one kind if bands or bits beyond that matter",
        )


def _tiny(entries: list[Measured]) -> Iterable[Finding]:
    tiny = [e for e in entries if e.image is not None and min(e.image.size) < SMALLEST_SIDE]
    if tiny:
        yield Finding(
            "tiny images",
            f"{many(len(tiny), 'image')} with a side of less than {SMALLEST_SIDE} pixels, less than most networks see "
            "anything in",
            "enlarge them and their labels (nearest neighbour), or join them to larger pictures",
            tuple(f"{e.pair.image}: {show_size(e.image.size)}" for e in tiny if e.image is not None),
        )
