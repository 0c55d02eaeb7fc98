"""Evaluation: a model's scores on labelled images, as a table, files, pictures and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from intarsia.config.build import build_metric, of_split
from intarsia.contracts import Dataset, PathLike, Report
from intarsia.data.bands import parse_bands
from intarsia.data.datasets.folder import FolderDataset
from intarsia.distributed.device_processes import DeviceProcesses, Lost, named_devices
from intarsia.evaluation.evaluate import evaluate as run_evaluation
from intarsia.export.task import is_exported
from intarsia.inference.outputs.label_values import SERVERS
from intarsia.inference.threshold import predictor_at
from intarsia.io.cores import available_cores
from intarsia.io.stores import refuse_output
from intarsia.terminal import notices_shown, progress, say, warn
from intarsia.visual.fonts import use_font
from intarsia.workflows.assemble import check_dataset
from intarsia.workflows.confusion import check_confusion, save_confusion
from intarsia.workflows.evaluation_report import Gallery, gallery_for, write_page
from intarsia.workflows.example_pictures import Map, Worst
from intarsia.workflows.locate import local
from intarsia.workflows.predict_devices import quietly
from intarsia.workflows.score_label_maps import show
from intarsia.workflows.scores import with_scores, within
from intarsia.workflows.thresholds import changed_by, choose, choose_each, keep, keeps_threshold, kept_note
from intarsia.workflows.trained_model import OpenModel, labelled_images, open_models
from intarsia.workflows.views import with_views

if TYPE_CHECKING:
    from intarsia.data.pipeline import Pipeline
    from intarsia.distributed.device_processes import Link
    from intarsia.inference.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What an evaluation is asked for.

    weights: a file of any origin, a run's folder, or a published name; or several models, see `locate.members_of`, and
    mean: what of theirs is averaged. config: of the model, where those do not say it.
    data: other labelled images than the config's; split: of them, train, val or test. out: folder for the scores, by
    default beside the weights, or NAME_eval for a published name. pictures: how many of the worst images are painted.
    report: folder for report.html. confusion: files for the confusion matrix, see `save_confusion`.
    metrics, groups: scores instead of the config's, and classes scored as one. roi: masks of the pixels that count.
    key, prefix: where the network's tensors are in a checkpoint, and what their names begin with there.
    empty_images: what images without foreground count in means over images, see `metrics.foreground`.
    slide, blend, augment: windows and views, as the options of the command line have them. threshold: of two classes.
    choose_threshold: find it on these images, use it, and keep it in the weights file.
    bands, scale: how images of `data` are read that are not those of the training. font: a file, for names of classes
    in pictures. devices: several of this machine, see `named_devices`, each for a share of the images.
    precision: "32", "bf16", "16" or "64". compile: the network, by torch.compile.
    """

    weights: PathLike
    config: str | None = None
    data: Path | None = None
    split: str = "val"
    out: Path | None = None
    pictures: int = 6
    report: Path | None = None
    confusion: tuple[Path, ...] = ()
    metrics: str | None = None
    groups: tuple[str, ...] = ()
    empty_images: str | None = None
    roi: Path | None = None
    slide: str | None = None
    blend: str | None = None
    augment: str | None = None
    bands: str | None = None
    scale: str | None = None
    threshold: float | None = None
    choose_threshold: bool = False
    batch: int = 1
    workers: int | None = None
    device: str = "auto"
    font: Path | None = None
    precision: str = "32"
    compile: bool = False
    key: str | None = None
    prefix: str | None = None
    devices: str | None = None
    mean: str | None = None


