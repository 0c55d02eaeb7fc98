"""The table of exported methods: the page is what the script writes, every method is in it, and its rows are true."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from intarsia import catalog, consent
from intarsia.export.formats.pt2 import CONSENT

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "contracts"))

import exports
from exporting import measuring
from exporting.networks import NETWORKS, model_of

QUICK = "fast_scnn"
SLOW = ("mask2former_small", "san_small", "nnunet", "knet_small", "head EoMTHead", "swin_small")


def test_the_page_is_what_the_script_writes() -> None:
    text = exports.TARGET.read_text(encoding="utf-8")
    assert text == exports.page(text), "run `python scripts/exports.py`"


BESIDE = {"ImageClassHead"}
"""Heads that stand beside another, and answer nothing in a file."""


def test_every_head_of_the_catalogue_is_in_some_row() -> None:
    named = set()

    def look(value: object) -> None:
        if isinstance(value, dict):
            named.add(value.get("type"))
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                look(item)

    for network in NETWORKS:
        look(model_of(network))
    assert set(catalog.TABLE["head"]) - BESIDE <= named


def test_files_are_clean() -> None:
    """No operators of our own, no double precision, no weights twice."""
    graphs = {name: row["graph"] for name, row in measuring.read().items() if "graph" in row}
    assert graphs
    assert [name for name, graph in graphs.items() if not is_clean(graph)] == []


def is_clean(graph: dict[str, Any]) -> bool:
    return (graph["domains"], graph["double"], graph["twice"]) == ([""], 0, 0)


def agrees(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnxruntime", "openvino"):
        pytest.importorskip(package)
    said, here = (".".join(version.split(".")[:2]) for version in (measuring.versions()["torch"], torch.__version__))
    if said != here:
        pytest.skip(f"the table was made with torch {said}, whose exporter writes other files than that of {here}")
    monkeypatch.setenv(consent.TRUST, CONSENT)
    (network,) = (one for one in NETWORKS if one.source == source)
    found, written = measuring.measured(network), measuring.read()[source]
    assert {name: found[name]["state"] for name in measuring.FORMATS} == {
        name: written[name]["state"] for name in measuring.FORMATS
    }
    assert is_clean(found["graph"])


@pytest.mark.slow
@pytest.mark.parametrize("source", SLOW)
def test_more_rows_are_true(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agrees(source, monkeypatch)


def test_a_row_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    agrees(QUICK, monkeypatch)
