"""REFUGE: optic disc and cup in photographs of the retina."""

from __future__ import annotations

from intarsia.data.prepare.archives import Member, Sources
from intarsia.data.prepare.benchmark import Options, Plan
from intarsia.data.prepare.common import as_png, one
from intarsia.data.prepare.pixels import decoded_bgr, png_of_label, recoded

VALUES = {0: 1, 128: 2, 255: 0}
"""Cup, disc, background."""
_SPLITS = ("training", "test", "validation")


def refuge(sources: Sources, options: Options) -> Plan:
    """Photographs (.jpg) and masks (.bmp), the split from the name of the archive; folders below it are merged."""
    jobs = []
    for member, match in sources.matching(r"([^/]+)\.(jpg|bmp)"):
        if "Illustration" in member.path:
            continue
        split = _split(member)
        if split is None:
            continue
        if match[2] == "bmp":
            jobs.append(one(member, f"annotations/{split}/{match[1]}.png", mask))
        else:
            jobs.append(one(member, f"images/{split}/{match[1]}.png", as_png))
    return Plan(jobs)


def _split(member: Member) -> str | None:
    """Of the archive's own name, then of a folder's: never of where the user keeps them."""
    for text in (member.archive.name.lower() if member.archive.is_file() else "", *_folders(member)):
        for split in _SPLITS:
            if split in text:
                return split
    return None


def _folders(member: Member) -> list[str]:
    parts = member.name.lower().split("/")[:-1]
    return [*parts, member.archive.name.lower()] if not member.archive.is_file() else parts


def mask(data: bytes) -> bytes:
    """Background 0, cup 1, disc 2."""
    return png_of_label(recoded(decoded_bgr(data)[:, :, 0], VALUES))
