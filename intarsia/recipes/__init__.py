"""Recipes by name: the published ones, exactly, and short names for a user's own data.

``get("fcn_r50-d8_4xb2-80k_cityscapes-512x1024")`` gives a complete config in the configuration language;
``for_data("segformer_mit-b0", ...)`` completes a recipe with what is known of a user's folder. Imports no torch.

A family of recipes is a file of this folder that has a FAMILY, and nothing else has to know of it; the files are
imported when a name is first asked for.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module

from intarsia import catalog
from intarsia.recipes import base_files, eomt, hf_facts, hf_trunks, pmt, timm_shown, timm_trunks
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.hf_trunks import FindNetwork
from intarsia.recipes.image_classes import with_image_classes
from intarsia.recipes.own_data import default_crop, fit_heads, own_config
from intarsia.recipes.published import KINDS, Family, Method, Published, compose, preprocessor, separate
from intarsia.recipes.trunk_heads import HEADS

__all__ = [
    "KINDS",
    "Method",
    "UnknownRecipeError",
    "base_file",
    "decoder",
    "default_crop",
    "fit_heads",
    "for_data",
    "frozen",
    "get",
    "hf_trunk",
    "is_for_data",
    "is_published",
    "later_names",
    "method",
    "names",
    "network",
    "of_mmsegmentation",
    "own_names",
    "published",
    "short_names",
    "shown_names",
    "trunk",
    "with_image_classes",
]


_BEHIND = {
    timm_shown.MARK: "a network of timm: unet_timm:resnet34",
    hf_facts.MARK: "a model of the Hugging Face Hub, or a folder: unet_hf:microsoft/resnet-34",
}
"""What stands between a head and a network in a recipe's name -> what the network's name is, for errors."""


class UnknownRecipeError(ValueError):
    """A name that no recipe has."""

    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name, [*own_names(), *names(), *later_names()], n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        for mark, behind in _BEHIND.items():
            if mark in name:
                hint = f" Before {mark} stands one of {', '.join(HEADS)}; behind it {behind}."
        super().__init__(f"unknown recipe {name!r}.{hint} `intarsia config list` shows all of them.")


@cache
def _families() -> tuple[Family, ...]:
    """All files' families, in order of the files' names."""
    modules = (import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return tuple(module.FAMILY for module in modules if hasattr(module, "FAMILY"))


@cache
def _table() -> dict[str, tuple[Family, Published]]:
    return {
        recipe.name: (family, recipe)
        for family in _families()
        for rows in (*family.rows, *family.further)
        for recipe in rows
    }


def names() -> list[str]:
    """All published recipes of MMSegmentation, sorted."""
    return sorted(_table())


def of_mmsegmentation() -> list[str]:
    """Those among them that MMSegmentation 1.2.2 has, sorted."""
    return sorted(recipe.name for family in _families() for rows in family.rows for recipe in rows)


LATER: Mapping[str, tuple[Method, Callable[[], Config]]] = {
    name: (module.METHOD, make) for module in (eomt, pmt) for name, make in module.PUBLISHED.items()
}
"""Recipes of methods that came after MMSegmentation, by the configurations of their authors."""


def later_names() -> list[str]:
    """The published recipes of methods that MMSegmentation does not have."""
    return sorted(LATER)


def is_published(name: str) -> bool:
    """Whether a recipe is a published one: `get` knows its config."""
    return name in _table() or name in LATER


@cache
def _stands(parts: Callable[[int, int], Config]) -> bool:
    """Whether the catalogue has all parts of a network."""
    model = parts(2, 3)
    auxiliary = model.get("auxiliary_head") or []
    heads = [model["decode_head"], auxiliary]
    several = [head for given in heads for head in (given if isinstance(given, list) else [given])]
    named = [("backbone", model["backbone"]), *(("head", head) for head in several)]
    if model.get("neck"):
        named.append(("neck", model["neck"]))
    try:
        for kind, part in named:
            catalog.locate(kind, part["type"])
    except catalog.UnknownPartError:
        return False
    return True


def short_names() -> list[str]:
    """The recipes for a user's own data, in order of their size within a family; those whose network exists.

    Without those on networks of timm and transformers, of which there are as many as networks (`trunk`, `hf_trunk`).
    """
    return [name for family in _families() for name, parts in family.own.items() if _stands(parts)]


def shown_names() -> tuple[str, ...]:
    """Recipes on networks of timm that stand for all the others in lists: each head with some networks."""
    return timm_shown.SHOWN


def own_names() -> list[str]:
    """The same, and with them those that have a network of theirs, and are fitted to data in another way."""
    same = [name for family in _families() for name in family.same]
    return [*short_names(), *same]


def is_for_data(name: str) -> bool:
    """Whether a recipe is one for a user's own data: of `own_names`, or on a network of timm or transformers."""
    return decoder(name) != "" or name in own_names()


