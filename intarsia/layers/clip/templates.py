"""Sentences that a class name is put into before CLIP reads it: the mean over all of them stands for the class.

"imagenet": the 80 of CLIP (Radford et al., arXiv:2103.00020, section 3.1.4; MIT licence, see LICENSE beside this file).
"vild": the 14 of ViLD (Gu et al., Open-vocabulary Object Detection via Vision and Language Knowledge Distillation,
arXiv:2104.13921; Apache License 2.0), which SAN takes.
"""

from __future__ import annotations

from collections.abc import Sequence

_IMAGENET = (
    "a bad photo of a {}.", "a photo of many {}.", "a sculpture of a {}.", "a photo of the hard to see {}.",
    "a low resolution photo of the {}.", "a rendering of a {}.", "graffiti of a {}.", "a bad photo of the {}.",
    "a cropped photo of the {}.", "a tattoo of a {}.", "the embroidered {}.", "a photo of a hard to see {}.",
    "a bright photo of a {}.", "a photo of a clean {}.", "a photo of a dirty {}.", "a dark photo of the {}.",
    "a drawing of a {}.", "a photo of my {}.", "the plastic {}.", "a photo of the cool {}.",
    "a close-up photo of a {}.", "a black and white photo of the {}.", "a painting of the {}.", "a painting of a {}.",
    "a pixelated photo of the {}.", "a sculpture of the {}.", "a bright photo of the {}.", "a cropped photo of a {}.",
    "a plastic {}.", "a photo of the dirty {}.", "a jpeg corrupted photo of a {}.", "a blurry photo of the {}.",
    "a photo of the {}.", "a good photo of the {}.", "a rendering of the {}.", "a {} in a video game.",
    "a photo of one {}.", "a doodle of a {}.", "a close-up photo of the {}.", "a photo of a {}.", "the origami {}.",
    "the {} in a video game.", "a sketch of a {}.", "a doodle of the {}.", "a origami {}.",
    "a low resolution photo of a {}.", "the toy {}.", "a rendition of the {}.", "a photo of the clean {}.",
    "a photo of a large {}.", "a rendition of a {}.", "a photo of a nice {}.", "a photo of a weird {}.",
    "a blurry photo of a {}.", "a cartoon {}.", "art of a {}.", "a sketch of the {}.", "a embroidered {}.",
    "a pixelated photo of a {}.", "itap of the {}.", "a jpeg corrupted photo of the {}.", "a good photo of a {}.",
    "a plushie {}.", "a photo of the nice {}.", "a photo of the small {}.", "a photo of the weird {}.",
    "the cartoon {}.", "art of the {}.", "a drawing of the {}.", "a photo of the large {}.",
    "a black and white photo of a {}.", "the plushie {}.", "a dark photo of a {}.", "itap of a {}.",
    "graffiti of the {}.", "a toy {}.", "itap of my {}.", "a photo of a cool {}.", "a photo of a small {}.",
    "a tattoo of the {}.",
)  # fmt: skip
_VILD = (
    "a photo of a {}.", "This is a photo of a {}", "There is a {} in the scene", "There is the {} in the scene",
    "a photo of a {} in the scene", "a photo of a small {}.", "a photo of a medium {}.", "a photo of a large {}.",
    "This is a photo of a small {}.", "This is a photo of a medium {}.", "This is a photo of a large {}.",
    "There is a small {} in the scene.", "There is a medium {} in the scene.", "There is a large {} in the scene.",
)  # fmt: skip

TEMPLATES: dict[str, tuple[str, ...]] = {"imagenet": _IMAGENET, "vild": _VILD}


def templates_of(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Those of a name, or the given ones.

    Raises ValueError for an unknown name, for none, and for one without exactly one place for the class ("{}").
    """
    if isinstance(templates, str):
        if templates not in TEMPLATES:
            known = ", ".join(map(repr, TEMPLATES))
            raise ValueError(
                f"unknown templates {templates!r}; known are {known}, or give a list of sentences with {{}}"
            )
        return TEMPLATES[templates]
    if not templates:
        raise ValueError("templates is an empty list; a class name needs one sentence or more, like 'a photo of a {}.'")
    for template in templates:
        if template.count("{}") != 1 or template.count("{") + template.count("}") != 2:
            raise ValueError(f"a template has one place {{}} for the class name, and no other braces; got {template!r}")
    return tuple(templates)
