"""Which networks the guide knows, and their methods."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from intarsia import recipes
from intarsia.guide import facts, stated
from intarsia.guide.networks import data_of, layers, networks
from intarsia.recipes.timm_shown import MARK, METHODS
from intarsia.recipes.trunk_heads import HEADS, PYRAMIDS

SIZE_OF_IMAGES = ("psanet", "vpd", "san")
"""Networks with parameters that follow from the size of training images, or from the words for the classes."""


def test_every_recipe_belongs_to_one_network() -> None:
    names = [name for one in networks() for name in one.names]
    shown = recipes.shown_names()
    assert sorted(names) == sorted([*recipes.names(), *recipes.later_names(), *recipes.short_names(), *shown])
    assert {one.own for one in networks() if one.own} == {*recipes.short_names(), *shown}


def test_each_head_on_networks_of_timm_is_shown_with_one() -> None:
    shown = {name.partition(MARK)[0] for name in recipes.shown_names()}
    assert set(HEADS) <= shown
    assert {name.partition("-")[2] for name in shown if "-" in name} == set(PYRAMIDS)
    assert set(METHODS) == set(HEADS)
    assert all(recipes.is_for_data(name) and recipes.method(name) is not None for name in recipes.shown_names())


def test_recipes_that_came_later_are_networks_too() -> None:
    one = next(one for one in networks() if "eomt_vit-l-dinov2_4xb4-31e_ade20k-512x512" in one.published)
    assert one.name == "eomt_vit-l-dinov2"
    assert [data_of(name) for name in one.published] == ["cityscapes", "ade20k"]
    assert data_of(one.first) == "ade20k"


def test_what_is_stated_is_stated_of_recipes() -> None:
    names = {name for one in networks() for name in one.names}
    for recipe, data, score, source, _ in stated._ROWS:
        assert recipe in names
        assert data in ("ade20k", "cityscapes")
        assert 30 < score < 90
        assert source.startswith("https://")


def test_networks_have_names_of_their_own() -> None:
    names = Counter(one.name for one in networks())
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("name", recipes.names())
def test_every_published_recipe_has_a_paper(name: str) -> None:
    method = recipes.method(name)
    assert method is not None
    assert method.kind in recipes.KINDS
    assert 2014 < method.year < 2027
    assert method.address.startswith("http")
    assert all((method.name, method.title, method.authors, method.venue))


def test_the_addresses_of_papers_are_those_of_the_list_of_checkpoints(shared: Path) -> None:
    """Where both name a paper on arXiv."""
    compared = set()
    for entry in json.loads((shared / "facts" / "zoo.json").read_text()):
        theirs = re.search(r"arxiv\.org/(?:abs|pdf)/([\d.]+\d)", entry["paper_url"])
        method = recipes.method(entry["name"]) if entry["name"] in recipes.names() else None
        ours = method and re.search(r"arxiv\.org/abs/(.*)", method.address)
        if theirs and ours and method.name != "VPD":  # of which the list names the model that it builds on
            assert ours[1] == theirs[1], entry["name"]
            compared.add(method.name)
    assert len(compared) > 40


def test_a_short_name_and_the_published_recipes_are_one_network() -> None:
    one = next(one for one in networks() if one.own == "pspnet_r50")
    assert "pspnet_r50-d8_4xb2-40k_cityscapes-512x1024" in one.published
    assert "pspnet_r50-d8_4xb4-20k_voc12aug-512x512" in one.published
    assert "pspnet_r101-d8_4xb4-20k_voc12aug-512x512" not in one.published
    assert "pspnet_r50b-d8_4xb2-80k_cityscapes-512x1024" not in one.published, "another stem"
    assert "pspnet_r50-d32_4xb2-80k_cityscapes-512x1024" not in one.published, "another stride"
    assert data_of(one.first) == "ade20k"


def test_methods_and_networks_are_found_by_either_kind_of_name() -> None:
    assert recipes.method("small_r18") is None
    assert recipes.method("pspnet_r50") == recipes.method("pspnet_r50-d8_4xb2-40k_cityscapes-512x1024")
    assert recipes.network("pspnet_r50", num_classes=7)["decode_head"]["num_classes"] == 7
    published = recipes.network("pspnet_r50-d8_4xb2-40k_cityscapes-512x1024")
    assert published == recipes.get("pspnet_r50-d8_4xb2-40k_cityscapes-512x1024")["model"]
    for function in (recipes.method, recipes.network):
        with pytest.raises(recipes.UnknownRecipeError, match="pspnet_r50"):
            function("pspnet_r5O")


def test_classes_count_only_with_the_data() -> None:
    streets, rooms = "segformer_mit-b0_8xb1-160k_cityscapes-1024x1024", "segformer_mit-b0_8xb2-160k_ade20k-512x512"
    assert layers(streets, with_data=False) == layers(rooms, with_data=False)
    assert layers(streets, with_data=True) != layers(rooms, with_data=True)
    assert layers(rooms, with_data=True) == layers("segformer_mit-b0", with_data=True)


@pytest.mark.parametrize("one", networks(), ids=lambda one: one.name)
def test_recipes_of_one_network_have_as_many_parameters(one) -> None:
    """With as many classes and without the heads that only training has."""
    counts: dict[str, set[int]] = {}
    for name in one.published:
        cost = facts.cost(name)
        if cost is not None and not name.startswith(SIZE_OF_IMAGES):
            counts.setdefault(data_of(name), set()).add(cost.parameters - cost.auxiliary)
    assert all(len(found) == 1 for found in counts.values()), counts


def test_the_data_of_odd_names() -> None:
    assert data_of("deeplabv3plus_r50-d8_4xb2-300k_mapillay_v1_65-1280x1280") == "mapillary"
    assert data_of("pspnet_r50-d8_4xb2-40k_cityscapes-512x1024_dark-zurich-1920x1080") == "cityscapes"
    assert data_of("fcn_r50-d8_4xb4-40k_pascal-context-59-480x480") == "pascal-context-59"
    assert data_of("unet-s5-d16_fcn_4xb4-40k_chase-db1-128x128") == "chase-db1"
    assert data_of("san-vit-b16_pascal_context-640x640") == "pascal-context-59"
