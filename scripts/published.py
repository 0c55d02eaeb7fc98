"""Writes intarsia/guide/published.json.gz: the published checkpoints, of which recipe each is, and what it scores.

    python scripts/published.py [SHARED/facts/zoo.json]

Facts alone: names of recipes and of data sets, scores, addresses. The list that they are from names some recipes
wrongly; what the file of a checkpoint says of itself decides.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "intarsia" / "guide" / "published.json.gz"
SHARED = Path(os.environ.get("INTARSIA_SHARED", ROOT.parent / "shared"))
ADDRESS = "https://download.openmmlab.com/mmsegmentation/v0.5/"
MISSPELT_ADDRESS = "https://download.oz1z1penmmlab.com/mmsegmentation/v0.5/"

MISSPELT = {
    "ddeeplabv3plus_r101-d16-mg124_4xb2-40k_cityscapes-512x1024": (
        "deeplabv3plus_r101-d16-mg124_4xb2-40k_cityscapes-512x1024"
    ),
    "eemanet_r50-d8_4xb2-80k_cityscapes-512x1024": "emanet_r50-d8_4xb2-80k_cityscapes-512x1024",
    "fpn_poolformer_s36_8xb4-40k_ade20k-512x512": "fpn_poolformer_s36_8x4_512x512_40k_ade20k",
}
"""Names that no config has -> the config that was meant."""

OTHERS = {
    "c6b32c3b": "bisenetv1_r101-d32_4xb4-160k_coco-stuff164k-512x512",
    "d5730af7": "deeplabv3plus_r101-d8_4xb4-80k_ade20k-512x512",
    "72220849": "fastfcn_r50-d32_jpu_aspp_4xb4-80k_cityscapes-512x1024",
    "77e87b0a": "fastfcn_r50-d32_jpu_psp_4xb4-80k_cityscapes-512x1024",
    "e1eb6dbb": "fastfcn_r50-d32_jpu_enc_4xb4-80k_cityscapes-512x1024",
    "8e913058": "ocrnet_hr18s_4xb4-160k_ade20k-512x512",
    "d8fcd9d1": "ocrnet_hr18_4xb4-160k_ade20k-512x512",
    "9092b254": "pspnet_r50-d32_4xb2-80k_cityscapes-512x1024",
    "3e2cae61": "twins_svt-l_uperhead_8xb2-160k_ade20k-512x512",
}
"""Checkpoints that are listed with another recipe than their own: the digest in their file's name -> the recipe."""


HEADINGS = {"# HRNet backbone": "Cityscapes", "# ResNet backbone": "Cityscapes"}
"""What stands in the list where a data set should -> the one that the checkpoints below it were trained on."""


def recipe_of(entry: Mapping[str, Any]) -> str:
    """The recipe that a checkpoint was trained with."""
    digest = entry["weights"].removesuffix(".pth").rpartition("-")[2]
    name: str = OTHERS.get(digest) or MISSPELT.get(entry["name"], entry["name"])
    return name


def file_of(entry: Mapping[str, Any]) -> str:
    """The checkpoint's address behind ADDRESS."""
    address: str = entry["weights"].replace(MISSPELT_ADDRESS, ADDRESS)
    if not address.startswith(ADDRESS):
        raise ValueError(f"{entry['name']}: expected a checkpoint below {ADDRESS}, found {address}")
    return address.removeprefix(ADDRESS)


def render(zoo: Sequence[Mapping[str, Any]]) -> str:
    """The file's text: one checkpoint a line, recipes sorted, and before them what else the list calls some of them.

    Raises ValueError for a second checkpoint of a recipe, since its name could not stand for both.
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in zoo:
        name = recipe_of(entry)
        if name in found:
            raise ValueError(f"{name}: expected one checkpoint, found {found[name]['file']} and {file_of(entry)}")
        scores = {key: value for key, value in entry["metrics"].items() if value is not None}
        data = HEADINGS.get(entry["dataset"], entry["dataset"])
        found[name] = {"data": data, "scores": scores, "file": file_of(entry)}
    head = {"address": ADDRESS, "also": MISSPELT}
    lines = [f"    {json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found)]
    return json.dumps(head, indent=2)[:-2] + ',\n  "checkpoints": {\n' + ",\n".join(lines) + "\n  }\n}\n"


def written() -> str:
    """The text that is there now, or ""."""
    return gzip.decompress(TARGET.read_bytes()).decode() if TARGET.is_file() else ""


def main(words: Sequence[str] = ()) -> None:
    """Write the file, unless it says the same already: libraries compress one text to different bytes."""
    zoo = Path(words[0]) if words else SHARED / "facts" / "zoo.json"
    text = render(json.loads(zoo.read_text(encoding="utf-8")))
    if text == written():
        print(f"{TARGET} is current")
        return
    TARGET.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main(sys.argv[1:])
