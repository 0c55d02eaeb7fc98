"""`intarsia.create_model`: a network by name, as a module of torch for anybody's own loop."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia import recipes
from intarsia.config.language.reader import Config
from intarsia.contracts import IGNORE_INDEX, PathLike
from intarsia.recipes.decoder_options import DecoderOptions, with_options
from intarsia.recipes.trunk_heads import HEADS
from intarsia.spec import RunSpec
from intarsia.terminal import say
from intarsia.workflows.hub_trunks import network_at
from intarsia.workflows.model_arguments import check_name, counted, recipe_mark, say_if_of_another_scale

if TYPE_CHECKING:
    from intarsia.tasks.classifying_model import Activation
    from intarsia.tasks.segmentation_model import SegmentationModel
    from intarsia.weights.about import About
    from intarsia.weights.pretrained.fit import FirstConvolution

_COLOURS = 3


def create_model(
    name: PathLike,
    *,
    trunk: PathLike | None = None,
    num_classes: int | None = None,
    bands: int | None = None,
    pretrained: bool | PathLike | None = "auto",
    weights: PathLike | None = None,
    normalise: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    auxiliary: bool = False,
    image_classes: bool = False,
    depth: int | None = None,
    decoder_channels: int | Sequence[int] | None = None,
    decoder_attention_type: str | None = None,
    decoder_interpolation: str | None = None,
    decoder_norm: str | Mapping[str, Any] | None = None,
    first_convolution: FirstConvolution = "repeat",
    allow_partial: bool = False,
) -> SegmentationModel:
    """A network as a module of torch: images (N, bands, H, W) of any size -> scores (N, num_classes, H, W).

    name: a decoder with `trunk` ("unet", "deeplabv3plus", "upernet" ...: all that may stand before `_timm:` in a
    recipe), any other recipe ("segformer_mit-b0"), or weights of ours: a file or the folder of a run, which bring
    classes, bands and normalisation along.
    trunk: a network of timm by its name there, "resnet34", "convnext_tiny.in12k"; or of transformers, "hf://OWNER/NAME"
    or a folder with a config.json.
    num_classes: 1 is a single logit, for a sigmoid. Of a published recipe and of weights by default theirs.
    bands: of the images, by default 3.
    pretrained: of the trunk, as after `--pretrained`: True must be had, False or None is random weights, "auto" takes
    those that are usual where there are some, and says what it did; or a file, an address, a name.
    weights: of the whole network instead, a file or name; with `allow_partial`, as far as they fit.
    normalise: False takes normalised images, as segmentation_models.pytorch and `intarsia.trunk` do, and leaves it to
    `model.normalise` or to your own pipeline; True takes them as they are stored, 0 to 255 for colours, as everything
    else of Intarsia does.
    mean, std: one number for each band as stored; by default those of the weights, which of colours are always known.
    auxiliary: keep auxiliary heads, if there are any, for `training_outputs`. image_classes: add one that says which
    classes an image shows, as its last (`ImageClassHead`).
    depth, decoder_channels, decoder_attention_type, decoder_interpolation, decoder_norm: of a decoder on a trunk, see
    `DecoderOptions`; each decoder takes some of them, and says which.
    first_convolution: how it is made for other bands than those of pretrained weights.

    See `SegmentationModel` for what the scores are, and what else the module can do.

    Raises ValueError for what there is not, does not fit together, or cannot be had.
    """
    check_name(name)
    if weights is not None and pretrained not in ("auto", False, None):
        raise ValueError("weights has the whole network and pretrained its trunk: give one of them")
    num_classes, bands = counted("num_classes", num_classes), counted("bands", bands)
    say_if_of_another_scale(mean, std)
    source = _source(name, trunk, num_classes, bands, auxiliary=auxiliary)
    options = DecoderOptions(
        depth, decoder_channels, decoder_attention_type, decoder_interpolation, decoder_norm
    )  # fmt: skip
    if options.given:
        source = replace(source, values=with_options(source.values, recipes.decoder(source.recipe), options))
    if image_classes:
        source = replace(source, values=recipes.with_image_classes(source.values))
    if weights is not None:
        from intarsia.workflows.names import find_weights

        source = replace(source, weights=find_weights(weights))
    return built_model(
        source, pretrained=_start(pretrained), normalise=normalise, mean=mean, std=std,
        first_convolution=first_convolution, allow_partial=allow_partial,
    )  # fmt: skip


def _start(pretrained: bool | PathLike | None) -> bool | str:
    return pretrained if isinstance(pretrained, bool) else False if pretrained is None else os.fspath(pretrained)


def built_model(
    source: Source,
    *,
    pretrained: bool | str,
    normalise: bool,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    first_convolution: FirstConvolution = "repeat",
    allow_partial: bool = False,
) -> SegmentationModel:
    """The module of a network that is known, with what it starts from; arguments are those of `create_model`."""
    loads = source.file is not None or source.weights is not None
    start = "none" if loads or pretrained is False else "auto" if pretrained is True else str(pretrained)
    spec = _lowered(source, start, first_convolution)
    if (mean is None) != (std is None):
        raise ValueError("mean and std are given together, or not at all")
    if mean is None and std is None and source.file is None:
        mean, std = _usual_normalisation(source, spec, pretrained)
    model = _module(source, spec, normalises=normalise, knows=source.file is not None)
    if mean is not None and std is not None:
        model.set_normalisation(mean, std)
    if normalise and model.mean is None:
        raise ValueError(
            f"normalise=True needs mean=(...) and std=(...) of the {model.bands} bands, one number for each as stored"
        )
    loaded = _started(model, source, spec, pretrained, allow_partial=allow_partial)
    model.facts = replace(model.facts, loaded=loaded)
    return model


# --- Which network ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Which network is wanted.

    recipe: a name, or "" where `file` says what the network is. values: the section `model` of its config.
    weights: of the whole network, where others than those of `file` are wanted.
    classifies: whether the module gives the scores of images, too; label_activation: what is made of these.
    """

    recipe: str
    values: Mapping[str, Any]
    bands: int
    file: About | None = None
    weights: About | None = None
    classifies: bool = False
    label_activation: Activation = None


