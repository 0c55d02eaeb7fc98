"""What training will see: images after the whole training pipeline, several draws of each, as a picture or a page.

The draws are those of the training itself: draw n of an image is the sample that it becomes in the n-th epoch of a run
with this config and seed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from intarsia import recipes
from intarsia.config.build import build_pipeline, import_parts
from intarsia.config.checking.check import check
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config, read_file
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Sample
from intarsia.data.labels import shown_values
from intarsia.data.pipeline import Pipeline
from intarsia.data.sampling import Order, sample_rng
from intarsia.spec import Component, RunSpec
from intarsia.visual.contact_sheet import Tile, contact_sheet
from intarsia.visual.files import save_picture
from intarsia.visual.picture import as_picture, ends_of
from intarsia.visual.report.augmented import AugmentedContent, View, save_augmented_page
from intarsia.workflows.adjust import TrainingOptions
from intarsia.workflows.names import CONFIG_SUFFIXES
from intarsia.workflows.training_config import TrainingRequest, training_config

RECIPE = "segformer_mit-b0"
"""Whose pipeline is shown of data alone. All recipes for own data have the same, but for what some heads learn besides.
"""
MOST_ON_A_PAGE = 60
"""Images of a page: each comes with all its draws, and the page is one file."""
_TILE = 200


@dataclass(frozen=True, kw_only=True)
class AugmentedRequest:
    """What is to be shown.

    place: a folder of images and masks, a data description, a config, a run's folder or a recipe. data: the data for a
    recipe or config. count: images, evenly spread over the data set. draws: of each. out: a picture, or an .html page.
    augment, crop, seed: as ``intarsia train`` takes them.
    """

    place: str
    out: Path
    data: Path | None = None
    count: int = 6
    draws: int = 5
    augment: str | None = None
    crop: tuple[int, int] | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """An image as its file has it, and as training sees it in the first epochs."""

    original: Sample
    draws: tuple[Sample, ...]


def show_augmented(request: AugmentedRequest) -> str:
    """Write the picture or page; gives a line about it. Raises ValueError for what cannot be trained on."""
    with tempfile.TemporaryDirectory() as folder:
        spec = _spec(_config(request, Path(folder) / "data.yaml"))
        assert spec.train is not None
        pipeline = build_pipeline(spec.train)
        count = min(request.count, len(pipeline))
        if request.out.suffix == ".html":
            count = min(count, MOST_ON_A_PAGE)
        chosen = [index * len(pipeline) // count for index in range(count)]
        seed = spec.seed if spec.train.order_seed is None else spec.train.order_seed
        order = Order(len(pipeline), seed=seed, shuffle=spec.train.shuffle)
        seen = [
            Seen(pipeline.dataset.load(index), tuple(draws))
            for index, draws in zip(chosen, drawn(pipeline, order, chosen, request.draws, seed=spec.seed), strict=True)
        ]
        steps = [_words(step) for step in spec.train.steps]
        _write(request, pipeline, seen, steps, spec.seed)
    return f"{count} of {len(pipeline)} training images, {request.draws} draws each (seed {spec.seed}): {request.out}"


def drawn(pipeline: Pipeline, order: Order, images: Sequence[int], draws: int, *, seed: int) -> list[list[Sample]]:
    """For each image (its index in the data set) what training sees of it in its first epochs."""
    wanted = set(images)
    found: dict[int, list[Sample]] = {index: [] for index in images}
    for position in range(draws * order.length):
        index = order.index(position)
        if index in wanted:
            found[index].append(pipeline.get(index, sample_rng(seed, position)))
    return [found[index] for index in images]


def _config(request: AugmentedRequest, file: Path) -> Config:
    name, data = request.place, request.data
    if data is None and _is_data(name):
        name, data = RECIPE, Path(request.place)
    training = TrainingOptions(crop=request.crop, seed=request.seed, workers=0)
    asked = TrainingRequest(name=name, out=file.parent, data=data, training=training, augment=request.augment)
    return training_config(asked, file)


def _is_data(place: str) -> bool:
    """Whether a name is that of data, and not of a config, a recipe or a run."""
    path = Path(place)
    if recipes.is_published(place) or recipes.is_for_data(place) or (path / "config.py").is_file():
        return False
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return "train_dataloader" not in read_file(path).values
    return path.suffix not in CONFIG_SUFFIXES and path.exists()


def _spec(config: Config) -> RunSpec:
    problems = check(config)
    if problems:
        raise ConfigError(problems)
    spec = lower(config)
    if spec.train is None:
        raise ValueError(f"{config.file} describes no training: it has no train_dataloader")
    import_parts(spec)
    return spec


def _words(step: Component) -> tuple[str, str]:
    return step.type, ", ".join(f"{name}={value!r}" for name, value in step.args.items())


# --- Painting -----------------------------------------------------------------------------------------------------


def _write(
    request: AugmentedRequest, pipeline: Pipeline, seen: Sequence[Seen], steps: Sequence[tuple[str, str]], seed: int
) -> None:
    dataset = pipeline.dataset
    classes, palette = shown_values(dataset)
    rows = {one.original.meta.name or str(number): _views(one) for number, one in enumerate(seen)}
    title = f"What training sees of {request.place}"
    if request.out.suffix == ".html":
        said = f"{len(rows)} of {len(pipeline)} images; draw n is what epoch n of a training with seed {seed} sees."
        content = AugmentedContent(title, said, steps, rows, classes, palette, dataset.ignore_index)
        save_augmented_page(request.out, content)
        return
    tiles = [
        Tile(view.image, view.label, name if number == 0 else view.caption)
        for name, views in rows.items()
        for number, view in enumerate(views)
    ]
    lines = [f"{number}. {name}({arguments})" for number, (name, arguments) in enumerate(steps, 1)]
    sheet = contact_sheet(
        tiles,
        classes=classes,
        palette=palette,
        columns=request.draws + 1,
        tile_width=_TILE,
        ignore_index=dataset.ignore_index,
        heading=[title, *lines],
    )
    save_picture(request.out, sheet)


def _views(one: Seen) -> list[View]:
    """Pictures of an image and its draws, all with the original's stretch, so that brightness can be compared."""
    ends = ends_of(one.original.image)
    parts = [("as it is", one.original), *((f"draw {n}", draw) for n, draw in enumerate(one.draws, 1))]
    return [View(as_picture(part.image, ends), _label(part), caption) for caption, part in parts]


def _label(sample: Sample) -> npt.NDArray[Any] | None:
    """None for depths, which are no classes."""
    return None if sample.label is None or sample.label.dtype.kind == "f" else sample.label
