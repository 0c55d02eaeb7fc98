"""Which networks there are: recipes, published and for own data, that differ in nothing but classes, data and training.

A network is known by what its recipe's `model` says of layers. Whatever only says how it starts, what it is trained on
or how it is tested is left out, and so are the classes, so that one network on ADE20K and on Cityscapes is one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from intarsia import recipes
from intarsia.recipes import Method

ONLY_TRAINING = frozenset({
    "annealing_end", "annealing_start", "assigner", "attn_drop_rate", "avg_non_ignore", "cache_feature",
    "data_preprocessor", "deep_supervision_idxs", "drop", "drop_path_rate", "drop_rate", "dropout_ratio",
    "enforce_decoder_input_project", "frozen_exclude", "frozen_stages", "ignore_index", "init_cfg", "init_values",
    "loss_cls", "loss_decode", "loss_dice", "loss_mask", "momentum", "norm_eval", "pretrained", "requires_grad",
    "sampler", "test_cfg", "threshold", "train_cfg", "windiow_sizes", "with_cp",
})  # fmt: skip
"""Keys of a model that change no layer of it."""

ONLY_DATA = frozenset({
    "align_corners", "auxiliary_head", "dataset_name", "fmap_border", "img_size", "mask_size", "num_classes",
    "num_stuff_classes", "num_things_classes", "pretrain_img_size",
})  # fmt: skip
"""Keys of a model that follow from the data set and its training size, and heads that only training looks at."""

USUAL: Mapping[str, tuple[Any, ...]] = {
    "act_cfg": ({"type": "GELU"}, {"type": "ReLU"}),
    "contract_dilation": (True,),
    "deep_stem": (False,),
    "dilations": ([1, 1, 1, 1],),
    "in_channels": (3,),
    "norm_cfg": ({"type": "LN"},),
    "patch_size": (4,),
    "strides": ([1, 2, 2, 2], [4, 2, 2, 2]),
    "up_scale": (4,),
    "use_abs_pos_embed": (False,),
}
"""Values that some recipes write and others leave to the part, which means the same by itself."""

SAME = {"SyncBN": "BN"}
"""Values that name the same layer."""

FIRST = ("ade20k", "cityscapes")
"""Data sets that a network's figures are of, if it has a recipe for them."""


@dataclass(frozen=True)
class Network:
    """One network and its recipes.

    name: short where there is a recipe for own data, else the method and size of the published names. method: None
    where nothing was published of it. own: the name of the recipe for own data, or None. published: names of the
    others, sorted. first: the recipe that figures of cost are of.
    """

    name: str
    method: Method | None
    own: str | None
    published: tuple[str, ...]
    first: str

    @property
    def names(self) -> tuple[str, ...]:
        """All recipes."""
        return (*self.published, *([self.own] if self.own else []))


def layers(recipe: str, *, with_data: bool) -> str:
    """What a recipe's model says of layers, as text that is equal where they are.

    with_data: the number of classes and what follows from sizes of images too.
    """
    left_out = ONLY_TRAINING if with_data else ONLY_TRAINING | ONLY_DATA
    return json.dumps(_kept(recipes.network(recipe), left_out), sort_keys=True)


def _kept(value: Any, left_out: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        kept = {key: _kept(item, left_out) for key, item in value.items() if key not in left_out and item is not None}
        return {key: item for key, item in kept.items() if item not in USUAL.get(key, ())}
    if isinstance(value, list | tuple):
        return [_kept(item, left_out) for item in value]
    return SAME.get(value, value) if isinstance(value, str) else value


def data_of(recipe: str) -> str:
    """The data set of a published recipe: "ade20k", "cityscapes", "pascal-context-59" ..."""
    if "_mapillay_" in recipe:  # spelt so in the one name, whose training is otherwise as on Cityscapes
        return "mapillary"
    setting = recipe.rpartition("_")[2] if recipe in recipes.LATER else recipes.published(recipe).setting_name
    return setting.split("_")[0].rpartition("-")[0]


@cache
def networks() -> tuple[Network, ...]:
    """All, in order of kind, year and method; of those on networks of timm, the few that stand for the others."""
    found: dict[tuple[Method | None, str], list[str]] = {}
    own = recipes.short_names()
    for recipe in [*recipes.names(), *recipes.later_names(), *own]:
        found.setdefault((recipes.method(recipe), layers(recipe, with_data=False)), []).append(recipe)
    several = [_network(method, names, set(own)) for (method, _), names in found.items()]
    several += [Network(name, recipes.method(name), name, (), name) for name in recipes.shown_names()]
    kinds = list(recipes.KINDS)

    def place(one: Network) -> tuple[int, int, str]:
        said = one.method
        return (len(kinds), 0, "") if said is None else (kinds.index(said.kind), said.year, said.name)

    return tuple(sorted(several, key=place))


def _network(method: Method | None, names: list[str], short: set[str]) -> Network:
    own = [name for name in names if name in short]
    published = sorted(name for name in names if name not in short)
    stems = Counter(_stem(name) for name in published)
    by_data = {data_of(name): name for name in reversed(published)}
    first = next((by_data[data] for data in FIRST if data in by_data), (published or own)[0])
    name = own[0] if own else min(stems, key=lambda stem: (-stems[stem], len(stem), stem))
    return Network(name, method, own[0] if own else None, tuple(published), first)


def _stem(recipe: str) -> str:
    if recipe in recipes.LATER:
        return re.split(r"_\d+xb", recipe)[0]
    said = recipes.published(recipe)
    return f"{said.method}_{said.backbone}" if said.backbone else said.method
