"""Vessels of the retina: CHASE_DB1, DRIVE, HRF, STARE."""

from __future__ import annotations

from intarsia.data.prepare.archives import Member, Sources, gunzipped
from intarsia.data.prepare.benchmark import Job, Options, Plan
from intarsia.data.prepare.common import as_png, halves, one

STARE = (
    "im0001", "im0002", "im0003", "im0004", "im0005", "im0044", "im0077", "im0081", "im0082", "im0139", "im0162",
    "im0163",
    "im0235", "im0236", "im0239", "im0240", "im0255", "im0291", "im0319", "im0324",
)  # fmt: skip
"""The publisher's images. The first ten are for training."""


def chase_db1(sources: Sources, options: Options) -> Plan:
    """Children 1 to 10 are for training. The second observer's masks are written too, and not used by the data set."""
    jobs = []
    for member, match in sources.matching(r"Image_(\d\d)([LR])(_1stHO|_2ndHO)?\.(jpg|png)"):
        split = "training" if int(match[1]) <= 10 else "validation"
        stem = f"Image_{match[1]}{match[2]}{match[3] or ''}"
        jobs.append(_job(member, split, stem, mask=match[3] is not None))
    return Plan(jobs)


def drive(sources: Sources, options: Options) -> Plan:
    """Masks of the test images are taken where they are: the publisher no longer gives them."""
    jobs = []
    for member, match in sources.matching(r"([^/]+)_(training|test)\.tif"):
        jobs.append(_job(member, _drive_split(match[2]), match[1], mask=False))
    for member, match in sources.matching(r"(training|test)/(?:1st|2nd)_manual/([^/]+)\.gif"):
        jobs.append(_job(member, _drive_split(match[1]), match[2], mask=True))
    return Plan(jobs)


def _drive_split(name: str) -> str:
    return "training" if name == "training" else "validation"


def hrf(sources: Sources, options: Options) -> Plan:
    """Of each of three groups (healthy, glaucoma, diabetic retinopathy) images 1 to 5 are for training."""
    jobs = []
    for member, match in sources.matching(r"(\d\d)_(h|g|dr)\.(jpg|JPG|tif)"):
        split = "training" if int(match[1]) <= 5 else "validation"
        jobs.append(_job(member, split, f"{match[1]}_{match[2]}", mask=match[3] == "tif"))
    return Plan(jobs)


def stare(sources: Sources, options: Options) -> Plan:
    """The publisher's split by name where the names are his; otherwise the first half in the order of names."""
    found = sources.matching(r"(im\d{4})(\.ah|\.vk)?\.ppm(\.gz)?")
    names = sorted({match[1] for _, match in found})
    known = STARE if set(names) <= set(STARE) else names
    training = set(known[:10])
    jobs = []
    for member, match in found:
        folder = "training" if match[1] in training else "validation"
        convert = _gz_mask if match[2] else _gz_image
        kind = "annotations" if match[2] else "images"
        jobs.append(one(member, f"{kind}/{folder}/{match[1]}{match[2] or ''}.png", convert))
    return Plan(jobs)


def _gz_image(data: bytes) -> bytes:
    return as_png(gunzipped(data) if data[:2] == b"\x1f\x8b" else data)


def _gz_mask(data: bytes) -> bytes:
    return halves(gunzipped(data) if data[:2] == b"\x1f\x8b" else data)


def _job(member: Member, split: str, stem: str, *, mask: bool) -> Job:
    folder = "annotations" if mask else "images"
    return one(member, f"{folder}/{split}/{stem}.png", halves if mask else as_png)


def chase_names() -> list[str]:
    """Every file of the complete benchmark."""
    return [
        f"{kind}/{'training' if number <= 10 else 'validation'}/Image_{number:02}{side}{end}.png"
        for number in range(1, 15)
        for side in "LR"
        for kind, end in (("images", ""), ("annotations", "_1stHO"), ("annotations", "_2ndHO"))
    ]


def hrf_names() -> list[str]:
    """Every file of the complete benchmark."""
    return [
        f"{kind}/{'training' if number <= 5 else 'validation'}/{number:02}_{group}.png"
        for kind in ("images", "annotations")
        for number in range(1, 16)
        for group in ("h", "g", "dr")
    ]
