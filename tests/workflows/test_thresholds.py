"""The threshold of a foreground from training to use: chosen, kept in the weights, used, changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import intarsia
from intarsia.cli.main import main
from intarsia.config.language.reader import read_file
from intarsia.config.lowering.lower import lower
from intarsia.engine.training.checkpoint import load_checkpoint, report_from
from intarsia.weights.file import WeightsMeta, load_state, read_meta, save_weights
from intarsia.workflows.thresholds import as_kept, kept_note

SHORT = ("--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu")
QUIET = ("--workers", "0", "--device", "cpu", "--pictures", "0")


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey pictures with a bright disc, labelled; of 48 x 64 pixels."""
    folder = tmp_path_factory.mktemp("spots")
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:48, :64]
    for split, count in (("train", 4), ("val", 3)):
        for number in range(count):
            disc = (y - rng.integers(10, 38)) ** 2 + (x - rng.integers(10, 54)) ** 2 < 49
            image = rng.integers(90, 130, (48, 64, 3)) + 60 * disc[..., None]
            for kind, values in (("images", image), ("masks", disc)):
                file = folder / kind / split / f"{split}{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values.astype(np.uint8)).save(file)
    return folder


def description(folder: Path, classes: str, labels: str) -> Path:
    file = folder / f"{classes.strip('[]').replace(', ', '_')}.yaml"
    splits = ", ".join(f"{split}: {{images: images/{split}, labels: masks/{split}}}" for split in ("train", "val"))
    file.write_text(f"root: {folder}\nclasses: {classes}\nlabels: {labels}\nsplits: {{{splits}}}\n")
    return file


FORMS = {
    "one logit": ("[spot]", "{0: background, 1: spot}"),
    "two logits": ("[background, spot]", "{0: background, 1: spot}"),
}


