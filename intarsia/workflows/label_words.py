"""The values of label files in words, as a data set of a config has them."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia import catalog
from intarsia.config.lowering.names import FAMILIES, FOLDERS
from intarsia.config.schema.fates import bare
from intarsia.data.datasets.family import Family
from intarsia.data.description.model import BACKGROUND, IGNORE
from intarsia.spec import Component


def label_words(dataset: Component, classes: Sequence[str], ignore_index: int) -> dict[str, str]:
    """File value -> class name, so that other label files are read as those of the training were.

    Empty where the data set has a table of its own, which the config holds.
    """
    name = bare(dataset.type)
    if dataset.args.get("label_table") is not None or name not in (*FOLDERS, *FAMILIES):
        return {}
    if len(classes) == 1:
        return {"0": BACKGROUND, "1": classes[0], str(ignore_index): IGNORE}
    shifted = dataset.args.get("reduce_zero_label", FAMILIES.get(name, (0, False))[1])
    family = catalog.resolve("dataset", name)
    whole = family.classes if isinstance(family, Family) else classes  # of which `classes` may be a choice
    chosen = {one.strip(): one for one in classes}
    words = {str(index + bool(shifted)): chosen.get(one.strip(), IGNORE) for index, one in enumerate(whole)}
    return words | {str(ignore_index): IGNORE} | ({"0": IGNORE} if shifted else {})