def decoder(name: str) -> str:
    """What a recipe has on a network of timm or transformers ("upernet", "upernet-sfp"); "" of another recipe."""
    if trunk(name) is not None:
        return name.partition(timm_shown.MARK)[0]
    return "" if hf_trunk(name) is None else name.partition(hf_facts.MARK)[0]


def trunk(name: str) -> str | None:
    """The network of timm that a recipe is on ("upernet_timm:convnext_tiny"), or None."""
    return timm_trunks.network_name(name)


def hf_trunk(name: str) -> str | None:
    """The network of transformers that a recipe is on ("unet_hf:microsoft/resnet-34"), or None."""
    return hf_trunks.network_name(name)


def published(name: str) -> Published:
    """What a published recipe's name says. Raises UnknownRecipeError."""
    if name not in _table():
        raise UnknownRecipeError(name)
    return _table()[name][1]


def method(name: str) -> Method | None:
    """The method of a recipe, published or for own data; None where nothing was published of its network.

    Raises UnknownRecipeError.
    """
    if name in LATER:
        return LATER[name][0]
    on_trunk = decoder(name).partition("-")[0]
    return timm_shown.METHODS[on_trunk] if on_trunk else _family(name).method


def network(name: str, *, num_classes: int = 150, bands: int = 3, find: FindNetwork | None = None) -> Config:
    """The `model` of a recipe, published or for own data, which has `num_classes` and `bands` then.

    find: what is known of networks of transformers, for recipes on these (`hf_trunk`).

    Raises UnknownRecipeError.
    """
    family = None if name in LATER else _family(name, find)
    short = name if family is None else family.same.get(name, name)
    if family is None or short not in family.own:
        model: Config = get(name)["model"]
        return model
    parts = family.own[short](num_classes, bands)
    unknown = preprocessor(None, mean=(0.0,) * bands, std=(1.0,) * bands)
    model = {
        "type": "EncoderDecoder",
        "data_preprocessor": preprocessor(None) if bands == 3 else unknown,
        "train_cfg": {},
        "test_cfg": {},
        **parts,
    }
    fitted: Config = separate(fit_heads(model, num_classes, 255))
    return fitted


def frozen(name: str) -> tuple[str, ...]:
    """Parts of a recipe's network that its training leaves as they are. Raises UnknownRecipeError."""
    config = get(name) if name in LATER else _family(name).others
    return tuple(config.get("intarsia", {}).get("freeze", ()))


def _family(name: str, find: FindNetwork | None = None) -> Family:
    if name in _table():
        return _table()[name][0]
    on_trunk = timm_trunks.family(name) or hf_trunks.family(name, find)
    for family in (on_trunk,) if on_trunk is not None else _families():
        if name in family.own or name in family.same:
            return family
    raise UnknownRecipeError(name)


def get(name: str) -> Config:
    """A published recipe as plain values of the configuration language. Raises UnknownRecipeError."""
    made = LATER[name][1]() if name in LATER else compose(_family(name), published(name))
    config: Config = separate(made)
    return config


def base_file(path: str) -> Config | None:
    """What MMSegmentation's config at a path holds: "_base_/schedules/schedule_80k.py", or a whole recipe's file.

    None where no recipe of ours is of that name.
    """
    values = base_files.base_file(path, [recipe for _, recipe in _table().values()], get)
    separated: Config | None = separate(values)
    return separated


def for_data(
    name: str,
    *,
    num_classes: int,
    ignore_index: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    raw_bands: bool,
    crop: tuple[int, int],
    batch: int,
    steps: int,
    workers: int,
    data: Mapping[str, Config],
    multi_label: bool = False,
    find: FindNetwork | None = None,
) -> Config:
    """A short-named recipe completed for a user's own data; `own_data.own_config` says what each argument is.

    find: as of `network`. Raises UnknownRecipeError.
    """
    family = _family(name, find)
    short = family.same.get(name, name)
    if short not in family.own:
        raise UnknownRecipeError(name)
    config = own_config(
        family.own[short],
        learning_rate=family.learning_rate,
        targets=family.targets,
        num_classes=num_classes,
        ignore_index=ignore_index,
        mean=mean,
        std=std,
        raw_bands=raw_bands,
        crop=crop,
        batch=batch,
        steps=steps,
        workers=workers,
        data=data,
        multi_label=multi_label,
    )
    course = {} if family.schedule is None else {"param_scheduler": family.schedule(steps)}
    completed: Config = separate(config | family.others | course)
    return completed
