"""What `intarsia.train` can be told, as the request that the command makes of its options."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from intarsia import recipes
from intarsia.contracts import IGNORE_INDEX, PathLike
from intarsia.recipes.decoder_options import whole_number

if TYPE_CHECKING:
    from torch import nn

    from intarsia.engine.callbacks.base import Observer
    from intarsia.tasks.segmentation_model import SegmentationModel
    from intarsia.workflows.adjust import TrainingOptions
    from intarsia.workflows.run_options import GivenNetwork
    from intarsia.workflows.training_config import TrainingRequest


class TrainingKeywords(TypedDict, total=False):
    """What `train` can be told: the options of `intarsia train` by their names, with values of Python.

    Each means what `intarsia train --help` says. duration is `--for` ("20 epochs", "2h"), which is no name in Python;
    crop: a side, or (height, width). set: {"optim_wrapper.optimizer.weight_decay": 0.05}, or a list of texts as on the
    command line. lr: the learning rate at its highest. pretrained: also True (must be had) and False. observers: of
    `intarsia.engine.callbacks.base.Observer`, told how the run goes; for the command a config names them.
    """

    duration: str
    eval_every: str
    save_every: str
    batch: int
    batch_per_device: int
    accumulate: int
    crop: int | tuple[int, int]
    workers: int
    cache: PathLike
    lr: float
    augment: str
    augment_on: str
    fold: str
    by: str
    plain: Sequence[str]
    rare_every: int
    lora: int
    layer_decay: float
    cache_features: PathLike
    views: int
    unlabelled: PathLike
    confidence: float | str
    teacher: PathLike
    seed: int
    deterministic: bool
    weights: PathLike
    pretrained: bool | str
    first_convolution: str
    image_classes: float
    allow_partial: bool
    key: str
    prefix: str
    ema: float
    patience: int
    freeze: str | Sequence[str]
    fit_images: int
    pictures: int
    keep_every: str
    hang_after: str
    tensorboard: bool
    wandb: bool
    notify: str
    observers: Sequence[Observer]
    overwrite: bool
    devices: int
    device: str
    strategy: str
    precision: str
    compile: bool
    set: Mapping[str, Any] | Sequence[str]
    trust_config: bool


def check_names(options: Mapping[str, Any]) -> None:
    """Raises TypeError for an option that there is not, with the nearest."""
    known = TrainingKeywords.__annotations__
    for name in options:
        if name not in known:
            if name == "find":
                raise TypeError("train() has no option 'find'; find_learning_rate and find_batch try that out")
            near = difflib.get_close_matches(_OTHER_NAMES.get(name, name), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise TypeError(f"train() has no option {name!r}; {hint}There are: {', '.join(known)}")


_OTHER_NAMES = {
    "batch_size": "batch", "cfg_options": "set", "epochs": "duration", "gpus": "devices", "image_size": "crop",
    "learning_rate": "lr", "max_steps": "duration", "num_workers": "workers", "settings": "set", "size": "crop",
}  # fmt: skip
"""What options are called elsewhere."""


def given(options: TrainingKeywords) -> TrainingKeywords:
    """The options but for those that are None, which is as good as left out. Errors are those of `check_names`."""
    check_names(options)
    return cast("TrainingKeywords", {name: value for name, value in options.items() if value is not None})


def check_values(options: Mapping[str, Any]) -> None:
    """Raises ValueError for a value of another kind than its option takes; None is as good as left out."""
    from intarsia.engine.callbacks.base import Observer
    from intarsia.engine.optim.duration import parse_duration

    for name, value in options.items():
        takes = TrainingKeywords.__annotations__[name]
        takes = str(getattr(takes, "__forward_arg__", takes))
        if value is None or name == "device" or any(_is(kind, value) for kind in takes.split(" | ")):
            continue
        if name in _DURATIONS and isinstance(value, Real):
            parse_duration(str(value))  # says which units there are
        raise ValueError(f"train(): {name} takes {takes}, found {value!r}")
    rate = options.get("lr")
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"train(): lr is above 0, found {rate!r}")
    for observer in options.get("observers") or ():
        if not isinstance(observer, Observer):
            raise ValueError(
                f"train(): observers are objects of a class of your own that inherits intarsia.engine.callbacks.base."
                f"Observer; found {observer!r}"
            )


_DURATIONS = ("duration", "eval_every", "save_every", "keep_every", "hang_after")
_KINDS: Mapping[str, Any] = {
    "str": str, "bool": bool, "int": Integral, "float": Real, "PathLike": (str, os.PathLike),
    "Mapping[str, Any]": Mapping, "Sequence[str]": Sequence, "Sequence[Observer]": Sequence,
    "tuple[int, int]": Sequence,
}  # fmt: skip
"""What stands in the annotations of `TrainingKeywords` -> values of that kind."""


def _is(kind: str, value: object) -> bool:
    if isinstance(value, bool) or kind == "bool":
        return kind == "bool" and isinstance(value, bool)
    if isinstance(value, str) and _KINDS[kind] is Sequence:
        return False
    return isinstance(value, _KINDS[kind]) and (kind != "tuple[int, int]" or len(value) == 2)


def request_of(
    model: PathLike | nn.Module, out: Path, data: Path | None, steps: int | None, options: TrainingKeywords
) -> TrainingRequest:
    """The request of a training. Raises ValueError for what contradicts itself, or the model that is given."""
    from intarsia.workflows.training_config import TrainingRequest

    check_values(options)
    steps = None if steps is None else whole_number("train(): steps", steps)
    if steps is not None and "duration" in options:
        raise ValueError("steps and duration both say how long: give one of them")
    network, name = None, str(model)
    if not isinstance(model, str | Path):
        network, name = _given(model, options)
    passed = {key: value for key, value in options.items() if key in _PASSED}
    if options.get("device") is not None:
        passed["device"] = str(options["device"])  # torch.device, too
    unlabelled, features = options.get("unlabelled"), options.get("cache_features")
    return TrainingRequest(
        name=name,
        out=out,
        data=data,
        training=_training_options(options, f"{steps} steps" if steps is not None else options.get("duration")),
        settings=tuple(_settings(options)),
        trust=options.get("trust_config", False),
        pretrained=_pretrained(options.get("pretrained")),
        plain=tuple(options.get("plain", ())),
        unlabelled=None if unlabelled is None else Path(unlabelled),
        cache_features=None if features is None else Path(features),
        observers=tuple(options.get("observers", ())),
        network=network,
        **cast("dict[str, Any]", passed),
    )


def _training_options(options: TrainingKeywords, duration: str | None) -> TrainingOptions:
    from intarsia.workflows.adjust import Safeguards, TrainingOptions

    crop, freeze = options.get("crop"), options.get("freeze", ())
    return TrainingOptions(
        batch=options.get("batch"),
        crop=(crop, crop) if isinstance(crop, int) else crop,
        workers=options.get("workers"),
        seed=options.get("seed"),
        precision=options.get("precision"),
        duration=duration,
        evaluate_every=options.get("eval_every"),
        save_every=options.get("save_every"),
        accumulate=options.get("accumulate"),
        compiled=options.get("compile", False),
        safeguards=Safeguards(
            ema=options.get("ema"),
            patience=options.get("patience"),
            freeze=(freeze,) if isinstance(freeze, str) else tuple(freeze),
            fit_images=options.get("fit_images"),
            pictures=options.get("pictures"),
            keep_every=options.get("keep_every"),
            hang_after=options.get("hang_after"),
            tensorboard=options.get("tensorboard", False),
            wandb=options.get("wandb", False),
        ),
        batch_per_device=options.get("batch_per_device"),
        strategy=options.get("strategy"),
        deterministic=options.get("deterministic", False),
        cache=str(options["cache"]) if "cache" in options else None,
        augment_on=options.get("augment_on"),
    )


_PASSED = (
    "overwrite", "weights", "first_convolution", "allow_partial", "key", "prefix", "devices", "device", "notify",
    "fold", "by", "augment", "confidence", "teacher", "rare_every", "lora", "layer_decay", "views", "image_classes",
)  # fmt: skip
"""Options that a `TrainingRequest` has under the same name."""


def _pretrained(given: bool | str | None) -> str | None:
    return {True: "imagenet", False: "none"}[given] if isinstance(given, bool) else given


def _settings(options: TrainingKeywords) -> list[str]:
    given = options.get("set", ())
    settings = [f"{path}={value!r}" for path, value in given.items()] if isinstance(given, Mapping) else list(given)
    return [f"optim_wrapper.optimizer.lr={options['lr']!r}", *settings] if "lr" in options else settings


# --- A model of `create_model` ------------------------------------------------------------------------------------


def _given(model: nn.Module, options: TrainingKeywords) -> tuple[GivenNetwork, str]:
    """The network, and the recipe that says how it is trained."""
    from intarsia.tasks.freezing import frozen_names
    from intarsia.workflows.run_options import GivenNetwork
    from intarsia.workflows.save_model import check_tensors, network_values, state_of, unwrapped

    inner: SegmentationModel = unwrapped(model)
    for name in ("weights", "pretrained", "freeze", "first_convolution", "image_classes"):
        if name in options:
            raise ValueError(f"a model brings its heads, its weights and what is frozen along: leave {name} out")
    if not inner.facts.recipe:
        raise ValueError(
            "the model was read from a file, or has an encoder that is none of timm's, and no recipe says how it is "
            "trained: name one, create_model(RECIPE, weights=FILE) or train(RECIPE, weights=FILE)"
        )
    values, state = network_values(inner), state_of(inner)
    check_tensors(inner, state, recipes.fit_heads(values, inner.num_classes, IGNORE_INDEX))
    network = GivenNetwork(
        values,
        state,
        inner.num_classes,
        inner.bands,
        frozen=frozen_names(inner),
        loaded=inner.facts.loaded,
        knows_normalisation=inner.facts.knows_normalisation,
    )
    return network, inner.facts.recipe
