"""What a training started from: as the weights file says it, without what is nobody's business."""

from __future__ import annotations

import pytest

from intarsia.weights.file import WeightsMeta
from intarsia.weights.origins import Origin, described, is_free, origins, warnings_of
from intarsia.weights.pretrained.table import NON_COMMERCIAL, NVIDIA, PRETRAINED


@pytest.mark.parametrize(
    "licence",
    ["MIT", "mit", "Apache-2.0", "apache 2.0", "BSD-3-Clause", "CC-BY-4.0", "cc-by-sa-4.0", "CC0-1.0", "GPL-3.0-only"],
)
def test_free_licences(licence: str) -> None:
    assert is_free(licence)
    assert described(licence) == f"licence {licence}"


@pytest.mark.parametrize(
    "licence",
    [
        NVIDIA,
        NON_COMMERCIAL,
        "DINOv3 License",
        "cc-by-nc-4.0",
        "CC-BY-NC-SA-4.0",
        "cc-by-nd-4.0",
        "openrail",
        "mitigated",
    ],
)
def test_licences_that_are_not_for_every_use(licence: str) -> None:
    assert not is_free(licence)
    assert described(licence) == f"licence {licence} (not for every use)"


def test_the_table_states_what_is_not_free() -> None:
    stated = {entry.licence for entry in PRETRAINED.values() if entry.licence}
    restricted = {licence for licence in stated if not is_free(licence)}
    assert restricted == {NVIDIA, NON_COMMERCIAL, "CreativeML OpenRAIL-M: uses are restricted"}


def test_nothing_is_said_of_an_unknown_licence() -> None:
    assert described("") == "licence not known"


def test_no_path_and_no_password_gets_into_a_file() -> None:
    records = [
        {
            "part": "backbone",
            "asked_for": "/home/ann/secret/r18.pth",
            "file": "/home/ann/secret/r18.pth",
            "sha256": "ab",
        },
        {"part": "neck", "asked_for": r"C:\Users\ann\r18.pth"},
        {"part": "head", "asked_for": "mit_b0", "address": "https://u:pw@host.org:8/a.pth?sig=1", "licence": None},
        {"part": "all", "asked_for": "https://u:pw@host.org/b.pth?sig=1"},
        {"part": "model", "file": "/home/ann/runs/one/"},
    ]
    assert origins(records) == (
        Origin("backbone", "r18.pth", "", "ab"),
        Origin("neck", "r18.pth"),
        Origin("head", "mit_b0", "https://host.org:8/a.pth"),
        Origin("all", "https://host.org/b.pth"),
        Origin("model", "one"),
    )


def test_what_the_loaded_file_started_from_comes_along_once() -> None:
    first = {"part": "backbone", "asked_for": "mit_b0", "licence": NVIDIA}
    records = [{"part": "model", "asked_for": "one.safetensors", "started_from": [first]}, first]
    assert [one.part for one in origins(records)] == ["model", "backbone"]


def test_in_words() -> None:
    one = Origin("backbone", "mit_b0", "https://host.org/a.pth", "ab", "MIT")
    assert str(one) == "backbone from mit_b0 (https://host.org/a.pth), licence MIT"
    assert str(Origin("model", "hf://a/b", "hf://a/b")) == "model from hf://a/b, licence not known"
    assert str(Origin("model")) == "model from a file, licence not known"


def test_in_the_weights_file() -> None:
    meta = WeightsMeta(
        pretrained=(Origin("backbone", "mit_b0", "https://a", "ab", NVIDIA), Origin("neck")), licence="MIT"
    )
    assert WeightsMeta.from_json(meta.to_json()) == meta
    later = '{"pretrained": [{"part": "neck", "mood": 3}], "licence": "MIT"}'
    assert WeightsMeta.from_json(later) == WeightsMeta(pretrained=(Origin("neck"),), licence="MIT")
    assert WeightsMeta.from_json("{}").pretrained == ()


def test_what_who_starts_from_them_should_know() -> None:
    pretrained = (Origin("backbone", "mit_b0", licence=NVIDIA), Origin("neck", "n", licence="MIT"), Origin("head", "h"))
    assert warnings_of("cc-by-nc-4.0", pretrained) == [
        "licence of these weights: cc-by-nc-4.0 (not for every use)",
        f"they started from backbone from mit_b0, licence {NVIDIA} (not for every use)",
    ]
    assert warnings_of("", ()) == []
