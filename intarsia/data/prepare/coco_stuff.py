"""COCO-Stuff 10k and 164k: 182 ids of which 171 are classes."""

from __future__ import annotations

import io

import numpy as np
from scipy.io import loadmat

from intarsia.data.prepare.archives import Sources
from intarsia.data.prepare.benchmark import Options, Plan
from intarsia.data.prepare.common import one, same_bytes
from intarsia.data.prepare.pixels import decoded_bgr, png_of_label, recoded

UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Ids of COCO that no thing or stuff has. Files with one are left as the original leaves them."""
IDS_10K = {old: new for new, old in enumerate(old for old in range(183) if old not in UNUSED)}
"""0 is unlabelled."""
IDS_164K = {old - 1: new - 1 for old, new in IDS_10K.items() if old}
"""Files hold the id less 1; 255 is unlabelled."""


def coco_stuff10k(sources: Sources, options: Options) -> Plan:
    """The lists train and test become the folders train2014 and test2014."""
    splits: dict[str, str] = {}
    missing = []
    for split in ("train", "test"):
        names = sources.text(rf"imageLists/{split}\.txt")
        if names is None:
            missing.append(f"imageLists/{split}.txt")
        splits.update(dict.fromkeys(names or (), f"{split}2014"))
    jobs = []
    there = set()
    for member, match in sources.matching(r"(images|annotations)/([^/]+)\.(jpg|mat)"):
        kind, stem, end = match.groups()
        if stem not in splits or (kind == "images") != (end == "jpg"):
            continue
        there.add((kind, stem))
        if kind == "images":
            jobs.append(one(member, f"images/{splits[stem]}/{stem}.jpg", same_bytes))
        else:
            jobs.append(one(member, f"annotations/{splits[stem]}/{stem}_labelTrainIds.png", label_10k))
    missing += [f"{kind}/{name}" for name in splits for kind in ("images", "annotations") if (kind, name) not in there]
    return Plan(jobs, missing=tuple(missing))


def label_10k(data: bytes) -> bytes:
    """The matrix S of a MATLAB file: 0 unlabelled, classes from 1."""
    return png_of_label(recoded(np.asarray(loadmat(io.BytesIO(data))["S"]), IDS_10K))


def coco_stuff164k(sources: Sources, options: Options) -> Plan:
    """Maps lie in annotations/SPLIT, or in SPLIT as the archive stuffthingmaps has them; photographs in SPLIT."""
    jobs = []
    for member, match in sources.matching(r"(train2017|val2017)/([^/]+)\.(png|jpg)"):
        split, stem, end = match.groups()
        if end == "jpg":
            jobs.append(one(member, f"images/{split}/{stem}.jpg", same_bytes))
        elif not stem.endswith("_labelTrainIds"):
            jobs.append(one(member, f"annotations/{split}/{stem}_labelTrainIds.png", label_164k))
    return Plan(jobs)


def label_164k(data: bytes) -> bytes:
    """Classes from 0, 255 unlabelled."""
    return png_of_label(recoded(decoded_bgr(data)[:, :, 0], IDS_164K))
