"""Several images of each sample in a description: their folders, which belong together, and a reader of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from intarsia.data.description.pairing import Listing, MaskRule, Pair, Source, matching_images
from intarsia.data.image_reader import ImageReader
from intarsia.data.stack import Stack, key_of


def with_partners(root: Path, source: Source, listing: Listing, *, skip: bool) -> Listing:
    """The listing with the further images of each pair; without pairs that lack one, if these are to be skipped.

    Raises ValueError naming the images that lack one.
    """
    found = [(rule, _by_key(root, source, rule)) for rule in source.partners]
    pairs: list[Pair] = []
    for pair in listing.pairs:
        files = [by_key.get(pair.name) for _, by_key in found]
        if None not in files:
            pairs.append(replace(pair, partners=tuple(str(file) for file in files)))
    if len(pairs) < len(listing.pairs) and not skip:
        for rule, by_key in found:
            alone = [pair.image for pair in listing.pairs if pair.name not in by_key]
            if alone:
                more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
                raise ValueError(
                    f"{len(alone)} images have no {rule.class_name} (expected {rule} in {root}, with the same name): "
                    f"{', '.join(alone[:5])}{more}. Add the files, or write `missing: skip` in the split to leave "
                    "these images out"
                )
    return replace(listing, pairs=tuple(pairs))


def _by_key(root: Path, source: Source, rule: MaskRule) -> dict[str, str]:
    """The files of one kind of images, by what their names share with those of the first kind."""
    as_images = replace(
        source, images=rule.folder, image_prefix=rule.prefix, image_suffix=rule.suffixes, labels=None, masks=(),
        annotations=None,
    )  # fmt: skip
    found: dict[str, str] = {}
    for key, path in matching_images(root, as_images):
        found.setdefault("/".join(key), path)
    return found


# --- Readers ------------------------------------------------------------------------------------------------------


def stacking(reader: ImageReader, root: Path, pairs: Sequence[Pair], *, any_values: bool) -> ImageReader:
    """The reader of a description or a model that takes several images, for these files.

    Raises ValueError if the files of a sample are not as many as it takes.
    """
    inputs = reader.spec.inputs
    if inputs and reader.spec.indices:
        raise ValueError("`indices` are computed of the bands of one image, and not of several: leave them out")
    if any(len(pair.partners) != len(inputs) - 1 for pair in pairs):
        raise ValueError(
            f"expected {' and '.join(one.name for one in inputs) or 'one image'} for each sample, as `images:` of the "
            "description's splits; its images are other ones"
        )
    partners = {key_of(root / pair.image): tuple(str(root / file) for file in pair.partners) for pair in pairs}
    return replace(reader, stack=Stack(inputs, partners, any_values, reader.max_pixels, reader.spec.scale))
