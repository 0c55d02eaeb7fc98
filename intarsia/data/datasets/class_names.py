"""Names of the classes of benchmarks, for networks that know a class by its name.

The names are those of the data sets; the benchmarks are called as OpenMMLab's configs call them where they ask for
names (`dataset_name`).
"""

from __future__ import annotations

from intarsia.data.datasets import ade20k, aerial, cityscapes, coco_stuff, mapillary, pascal_context, pascal_voc, retina

LIP = (
    "background", "hat", "hair", "glove", "sunglasses", "upperclothes", "dress", "coat", "socks", "pants", "jumpsuits",
    "scarf", "skirt", "face", "leftArm", "rightArm", "leftLeg", "rightLeg", "leftShoe", "rightShoe",
)  # fmt: skip
"""In the spelling in which its names are asked for, which is not that of its data set."""

_COCO = ("cocostuff", "coco-stuff", "coco_stuff")
_NAMES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ade", "ade20k"), ade20k.CLASSES),
    **dict.fromkeys(("bdd100k", "cityscapes"), cityscapes.CLASSES),
    **dict.fromkeys((f"{name}{size}" for name in _COCO for size in ("", "10k", "164k")), coco_stuff.CLASSES),
    **dict.fromkeys(("iSAID", "isaid"), aerial.ISAID_CLASSES),
    **dict.fromkeys(("LIP", "lip"), LIP),
    "loveda": aerial.LOVEDA_CLASSES,
    "mapillary_v1": mapillary.CLASSES_V1,
    "mapillary_v2": mapillary.CLASSES_V2,
    **dict.fromkeys(("pascal_context", "pcontext", "voc2010"), pascal_context.CLASSES),
    **dict.fromkeys(("pascal_voc", "voc", "voc12", "voc12aug"), pascal_voc.CLASSES),
    **dict.fromkeys(("potsdam", "vaihingen"), aerial.ISPRS_CLASSES),
    **dict.fromkeys(("STARE", "stare"), retina.VESSELS),
}
"""What a benchmark is called -> its names."""


def class_names(benchmark: str) -> tuple[str, ...]:
    """The names of a benchmark's classes, without a background that comes first: it is what has no name.

    Raises ValueError for one that is not known.
    """
    if benchmark not in _NAMES:
        raise ValueError(f"the names of {benchmark!r} are not known; known are those of {', '.join(sorted(_NAMES))}")
    names = _NAMES[benchmark]
    return names[1:] if names[0] == "background" else names