@pytest.fixture(scope="module", params=list(FORMS))
def run(request: pytest.FixtureRequest, spots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training of own data, as the command does it."""
    out = tmp_path_factory.mktemp("run") / "run"
    data = description(spots, *FORMS[request.param])
    words = ["train", "small_r18", "--data", str(data), "--out", str(out), "--for", "4 steps"]
    assert main([*words, "--eval-every", "2 steps", *SHORT]) == 0
    return out


def eval_json(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "eval.json").read_text())
    return content


def pictures(spots: Path) -> list[npt.NDArray[np.uint8]]:
    return [np.asarray(Image.open(file)) for file in sorted((spots / "images" / "val").iterdir())]


def truths(spots: Path) -> list[npt.NDArray[np.uint8]]:
    return [np.asarray(Image.open(file)) for file in sorted((spots / "masks" / "val").iterdir())]


def iou_of(labels: list[npt.NDArray[Any]], spots: Path) -> float:
    pairs = list(zip(labels, truths(spots), strict=True))
    both = sum(int(((label == 1) & (truth == 1)).sum()) for label, truth in pairs)
    either = sum(int(((label == 1) | (truth == 1)).sum()) for label, truth in pairs)
    return both / either


def test_what_training_has_chosen_is_the_best_of_all(run: Path, spots: Path) -> None:
    meta = read_meta(run / "weights.safetensors")
    kept = meta.threshold
    assert kept is not None
    predictor = intarsia.load(run, device="cpu")
    foreground = [
        torch.as_tensor(predictor.predict(image, probabilities=True).probabilities[1]) for image in pictures(spots)
    ]
    tried = {place / 1024: iou_of([(p > place / 1024).numpy() for p in foreground], spots) for place in range(1, 1024)}
    assert tried[kept] == max(tried.values())
    assert eval_json(run)["IoU(spot)"] == pytest.approx(tried[kept])
    assert eval_json(run)["threshold"] == kept
    assert meta.scores["IoU(spot)"] == eval_json(run)["IoU(spot)"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in lines if "val/threshold" in line]
    assert len(evaluations) == 2
    best = max(evaluations, key=lambda line: line["val/mIoU"])
    assert best["val/threshold"] == pytest.approx(kept, rel=1e-6)  # the log has nine digits
    assert best["val/mIoU"] == pytest.approx(eval_json(run)["mIoU"], rel=1e-6)


def test_eval_finds_the_scores_of_the_training(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--out", str(tmp_path), *QUIET]) == 0
    found, trained = eval_json(tmp_path), eval_json(run)
    assert found.pop("losses") == pytest.approx(trained.pop("losses"))
    assert found == trained
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"a pixel is spot above a probability of {found['threshold']:.4f}" in said
    assert f"spot, mean of images: Dice {found['imageDice(spot)']:.4f}" in said
    assert f"spot, over all pixels: Dice {found['Dice(spot)']:.4f}" in said


def test_predict_uses_it_and_an_option_changes_it(
    run: Path, spots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = str(spots / "images" / "val")
    assert main(["predict", str(run), images, "-o", str(tmp_path / "kept"), "--device", "cpu", "--save", "label"]) == 0
    assert "chosen on the validation images (--threshold changes it)" in " ".join("".join(capsys.readouterr()).split())
    files = sorted((tmp_path / "kept").glob("*.png"))
    assert iou_of([np.asarray(Image.open(file)) for file in files], spots) == pytest.approx(eval_json(run)["IoU(spot)"])
    words = ["predict", str(run), images, "-o", str(tmp_path / "low"), "--device", "cpu", "--save", "label"]
    assert main([*words, "--threshold", "0.001"]) == 0
    assert "chosen on the validation images" not in "".join(capsys.readouterr())
    low = [np.asarray(Image.open(file)) for file in sorted((tmp_path / "low").glob("*.png"))]
    assert sum(map(np.sum, low)) > sum(np.asarray(Image.open(file)).sum() for file in files)


def test_loading_says_it_and_takes_another(run: Path, spots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, (image, *_) = read_meta(run / "weights.safetensors").threshold, pictures(spots)
    usual = intarsia.load(run, device="cpu")
    assert "(load(..., threshold=) changes it)" in " ".join(capsys.readouterr().err.split())
    other = intarsia.load(run, device="cpu", threshold=0.25)
    assert capsys.readouterr().err == ""
    for predictor, threshold in ((usual, kept), (other, 0.25)):
        found = predictor.predict(image, probabilities=True)
        assert found.probabilities is not None
        assert np.array_equal(found.label, found.probabilities[1] > np.float32(threshold))
    with pytest.raises(ValueError, match="a probability between 0 and 1, found 2"):
        intarsia.load(run, device="cpu", threshold=2)


def test_eval_chooses_it_for_a_file_without_one(
    run: Path, spots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = read_meta(run / "weights.safetensors").threshold
    other = tmp_path / "other"
    shutil.copytree(run, other)
    file = other / "weights.safetensors"
    save_weights(file, load_state(file), replace(read_meta(file), threshold=None))
    assert main(["eval", str(other), "--choose-threshold", *QUIET]) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"threshold {kept:.4f} chosen: IoU of spot {eval_json(run)['IoU(spot)']:.4f} on 3 images" in said
    assert f"{file} keeps the threshold" in said
    assert read_meta(file).threshold == kept == eval_json(other)["threshold"]
    assert read_meta(file).scores["mIoU"] == eval_json(run)["mIoU"]
    before, after = load_state(run / "weights.safetensors"), load_state(file)
    assert all(torch.equal(before[name], after[name]) for name in {*before, *after})


def test_scores_of_other_data_are_not_those_of_the_weights(run: Path, spots: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    shutil.copy(run / "weights.safetensors", file)
    words = ["eval", str(file), "--data", str(run / "data.yaml"), "--split", "train", "--choose-threshold"]
    assert main([*words, "--out", str(tmp_path / "scores"), *QUIET]) == 0
    assert read_meta(file).threshold == eval_json(tmp_path / "scores")["threshold"]
    assert read_meta(file).scores == {}


def test_a_file_of_others_cannot_keep_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": load_state(run / "weights.safetensors")}, tmp_path / "own.pth")
    words = ["eval", str(tmp_path / "own.pth"), "--config", str(run / "config.py"), "--out", str(tmp_path / "scores")]
    assert main([*words, "--choose-threshold", *QUIET]) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    threshold = eval_json(tmp_path / "scores")["threshold"]
    assert f"cannot keep the threshold: give it to predict with --threshold {threshold:.10g}" in said
    assert threshold == read_meta(run / "weights.safetensors").threshold


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "test"), "--choose-threshold on the images that the model is judged by would flatter it"),
        (("--threshold", "0.4"), "--choose-threshold finds the threshold that --threshold names"),
    ],
)
def test_what_choosing_does_not_go_with(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(tmp_path / "none.pth"), "--choose-threshold", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_images_without_foreground_by_the_rule_that_is_asked_for(run: Path, spots: Path, tmp_path: Path) -> None:
    """A fourth picture shows nothing, and something is predicted in it."""
    folder = tmp_path / "data"
    for kind in ("images", "masks"):
        shutil.copytree(spots / kind / "val", folder / kind)
    Image.fromarray(np.full((48, 64, 3), 100, np.uint8)).save(folder / "images" / "val9.png")
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(folder / "masks" / "val9.png")
    data = folder / "data.yaml"
    classes = "[background, spot]"
    data.write_text(
        f"root: {folder}\nclasses: {classes}\nlabels: {{0: background, 1: spot}}\n"
        "splits: {val: {images: images, labels: masks}}\n"
    )
    found = {}
    for rule in ("one", "skip"):
        words = ["eval", str(run), "--data", str(data), "--out", str(tmp_path / rule), "--threshold", "0.001", *QUIET]
        assert main([*words, "--empty-images", rule]) == 0
        found[rule] = eval_json(tmp_path / rule)
    assert found["one"]["imageDice(spot)"] == pytest.approx(found["skip"]["imageDice(spot)"] * 3 / 4)
    assert found["one"]["Dice(spot)"] == found["skip"]["Dice(spot)"]
    assert main(["eval", str(run), "--empty-images", "none", "--out", str(tmp_path / "x"), *QUIET]) == 2


def test_files_of_before_and_of_others_are_as_they_were(run: Path) -> None:
    meta = read_meta(run / "weights.safetensors")
    values = json.loads(meta.to_json())
    del values["threshold"]
    old = WeightsMeta.from_json(json.dumps(values))
    assert old == replace(meta, threshold=None)
    spec = lower(read_file(run / "config.py"))
    assert as_kept(spec, old) is spec
    assert kept_note(spec, old) == ""
    assert as_kept(spec, meta).inference.foreground_above == meta.threshold
    several = replace(spec, inference=replace(spec.inference, threshold=None, num_classes=3))
    assert as_kept(several, meta) is several
    for wrong in (1, 0, -0.5, "0.5", True, [0.5]):
        with pytest.raises(ValueError, match="threshold is a number between 0 and 1, found"):
            WeightsMeta.from_json(json.dumps({**values, "threshold": wrong}))


def test_scores_that_need_label_maps_leave_the_threshold(spots: Path, tmp_path: Path, capsys: Any) -> None:
    data = description(spots, *FORMS["two logits"])
    words = ["train", "small_r18", "--data", str(data), "--out", str(tmp_path / "run"), "--for", "1 steps", *SHORT]
    assert main([*words, "--set", "val_evaluator.iou_metrics=['mIoU','mBoundaryIoU']"]) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "the threshold of the foreground is not chosen during training" in said
    assert read_meta(tmp_path / "run" / "weights.safetensors").threshold is None
    assert "threshold" not in eval_json(tmp_path / "run")


def test_resumed_runs_keep_what_was_chosen(run: Path, tmp_path: Path) -> None:
    newest = max((run / "checkpoints").glob("step_*.pt"))
    report = report_from(load_checkpoint(newest)["report"])
    assert report is not None
    assert report.threshold == read_meta(run / "weights.safetensors").threshold
