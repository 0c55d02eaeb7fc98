"""The reference's records and configs, read once. `shared/golden/README.md` says what a record holds."""

from __future__ import annotations

import copy
import gzip
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import building

SHARED = Path(os.environ.get("INTARSIA_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@cache
def records() -> dict[str, dict[str, Any]]:
    """Every record by the name of its file; none where the reference material is absent."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((SHARED / "golden" / "models").glob("*.json"))}


@cache
def figures() -> dict[str, dict[str, Any]]:
    """The short records that are kept here, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(Path(__file__).with_name("figures").iterdir())}


@cache
def _configs() -> dict[str, Any]:
    return json.loads(gzip.decompress((SHARED / "facts" / "mmseg_configs.json.gz").read_bytes()))


def model_config(record: dict[str, Any]) -> dict[str, Any]:
    """The `model` section that a record was made from, with what was changed so that the small input fits."""
    config = {"model": copy.deepcopy(_configs()[record["config"]]["model"])}
    for path, value in record.get("override", {}).items():
        *parents, last = path.split(".")
        place = config
        for key in parents:
            place = place[key]
        place[last] = value
    return config["model"]


@cache
def built_networks() -> list[str]:
    """Names of the records of which every part exists here."""
    return [name for name, record in records().items() if building.known(model_config(record))]


def short_name(name: str) -> str:
    """A record's name without the method's folder, the batch and what follows: "pspnet_r18b-d8"."""
    return re.sub(r"_\d+xb\d+(.*?)(-adamw|-amp)?-\d+k_.*", r"\1", name.partition("__")[2])
