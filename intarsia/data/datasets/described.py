"""A data set as a description file says it: what a run on a user's own data writes into its config."""

from __future__ import annotations

from intarsia.contracts import Dataset
from intarsia.data.bands import band_mode
from intarsia.data.description.read import read_description


def DescribedDataset(*, file: str, split: str, bands: str = "rgb") -> Dataset:  # noqa: N802
    """The samples of one split of a data description.

    file: the description (YAML). split: "train", "val" or "test". bands: how images are read; the description says it
    too, and both must agree, since a config is also read where its data are not at hand.

    Raises ValueError if the file is missing or wrong, has no such split, or reads images in another way.
    """
    description = read_description(file)
    if description.bands != band_mode(bands):
        raise ValueError(f"{file} reads images as {description.bands!r}, the config as {bands!r}")
    return description.dataset(split)