def evaluate_model(request: EvaluationRequest) -> Report | None:
    """Evaluate, print the table, write eval.json, eval.csv and pictures; and the page where one is asked for.

    None where the config has test images only written for a benchmark's server (`RunSpec.submission`).

    Raises ValueError where the data do not fit the model, or nothing is labelled.
    """
    if request.font is not None:
        use_font(request.font)
    _check(request)
    if request.data is None and (request.bands or request.scale):
        raise ValueError("--bands and --scale are for images unlike those of the training: name these with --data")
    names = named_devices(request.devices, request.device)
    model = _opened(request, "cpu" if names else request.device)
    for note in model.notes:
        say(f"note: {note}")
    _check_unseen(model, request)
    if model.spec.inference.answer == "depth":
        _check_depth(request)
    if request.split == "test" and request.data is None and request.metrics is None and model.spec.submission:
        write_submission(model, request)
        return None
    scoring = _Scoring.of(model, request, computes=not names)
    model, pipeline, metric, gallery = scoring.model, scoring.pipeline, scoring.metric, scoring.gallery
    _compare_classes(model, pipeline)
    as_usual = (request.data, request.roi, request.metrics, request.empty_images, request.threshold)
    usual = not any((*as_usual, request.slide, request.augment))
    folder = request.out or _default_folder(model, request, usual=usual)
    if not request.choose_threshold and request.threshold is None and (note := kept_note(model.spec, model.meta)):
        say(f"note: {note} ({changed_by(model.task)})")
    check_confusion(request.confusion, metric.metric)
    report = _together(names, scoring, request) if names else scoring.score(request)
    predictor = scoring.predictor
    if request.choose_threshold and (report.threshold is not None or report.thresholds):
        predictor = predictor_at(predictor, report.threshold, tuple(report.thresholds.values()))
        _keep(model, report, as_trained=usual and request.split == "val")
    show(report, metric, pipeline, *predictor.shown_values, folder=folder, split=request.split)
    save_confusion(request.confusion, metric.metric, title=f"{model.title}, {request.split}")
    if request.report is not None and gallery is not None:
        origin = "the config of the run" if request.data is None else str(request.data)
        facts = {"split": request.split, "from": origin}
        facts |= {} if request.roi is None else {"inside": str(request.roi)}
        say(f"report: {write_page(request.report, gallery, report, pipeline, model, predictor, facts)}")
    return report


def _opened(request: EvaluationRequest, device: str) -> OpenModel:
    model = open_models(
        request.weights, mean=request.mean, windows_given=request.slide is not None,
        config=request.config, device=device, precision=request.precision, compile=request.compile,
        bands=parse_bands(request.bands) if request.bands else None, scale=request.scale,
        key=request.key, prefix=request.prefix,
    )  # fmt: skip
    return replace(model, spec=of_split(model.spec, request.split))


@dataclass(frozen=True)
class _Scoring:
    """What one pass over the images takes, in any process. gallery: the metric inside `metric`, where a page is wanted.

    model: with its views and scores.
    """

    model: OpenModel
    pipeline: Pipeline
    predictor: Predictor
    metric: Worst
    gallery: Gallery | None

    @classmethod
    def of(cls, model: OpenModel, request: EvaluationRequest, *, computes: bool = True) -> _Scoring:
        """That of an opened model. Raises ValueError where the data do not fit it. computes: see `predictor`."""
        pipeline = within(labelled_images(model, request.data, request.split), request.roi)
        dataset = pipeline.dataset
        check_dataset(model.spec, dataset)
        model = with_views(
            model, slide=request.slide, blend=request.blend, augment=request.augment, threshold=request.threshold
        )
        model = with_scores(model, metrics=request.metrics, groups=request.groups, empty_images=request.empty_images)
        augment = request.augment is not None
        predictor = model.predictor(dataset.classes, dataset.palette, augment=augment, computes=computes)
        gallery = None if request.report is None else gallery_for(model.spec, dataset.classes, request.pictures)
        counted = gallery or build_metric(model.spec, dataset.classes)
        return cls(model, pipeline, predictor, Worst(counted, dataset.ignore_index, request.pictures), gallery)

    def score(self, request: EvaluationRequest, link: Link | None = None) -> Report:
        """Go through the images; link: to other processes, with which they are shared."""
        predictor = self.predictor
        if request.choose_threshold:
            predictor = _at_best(predictor, self.pipeline, request, link)
        with _counting("evaluating", len(self.pipeline), link) as count:
            return run_evaluation(
                predictor, self.pipeline, self.metric,
                batch_size=request.batch, workers=_workers(request, self.pipeline), progress=count, runtime=link,
                on_prediction=None if self.gallery is None else self.gallery.named,
                task=None if is_exported(self.model.task) or self.model.others else self.model.task,
            )  # fmt: skip


# --- Several devices ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Share:
    """What a process has to give: the report and the counts of all, and what it keeps of its own images."""

    report: Report
    state: Tensor
    kept: list[tuple[float, int, Map]]
    gallery: Gallery | None


@dataclass(frozen=True, slots=True)
class _Pass:
    """Images that a process has just done, of how many; title: of the pass."""

    title: str
    images: int


def _together(names: Sequence[str], scoring: _Scoring, request: EvaluationRequest) -> Report:
    """Score on devices, a share of the images for each; what they have counted is what one would have.

    Raises ValueError if a process has ended: what it had counted is lost with it.
    """
    shares: dict[int, _Share] = {}
    with DeviceProcesses(names, partial(_score_share, request)) as processes, progress("evaluating") as bar:
        done: Counter[str] = Counter()
        for rank, message in processes.events():
            if isinstance(message, Lost):
                raise ValueError(f"{message}; there are no scores without its share of the images: run it again")
            if isinstance(message, _Pass):
                done[message.title] += message.images
                bar(done[message.title], len(scoring.pipeline))
            else:
                shares[rank] = message
    each = [shares[rank] for rank in sorted(shares)]
    scoring.metric.load_state(each[0].state)
    scoring.metric.join([share.kept for share in each])
    if scoring.gallery is not None:
        scoring.gallery.join([share.gallery for share in each if share.gallery is not None])
    return each[0].report


