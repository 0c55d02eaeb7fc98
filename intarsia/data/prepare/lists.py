"""Benchmarks that come with lists: NYU depth, Synapse, the augmented Pascal VOC."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import loadmat

from intarsia.data.nifti import decode_nifti
from intarsia.data.prepare.archives import Member, Sources
from intarsia.data.prepare.benchmark import Job, Options, Plan, Result
from intarsia.data.prepare.common import one, same_bytes
from intarsia.data.prepare.pixels import png_of_label, recoded

ORGANS = {8: 1, 4: 2, 3: 3, 2: 4, 6: 5, 11: 6, 1: 7, 7: 8}
"""Aorta, gallbladder, left and right kidney, liver, pancreas, spleen, stomach; the other organs are background."""

SPLIT_OF_TRANSUNET = {
    "train": (5, 6, 7, 9, 10, 21, 23, 24, 26, 27, 28, 30, 31, 33, 34, 37, 39, 40),
    "val": (8, 22, 38, 36, 32, 2, 29, 3, 1, 4, 25, 35),
}
"""Numbers of the volumes (Chen et al., TransUNet, arXiv:2102.04306), which published configs train and validate on."""


def nyu(sources: Sources, options: Options) -> Plan:
    """Photographs and 16-bit depth of the two lists. Files are copied; the original moves them."""
    jobs, missing = [], []
    by_name: dict[str, Member] = {}
    for member, match in sources.matching(r"([^/]+/(?:rgb|sync_depth)_[^/]+)"):
        by_name[match[1]] = member
    for split in ("train", "test"):
        rows = sources.text(rf"nyu_{split}\.txt")
        if rows is None:
            missing.append(f"nyu_{split}.txt")
        for row in rows or ():
            columns = row.split()[:2]
            for name, kind, mark in zip(columns, ("images", "annotations"), ("/rgb", "/sync_depth"), strict=False):
                source = by_name.get("/".join(name.split("/")[-2:]))
                if source is None:
                    missing.append(name)
                    continue
                target = name.lstrip("/").replace(mark, "").replace("/", "_")
                jobs.append(one(source, f"{kind}/{split}/{target}", same_bytes))
    return Plan(jobs, missing=tuple(missing))


def synapse(sources: Sources, options: Options) -> Plan:
    """Slices of the volumes that train.txt and val.txt name (`img0005.nii.gz`); without both, of TransUNet's split."""
    jobs: list[Job] = []
    missing = []
    lists = {split: sources.text(rf"{split}\.txt") for split in SPLIT_OF_TRANSUNET}
    if not any(lists.values()):
        lists = {split: [f"img{case:04}" for case in cases] for split, cases in SPLIT_OF_TRANSUNET.items()}
    for split, rows in lists.items():
        if rows is None:
            missing.append(f"{split}.txt")
        for row in rows or ():
            case = row[3:7]
            for kind, folder, cut in (("img", "img_dir", image_slices), ("label", "ann_dir", label_slices)):
                found = sources.matching(rf"{kind}/{kind}{case}\.nii(\.gz)?") if case.isdecimal() else []
                if not found:
                    missing.append(f"{kind}/{kind}{case}.nii.gz")
                    continue
                jobs.append(Job(found[0][0], partial(cut, f"{folder}/{split}/case{case}")))
    return Plan(jobs, missing=tuple(missing))


def image_slices(stem: str, data: bytes) -> Iterator[Result]:
    """Hounsfield units from -125 to 275 as grey JPEG files."""
    volume = (np.clip(_volume(data), -125, 275) + 125) / 400 * 255
    for number, plane in enumerate(_slices(volume)):
        yield f"{stem}_slice{number:03}.jpg", partial(_jpeg, plane)


def label_slices(stem: str, data: bytes) -> Iterator[Result]:
    """Organs as label files."""
    for number, plane in enumerate(_slices(_volume(data))):
        yield f"{stem}_slice{number:03}.png", partial(_organs, plane)


def _volume(data: bytes) -> npt.NDArray[np.float64]:
    volume = decode_nifti(data)
    if volume.ndim != 3:
        raise ValueError(f"expected a volume (X, Y, Z), found axes of {volume.shape}")
    return volume


def _slices(volume: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return volume.transpose(2, 0, 1)[:, :, ::-1]


def _jpeg(plane: npt.NDArray[np.float64]) -> bytes:
    grey = np.clip(plane.astype(np.float32), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


def _organs(plane: npt.NDArray[np.float64]) -> bytes:
    return png_of_label(recoded(plane, ORGANS, otherwise=0))


def voc_aug(sources: Sources, options: Options) -> Plan:
    """Labels of SBD as PNG, and the lists that train on them; photographs and the labels of VOC beside them.

    The order of the lists is that of the names; the original's changes from run to run.
    """
    jobs = [
        one(member, f"SegmentationClassAug/{match[1]}.png", label_of_sbd)
        for member, match in sources.matching(r"cls/([^/]+)\.mat")
    ]
    if jobs:
        for member, match in sources.matching(r"(JPEGImages|SegmentationClass)/([^/]+\.(?:jpg|png))"):
            jobs.append(one(member, f"{match[1]}/{match[2]}", same_bytes))
    missing, lists = [], []
    for pattern in (r"Segmentation/train\.txt", r"Segmentation/val\.txt", r"dataset/train\.txt", r"dataset/val\.txt"):
        rows = sources.text(pattern)
        if rows is None:
            missing.append(pattern.replace("\\", ""))
        lists.append(set(rows or ()))
    voc_train, voc_val, sbd_train, sbd_val = lists
    texts = {
        "train.txt": voc_train,
        "val.txt": voc_val,
        "trainaug.txt": (voc_train | sbd_train | sbd_val) - voc_val,
        "aug.txt": (sbd_train | sbd_val) - (voc_train | voc_val),
    }
    if missing:
        return Plan(jobs, missing=tuple(missing))
    return Plan(jobs, {f"ImageSets/Segmentation/{name}": _lines(names) for name, names in texts.items()})


def _lines(names: set[str]) -> str:
    return "".join(f"{name}\n" for name in sorted(names))


def label_of_sbd(data: bytes) -> bytes:
    """GTcls.Segmentation of a MATLAB file of SBD."""
    return png_of_label(np.asarray(loadmat(io.BytesIO(data))["GTcls"][0]["Segmentation"][0]).astype(np.uint8))
