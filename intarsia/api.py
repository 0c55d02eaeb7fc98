"""The public Python API: `intarsia.load`, `intarsia.predict`, `intarsia.read_config`, `intarsia.list_models`.

Importing this module loads no torch; the functions do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from intarsia.contracts import Backbone, PathLike, Task
from intarsia.spec import Component, RunSpec

if TYPE_CHECKING:
    import torch

    from intarsia.config.language.reader import Config
    from intarsia.data.image_reader import ImageReader
    from intarsia.inference.predictor import Predictor
    from intarsia.weights.about import About
    from intarsia.weights.file import WeightsMeta
    from intarsia.weights.pretrained.fit import FirstConvolution

RUN_WEIGHTS = "weights.safetensors"
"""The name of the weights file in the folder of a run."""


def load(
    weights: PathLike | Sequence[PathLike],
    *,
    device: torch.device | str | None = None,
    bands: Sequence[int] | None = None,
    scale: str | None = None,
    max_pixels: int | None = None,
    threshold: float | None = None,
    precision: str = "32",
    compile: bool = False,
    mean: str | None = None,
) -> Predictor:
    """The model of a weights file, ready to predict; or several models as one, whose mean decides.

    weights: a .safetensors file that Intarsia wrote, or the folder of a run; it holds everything that is needed. Or a
    folder as transformers saves it (SegFormer, UPerNet, MaskFormer, Mask2Former). Or the name of a published checkpoint
    or hf://OWNER/NAME of the Hugging Face Hub, which are fetched once and then kept. Several of these, in a list or
    joined by "+", are models of the same classes, bands, scale, test pipeline and windows that answer together; the
    folder of `intarsia cv`, or of nnU-Net's results with several folds, stands for its folds.
    device: by default a GPU if there is one. Threads may share the predictor.
    bands: which bands of an image the model takes, counted from 1, where files do not say it.
    scale: what becomes of values that are not those of the training: "MIN,MAX" for those that become the ends of its
    range (0 and 255 for colours), or a pair for each band; "training": the upper 8 of 16 bits; "none": as they are.
    max_pixels: of the largest image that is read, by default 2**28.
    threshold: of two classes, the probability of the second above which a pixel gets it; by default the one that was
    chosen on the validation images, if the file keeps one, which is said, or what the config says.
    precision: "32", or "bf16" or "16": half precision, faster where the device has instructions for it; labels differ
    where two classes are nearly alike.
    compile: whether the network goes through torch.compile, which takes its time at the first image and is kept for the
    next process.
    mean: of several models, what is averaged: "probabilities", or "logits", by default of nnU-Net's networks alone.
    A model of depth gives a `DepthPredictor`, whose predictions have `.depth` instead of `.label`.

    Raises ValueError if the file is missing, damaged, not one of ours, or does not fit its own description, cannot be
    fetched, if there is no such device, no such precision or no compiler, and for these two of an exported file; if
    several models contradict each other.
    """
    from intarsia.export.runtime import is_exported
    from intarsia.inference.threshold import predictor_at
    from intarsia.terminal import say
    from intarsia.workflows.locate import local, members_of
    from intarsia.workflows.thresholds import kept_note

    members, chosen, kept = members_of(weights), _checked_device(device), threshold is None
    options: dict[str, Any] = {"bands": bands, "scale": scale, "max_pixels": max_pixels}
    options |= {"precision": precision, "compile": compile}
    if len(members) > 1:
        if exported := [path for path in map(local, members) if path is not None and is_exported(path)]:
            raise ValueError(f"{exported[0]} is an exported file: several models are taken together as weights")
        found = [_trained(member, device=chosen, kept=kept, **options) for member in members]
        return predictor_at(_together(found, mean, kept=kept), threshold)
    if mean is not None:
        raise ValueError(f"mean={mean!r} is for several models, and {weights} is one: load([A, B], mean={mean!r})")
    path = local(members[0])
    if path is not None and is_exported(path):
        return _exported(path, threshold, device=chosen.type if device is not None else "cpu", **options)
    predictor, spec, meta, file = _trained(members[0], device=chosen, kept=kept, **options)
    if kept and (note := kept_note(spec, meta)):
        say(f"{file}: {note} (load(..., threshold=) changes it)")
    return predictor_at(predictor, threshold)


def _exported(
    path: Path, threshold: float | None, *, device: str, precision: str, compile: bool, **images: Any
) -> Predictor:
    """The predictor of an exported file. images: of `reader_for`."""
    from intarsia.colours import distinct_colours
    from intarsia.export.runtime import check_execution
    from intarsia.inference.threshold import predictor_at
    from intarsia.workflows.exported_model import open_exported

    check_execution(path, precision=precision, compile=compile)
    opened = open_exported(path, device=device)
    reader = reader_for(opened.spec, opened.meta.image, **images)
    colours = opened.meta.palette or distinct_colours(len(opened.meta.classes))
    return predictor_at(
        predictor_for(opened.spec, opened.task, classes=opened.meta.classes, palette=colours, reader=reader), threshold
    )


class _Trained(NamedTuple):
    """A predictor with what its file says; spec with the threshold that it keeps, if that is wanted."""

    predictor: Predictor
    spec: RunSpec
    meta: WeightsMeta
    file: Path


def _trained(
    weights: PathLike, *, device: torch.device, kept: bool, precision: str, compile: bool, **images: Any
) -> _Trained:
    """One model. kept: by the threshold that its file keeps. images: of `reader_for`."""
    from intarsia.colours import distinct_colours
    from intarsia.config.build import build_task
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower
    from intarsia.weights.file import apply_state
    from intarsia.workflows.thresholds import as_kept

    found, optional = _opened(weights)
    path, meta = found.path, found.meta
    spec = lower(Config.from_values(meta.config, file=str(path))) if meta.config else None
    missing = [name for name in ("config", "classes") if not getattr(meta, name)]
    if spec is not None and spec.inference.answer == "depth":
        missing = []  # which has no classes
    if missing or spec is None:
        raise ValueError(
            f"{path} does not say its {' and '.join(missing)}: it holds tensors to start a training from, not a model "
            "to predict with. Train with `intarsia train RECIPE --weights FILE`, and predict with what that leaves"
        )
    if kept:
        spec = as_kept(spec, meta)
    task = build_task(spec)
    apply_state(task.get_submodule("model"), found.state()[0], optional=optional)
    palette = meta.palette or distinct_colours(len(meta.classes))
    predictor = predictor_for(
        spec, task, classes=meta.classes, palette=palette, device=device,
        reader=reader_for(spec, meta.image, **images), precision=precision, compile=compile,
    )  # fmt: skip
    return _Trained(predictor, spec, meta, path)


def _together(found: Sequence[_Trained], mean: str | None, *, kept: bool) -> Predictor:
    """Several models as one. kept: by the thresholds that their files keep.

    Raises ValueError if they contradict each other.
    """
    from intarsia.inference.ensemble import Member, check_members, mean_inference, mean_of, mean_reader
    from intarsia.terminal import say
    from intarsia.workflows.thresholds import kept_by_all, kept_note

    members = [
        Member.of(
            str(one.file), one.spec, one.predictor.task.model, one.predictor.reader,
            classes=one.meta.classes, palette=one.meta.palette, regions=one.meta.regions,
        )
        for one in found
    ]  # fmt: skip
    check_members(members)
    averaged = mean_of(members, mean)
    spec = replace(found[0].spec, inference=mean_inference([one.spec.inference for one in found], averaged))
    if kept and (note := kept_note(spec, kept_by_all([one.meta for one in found], spec.inference))):
        say(f"{len(found)} models: {note} (load(..., threshold=) changes it)")
    joined = found[0].predictor.together([one.predictor for one in found[1:]], averaged)
    joined.inference, joined.reader = spec.inference, mean_reader(members)
    return joined


def predict(weights: PathLike | Sequence[PathLike], image: Any, *, device: torch.device | str | None = None) -> Any:
    """Load a model and predict once: `load(weights, device=device).predict(image)`. For more, keep the loaded model."""
    return load(weights, device=device).predict(image)


def read_config(path: PathLike) -> Config:
    """A config file with all that it inherits from: `.values`, and `.origin(path)` for where each was written.

    Nothing in the file is run. Raises ValueError with file and line for whatever is wrong.
    """
    from intarsia.config.language.reader import read_file

    return read_file(path)


def list_models(pattern: str | Sequence[str] | None = None) -> list[str]:
    """The names of all recipes: first those for one's own data, then the published ones with their settings.

    pattern: of the names, with * and ? as in file names, "*swin*", or several; capitals do not matter. Decoders on
    networks of timm ("unet_timm:NAME") are not listed, as there are too many: `timm.list_models` has their names.
    """
    from fnmatch import fnmatchcase

    from intarsia import recipes

    names = list(dict.fromkeys([*recipes.own_names(), *recipes.names(), *recipes.later_names()]))
    patterns = ["*"] if pattern is None else [pattern] if isinstance(pattern, str) else pattern
    return [name for name in names if any(fnmatchcase(name.lower(), one.lower()) for one in patterns)]


def trunk(
    model_name: str, *, pretrained: bool | str = True, first_convolution: FirstConvolution = "repeat", **arguments: Any
) -> Backbone:
    """A network of timm or of transformers as a backbone: images (N, C, H, W), normalised -> its levels, which
    `.features` describes.

    model_name: as timm knows it, "convnext_tiny.in12k"; or "hf://OWNER/NAME", or a folder with a config.json, for a
    backbone of transformers. pretrained: whether it starts from the weights that are published under that name, which
    are fetched once; or a file of weights. first_convolution: how it is made for other bands than three. arguments: of
    `intarsia.backbones.timm.TIMM`, or of `intarsia.backbones.hf.HFBackbone`.

    Raises ValueError for a name, arguments or weights that there are not, and where the library is not installed.
    """
    from intarsia import catalog
    from intarsia.terminal import say
    from intarsia.workflows.hub_trunks import is_of_transformers, values_at
    from intarsia.workflows.pretrained import load_into

    of_transformers = is_of_transformers(model_name)
    kind = catalog.resolve("backbone", "HFBackbone" if of_transformers else "TIMM")
    _check_arguments(arguments, list(signature(kind).parameters)[1:])
    network = kind(values_at(model_name) if of_transformers else model_name, **arguments)
    published = model_name if of_transformers else f"timm://{model_name}"
    if pretrained is not False:
        written = published if pretrained is True else pretrained
        for note in load_into(network, written, first_convolution).notes:
            say(note)
    found: Backbone = network
    return found


def _check_arguments(arguments: Mapping[str, Any], known: Sequence[str]) -> None:
    """Of `trunk`. Raises ValueError for one that there is not."""
    for name in (name for name in arguments if name not in known):
        near = difflib.get_close_matches(
            {"bands": "in_channels", "in_chans": "in_channels"}.get(name, name), known, n=1
        )
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"trunk() has no argument {name!r}; {hint}There are: {', '.join(known)}")


def predictor_for(
    spec: RunSpec,
    task: Task,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    device: torch.device | str | None = None,
    augment: bool = False,
    reader: ImageReader | None = None,
    precision: str = "32",
    compile: bool = False,
) -> Predictor:
    """A predictor for a task built from `spec`, with the transforms of its test (or validation) pipeline.

    Of a model of depth it is a `DepthPredictor`, for which `classes`, the kinds of rooms, may be empty.

    device: by default where the task is. augment: average over the views that `spec` names, or the usual ones.
    reader: of the images; by default as `spec` reads those of its data sets. precision, compile: see `load`.
    """
    from intarsia.config.build import build
    from intarsia.export.task import ExportedDepthPredictor, ExportedPredictor, is_exported
    from intarsia.inference.depth_predictor import DepthPredictor
    from intarsia.inference.predictor import Predictor

    of_depth = spec.inference.answer == "depth"
    kind: type[Predictor] = DepthPredictor if of_depth else Predictor
    if is_exported(task):
        kind = ExportedDepthPredictor if of_depth else ExportedPredictor
    if of_depth and not classes:
        classes, palette = ("any room",), ((0, 0, 0),)
    data = spec.test or spec.val
    return kind(
        task,
        inference=spec.inference,
        augment=augment,
        transforms=[build(transform) for transform in data.first_steps] if data is not None else [],
        classes=classes,
        palette=palette,
        device=device,
        reader=reader or reader_for(spec),
        precision=precision,
        compile=compile,
    )


def reader_for(
    spec: RunSpec,
    image: Mapping[str, Any] | None = None,
    *,
    bands: Sequence[int] | None = None,
    scale: str | None = None,
    max_pixels: int | None = None,
) -> ImageReader:
    """What reads images for a model built from `spec`.

    image: what its weights say about the images of their training (`WeightsMeta.image`). The others: see `load`.

    Raises ValueError for bands, a scale or a description that makes no sense.
    """
    from intarsia.data.bands import band_mode
    from intarsia.data.image_reader import ImageReader
    from intarsia.data.image_spec import ImageSpec
    from intarsia.data.value_range import Scale

    data = spec.test or spec.val or spec.train
    words = set() if data is None else {band_mode(word) for word in _bands(data.dataset)}
    images = ImageSpec.from_json(
        image or {}, bands="raw" if "raw" in words else "rgb", channels=len(spec.preprocess.mean)
    )
    return ImageReader(
        images, None if bands is None else tuple(bands), None if scale is None else Scale.parse(scale), max_pixels
    )


def _opened(weights: PathLike) -> tuple[About, tuple[str, ...]]:
    """What the weights say about themselves, and which parts they may lack or have in vain.

    Raises ValueError for files that do not say which model they belong to.
    """
    from intarsia.weights.about import about, is_described_folder
    from intarsia.weights.file import AUXILIARY, read_meta
    from intarsia.workflows.locate import locate
    from intarsia.workflows.names import look_into

    located = locate(weights)
    if located.checkpoint is not None or is_described_folder(located.path):
        return look_into(located), AUXILIARY
    path = _weights_file(located.path)
    read_meta(path)
    return about(path), ()


def _weights_file(path: Path) -> Path:
    if path.is_dir():
        if not (path / RUN_WEIGHTS).is_file():
            raise ValueError(
                f"{path} holds no {RUN_WEIGHTS}; expected a weights file or the folder of a run that got that far"
            )
        return path / RUN_WEIGHTS
    if path.is_file() and path.suffix != ".safetensors":
        raise ValueError(
            f"{path} is not a weights file of Intarsia (.safetensors). Make one of it: `intarsia weights convert FILE "
            "-o OUT.safetensors`, with --config where the file does not say which model its tensors belong to"
        )
    return path


def _bands(dataset: Component) -> Iterator[str]:
    """How the files of a data set, and of those it wraps, are read."""
    if "bands" in dataset.args:
        yield dataset.args["bands"]
    for value in dataset.args.values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Component):
                yield from _bands(part)


def _checked_device(device: torch.device | str | None) -> torch.device:
    import torch

    if device is None:
        return torch.device(_best_device())
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # so torch says that it was built without
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={str(device)!r}: torch cannot use it ({reason}); `intarsia doctor` shows those of this machine"
        ) from None
    return chosen


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