def _score_share(request: EvaluationRequest, link: Link) -> None:
    """What a process does."""
    scoring = quietly(lambda device: _Scoring.of(_opened(request, device), request), link.device)
    with notices_shown():
        report = scoring.score(request, link)
    link.tell(_Share(report, scoring.metric.state().cpu(), scoring.metric.kept, scoring.gallery))


# --- What makes sense ---------------------------------------------------------------------------------------------


def _check_unseen(model: OpenModel, request: EvaluationRequest) -> None:
    """Raises ValueError where images that nobody named are validation images of one model, and of others perhaps not.

    Those of a fold are what the networks of all other folds were trained on.
    """
    if not model.others or request.data is not None or request.split == "test":
        return
    sets = [_validated_on(one) for one in (model, *model.others)]
    if any(one != sets[0] for one in sets):
        raise ValueError(
            f"the {len(sets)} models were validated on different images, so that the others may have been trained on "
            "those of one: score them together on images that none has seen, with --split test, or others with --data "
            "DIR; each image by the fold that has not seen it is `together` in the cv.json of a cross-validation"
        )


def _validated_on(model: OpenModel) -> object:
    """What tells the validation images of one model from those of another: their files, or else what describes them."""
    if model.spec.val is None:
        return None
    described = model.spec.val.dataset
    dataset = labelled_images(model, None, "val").dataset
    if isinstance(dataset, FolderDataset):
        return [Path(path).resolve() for path in _image_paths(dataset)]
    file = Path(str(described.args.get("file", "")))
    return file.read_text(encoding="utf-8") if file.is_file() else described


def _check_depth(request: EvaluationRequest) -> None:
    """Raises ValueError for an option that is about classes."""
    if request.data is not None:
        raise ValueError(
            "--data describes labels of classes, and this model answers with depths: name the images in a config, as a "
            "NYUDataset, and give that with --config FILE"
        )
    of_classes = {
        "--report": request.report, "--confusion": request.confusion, "--metrics": request.metrics,
        "--group": request.groups, "--threshold": request.threshold,
    }  # fmt: skip
    for option, value in of_classes.items():
        if value not in (None, ()):
            raise ValueError(
                f"{option} is about classes, and this model answers with depths: their scores are those of the "
                "config's DepthMetric, in eval.json and eval.csv, with pictures beside them"
            )


@contextmanager
def _counting(title: str, total: int, link: Link | None) -> Iterator[Callable[[int], None]]:
    """A bar, and the function that moves it by a number of images; in one of several processes it is the first's."""
    if link is not None:
        yield lambda images: link.tell(_Pass(title, images))
        return
    done = 0
    with progress(title) as bar:

        def count(images: int) -> None:
            nonlocal done
            done += images
            bar(done, total)

        yield count


def _workers(request: EvaluationRequest, pipeline: Pipeline) -> int:
    return min(2, len(pipeline), available_cores()) if request.workers is None else request.workers


def _check(request: EvaluationRequest) -> None:
    """What makes no sense whatever the model is."""
    for option, place in (("--out", request.out), ("--report", request.report)):
        if place is not None:
            refuse_output(place, option)
    if not request.choose_threshold:
        return
    if request.threshold is not None:
        raise ValueError("--choose-threshold finds the threshold that --threshold names: leave out one of them")
    if request.split == "test":
        raise ValueError(
            "--choose-threshold on the images that the model is judged by would flatter it: choose on --split val, "
            "and evaluate with --split test afterwards"
        )


def _at_best(predictor: Predictor, pipeline: Pipeline, request: EvaluationRequest, link: Link | None) -> Predictor:
    """The predictor at the threshold that suits these images best."""
    talks = link is None or link.rank == 0
    workers = _workers(request, pipeline)
    if predictor.multi_label:
        with _counting("choosing thresholds", len(pipeline), link) as count:
            each, lines = choose_each(
                predictor, pipeline, batch=request.batch, workers=workers, progress=count, link=link
            )
        for line in lines if talks else ():
            say(f"threshold of {line}")
        return predictor_at(predictor, None, each)
    with _counting("choosing a threshold", len(pipeline), link) as count:
        threshold, gain = choose(predictor, pipeline, batch=request.batch, workers=workers, progress=count, link=link)
    if talks:
        say(f"threshold {threshold:.4f} chosen: {gain}")
    return predictor_at(predictor, threshold)


