"""What is measured, by whom. Imports nothing heavy: the driver and the report read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OURS = "intarsia"
TITLES = {
    OURS: "Intarsia",
    "mmseg": "MMSegmentation",
    "transformers": "transformers",
    "smp": "segmentation_models.pytorch",
    "torchvision": "torchvision",
}
"""Who measures, in the order of the table's columns."""

SEGFORMER, LINEAR = "segformer_mit-b0", "segformer_mit-b0, linear"
DEEPLABV3, PROJECTED = "deeplabv3_r50-d8", "deeplabv3_r50-d8, projected"
PSPNET, FCN = "pspnet_r50-d8", "fcn_r18-d8"
WITH = {
    SEGFORMER: (OURS, "mmseg"),
    LINEAR: (OURS, "transformers", "smp"),
    PSPNET: (OURS, "mmseg"),
    DEEPLABV3: (OURS, "mmseg"),
    PROJECTED: (OURS, "torchvision", "smp"),
    FCN: (OURS, "mmseg"),
}
"""Who has which network. Two have heads of two forms, see `networks.py`; Intarsia has both."""

PATHS = ("photo", "data", "out", "state", "keep", "save")
"""Values of a job that say where, not what."""

JOB: dict[str, Any] = {
    "work": "", "network": SEGFORMER, "classes": 150, "size": (512, 512), "batch": 2, "passes": 1, "count": 0,
    "workers": 0, "samples": 0, "way": "files", "windows": None, "of": "", "suffix": ".jpg", "zero": True,
    "scale": (2048, 512), "test_scale": (2048, 512), "input": (512, 683), "ratios": (0.5, 2.0), "flip": 0.5,
    "distort": True, **dict.fromkeys(PATHS, ""),
}  # fmt: skip
"""Every value that a worker may look at.

size: of training, (height, width). batch: images of a step or of a loader's batch. passes: measured ones, after the
first. count: images of the folder. samples: of a pipeline or loader in one pass. way: where Intarsia's samples come
from. windows: side and stride. of: whose weights they are. test_scale: what test images are resized into, width and
height; input: what becomes of them, (height, width). The rest is of the training pipeline.
"""


@dataclass(frozen=True)
class Sizes:
    """All that --quick makes small. photo, large, street: (height, width) of files."""

    side: int
    photo: tuple[int, int]
    large: tuple[int, int]
    street: tuple[int, int]
    window: tuple[int, int]
    classes: int
    images: tuple[int, ...]
    class_counts: tuple[int, ...]
    sides: tuple[int, ...]
    photos: tuple[tuple[int, int], ...]
    workers: tuple[int, ...]
    samples: int


