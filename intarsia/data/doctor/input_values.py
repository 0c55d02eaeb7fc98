"""What each of several images of a sample holds."""

from __future__ import annotations

from dataclasses import replace

from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Listing
from intarsia.data.image_reader import MEASURED, measured
from intarsia.data.image_spec import ImageSpec


def with_values(description: DataDescription, listing: Listing) -> DataDescription:
    """With type and range of what is stored in the files of each, by some of them, where it is not said."""
    step = max(1, len(listing.pairs) // MEASURED)
    chosen = listing.pairs[::step][:MEASURED]
    inputs = []
    for number, one in enumerate(description.inputs):
        files = [description.root / (pair.image, *pair.partners)[number] for pair in chosen]
        found = measured(files, ImageSpec(one.bands, one.channels, one.names))
        inputs.append(replace(one, values=one.values or found.values))
    return replace(description, inputs=tuple(inputs), values=None)
