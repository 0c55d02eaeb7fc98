"""Images from above, cut into windows: Potsdam, Vaihingen, iSAID, LEVIR-CD; and LoveDA, which is not cut."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image

from intarsia.data.prepare.archives import Member, Sources
from intarsia.data.prepare.benchmark import Job, Options, Plan, Result
from intarsia.data.prepare.common import one, same_bytes
from intarsia.data.prepare.pixels import (
    Pixels,
    classes_of_colours,
    decoded_rgb,
    png_of_label,
    png_of_rgb,
    size_of,
)
from intarsia.data.prepare.windows import overlapping, tiles

ISPRS = {
    (0, 0, 0): 0, (255, 255, 255): 1, (0, 0, 255): 2, (0, 255, 255): 3, (0, 255, 0): 4, (255, 255, 0): 5, (255, 0,
    0): 6,
}  # fmt: skip
"""Black is nothing, then impervious, building, low vegetation, tree, car, clutter. The original compares a sum of the
three numbers, under which some other colours count as one of these; here they are 0 as all others."""
ISAID = {
    (0, 0, 0): 0, (0, 0, 63): 1, (0, 63, 63): 2, (0, 63, 0): 3, (0, 63, 127): 4, (0, 63, 191): 5, (0, 63, 255): 6,
    (0, 127, 63): 7, (0, 127, 127): 8, (0, 0, 127): 9, (0, 0, 191): 10, (0, 0, 255): 11, (0, 191, 127): 12,
    (0, 127, 191): 13, (0, 127, 255): 14, (0, 100, 155): 15,
}  # fmt: skip
POTSDAM_TRAINING = frozenset(
    f"{row}_{column}"
    for row, columns in {
        2: (10, 11, 12),
        3: (10, 11, 12),
        4: (10, 11, 12),
        5: (10, 11, 12),
        6: range(7, 13),
        7: range(7, 13),
    }.items()
    for column in columns
)
VAIHINGEN_TRAINING = frozenset((1, 11, 13, 15, 17, 21, 23, 26, 28, 3, 30, 32, 34, 37, 5, 7))


def potsdam(sources: Sources, options: Options) -> Plan:
    """Tiles that the benchmark does not train on are for validation."""
    jobs: list[Job] = []
    for member, match in sources.matching(r"top_potsdam_(\d+_\d+)_(RGB|label_noBoundary)\.tif"):
        split = "train" if match[1] in POTSDAM_TRAINING else "val"
        jobs.append(_tiled(member, split, match[1], is_label=match[2] != "RGB", clip=_clip(options, 512)))
    return Plan(jobs)


def vaihingen(sources: Sources, options: Options) -> Plan:
    """Images from top/, labels without boundaries.

    Labels whose name has "area9" are left out, as there are no images of those areas.
    """
    jobs: list[Job] = []
    for member, match in sources.matching(r"top_mosaic_09cm_area(\d+)(_noBoundary)?\.tif"):
        label = match[2] is not None
        if (label and match[1].startswith("9")) or (not label and "/top/" not in f"/{member.path}"):
            continue
        split = "train" if int(match[1]) in VAIHINGEN_TRAINING else "val"
        jobs.append(_tiled(member, split, f"area{match[1]}", is_label=label, clip=_clip(options, 512)))
    return Plan(jobs)


def _clip(options: Options, usual: int) -> int:
    for name in ("clip_size", "stride_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected at least 1 pixel, found {value}")
    return options.clip_size or usual


def _tiled(member: Member, split: str, stem: str, *, is_label: bool, clip: int) -> Job:
    folder = "ann_dir" if is_label else "img_dir"
    convert = partial(classes_of_colours, colours=ISPRS) if is_label else None
    return Job(member, partial(tiled, f"{folder}/{split}/{stem}", clip, convert))


def tiled(stem: str, clip: int, convert: partial[Pixels] | None, data: bytes) -> Iterator[Result]:
    """Windows of an image file, named STEM_x0_y0_x1_y1.png. convert: from colours to labels."""
    height, width = size_of(data)
    whole = _Once(data, convert)
    for top in tiles(height, clip):
        for left in tiles(width, clip):
            bottom, right = min(top + clip, height), min(left + clip, width)
            name = f"{stem}_{left}_{top}_{right}_{bottom}.png"
            yield name, partial(whole.window, top, bottom, left, right)


class _Once:
    """An image that is decoded when its first window is asked for."""

    def __init__(self, data: bytes, convert: partial[Pixels] | None) -> None:
        self._data, self._convert = data, convert
        self._pixels: Pixels | None = None

    def window(self, top: int, bottom: int, left: int, right: int) -> bytes:
        if self._pixels is None:
            image = decoded_rgb(self._data)
            self._pixels = image if self._convert is None else self._convert(image)
        cut = self._pixels[top:bottom, left:right]
        return png_of_label(cut) if cut.ndim == 2 else png_of_rgb(cut)


def levircd(sources: Sources, options: Options) -> Plan:
    """Two dates, A and B, and label, whose 255 becomes 1.

    What is a label is said by its own folder; the original asks for "label" anywhere in the path, the user's folders
    included.
    """
    clip = _clip(options, 256)
    jobs = []
    for member, match in sources.matching(r"([^/]+)/(A|B|label)/([^/]+)\.png"):
        convert = partial(changes) if match[2] == "label" else None
        jobs.append(Job(member, partial(tiled, f"{match[1]}/{match[2]}/{match[3]}", clip, convert)))
    return Plan(jobs)


def changes(image: Pixels) -> Pixels:
    """(H, W, 3) to (H, W): 255 becomes 1."""
    label = image[:, :, 2].copy()
    label[label == 255] = 1
    return label


def loveda(sources: Sources, options: Options) -> Plan:
    """Rural and urban images together, no pixel touched."""
    jobs = []
    for member, match in sources.matching(r"(Train|Val|Test)/(?:Rural|Urban)/(images|masks)_png/([^/]+\.png)"):
        folder = "img_dir" if match[2] == "images" else "ann_dir"
        jobs.append(one(member, f"{folder}/{match[1].lower()}/{match[3]}", same_bytes))
    return Plan(jobs)


def isaid(sources: Sources, options: Options) -> Plan:
    """Windows of train and val; images of test as they are.

    The original mistakes width for height, writes BMP files with the name .png, and cuts a window of the wrong place
    where one side is as long as the window and the other shorter; here none of this is so.
    """
    width, height = options.patch_width or 896, options.patch_height or 896
    overlap = 384 if options.overlap_area is None else options.overlap_area
    if min(width, height) < 1 or not 0 <= overlap < min(width, height):
        raise ValueError(
            f"expected an overlap of 0 to less than the window, found {overlap} for {width} x {height} pixels"
        )
    jobs: list[Job] = []
    for member, match in sources.matching(r"(train|val|test)/(images|Semantic_masks)/(?:.*/)?([^/]+)\.png"):
        split, kind, stem = match.groups()
        if split == "test":
            if kind == "images":
                jobs.append(one(member, f"img_dir/test/{stem}.png", same_bytes))
            continue
        cut = partial(patches, f"{split}/{stem}", (height, width), overlap, kind != "images")
        jobs.append(Job(member, cut))
    return Plan(jobs)


def patches(stem: str, patch: tuple[int, int], overlap: int, is_label: bool, data: bytes) -> Iterator[Result]:
    """Windows (H, W) of an iSAID file, named STEM_y0_y1_x0_x1; small images are padded right and below."""
    height, width = (max(found, wanted) for found, wanted in zip(size_of(data), patch, strict=True))
    whole = _Padded(data, (height, width), is_label)
    split, name = stem.split("/", 1)
    before, after = (name.split("_", 1)[0], "_instance_color_RGB") if is_label else (name.split(".", 1)[0], "")
    folder = "ann_dir" if is_label else "img_dir"
    for top in overlapping(height, patch[0], overlap):
        for left in overlapping(width, patch[1], overlap):
            box = (top, top + patch[0], left, left + patch[1])
            place = "_".join(str(number) for number in box)
            yield f"{folder}/{split}/{before}_{place}{after}.png", partial(whole.window, *box)


class _Padded:
    """An image that is decoded and padded when its first window is asked for."""

    def __init__(self, data: bytes, size: tuple[int, int], is_label: bool) -> None:
        self._data, self._size, self._is_label = data, size, is_label
        self._pixels: Pixels | None = None

    def window(self, top: int, bottom: int, left: int, right: int) -> bytes:
        if self._pixels is None:
            image = decoded_rgb(self._data)
            pixels = classes_of_colours(image, ISAID) if self._is_label else image
            more = [(0, self._size[0] - image.shape[0]), (0, self._size[1] - image.shape[1]), (0, 0)][: pixels.ndim]
            self._pixels = np.pad(pixels, more, constant_values=255 if self._is_label else 0)
        cut = self._pixels[top:bottom, left:right]
        return _indexed_png(cut) if self._is_label else png_of_rgb(cut)


def _indexed_png(label: Pixels) -> bytes:
    """With grey colours, so that the values are the same for readers of indices and of colours.

    The original writes a palette of no colours, of which today's Pillow makes one bit a pixel: every class becomes 1.
    """
    image = Image.fromarray(label)
    image.putpalette([value for value in range(256) for _ in range(3)])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