def _source(
    name: PathLike, trunk: PathLike | None, num_classes: int | None, bands: int | None, *, auxiliary: bool
) -> Source:
    if _is_file(name, trunk):
        if trunk is not None:
            raise ValueError(f"{name} says which network it is: leave trunk out")
        source = _of_file(name, num_classes, bands)
    else:
        source = _of_recipe(_recipe(str(name), trunk), num_classes, bands)
    kept = {key: value for key, value in source.values.items() if auxiliary or key != "auxiliary_head"}
    return replace(source, values=kept)


def _is_file(name: PathLike, trunk: PathLike | None) -> bool:
    """Whether a name means weights. A recipe's name means the recipe, also where a folder has the same."""
    if isinstance(name, Path) or name.endswith(".safetensors"):
        return True
    known = trunk is not None or recipes.is_for_data(name) or name in recipes.names()
    return not known and Path(name).is_dir()


def _recipe(name: str, trunk: PathLike | None) -> str:
    """The name of a recipe. Raises ValueError for a decoder that there is not, or that stands without a trunk."""
    if trunk is None and name in HEADS and name not in recipes.short_names():
        raise ValueError(
            f"{name} is a decoder: say on which network, trunk='resnet34' (any name of timm, or hf://OWNER/NAME)"
        )
    if trunk is None:
        return name
    if "_timm:" in name or "_hf:" in name:
        raise ValueError(f"{name} says on which network it is: leave trunk out")
    if name.partition("-")[0] not in HEADS:
        near = difflib.get_close_matches(name.lower().replace("+", "plus"), HEADS, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no decoder {name!r} for a trunk.{hint} There are: {', '.join(HEADS)}")
    recipe = f"{name}{recipe_mark(trunk)}"
    if not recipes.decoder(recipe):
        raise recipes.UnknownRecipeError(recipe)
    return recipe


def _of_recipe(name: str, num_classes: int | None, bands: int | None) -> Source:
    if recipes.is_for_data(name):
        if num_classes is None:
            raise ValueError(f"num_classes is missing: how many classes is {name} to tell apart?")
        values = recipes.network(name, num_classes=num_classes, bands=bands or _COLOURS, find=network_at)
        return Source(name, values, bands or _COLOURS)
    values = recipes.network(name)
    if bands not in (None, _COLOURS):
        raise ValueError(
            f"{name} is a published recipe, of images of {_COLOURS} bands; those for own data take any number "
            "(intarsia.list_models())"
        )
    if num_classes is not None:
        values = recipes.fit_heads(values, num_classes, IGNORE_INDEX)
    return Source(name, values, _COLOURS)


def _of_file(name: PathLike, num_classes: int | None, bands: int | None) -> Source:
    from intarsia.config.lowering.lower import lower
    from intarsia.workflows.names import config_of, find_weights

    found = find_weights(name)
    config = config_of(found, None)
    spec = lower(config)
    has = {"num_classes": spec.inference.num_classes, "bands": len(spec.preprocess.mean)}
    for what, wanted in (("num_classes", num_classes), ("bands", bands)):
        if wanted not in (None, has[what]):
            raise ValueError(
                f"{name} has {what}={has[what]}, asked for is {wanted}. For another number, name the recipe and take "
                f"from the file what fits: create_model(RECIPE, {what}={wanted}, weights={str(name)!r}, "
                "allow_partial=True)"
            )
    top = {} if "data_preprocessor" not in config.values else {"data_preprocessor": config.values["data_preprocessor"]}
    return Source("", {**top, **config.values["model"]}, has["bands"], found)


def _lowered(source: Source, start: str, first_convolution: str) -> RunSpec:
    from intarsia.config.lowering.lower import lower

    own = {"pretrained": start, "first_convolution": first_convolution}
    where = str(source.file.path) if source.file is not None else f"recipe {source.recipe}"
    spec = lower(Config.from_values({"model": source.values, "intarsia": own}, file=where))
    if spec.inference.answer == "depth":
        raise ValueError(f"{where} is a model of depth: create_model is for those of classes")
    return spec


def _usual_normalisation(
    source: Source, spec: RunSpec, pretrained: bool | str
) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """Of given weights, if they say it; of colours that of the trunk's weights, or of the recipe; else not known."""
    from intarsia.config.lowering.lower import lower
    from intarsia.workflows.trunks import normalisation_of

    if source.weights is not None and source.weights.meta.config:
        of_weights = lower(Config.from_values(source.weights.meta.config, file=str(source.weights.path)))
        if len(of_weights.preprocess.mean) == source.bands:
            return _as_stored(of_weights)
    if source.bands != _COLOURS:
        return None, None
    known = None if pretrained is False else normalisation_of(source.recipe)
    if known is not None:
        return known.mean, known.std
    return _as_stored(spec)


def _as_stored(spec: RunSpec) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation, red first."""
    step = -1 if spec.preprocess.channel_order == "bgr" else 1
    return spec.preprocess.mean[::step], spec.preprocess.std[::step]


def _module(source: Source, spec: RunSpec, *, normalises: bool, knows: bool) -> SegmentationModel:
    from intarsia.config.build import build_task
    from intarsia.tasks.segmentation_model import ModelFacts, SegmentationModel

    task = build_task(spec)
    kind: Callable[..., SegmentationModel] = SegmentationModel
    if source.classifies:
        from intarsia.tasks.classifying_model import ClassifyingModel

        kind = partial(ClassifyingModel, label_activation=source.label_activation)
    return kind(
        task.get_submodule("model"),
        preprocess=task.get_submodule("preprocess"),
        normalises=normalises,
        num_classes=spec.inference.num_classes,
        align_corners=spec.inference.align_corners,
        facts=ModelFacts(source.recipe, source.values, knows_normalisation=knows),
    )


# --- What it starts from ------------------------------------------------------------------------------------------


def _started(
    model: SegmentationModel,
    source: Source,
    spec: RunSpec,
    pretrained: bool | str,
    *,
    allow_partial: bool,
) -> tuple[Mapping[str, Any], ...]:
    """Put weights into a new model; what they were, as run.json notes it."""
    from types import SimpleNamespace

    from intarsia.workflows.pretrained import NotToBeHadError, start_from
    from intarsia.workflows.run_options import RunOptions

    if source.weights is not None:
        return _whole(model, source.weights, allow_partial=allow_partial)
    if source.file is not None:
        return _whole(model, source.file, allow_partial=False)
    try:
        begun = start_from(SimpleNamespace(model=model.network), spec, RunOptions(out=Path()))
    except NotToBeHadError as error:
        raise NotToBeHadError(_in_python(str(error))) from error
    if pretrained is True and not begun.loaded:
        said = "; ".join(begun.notes).replace("starts from random weights, not from ", "is to start from ")
        raise ValueError(f"pretrained=True: {_in_python(said)}. pretrained=False begins with random weights")
    for note in begun.notes:
        say(_in_python(note))
    return begun.loaded


def _in_python(note: str) -> str:
    """What a training says, with arguments in the place of options."""
    return re.sub(r"--pretrained ([\w./:@-]*\w)", r"pretrained=\1", note)


def _whole(model: SegmentationModel, found: About, *, allow_partial: bool) -> tuple[Mapping[str, Any], ...]:
    from intarsia.io.digest import file_hash
    from intarsia.weights.file import AUXILIARY, apply_state
    from intarsia.workflows.pretrained import said_by

    state, notes = found.state()
    report = apply_state(model, state, allow_partial=allow_partial, optional=AUXILIARY)
    for line in (*notes, *(() if report.complete else (str(report),))):
        say(f"weights of {found.path}: {line}")
    digest = {"sha256": file_hash(found.path)} if found.path.is_file() else {}
    tensors = len(report.loaded)
    return ({"part": "model", "file": str(found.path), "tensors": tensors, **digest, **said_by(found.meta)},)
