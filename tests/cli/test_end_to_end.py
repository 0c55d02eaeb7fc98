"""The command line as a user meets it: a folder of pictures, a training of a few steps, and what can go wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.cli.main import main
from intarsia.data.description.write import write_description
from intarsia.demo import CLASSES, write_scenes
from intarsia.weights.file import load_state, read_meta, save_weights

FAST = ["--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with a description beside them: data.yaml, images/, labels/."""
    folder = tmp_path_factory.mktemp("scenes")
    write_description(write_scenes(folder, train=4, val=2), folder / "data.yaml")
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of four steps."""
    out = tmp_path_factory.mktemp("runs") / "first"
    words = ["train", "fast_scnn", "--data", str(data / "data.yaml"), "--out", str(out), "--for", "4 steps", *FAST]
    assert main(words) == 0
    return out


def binary(folder: Path, *, values: tuple[int, int] = (0, 255), count: int = 6) -> Path:
    """Grey images with a bright square, masks of two values."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        mask = np.zeros((80, 96), bool)
        y, x = rng.integers(0, 40, 2)
        mask[y : y + 30, x : x + 30] = True
        grey = (mask * 120 + rng.integers(0, 80, mask.shape)).astype(np.uint8)
        Image.fromarray(grey).save(folder / "images" / f"{number}.png")
        Image.fromarray(np.where(mask, values[1], values[0]).astype(np.uint8)).save(folder / "masks" / f"{number}.png")
    return folder


# --- What works ---------------------------------------------------------------------------------------------------


def test_a_run_leaves_everything(run: Path) -> None:
    names = {"run.json", "config.py", "metrics.jsonl", "curve.png", "weights.safetensors", "checkpoints", "data.yaml"}
    assert names | {"eval.json", "eval.csv", "pictures"} <= {entry.name for entry in run.iterdir()}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {1, 2, 3, 4}
    assert all(isinstance(value, int | float) for line in lines for value in line.values())
    assert any("decode.loss_ce" in line for line in lines)
    scores = json.loads((run / "eval.json").read_text())
    assert list(scores["classes"]) == list(CLASSES)
    assert 0 <= scores["mIoU"] <= 1
    assert scores["images"] == 2
    assert len(list((run / "pictures").iterdir())) == 2


