"""What the model card of a weights file says: what the file and its run say, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from intarsia.weights.file import WeightsMeta
from intarsia.weights.origins import Origin
from intarsia.weights.pretrained.table import NVIDIA
from intarsia.workflows.hub import HubAddress
from intarsia.workflows.model_card import MARK, RunFacts, datasets, model_card
from tests.cli.conftest import CLASSES, CONFIG, PALETTE

META = WeightsMeta(config=CONFIG, classes=CLASSES, palette=PALETTE, version="0.1.0", scores={"mIoU": 0.51234}, step=20)


def front(card: str) -> dict[str, Any]:
    """What the hub reads of a card."""
    opening, text, _ = card.split("---\n", 2)
    assert opening == ""
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def card(meta: WeightsMeta = META, facts: RunFacts | None = None) -> str:
    return model_card(HubAddress("me", "street"), meta, facts or RunFacts(), 1234)


def test_the_card_of_a_file_alone() -> None:
    text = card()
    assert front(text) == {
        "library_name": "intarsia", "pipeline_tag": "image-segmentation", "metrics": ["mean_iou"],
        "tags": ["intarsia", "semantic-segmentation"],
    }  # fmt: skip
    assert MARK in text
    assert "gets one of 3 classes. Network: MixVisionTransformer, SegformerHead, 1,234 numbers. Trained for 20" in text
    assert "intarsia predict hf://me/street photo.jpg -o out\n" in text
    assert 'model = intarsia.load("hf://me/street")\n' in text
    assert "| 1 | road | #804080 |\n" in text
    assert "which, the file does not say." in text
    assert "As the file states them" in text
    assert "| mIoU | 0.5123 |" in text
    assert "None was given: who shares this file has not said what it may be used for." in text
    assert "The file names no weights of others." in text
    assert "The file holds none. Measure them" in card(replace(META, scores={}))
    assert "Trained for" not in card(replace(META, step=None))


def test_many_classes_on_the_card() -> None:
    names = tuple(f"kind {number}" for number in range(1_001))
    text = card(replace(META, classes=names[:1_000], palette=()))
    assert "| 999 | kind 999 |  |\n" in text
    assert "more, which the file names" not in text
    text = card(replace(META, classes=names, palette=()))
    assert "| 1000 |" not in text
    assert "and 1 more, which the file names." in text


def test_bands_on_the_card() -> None:
    assert "Its images have the bands B2, n\\|r." in card(replace(META, image={"bands": "raw", "names": ["B2", "n|r"]}))
    for names in ((), ["", ""]):
        assert "It reads bands as they are." in card(replace(META, image={"bands": "raw", "names": names}))
    assert "bands" not in card(replace(META, image={"bands": "rgb", "names": ["red", "green", "blue"]}))


def test_licences_on_the_card() -> None:
    for licence, expected in (
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("cc by 4.0", {"license": "cc-by-4.0"}),
        ("My Own: 3!", {"license": "other", "license_name": "my-own-3"}),
        ("!!", {"license": "other", "license_name": "other"}),
    ):
        values = front(card(replace(META, licence=licence)))
        assert {name: value for name, value in values.items() if name.startswith("license")} == expected
    assert "## Licence\n\nMIT.\n" in card(replace(META, licence="MIT"))
    assert "CC-BY-NC-4.0. It is not a licence for every use: read it." in card(replace(META, licence="CC-BY-NC-4.0"))


def test_what_it_started_from_on_the_card() -> None:
    began = (
        Origin("model", "hf://them/sea@v1", "", "ab" * 32, "MIT"),
        Origin("backbone", "x", "https://huggingface.co/nvidia/mit-b0/resolve/main/a.bin", "", "Apache-2.0"),
    )
    text = card(replace(META, pretrained=began))
    assert front(text)["base_model"] == ["them/sea", "nvidia/mit-b0"]
    assert "* model: hf://them/sea@v1, SHA-256 abababababababab, licence MIT\n" in text
    assert "Some of these licences" not in text
    text = card(replace(META, pretrained=(Origin("backbone", "mit_b0", "https://a.org/m_1_.pth", "", NVIDIA),)))
    assert f"* backbone: mit_b0 (<https://a.org/m_1_.pth>), licence {NVIDIA} (not for every use)\n" in text
    assert "Some of these licences are not free for every use" in text
    assert "base_model" not in front(text)


def test_the_card_of_a_run(tmp_path: Path) -> None:
    """What a later evaluation on other images has left there says nothing of these scores."""
    run = {"config": {"model": CONFIG["model"]}, "data": {"train_images": 1500}, "best": {"metric": "mIoU"}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    report = {"mIoU": 0.51234, "classes": {"road": {"IoU": 0.25, "Acc": None}}, "images": 7}
    (tmp_path / "eval.json").write_text(json.dumps(report))
    meta = replace(META, scores={"mIoU": 0.51234, "loss": 1.5})
    text = card(meta, RunFacts.read(tmp_path, meta))
    assert "Of exactly these weights on the 7 validation images of their training" in text
    assert "The step was chosen by them, so that others may be lower." in text
    assert "| value | class | colour | IoU | Acc |\n" in text
    assert "| 1 | road | #804080 | 0.2500 |  |\n" in text
    assert "1,500 images with their labels." in text

    (tmp_path / "eval.json").write_text(json.dumps({**report, "mIoU": 0.9}))
    text = card(meta, RunFacts.read(tmp_path, meta))
    assert "Of exactly these weights on the validation images of their training" in text
    assert "| 1 | road | #804080 |\n" in text

    (tmp_path / "run.json").write_text(json.dumps({**run, "config": {"model": {"type": "Other"}}}))
    assert RunFacts.read(tmp_path, meta) == RunFacts()
    (tmp_path / "run.json").write_text("{")
    assert RunFacts.read(tmp_path, meta) == RunFacts()


def test_data_sets_of_a_config() -> None:
    wrapped = {"type": "RepeatDataset", "times": 2, "dataset": {"type": "ADE20KDataset", "data_root": "/d"}}
    both = {"type": "ConcatDataset", "datasets": [wrapped, {"type": "DescribedDataset"}]}
    assert datasets({"train_dataloader": {"dataset": both}}) == ["ADE20KDataset"]
    assert datasets({}) == []
    config = {**CONFIG, "train_dataloader": {"dataset": both}}
    assert "Of the kind ADE20KDataset." in card(replace(META, config=config))


def test_names_in_a_file_are_no_markup() -> None:
    name = "a|b\n# <script>x</script>\x1b[2J`*_[x](http://y)"
    text = card(replace(META, classes=(name, "b", "c"), licence="a\n---\nb"))
    assert "<script>" not in text
    assert "\x1b" not in text
    assert len([line for line in text.splitlines() if line.startswith("| 0 | a\\|b")]) == 1
    assert front(text)["license_name"] == "a-b"
    assert text.count("\n---\n") == 1
