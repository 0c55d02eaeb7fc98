"""`intarsia.save`: the weights file of a model of `create_model`, wherever it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia import recipes
from intarsia.config.language.reader import Config
from intarsia.contracts import IGNORE_INDEX, PathLike
from intarsia.version import __version__
from intarsia.workflows.model_arguments import say_if_of_another_scale

if TYPE_CHECKING:
    from torch import Tensor, nn

    from intarsia.tasks.segmentation_model import SegmentationModel
    from intarsia.weights.file import WeightsMeta

_COLOURS = 3


def save(
    model: nn.Module,
    file: PathLike,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    ignore_index: int = IGNORE_INDEX,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labels: Mapping[int | str, str] | None = None,
    step: int | None = None,
    licence: str = "",
) -> Path:
    """Write the weights file of a model of `create_model`, wherever it was trained: all that prediction needs.

    `intarsia.load`, `predict`, `eval` and `train --weights` read it, and `create_model(FILE)` gives the module back.

    model: as `create_model` gave it, also inside of DistributedDataParallel or torch.compile.
    classes: a name for each. palette: a colour (red, green, blue) for each, by default distinct ones.
    mean, std: how its images were normalised, if not as the model says: one number for each band, of values as stored.
    (Images in 0..1 that were not normalised further have mean 0 and std 255.)
    labels: what label files hold, {1: "sky", 2: "road", 255: "ignore"}, where that is not the order of the classes.
    step: optimizer steps that it was trained for. licence: of the file, as you say it.

    Gives the path of the file. Raises ValueError if names, colours or numbers do not fit the model, if nobody has said
    how images are normalised, or if the model has other tensors than the one that create_model made.
    """
    from intarsia.weights.file import save_weights

    inner = unwrapped(model)
    names = tuple(classes) if not isinstance(classes, str) else (classes,)
    _check_classes(names, palette, labels, inner.num_classes)
    if (mean is None) != (std is None):
        raise ValueError("mean and std are given together, or not at all")
    say_if_of_another_scale(mean, std)
    if mean is not None and inner.normalises:
        raise ValueError("this model normalises its images itself (normalise=True): leave mean and std out")
    if mean is None and inner.mean is None:
        raise ValueError(
            f"nobody has said how the images of {inner.bands} bands were normalised, which a prediction must do alike: "
            "give save mean=(...) and std=(...), one number for each band of values as stored"
        )
    values = recipes.fit_heads(network_values(inner, mean, std), inner.num_classes, ignore_index, names)
    meta = _meta(inner, values, names, palette, ignore_index, labels or {}, step, licence)
    state = state_of(inner)
    check_tensors(inner, state, values)
    save_weights(Path(file), state, meta)
    return Path(file)


def unwrapped(model: nn.Module) -> SegmentationModel:
    """The model itself, without what DistributedDataParallel, torch.compile and their like put around it.

    Raises ValueError for a module that is not of `create_model`.
    """
    from intarsia.tasks.segmentation_model import SegmentationModel

    inner: Any = model
    while not isinstance(inner, SegmentationModel):
        outer, inner = inner, getattr(inner, "_orig_mod", getattr(inner, "module", None))
        if inner is None:
            raise ValueError(
                f"expected a model of intarsia.create_model, found a {type(outer).__name__}; of a module that holds "
                "one (a LightningModule), give that"
            )
    return inner


def state_of(model: SegmentationModel) -> dict[str, Tensor]:
    """The tensors of a weights file."""
    return {name.replace("_orig_mod.", ""): value.detach().cpu() for name, value in model.state_dict().items()}


def network_values(
    model: SegmentationModel, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> dict[str, Any]:
    """The section `model` of a config, with the normalisation that the model has now, or another one, red first.

    Raises ValueError for a mean or deviation that does not fit the bands.
    """
    spec = model.preprocess.spec if mean is None or std is None else model.normalised_by(mean, std)
    written = model.facts.config.get("data_preprocessor") or {"type": "SegDataPreProcessor"}
    known = {"mean": list(spec.mean), "std": list(spec.std)}
    return {**model.facts.config, "data_preprocessor": {**written, **known}}


def _check_classes(
    names: Sequence[str], palette: Sequence[Any] | None, labels: Mapping[int | str, str] | None, num_classes: int
) -> None:
    from intarsia.data.description.model import IGNORE

    fitting = (1, 2) if num_classes == 1 else (num_classes,)
    if len(names) not in fitting:
        raise ValueError(
            f"the model has {num_classes} classes (num_classes), but classes has {len(names)} names: {', '.join(names)}"
        )
    if len(set(names)) != len(names):
        raise ValueError(f"each class has a name of its own; found {', '.join(names)}")
    if palette is not None and len(palette) != len(names):
        raise ValueError(f"palette has {len(palette)} colours for {len(names)} classes: give one for each")
    if unknown := sorted({*(labels or {}).values()} - {*names, IGNORE}):
        raise ValueError(
            f"labels has {', '.join(unknown)}, which is no class; there are {', '.join(names)}, and {IGNORE!r} for none"
        )


def check_tensors(model: SegmentationModel, state: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Raises ValueError for tensors that the network of a config has not, so that it could not be made again."""
    from intarsia.tasks.segmentation_model import shapes_of

    found = shapes_of(state)
    if found == model.shapes:
        return
    from intarsia.config.build import build_task
    from intarsia.config.lowering.lower import lower

    spec = lower(Config.from_values({"model": values, "intarsia": {"pretrained": "none"}}, file="create_model"))
    expected = shapes_of(build_task(spec).get_submodule("model").state_dict())
    wrong = [
        f"{name}: {found.get(name, 'missing')}, as described {expected.get(name, 'not there')}"
        for name in sorted({*found, *expected})
        if found.get(name) != expected.get(name)
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"the model is not the one any more that create_model made, and could not be read from a file: "
            f"{'; '.join(wrong[:3])}{more}. Another number of classes is create_model(..., num_classes=...), or "
            "model.num_classes where a last layer was replaced; parametrizations are removed first (torch.nn.utils."
            "parametrize.remove_parametrizations); parts of your own go around the model, or into a config "
            "(docs/own-parts.md)"
        )


def _meta(
    model: SegmentationModel,
    values: Mapping[str, Any],
    names: tuple[str, ...],
    palette: Sequence[Sequence[int]] | None,
    ignore_index: int,
    labels: Mapping[int | str, str],
    step: int | None,
    licence: str,
) -> WeightsMeta:
    from intarsia.colours import distinct_colours
    from intarsia.data.image_spec import ImageSpec
    from intarsia.weights.file import WeightsMeta
    from intarsia.weights.origins import origins

    colours = distinct_colours(len(names)) if palette is None else palette
    images = ImageSpec("rgb" if model.bands == _COLOURS else "raw", model.bands)
    return WeightsMeta(
        config=Config.from_values({"model": values}, file="create_model").values,
        classes=names,
        palette=tuple((int(red), int(green), int(blue)) for red, green, blue in colours),
        ignore_index=ignore_index,
        labels={str(value): name for value, name in labels.items()},
        image=images.to_json(),
        version=__version__,
        step=step,
        pretrained=origins(model.facts.loaded),
        licence=licence,
    )