def test_the_written_config_runs_again(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "again"
    assert main(["train", str(run / "config.py"), "--out", str(out), "--device", "cpu"]) == 0
    first, second = ([json.loads(x) for x in (f / "metrics.jsonl").read_text().splitlines()] for f in (run, out))
    assert [line.get("loss") for line in first] == [line.get("loss") for line in second]
    capsys.readouterr()
    assert main(["config", "check", str(run)]) == 0
    assert main(["config", "diff", str(run), str(out)]) == 0
    assert capsys.readouterr().out == "no problems\nno differences\n"


def test_eval_repeats_the_scores_of_the_training(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores"
    assert main(["eval", str(run), "--out", str(out), "--pictures", "1", "--device", "cpu"]) == 0
    assert "pedestrian" in capsys.readouterr().out
    assert json.loads((out / "eval.json").read_text())["mIoU"] == json.loads((run / "eval.json").read_text())["mIoU"]
    assert len(list((out / "pictures").iterdir())) == 1


def test_eval_on_a_bare_folder_uses_the_labels_of_the_training(run: Path, data: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    for kind in ("images", "labels"):
        shutil.copytree(data / kind / "val", bare / kind)
    out = tmp_path / "scores"
    words = ["eval", str(run / "weights.safetensors"), "--data", str(bare), "--out", str(out), "--device", "cpu"]
    assert main(words) == 0
    assert json.loads((out / "eval.json").read_text())["mIoU"] == json.loads((run / "eval.json").read_text())["mIoU"]


def test_a_run_can_be_moved(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "weights.safetensors"
    shutil.copy(run / "weights.safetensors", moved)
    image = tmp_path / "photo.png"
    Image.fromarray(np.full((50, 70, 3), 90, np.uint8)).save(image)
    assert main(["predict", str(moved), str(image), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    label = np.asarray(Image.open(tmp_path / "out" / "photo.png"))
    assert label.shape == (50, 70)
    assert label.max() < len(CLASSES)


def test_predict_does_all_it_can(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(data / "images" / "val", photos)
    (photos / "broken.jpg").write_bytes(b"this is no picture")
    (photos / "notes.txt").write_text("hello")
    out = tmp_path / "out"
    assert main(["predict", str(run), str(photos), "-o", str(out), "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert "broken.jpg" in said
    assert "2 of 3 images" in said
    names = sorted(entry.name for entry in out.iterdir())
    assert names == ["intarsia.json", *(f"street_00{n}{end}" for n in (4, 5) for end in (".png", "_overlay.jpg"))]


def test_interrupted_and_resumed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from intarsia.engine.training.session import Session

    out = tmp_path / "run"
    original = Session.evaluate_if_due

    def interrupting(session: Session) -> None:
        session.stop_request.asked = session.step == 2
        original(session)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "evaluate_if_due", interrupting)
        assert main(["train", str(run / "config.py"), "--out", str(out), "--device", "cpu"]) == 130
    assert f"intarsia train --resume {out}" in capsys.readouterr().err
    described = json.loads((out / "run.json").read_text())
    described["data"]["fingerprint"] = "0" * 16  # as if an image had been added
    (out / "run.json").write_text(json.dumps(described))
    assert main(["train", "--resume", str(out), "--device", "cpu", "--workers", "1"]) == 0
    assert "the training data have changed since the run was begun" in " ".join(capsys.readouterr().out.split())
    described = json.loads((out / "run.json").read_text())
    first = json.loads((run / "run.json").read_text())
    assert described["status"] == "finished"
    assert described["data"] == first["data"]
    assert described["config"] == first["config"]  # what the run was begun with
    assert json.loads((out / "eval.json").read_text()) == json.loads((run / "eval.json").read_text())
    assert main(["train", "--resume", str(out)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "is finished" in said
    assert f"intarsia train {out}/config.py --weights {out}/weights.safetensors --for" in said
    assert main(["train", "--resume", str(out), "--for", "8 steps"]) == 2
    assert "begin a new run from its weights" in " ".join(capsys.readouterr().err.split())


def test_resumed_before_its_first_checkpoint_a_run_begins_from_its_weights_again(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not from random ones, which would be a worse training without a word of it."""
    start, out = tmp_path / "start.safetensors", tmp_path / "run"
    shutil.copyfile(run / "weights.safetensors", start)
    assert main(["train", str(run / "config.py"), "--weights", str(start), "--out", str(out), "--device", "cpu"]) == 0
    whole = load_state(out / "weights.safetensors")

    def killed() -> None:
        shutil.rmtree(out / "checkpoints")
        (out / "weights.safetensors").unlink(missing_ok=True)
        described = json.loads((out / "run.json").read_text())
        (out / "run.json").write_text(json.dumps({**described, "status": "running"}))

    killed()
    assert main(["train", "--resume", str(out), "--device", "cpu"]) == 0
    again = load_state(out / "weights.safetensors")
    assert all(value.equal(again[name]) for name, value in whole.items())
    killed()
    save_weights(start, again, read_meta(run / "weights.safetensors"))
    assert main(["train", "--resume", str(out), "--device", "cpu"]) == 2
    assert "is no longer the file that it was begun with" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("lr=", "lr=1.5 + ", "optim_wrapper.optimizer.lr: "),
        ("batch_size=", "batch_size=1 + ", "train_dataloader.batch_size: "),
        ("power=", "power=2 + ", "param_scheduler"),
    ],
)
def test_an_edited_config_is_refused(
    before: str, after: str, shown: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Resuming would use some of an edit and not the rest: it says what differs, and the way out."""
    out = tmp_path / "run"
    shutil.copytree(run, out)
    described = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**described, "status": "interrupted"}))
    text = (out / "config.py").read_text()
    assert before in text
    (out / "config.py").write_text(text.replace(before, after))
    assert main(["train", "--resume", str(out), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "was edited since the run was begun" in said
    assert shown in said
    (out / "config.py").write_text("# a comment changes nothing\n" + text)
    assert main(["train", "--resume", str(out), "--device", "cpu"]) == 0


@pytest.mark.parametrize("layout", ["check and file", "folder"])
def test_binary_masks(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = binary(tmp_path / "cells")
    source = folder
    if layout == "check and file":
        source = tmp_path / "cells.yaml"
        assert main(["data", "check", str(folder), "--write", str(source)]) == 0
        assert "255" in capsys.readouterr().out
    out = tmp_path / "run"
    assert main(["train", "fast_scnn", "--data", str(source), "--out", str(out), "--for", "2 steps", *FAST]) == 0
    scores = json.loads((out / "eval.json").read_text())
    assert any(name.startswith("IoU(") for name in scores)


def test_a_config_on_own_data(run: Path, data: Path, tmp_path: Path) -> None:
    """The config was made for nine classes; the other data have one."""
    folder = binary(tmp_path / "cells")
    out = tmp_path / "run"
    words = ["train", str(run / "config.py"), "--data", str(folder), "--out", str(out), "--device", "cpu"]
    words += ["--weights", str(run / "weights.safetensors")]
    assert main(words) == 2
    assert main([*words, "--allow-partial"]) == 0
    notes = " ".join(json.loads((out / "run.json").read_text())["notes"])
    assert "tensors loaded" in notes


def test_data_show(data: Path, tmp_path: Path) -> None:
    assert main(["data", "show", str(data / "data.yaml"), "-o", str(tmp_path / "sheet.png"), "--count", "3"]) == 0
    assert np.asarray(Image.open(tmp_path / "sheet.png")).std() > 10


def test_data_check_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(data / "data.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert [split["pairs"] for split in found["splits"]] == [4, 2]


# --- What goes wrong ----------------------------------------------------------------------------------------------


def missing_folder(folder: Path, run: Path) -> list[str]:
    return ["train", "fast_scnn", "--data", str(folder / "nothing"), "--out", str(folder / "run")]


def no_pairs(folder: Path, run: Path) -> list[str]:
    binary(folder / "data")
    for mask in (folder / "data" / "masks").iterdir():
        mask.rename(mask.with_name(f"scan{ord(mask.stem)}x.png"))
    words = ["train", "fast_scnn", "--data", str(folder / "data"), "--out", str(folder / "run"), "--for", "1 step"]
    return [*words, *FAST]


def empty_split(folder: Path, run: Path) -> list[str]:
    binary(folder / "data")
    (folder / "none.txt").write_text("")
    text = "root: data\nclasses: [a]\nlabels: {0: background, 255: a}\nsplits:\n"
    splits = "  train: {images: images, labels: masks, list: ../none.txt}\n"
    (folder / "data.yaml").write_text(text + splits)
    return ["train", "fast_scnn", "--data", str(folder / "data.yaml"), "--out", str(folder / "run")]


def label_out_of_range(folder: Path, run: Path) -> list[str]:
    binary(folder / "data", values=(0, 7))
    (folder / "data.yaml").write_text(
        "root: data\nclasses: [a, b]\nlabels: {0: a, 1: b}\nsplits:\n  train: {images: images, labels: masks}\n"
    )
    return ["train", "fast_scnn", "--data", str(folder / "data.yaml"), "--out", str(folder / "run")]


def broken_image(folder: Path, run: Path) -> list[str]:
    binary(folder / "data")
    (folder / "data" / "images" / "3.png").write_bytes(b"nonsense")
    return ["train", "fast_scnn", "--data", str(folder / "data"), "--out", str(folder / "run")]


def unknown_recipe(folder: Path, run: Path) -> list[str]:
    return ["train", "fastscnn", "--data", str(run), "--out", str(folder / "run")]


def other_class_count(folder: Path, run: Path) -> list[str]:
    (folder / "data.yaml").write_text(
        "root: data\nclasses: [a, b]\nlabels: {0: a, 255: b}\nsplits:\n  val: {images: images, labels: masks}\n"
    )
    binary(folder / "data")
    return ["eval", str(run), "--data", str(folder / "data.yaml"), "--out", str(folder / "o")]


def folder_taken(folder: Path, run: Path) -> list[str]:
    return ["train", "fast_scnn", "--data", str(run), "--out", str(run)]


def duration_without_unit(folder: Path, run: Path) -> list[str]:
    return ["train", str(run / "config.py"), "--out", str(folder / "run"), "--for", "200"]


def no_split(folder: Path, run: Path) -> list[str]:
    return ["eval", str(run), "--split", "test", "--out", str(folder / "o")]


def no_weights(folder: Path, run: Path) -> list[str]:
    return ["predict", str(folder), str(run / "curve.png"), "-o", str(folder / "o")]


def foreign_weights(folder: Path, run: Path) -> list[str]:
    torch.save({"conv.weight": torch.zeros(1)}, folder / "model.pth")
    return ["predict", str(folder / "model.pth"), str(run / "curve.png"), "-o", str(folder / "o")]


def no_image(folder: Path, run: Path) -> list[str]:
    return ["predict", str(run), str(folder / "missing.jpg"), "-o", str(folder / "o")]


def no_out(folder: Path, run: Path) -> list[str]:
    return ["train", "fast_scnn", "--data", str(run)]


def no_data(folder: Path, run: Path) -> list[str]:
    return ["train", "fast_scnn", "--out", str(folder / "run")]


def no_training(folder: Path, run: Path) -> list[str]:
    (folder / "net.py").write_text("model = dict(type='EncoderDecoder')\ntrain_cfg = dict(max_iters=2)\n")
    return ["train", str(folder / "net.py"), "--data", str(folder), "--out", str(folder / "run"), "--batch", "4"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (missing_folder, ["no folder", "nothing"]),
        (no_pairs, ["images", "masks"]),
        (empty_split, ["train", "no image with a label"]),
        (label_out_of_range, ["7", "0.png"]),
        (broken_image, ["3.png", "cannot be read"]),
        (unknown_recipe, ["fast_scnn", "config list"]),
        (other_class_count, ["2 classes", "9 outputs"]),
        (folder_taken, ["already holds a run", "--resume", "--overwrite"]),
        (duration_without_unit, ["200 steps"]),
        (no_split, ["no test data", "--data"]),
        (no_weights, ["weights.safetensors"]),
        (foreign_weights, ["--config"]),
        (no_image, ["missing.jpg"]),
        (no_out, ["--out RUN"]),
        (no_data, ["--data DIR"]),
        (no_training, ["net.py describes no training: it has no train_dataloader and no optim_wrapper. ", "_base_"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_errors_are_one_message(
    case: Callable[[Path, Path], list[str]],
    said: list[str],
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = case(tmp_path, run)
    capsys.readouterr()
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "error: " in message
    assert "Traceback" not in message
    assert "--set train_dataloader" not in message, "what the person has not written"
    for part in said:
        assert part in message, message


def test_a_full_disk(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from intarsia.engine.training import checkpoint
    from intarsia.io.whole_files import write_whole

    def full(path: Path, write: object) -> None:
        def nothing_fits(file: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        write_whole(path, nothing_fits)

    monkeypatch.setattr(checkpoint, "write_whole", full)
    assert main(["train", str(run / "config.py"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "no room on the disk" in capsys.readouterr().err


def test_a_label_that_changed_after_the_check(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The worker finds it, and names the file."""
    folder = tmp_path / "data"
    write_description(write_scenes(folder, train=2, val=1), tmp_path / "data.yaml")
    bad = folder / "labels" / "train" / "street_001.png"
    label = np.asarray(Image.open(bad)).copy()
    label[:, :] = 99
    words = ["train", str(run / "config.py"), "--out", str(tmp_path / "run"), "--device", "cpu", "--set"]
    settings = [f"{split}_dataloader.dataset.file='{tmp_path / 'data.yaml'}'" for split in ("train", "val")]
    Image.fromarray(label).save(bad)
    assert main([*words, *settings]) == 2
    message = capsys.readouterr().err
    assert "street_001.png" in message
    assert "99" in message


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole demo, with less of everything."""
    from intarsia.cli import demo

    monkeypatch.setattr(demo, "TRAIN", 4)
    monkeypatch.setattr(demo, "VAL", 2)
    monkeypatch.setattr(demo, "TRAINING", ("--for", "2 steps", *FAST))
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert [line.split()[2] for line in said.splitlines() if line.startswith("$ intarsia")] == [
        "data", "data", "train", "eval", "predict",
    ]  # fmt: skip
    assert "mIoU" in said
    for name in ("data.yaml", "data.png", "run/weights.safetensors", "run/curve.png", "evaluation/eval.json"):
        assert (out / name).is_file()
    assert len(list((out / "evaluation" / "pictures").iterdir())) == 2
    assert len(list((out / "predictions").iterdir())) == 5  # two label maps, two overlays, and whose they are
    assert main(["demo", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["demo", "--out", str(tmp_path), "--overwrite"]) == 2
    assert "other things" in capsys.readouterr().err


def test_demo_data_alone_needs_no_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from intarsia.cli import demo

    monkeypatch.setattr(demo, "TRAIN", 4)
    monkeypatch.setattr(demo, "VAL", 2)
    assert main(["demo", "--only-data", "--out", str(tmp_path / "scenes")]) == 0
    assert main(["data", "check", str(tmp_path / "scenes")]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in CLASSES)
