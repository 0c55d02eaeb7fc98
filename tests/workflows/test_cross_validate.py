"""`intarsia cv`: all folds once, going on after an interruption, and figures that an independent count gives, too."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.data.description.read import read_description
from intarsia.workflows import cross_validate
from intarsia.workflows.training_config import TrainingRequest


def patients(root: Path, count: int = 6) -> Path:
    for number in range(count):
        rng = np.random.default_rng(number)
        label = np.zeros((40, 48), np.uint8)
        label[:, : 10 + 4 * number] = 1
        for folder, array in (("images", rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)), ("masks", label)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"p{number // 2}_{number}.png")
    return root


class Trainings:
    """Stand-ins for trainings: note what is asked, leave the files of a run."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.stop_in: str | None = None
        self.requests: list[TrainingRequest] = []

    def start(self, request: TrainingRequest) -> None:
        self.requests.append(request)
        self._run("start", request.out)

    def resume(self, run: Path, **_: Any) -> None:
        self._run("resume", run)

    def _run(self, how: str, run: Path) -> None:
        self.calls.append((how, run.name))
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        stopped = self.stop_in == run.name
        (run / "run.json").write_text(json.dumps({"status": "interrupted" if stopped else "finished"}))
        if stopped:
            raise KeyboardInterrupt("go on with: intarsia train --resume")
        value = 0.1 * int(run.name[-1])
        classes = {"a": {"IoU": value}, "b": {"IoU": None if run.name == "fold_1" else 1 - value}}
        scores = {"mIoU": value, "aAcc": 0.5, "classes": classes, "absent": [], "images": 2}
        (run / "eval.json").write_text(json.dumps(scores))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    made = Trainings()
    monkeypatch.setattr(cross_validate, "start_training", made.start)
    monkeypatch.setattr(cross_validate, "resume_training", made.resume)
    monkeypatch.setattr(cross_validate, "_out_of_fold", lambda *_: None)
    return made


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., list[str]]:
    patients(tmp_path / "data")
    usual = ["cv", "fast_scnn", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "cv"), "--folds", "3"]
    return lambda *more: [*usual, *more]


def cv_json(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "cv" / "cv.json").read_text())
    return content


def test_every_fold_is_trained_once_and_summed_up(
    tmp_path: Path, trainings: Trainings, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("--by", "p[0-9]", "--for", "7 steps")) == 0
    assert trainings.calls == [("start", "fold_1"), ("start", "fold_2"), ("start", "fold_3")]
    held = []
    for request in trainings.requests:
        assert request.training.duration == "7 steps"
        assert request.data is not None
        description = read_description(request.data)
        val, train = ({pair.image[8:9] for pair in description.pairs(split)} for split in ("val", "train"))
        assert not val & train  # the number of the patient
        held += [pair.image for pair in description.pairs("val")]
    assert len(held) == len(set(held)) == 6
    found = cv_json(tmp_path)
    assert found["status"] == "finished"
    assert found["scores"]["mIoU"]["mean"] == pytest.approx(0.2)
    assert found["scores"]["mIoU"]["std"] == pytest.approx(statistics.stdev([0.1, 0.2, 0.3]))
    assert found["classes"]["b"]["folds"] == [None, 0.8, 0.7]
    assert found["classes"]["b"]["mean"] == pytest.approx(0.75)
    table = capsys.readouterr().out
    row = next(line.split() for line in table.splitlines() if line.split()[:1] == ["mIoU"])
    assert row[1:6] == ["20.00", "10.00", "10.00", "20.00", "30.00"]
    assert next(line.split() for line in table.splitlines() if line.split()[:1] == ["b"])[3] == "-"


def test_the_same_command_goes_on_where_it_was_interrupted(
    tmp_path: Path, trainings: Trainings, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.stop_in = "fold_2"
    assert main(words()) == 130
    assert "interrupted in fold 2 of 3; the same command goes on there" in " ".join(capsys.readouterr().err.split())
    assert cv_json(tmp_path)["status"] == "running"
    before = {file.name: file.read_bytes() for file in (tmp_path / "cv" / "folds").iterdir()}
    patients(tmp_path / "data", count=9)  # images that come later change no fold
    trainings.calls.clear()
    trainings.stop_in = None
    assert main(words()) == 0
    assert trainings.calls == [("resume", "fold_2"), ("start", "fold_3")]
    assert {file.name: file.read_bytes() for file in (tmp_path / "cv" / "folds").iterdir()} == before
    trainings.calls.clear()
    assert main(words()) == 0
    assert trainings.calls == []


def test_something_else_is_not_mixed_in(
    tmp_path: Path, trainings: Trainings, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("--seed", "1")) == 0
    assert main(words("--seed", "2")) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "a cross-validation of something else (training:" in said
    assert main(words("--seed", "1", "--by", "p[0-9]")) == 2
    assert "by: None there, 'p[0-9]' now" in " ".join(capsys.readouterr().err.split())
    trainings.calls.clear()
    assert main(words("--seed", "2", "--overwrite")) == 0
    assert len(trainings.calls) == 3


def test_runs_of_another_origin_stay_as_they_are(
    tmp_path: Path, trainings: Trainings, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cv" / "fold_1").mkdir(parents=True)
    assert main(words("--overwrite")) == 2
    assert "of something else than a cross-validation" in " ".join(capsys.readouterr().err.split())
    assert trainings.calls == []


def test_several_processes_are_told_how(words: Callable[..., list[str]]) -> None:
    request = TrainingRequest(name="fast_scnn", out=Path("cv"), data=Path("data"), devices=2)
    with pytest.raises(ValueError, match="--data data --fold 1/5 --out RUN"):
        cross_validate.cross_validate(request, 5)
    with pytest.raises(ValueError, match="add --data"):
        cross_validate.cross_validate(TrainingRequest(name="x", out=Path("cv")), 5)


@pytest.mark.slow
def test_real_trainings_and_all_images_scored_together(tmp_path: Path) -> None:
    """Two folds of two steps; the pooled scores are those of predictions counted here."""
    import intarsia

    data, out = patients(tmp_path / "data"), tmp_path / "cv"
    fast = ["--batch", "2", "--crop", "32", "32", "--workers", "0", "--device", "cpu", "--for", "2 steps"]
    assert main(["cv", "fast_scnn", "--data", str(data), "--out", str(out), "--folds", "2", *fast]) == 0
    matrix = np.zeros((2, 2), np.int64)
    for number in (1, 2):
        predictor = intarsia.load(out / f"fold_{number}", device="cpu")
        description = read_description(out / f"fold_{number}" / "data.yaml")
        for pair in description.pairs("val"):
            label = np.asarray(Image.open(data / (pair.label or "")))
            found = predictor.predict(data / pair.image).label
            matrix += np.bincount(2 * label.ravel().astype(int) + found.ravel(), minlength=4).reshape(2, 2)
    assert matrix.sum() == 6 * 40 * 48
    pooled = json.loads((out / "eval.json").read_text())
    assert pooled["images"] == 6
    assert pooled["aAcc"] == pytest.approx(matrix.trace() / matrix.sum())
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    ious = [entry["IoU"] for entry in pooled["classes"].values()]
    assert ious == pytest.approx((matrix.diagonal() / union).tolist())
    assert json.loads((out / "cv.json").read_text())["together"] == pooled