FULL = Sizes(
    512, (512, 683), (3000, 4000), (1024, 2048), (512, 341), 150, images=(2, 8, 24), class_counts=(2, 19, 150, 500),
    sides=(256, 512, 768), photos=((512, 683), (1024, 1366), (1500, 2000), (3000, 4000)), workers=(0, 1, 2, 4),
    samples=64,
)  # fmt: skip
QUICK = Sizes(
    64, (64, 86), (192, 256), (128, 256), (64, 43), 7, images=(1, 2), class_counts=(2, 7), sides=(64, 96),
    photos=((64, 86), (192, 256)), workers=(0, 1), samples=4,
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One row of the table, or one point of a curve.

    area: as in --only. files: the folder of drawn files it reads ("photo 512x683"), if any; folder: one
    of files that were there. per: what a pass is divided by. clock: "seconds" of the processor, or "wall". curve, x: of
    which curve it is the point at x. gigabytes: free memory without which it is left out. variables: of the
    environment, for Intarsia alone.
    """

    area: str
    name: str
    who: tuple[str, ...]
    job: Mapping[str, Any]
    files: tuple[str, tuple[int, int]] | None = None
    folder: str = ""
    per: int = 1
    clock: str = "seconds"
    curve: str = ""
    x: float = 0
    gigabytes: float = 0
    variables: Mapping[str, str] = field(default_factory=dict)

    def key(self, who: str) -> str:
        """Of its figures. Works that are the same for somebody have one: others have one form of a network, one way."""
        own = who == OURS
        said = {name: value for name, value in self.job.items() if own or name != "way"}
        if not own and "network" in said:
            said["network"] = said["network"].partition(",")[0]
        about: dict[str, Any] = {"files": self.files, "folder": self.folder, **(self.variables if own else {})}
        return f"{who} {json.dumps({**said, **{k: v for k, v in about.items() if v}}, sort_keys=True)}"


def works(only: Sequence[str] | None, sizes: Sizes, photos: Path | None = None) -> list[Work]:
    """In the order of their importance. photos: a folder of images/*.jpg and labels/*.png, beside drawn ones."""
    made = [
        *_start(sizes), *_step(sizes), *_labels(sizes), *_folder(sizes), *_evaluation(sizes), *_pipeline(sizes, photos),
        *_curves(sizes),
    ]  # fmt: skip
    return [work for work in made if only is None or any(work.area.startswith(name) for name in only)]


AREAS = ("start", "step", "labels", "folder", "evaluation", "pipeline", "curves")
"""The names that --only knows, besides "check"."""


def common(sizes: Sizes) -> dict[str, Any]:
    """Of every job."""
    short = sizes.photo[0]
    return {
        "classes": sizes.classes, "size": (sizes.side, sizes.side), "test_scale": (4 * short, short),
        "input": sizes.photo,
    }  # fmt: skip


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _start(sizes: Sizes) -> Iterator[Work]:
    yield Work("start", "help of the command line", (OURS, "mmseg"), {"work": "help"})
    for network, who in ((SEGFORMER, WITH[SEGFORMER]), (LINEAR, WITH[LINEAR]), (PROJECTED, (OURS, "torchvision"))):
        job = {"work": "start", "network": network, **common(sizes)}
        yield Work("start", f"from nothing to the first labels, {network}", who, job, ("jpg", sizes.photo))


def _step(sizes: Sizes) -> Iterator[Work]:
    for network, passes in ((SEGFORMER, 2), (LINEAR, 2), (PSPNET, 1), (DEEPLABV3, 1), (PROJECTED, 1)):
        job = {"work": "step", "network": network, **common(sizes), "passes": passes}
        name = f"training step, {network}, {sizes.classes} classes, 2 x {_by(job['size'])}"
        yield Work("step", name, WITH[network], job, gigabytes=6)


def _labels(sizes: Sizes) -> Iterator[Work]:
    for network, size, gigabytes in (
        (SEGFORMER, sizes.photo, 2), (LINEAR, sizes.photo, 2), (SEGFORMER, sizes.large, 12),
        (LINEAR, sizes.large, 12), (DEEPLABV3, sizes.photo, 3), (PROJECTED, sizes.photo, 3),
    ):  # fmt: skip
        job = {"work": "labels", "network": network, **common(sizes), "passes": 2}
        name = f"labels of {_by(size)}, {network}"
        yield Work("labels", name, WITH[network], job, ("jpg", size), gigabytes=gigabytes)
    for network in (FCN, SEGFORMER):
        job = {**common(sizes), "work": "labels", "network": network, "classes": min(19, sizes.classes)}
        job |= {"windows": sizes.window, "input": sizes.street}
        name = f"labels of {_by(sizes.street)}, windows {sizes.window[0]}, stride {sizes.window[1]}, {network}"
        yield Work("labels", name, (OURS, "mmseg"), job, ("png", sizes.street), gigabytes=3)


def _folder(sizes: Sizes) -> Iterator[Work]:
    for network, count in ((SEGFORMER, sizes.images[1]), (LINEAR, sizes.images[1]), (PROJECTED, sizes.images[0])):
        job = {"work": "folder", "network": network, **common(sizes), "count": count}
        name = f"folder of {count} JPEG of {_by(sizes.photo)} to label files, an image, {network}"
        yield Work("folder", name, WITH[network], job, ("jpg", sizes.photo), per=count, gigabytes=3)


def _evaluation(sizes: Sizes) -> Iterator[Work]:
    for network, count in ((SEGFORMER, sizes.images[1]), (LINEAR, sizes.images[1]), (PROJECTED, sizes.images[0])):
        job = {"work": "evaluation", "network": network, **common(sizes), "count": count}
        name = f"mIoU of {count} images of {_by(sizes.photo)}, an image, {network}"
        yield Work("evaluation", name, WITH[network], job, ("jpg", sizes.photo), per=count, gigabytes=3)


def _pipeline(sizes: Sizes, photos: Path | None) -> Iterator[Work]:
    small = {**common(sizes), "scale": (4 * sizes.photo[0], sizes.photo[0])}
    street = {**common(sizes), "classes": min(19, sizes.classes), "zero": False}
    street |= {"scale": sizes.street[::-1], "size": (sizes.street[0] // 2, sizes.street[1] // 2)}
    jpg, png = {"suffix": ".jpg", "count": 6}, {"suffix": ".png", "count": 6}
    yield from _ways(sizes, f"JPG of {_by(sizes.photo)}", {**small, **jpg}, ("jpg", sizes.photo))
    yield from _ways(sizes, f"PNG of {_by(sizes.street)}", {**street, **png}, ("png", sizes.street))
    if photos is not None:
        count = len(list((photos / "images").iterdir()))
        yield from _ways(sizes, f"{count} JPG of {photos.name}", {**small, **jpg, "count": count}, folder=str(photos))


def _ways(
    sizes: Sizes, of: str, given: Mapping[str, Any], files: tuple[str, tuple[int, int]] | None = None, folder: str = ""
) -> Iterator[Work]:
    """The same samples from files, packed, and from a cache; with the extra `fast` and without."""
    job = {"work": "pipeline", **given, "samples": sizes.samples}
    ways = {"files": "from files", "packed": "ours packed, not compressed", "cached": "ours from a full cache"}
    for way, said in ways.items():
        for chosen, more in (("usual", ""), ("fast", ", with the extra `fast`")):
            yield Work(
                "pipeline", f"training pipeline, {of} -> {_by(job['size'])}, a sample, {said}{more}", (OURS, "mmseg"),
                {**job, "way": way}, files, folder, per=sizes.samples, variables={"INTARSIA_DECODERS": chosen},
            )  # fmt: skip


def _curves(sizes: Sizes) -> Iterator[Work]:
    """SegFormer of all who have one: four norms and activations of 256 channels more or less are all that differs."""
    shared, who = common(sizes), (OURS, "mmseg", "transformers", "smp")
    for count in sizes.images:
        job = {"work": "folder", "network": SEGFORMER, **shared, "count": count}
        yield Work("curves", "", who, job, ("jpg", sizes.photo), curve="images of a folder", x=count, gigabytes=3)
    for classes in sizes.class_counts:
        job = {"work": "step", "network": SEGFORMER, **shared, "passes": 2, "classes": classes}
        yield Work("curves", "", who, job, curve="classes, training step", x=classes, gigabytes=2 + classes / 60)
    for classes in sizes.class_counts:
        job = {"work": "labels", "network": SEGFORMER, **shared, "passes": 2, "classes": classes}
        yield Work("curves", "", who, job, ("jpg", sizes.photo), curve="classes, labels", x=classes, gigabytes=4)
    for side in sizes.sides:
        job = {"work": "step", "network": SEGFORMER, **shared, "passes": 2, "size": (side, side)}
        x = 2 * side * side / 1e6
        yield Work("curves", "", who, job, curve="megapixels, training step", x=x, gigabytes=2 + 5 * x)
    for size in sizes.photos:
        job = {"work": "labels", "network": SEGFORMER, **shared, "passes": 2}
        megapixels = size[0] * size[1] / 1e6
        yield Work(
            "curves", "", who, job, ("jpg", size), curve="megapixels of an image, labels", x=megapixels,
            gigabytes=2 + megapixels,
        )  # fmt: skip
    for workers in sizes.workers:
        job = {"work": "loader", **shared, "scale": (4 * sizes.photo[0], sizes.photo[0])}
        job |= {"count": 6, "samples": sizes.samples, "batch": 4, "workers": workers}
        yield Work(
            "curves", "", (OURS, "mmseg"), job, ("jpg", sizes.photo), curve="workers, a sample of the training loader",
            x=workers, per=sizes.samples, clock="wall",
        )  # fmt: skip