def _keep(model: OpenModel, report: Report, *, as_trained: bool) -> None:
    """Write the threshold of a report into the weights file, if that has a place for it."""
    chosen = report.threshold if report.threshold is not None else tuple(report.thresholds.values())
    each = "" if isinstance(chosen, float) else " of each class"
    if model.others:
        value = f"; give it to predict with --threshold {chosen:.10g}" if isinstance(chosen, float) else ""
        say(f"{model.title} have no file that could keep the threshold{each}{value}")
        return
    if local(model.file) is not None and keeps_threshold(model.file) and not model.recipe:
        keep(model.file, chosen, report if as_trained else None)
        say(f"{model.file} keeps the threshold{each}: predict, eval and intarsia.load use it from now on")
    elif report.threshold is None:
        say(f"{model.file} cannot keep the thresholds: train, or convert it to a weights file, first")
    else:
        say(f"{model.file} cannot keep the threshold: give it to predict with --threshold {report.threshold:.10g}")


def write_submission(model: OpenModel, request: EvaluationRequest) -> None:
    """Write the test images of the config as its `test_evaluator` wants them, and say how they are checked.

    Raises ValueError where an image cannot be predicted.
    """
    from intarsia.workflows.predict import PredictRequest, predict

    submission = model.spec.submission
    assert submission is not None
    dataset = labelled_images(model, None, "test").dataset
    folder = request.out or Path(submission.folder or _submission_folder(model, request))
    say(f"the config's test_evaluator has format_only: {len(dataset)} test images are written, and not scored")
    whole = predict(
        PredictRequest(
            weights=request.weights, config=request.config, key=request.key, prefix=request.prefix,
            inputs=tuple(_image_paths(dataset)), out=f"{folder}/", save="label", file_format=submission.format,
            slide=request.slide, blend=request.blend, augment=request.augment, threshold=request.threshold,
            device=request.device, devices=request.devices, geotiff=False, precision=request.precision,
            compile=request.compile, mean=request.mean,
        )
    )  # fmt: skip
    if not whole:
        raise ValueError(f"{folder} is not complete: what is named above could not be predicted")
    if submission.format in SERVERS:
        is_run = (found := local(request.weights)) is not None and found.is_dir()
        origin = request.config or model.recipe or (request.weights if is_run else "CONFIG")
        command = f"intarsia eval --predictions {folder} --format {submission.format} --config {origin} --split test"
        say(f"to check them before they are sent: {command}")


def _submission_folder(model: OpenModel, request: EvaluationRequest) -> Path:
    """Beside the weights, unless they were fetched: the cache is no place for results."""
    if model.others:
        return _folder_of_all(request) / "submission"
    if local(request.weights) is None:
        return Path(f"{model.recipe or Path(request.weights).name}_submission")
    return model.file.parent / "submission"


def _folder_of_all(request: EvaluationRequest) -> Path:
    """Where results of several models lie: in the folder that holds these, or else here."""
    return local(request.weights) or Path()


def _image_paths(dataset: Dataset) -> list[str]:
    """The files of the images."""
    if isinstance(dataset, FolderDataset):
        return [dataset.paths(index)[0] for index in range(len(dataset))]
    return [dataset.load(index).meta.image_path for index in range(len(dataset))]


def _default_folder(model: OpenModel, request: EvaluationRequest, *, usual: bool) -> Path:
    """Beside the weights; scores of other data, or found in another way, do not overwrite those of the run."""
    as_trained = usual and request.split == "val"
    if model.others:
        return _folder_of_all(request) / ("together_eval" if as_trained else f"together_eval_{request.split}")
    if local(request.weights) is None:  # fetched: the file is in the cache, which is no place for scores
        name = model.recipe or Path(request.weights).name
        return Path(f"{name}_eval" if as_trained else f"{name}_eval_{request.split}")
    beside = model.file.parent
    return beside if as_trained else beside / f"eval_{request.split}"


def _compare_classes(model: OpenModel, pipeline: Pipeline) -> None:
    """Refuse data with another number of classes; say so where only the names differ."""
    found, known = tuple(pipeline.dataset.classes), tuple(model.meta.classes)
    check_dataset(model.spec, pipeline.dataset)
    if known and len(known) == len(found) and known != found:
        pairs = ", ".join(f"{a} = {b}" for a, b in zip(known, found, strict=True) if a != b)
        warn(f"the weights and the data name their classes differently; they are taken in order: {pairs}")
