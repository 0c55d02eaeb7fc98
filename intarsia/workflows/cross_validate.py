"""`intarsia cv`: as many trainings as there are folds, one after the other, and how far their scores lie apart."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.data.description.write import write_description
from intarsia.distributed.launchers import launch_of
from intarsia.io.stores import refuse_output
from intarsia.io.whole_files import write_text
from intarsia.terminal import say
from intarsia.workflows.folds import MOST_FOLDS, folds_of, kept_whole
from intarsia.workflows.names import usable_data
from intarsia.workflows.train import resume_training, start_training
from intarsia.workflows.training_config import TrainingRequest

if TYPE_CHECKING:
    from intarsia.contracts import Report

_PLACE = ("out", "device", "overwrite", "devices", "find", "trust", "fold", "by", "notify")
"""What may differ when a cross-validation goes on: where and how it is computed, not what."""


@dataclass(frozen=True)
class Spread:
    """A score over the folds. values: of each fold, None where its images do not show the class."""

    values: tuple[float | None, ...]

    @property
    def known(self) -> list[float]:
        """Of the folds that have one."""
        return [value for value in self.values if value is not None]

    @property
    def mean(self) -> float | None:
        """Over the folds that have a value."""
        return statistics.fmean(self.known) if self.known else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation between folds, with n - 1 below the line."""
        return statistics.stdev(self.known) if len(self.known) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {"mean": self.mean, "std": self.deviation, "folds": list(self.values)}


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation found. scores: of the whole, by name. classes: IoU by class. images: of each fold.

    pooled: scores of all images together, each predicted by the model that has not seen it.
    """

    scores: Mapping[str, Spread]
    classes: Mapping[str, Spread]
    images: tuple[int, ...]
    pooled: Report | None = None

    def rows(self) -> list[tuple[str, ...]]:
        """(name, mean, spread, value of each fold, of all images together), in percent."""
        pooled = {} if self.pooled is None else {c.name: c.values.get("IoU", math.nan) for c in self.pooled.classes}
        whole = {} if self.pooled is None else self.pooled.summary
        found = [(name, spread, whole.get(name)) for name, spread in self.scores.items()]
        found += [(name, spread, pooled.get(name)) for name, spread in self.classes.items()]
        return [
            (name, *map(_percent, (spread.mean, spread.deviation, *spread.values, together)))
            for name, spread, together in found
        ]


def cross_validate(request: TrainingRequest, folds: int, *, by: str | None = None) -> CrossValidation:
    """Train on all folds but one, for each of them; go on with what is there already; sum up.

    request: of the trainings; its `out` is the folder of all: folds/ (descriptions and lists), fold_1/ ... (the runs),
    cv.json, and eval.json with eval.csv of all images together.

    Raises ValueError for what cannot be trained, and if the folder holds a cross-validation of something else.
    """
    _check(request, folds)
    out = request.out
    asked = {"folds": folds, "by": by, **_asked(request)}
    _begin(out, asked, overwrite=request.overwrite)
    descriptions = [out / "folds" / f"fold_{number}.yaml" for number in range(1, folds + 1)]
    if not all(file.exists() for file in descriptions):
        _divide(request, descriptions, by)
    runs = [out / f"fold_{number}" for number in range(1, folds + 1)]
    for number, (run, data) in enumerate(zip(runs, descriptions, strict=True), 1):
        say(f"--- fold {number} of {folds} ---")
        try:
            _train(replace(request, data=data, out=run, overwrite=True), run)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(
                f"interrupted in fold {number} of {folds}; the same command goes on there"
            ) from stop
        _write(out, asked, sum_up(runs[:number]), finished=False)
    result = replace(sum_up(runs), pooled=_out_of_fold(runs, out, request.device))
    _write(out, asked, result, finished=True)
    return result


def _check(request: TrainingRequest, folds: int) -> None:
    if request.data is None:
        raise ValueError("a cross-validation divides the images of --data: add --data DIR|FILE")
    if not 2 <= folds <= MOST_FOLDS:
        raise ValueError(f"--folds is 2 to {MOST_FOLDS}, found {folds}")
    if launch_of() is not None or (request.devices or 1) > 1:
        raise ValueError(
            "intarsia cv trains in one process, one fold after the other; with several devices train the folds by "
            f"themselves, one on each: intarsia train {request.name} --data {request.data} --fold 1/{folds} --out RUN"
        )


def _asked(request: TrainingRequest) -> dict[str, Any]:
    """What the trainings are, as it is written in cv.json."""
    values = {name: value for name, value in asdict(request).items() if name not in _PLACE}
    values["data"] = str(Path(values["data"]).resolve())
    values["training"].pop("workers", None)
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def _begin(out: Path, asked: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make room, or refuse a folder in which something else was begun."""
    refuse_output(out, "--out")
    file = out / "cv.json"
    there = sorted(out.glob("fold_*"))
    if not file.exists() and there:
        raise ValueError(f"{out} holds {there[0].name} of something else than a cross-validation; choose another --out")
    if overwrite and file.exists():
        for folder in (out / "folds", *there):
            shutil.rmtree(folder, ignore_errors=True)
        file.unlink()
    elif file.exists():
        begun = json.loads(file.read_text(encoding="utf-8")).get("asked", {})
        changed = [name for name in {**begun, **asked} if begun.get(name) != asked.get(name)]
        if changed:
            found = "; ".join(f"{name}: {begun.get(name)!r} there, {asked.get(name)!r} now" for name in changed)
            raise ValueError(
                f"{out} holds a cross-validation of something else ({found}); go on with it as it was begun, replace "
                "it with --overwrite, or choose another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        _write_json(file, {"status": "running", "asked": dict(asked)})


def _divide(request: TrainingRequest, files: Sequence[Path], by: str | None) -> None:
    """Fix the folds once, so that images which come later change none that is trained already."""
    assert request.data is not None
    description, _ = usable_data(request.data)
    description = replace(description, mean=None, std=None, shares=None)  # measured anew in each fold
    folds = folds_of(description, len(files), by=by)
    for number, file in enumerate(files, 1):
        write_description(folds.description_of(number, file.parent, f"fold_{number}_"), file)
    counts = ", ".join(map(str, folds.sizes))
    say(f"{len(files)} folds of {counts} {folds.what}: {files[0].parent}{kept_whole(folds)}")


def _train(request: TrainingRequest, run: Path) -> None:
    """A fold's training from where it is."""
    state = run / "run.json"
    status = json.loads(state.read_text(encoding="utf-8")).get("status") if state.exists() else None
    if status == "finished":
        say(f"{run} is finished")
    elif status is not None and (run / "checkpoints").is_dir():
        resume_training(run, device=request.device, workers=request.training.workers, notify=request.notify)
    else:
        start_training(request)


# --- What came of it ----------------------------------------------------------------------------------------------


def sum_up(runs: Sequence[Path]) -> CrossValidation:
    """The scores of finished runs, from their eval.json."""
    found = [json.loads((run / "eval.json").read_text(encoding="utf-8")) for run in runs]
    words = ("classes", "absent", "images", "losses", "parts")
    names = [name for name in found[0] if name not in words and any(one.get(name) is not None for one in found)]
    classes = list(found[0]["classes"])
    scores = {name: Spread(tuple(one.get(name) for one in found)) for name in names}
    for part in found[0].get("parts", {}):  # of each of several data sets
        scores[f"{part}/mIoU"] = Spread(tuple(one.get("parts", {}).get(part, {}).get("mIoU") for one in found))
    return CrossValidation(
        scores,
        {name: Spread(tuple(one["classes"].get(name, {}).get("IoU") for one in found)) for name in classes},
        tuple(one["images"] for one in found),
    )


def _out_of_fold(runs: Sequence[Path], out: Path, device: str) -> Report:
    """Every image predicted once, by the model that was not trained on it, and all of them scored together."""
    from intarsia.config.build import build_metric
    from intarsia.evaluation.evaluate import evaluate
    from intarsia.evaluation.files import write_report
    from intarsia.terminal import progress
    from intarsia.workflows.trained_model import labelled_images, open_model

    metric, total = None, None
    with progress("predicting each image by the model that has not seen it") as bar:
        for number, run in enumerate(runs, 1):
            model = open_model(run, config=None, device=device)
            pipeline = labelled_images(model, None, "val")
            metric = build_metric(model.spec, pipeline.dataset.classes)
            evaluate(model.predictor(pipeline.dataset.classes, pipeline.dataset.palette), pipeline, metric)
            total = metric.state() if total is None else total + metric.state()
            bar(number, len(runs))
    assert metric is not None
    assert total is not None
    metric.load_state(total)
    report = metric.report()
    write_report(report, out)
    return report


def _write(out: Path, asked: Mapping[str, Any], result: CrossValidation, *, finished: bool) -> None:
    from intarsia.evaluation.files import report_as_dict

    content = {
        "status": "finished" if finished else "running",
        "asked": dict(asked),
        "images": list(result.images),
        "scores": {name: spread.to_dict() for name, spread in result.scores.items()},
        "classes": {name: spread.to_dict() for name, spread in result.classes.items()},
        "together": None if result.pooled is None else report_as_dict(result.pooled),
    }
    _write_json(out / "cv.json", content)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    write_text(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _percent(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.2f}"
