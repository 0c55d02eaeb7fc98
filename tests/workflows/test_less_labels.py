"""`--unlabelled` and `--teacher`: what they write into a config, and what a run is then built of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from intarsia.cli.main import main
from intarsia.config.language.reader import Config, read_file
from intarsia.data.description.write import write_description
from intarsia.demo import CLASSES, write_scenes
from intarsia.engine.training.run import Run
from intarsia.tasks.semantic import SemanticSegmentation
from intarsia.tasks.taught import Taught
from intarsia.weights.file import load_state
from intarsia.workflows.less_labels import AVERAGE, COLOUR_VIEW, NOT_WEAK, OTHER_VIEW, settings_for
from intarsia.workflows.run_options import RunOptions
from tests.config.test_lowering_teaching import EMA, config

FAST = ["--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu", "--for", "3 steps"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with a description beside them."""
    folder = tmp_path_factory.mktemp("scenes")
    write_description(write_scenes(folder, train=5, val=2), folder / "data.yaml")
    return folder


def train(*words: object, expected: int = 0) -> None:
    assert main(["train", *map(str, words)]) == expected


def new(data: Path, out: Path, *words: object, expected: int = 0) -> Path:
    train("fast_scnn", "--data", data / "data.yaml", "--out", out, *FAST, *words, expected=expected)
    return out


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training on the same classes."""
    return new(data, tmp_path_factory.mktemp("runs") / "teacher", "--seed", 5)


def built(config: Config, out: Path, *, resume: bool = False) -> Run:
    from intarsia.workflows.assemble import assemble, checked, make_runtime

    options = RunOptions(out, device="cpu", resume=resume)
    spec = checked(config)
    return assemble(config, spec, options, make_runtime(spec, options))


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


# --- The config ---------------------------------------------------------------------------------------------------


def after(before: Config, **given: Any) -> dict[str, Any]:
    options = {"unlabelled": None, "confidence": None, "teacher": None, **given}
    return before.override(settings_for(before, **options)).values


def test_what_the_options_write(tmp_path: Path) -> None:
    values = after(config(), unlabelled=tmp_path, confidence=0.8, teacher=tmp_path / "nowhere")
    section = values["intarsia"]
    assert section["teacher"] == {"weights": str(tmp_path / "nowhere")}
    assert section["unlabelled"]["images"] == str(tmp_path)
    assert section["unlabelled"]["confidence"] == 0.8
    assert list(section["unlabelled"]["strong"]) == list(COLOUR_VIEW)
    assert "custom_hooks" not in values  # the teacher that is given makes the pseudo labels
    assert list(settings_for(config(), unlabelled=None, confidence=None, teacher=None)) == []


def test_an_average_is_the_teacher_where_none_is_given(tmp_path: Path) -> None:
    assert after(config(), unlabelled=tmp_path)["custom_hooks"] == [AVERAGE]
    own = [{"type": "EMAHook", "momentum": 0.3}]
    assert after(config(custom_hooks=own), unlabelled=tmp_path)["custom_hooks"] == own


def test_a_config_that_has_the_section_keeps_the_rest_of_it(tmp_path: Path) -> None:
    before = config({"images": "other", "ratio": 3}, **EMA)
    assert after(before, confidence=0.5)["intarsia"]["unlabelled"] == {"images": "other", "ratio": 3, "confidence": 0.5}
    assert after(before, unlabelled=tmp_path)["intarsia"]["unlabelled"]["ratio"] == 3


def test_a_relative_folder_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "more").mkdir()
    monkeypatch.chdir(tmp_path)
    assert after(config(), unlabelled=Path("more"))["intarsia"]["unlabelled"]["images"] == str(tmp_path / "more")


def test_images_of_other_bands_are_not_taken_for_photos(tmp_path: Path) -> None:
    raw = config()
    raw = raw.override(["train_dataloader.dataset.pipeline.0.color_type=unchanged"])
    assert list(after(raw, unlabelled=tmp_path)["intarsia"]["unlabelled"]["strong"]) == list(OTHER_VIEW)


def test_confidence_is_a_number_or_adaptive(tmp_path: Path) -> None:
    for given, expected in (("0.8", 0.8), (1, 1.0), ("adaptive", "adaptive")):
        found = after(config(), unlabelled=tmp_path, confidence=given)
        assert found["intarsia"]["unlabelled"]["confidence"] == expected
    with pytest.raises(ValueError, match="or adaptive; found 'sure'"):
        after(config(), unlabelled=tmp_path, confidence="sure")


def test_a_confidence_needs_images() -> None:
    with pytest.raises(ValueError, match="add --unlabelled"):
        list(settings_for(config(), unlabelled=None, confidence=0.5, teacher=None))


# --- Runs ---------------------------------------------------------------------------------------------------------


def test_a_run_with_unlabelled_images(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = new(data, tmp_path / "run", "--unlabelled", data / "images", "--confidence", 0.11)
    said = capsys.readouterr().out
    assert "unlabelled: 5 images (2 more are labels, or judge the run), 1 for each labelled one" in said
    line = logged(out)[0]
    assert line["unlabelled.confident"] > 0
    assert line["unlabelled.loss"] > 0
    record = json.loads((out / "run.json").read_text())
    assert record["data"]["unlabelled"]["images"] == 5
    assert read_file(out / "config.py").values["intarsia"]["unlabelled"]["confidence"] == 0.11

    run = built(read_file(out / "config.py"), tmp_path / "again")
    assert run.averaged_teacher is not None
    assert {type(step).__name__ for step in run.unlabelled.pipeline.transforms}.isdisjoint(NOT_WEAK)
    assert run.unlabelled.ramp_up == round(0.25 * 3)
    views = next(run.batches(0)).unlabelled
    assert views.weak.shape == (2, 3, 64, 64)


def test_without_the_options_a_run_is_what_it_was(data: Path, teacher: Path, tmp_path: Path) -> None:
    """The same weights, bit by bit, though the machinery for the others is there."""
    run = built(read_file(teacher / "config.py"), tmp_path / "run")
    assert type(run.module) is SemanticSegmentation
    assert run.unlabelled is None
    again = new(data, tmp_path / "again", "--seed", 5)
    first, second = (load_state(folder / "weights.safetensors") for folder in (teacher, again))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_teacher_and_unlabelled_images_resumed(data: Path, teacher: Path, tmp_path: Path) -> None:
    words = ["--unlabelled", data / "images" / "train", "--teacher", teacher, "--save-every", "1 steps"]
    out = new(data, tmp_path / "run", *words)
    assert {"teacher.loss", "unlabelled.loss"} <= logged(out)[0].keys()
    record = json.loads((out / "run.json").read_text())
    assert len(record["data"]["teacher"]["sha256"]) == 64
    run = built(read_file(out / "config.py"), tmp_path / "other")
    assert isinstance(run.module, Taught)
    assert not run.module.follows_average

    whole = load_state(out / "weights.safetensors")
    parts = tmp_path / "parts"
    shutil.copytree(out, parts)
    (parts / "checkpoints" / "step_00000003.pt").unlink()
    (parts / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    train("--resume", parts, "--device", "cpu")
    found = load_state(parts / "weights.safetensors")
    assert all(torch.equal(value, found[name]) for name, value in whole.items())

    record["data"]["teacher"]["sha256"] = "0" * 64
    (parts / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="no longer the teacher"):
        built(read_file(out / "config.py"), parts, resume=True)


def test_images_that_have_changed_are_told(data: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(data / "images" / "train", more)
    out = new(data, tmp_path / "run", "--unlabelled", more)
    settings = read_file(out / "config.py")
    assert not [note for note in built(settings, out, resume=True).notes if "have changed" in note]
    next(more.iterdir()).unlink()
    assert [note for note in built(settings, out, resume=True).notes if "5, now 4" in note]


def renamed(weights: Path, out: Path, classes: Sequence[str]) -> Path:
    from dataclasses import replace

    from intarsia.weights.file import read_meta, save_weights

    file = weights / "weights.safetensors"
    save_weights(out, load_state(file), replace(read_meta(file), classes=tuple(classes)))
    return out


def test_classes_of_the_teacher(data: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = renamed(teacher, tmp_path / "other.safetensors", [*CLASSES[:-1], "lamp"])
    new(data, tmp_path / "run", "--teacher", other, expected=2)
    said = " ".join(capsys.readouterr().err.split())
    assert f"the teacher: {', '.join(CLASSES[:-1])}, lamp" in said
    assert f"the data: {', '.join(CLASSES)}" in said
    turned = renamed(teacher, tmp_path / "turned.safetensors", CLASSES[::-1])
    out = new(data, tmp_path / "turned", "--teacher", turned)
    task = built(read_file(out / "config.py"), tmp_path / "third").module
    assert task._order.tolist() == list(range(len(CLASSES)))[::-1]


def test_there_must_be_images_to_learn_from(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new(data, tmp_path / "run", "--unlabelled", data / "images" / "val", expected=2)
    assert "images that the run is judged by" in " ".join(capsys.readouterr().err.split())


def test_grey_images_without_labels_are_read_as_the_labelled_ones(data: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for file in (data / "images" / "train").iterdir():
        Image.open(file).convert("L").save(more / f"{file.stem}.png")
    out = new(data, tmp_path / "run", "--unlabelled", more)
    assert "unlabelled.loss" in logged(out)[0]


def test_a_resumed_run_takes_no_such_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in (["--unlabelled", "x"], ["--confidence", "0.5"], ["--teacher", "x"]):
        train("--resume", tmp_path, *option, expected=2)
        assert "it takes only" in " ".join(capsys.readouterr().err.split())
