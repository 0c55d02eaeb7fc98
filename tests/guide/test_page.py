"""docs/models.md and its pictures are current."""

from __future__ import annotations

import re
from types import ModuleType
from xml.etree import ElementTree

import pytest

from intarsia.guide.models import models


def test_the_page_is_current(page: ModuleType) -> None:
    assert page.TARGET.read_text(encoding="utf-8") == page.render(), "run `make docs`, or `python scripts/models.py`"


@pytest.mark.parametrize("data", ["ade20k", "cityscapes"])
def test_the_pictures_are_of_todays_figures(data: str, page: ModuleType) -> None:
    picture = ElementTree.parse(page.PICTURES[data])
    said = [node.text for node in picture.iter() if node.tag.endswith("}description")]
    assert said == [page.described(data)], "run `make docs`, or `python scripts/models.py`"
    texts = {node.text for node in picture.iter() if node.tag.endswith("}text")}
    named = {page.shortened(point[0]) for point in page.frontier(page.points(data))}
    assert len(named) > 4
    assert named <= texts
    assert page.PICTURES[data].stat().st_size < 100_000


def test_every_model_and_checkpoint_is_on_the_page(page: ModuleType) -> None:
    text = page.TARGET.read_text(encoding="utf-8")
    for model in models():
        assert f"`{model.name}`" in text
        for checkpoint in model.checkpoints:
            assert f"({checkpoint.address})" in text
        if model.network.method:
            assert f"### {model.method_name}\n" in text
            assert f"({model.network.method.address}), {model.network.method.venue} {model.year}" in text


def test_a_method_has_one_section(page: ModuleType) -> None:
    titles = re.findall(r"^### (.*)$", page.render(), re.MULTILINE)
    assert len(titles) == len(set(titles)) == len({one.method_name for one in models() if one.method_name})


def test_what_to_take_is_three_sentences(page: ModuleType) -> None:
    sentences = [part for part in page.advice().split("\n\n") if part]
    assert len(sentences) == 3
    for sentence, about in zip(sentences, ("few images", "edge device", "best accuracy"), strict=True):
        assert about in sentence
        assert sentence.endswith(".")
        assert not re.search(r"\.\s[A-Z]", sentence)


def test_nothing_on_the_frontier_is_beaten(page: ModuleType) -> None:
    given = page.points("ade20k")
    front = page.frontier(given)
    for name, _, cost, score in given:
        better = [one for one in given if one[2] <= cost and one[3] > score]
        on_it = name in {one[0] for one in front}
        assert on_it != bool(better) or any(one[2:] == (cost, score) for one in front)


def test_marks_differ_in_shape_and_colour(page: ModuleType) -> None:
    colours, shapes = zip(*page.MARKS.values(), strict=True)
    assert len(set(colours)) == len(set(shapes)) == len(page.MARKS)
    assert set(page.MARKS) == set(page.KINDS)
