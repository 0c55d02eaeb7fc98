"""`intarsia.unlabelled` and `intarsia.teacher`: what becomes of them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.spec import RunSpec, TeacherSpec, UnlabelledSpec
from tests.recipes.test_recipes import own

EMA = {"custom_hooks": [{"type": "EMAHook", "momentum": 0.01}]}


def config(unlabelled: Any = None, teacher: Any = None, name: str = "fcn_r18", **others: Any) -> Config:
    section = {"unlabelled": unlabelled, "teacher": teacher}
    return Config.from_values({**own(name), "intarsia": section, **others}, file="config.py")


def spec(*args: Any, **others: Any) -> RunSpec:
    return lower(config(*args, **others))


def problems(*args: Any, **others: Any) -> list[tuple[str, str]]:
    found = check(config(*args, **others))
    return [(problem.path, str(problem)) for problem in found if problem.path.startswith("intarsia")]


def test_without_them_nothing_is_taught() -> None:
    assert (spec().unlabelled, spec().teacher) == (None, None)


def test_unlabelled_images() -> None:
    assert spec({"images": "more"}, **EMA).unlabelled == UnlabelledSpec("more")
    strong = [{"type": "GaussianBlur", "prob": 0.3}]
    given = {"ratio": 2, "confidence": 0.8, "weight": 0.5, "ramp_up": 0, "cut_mix": 1, "strong": strong}
    found = spec({"images": "more", **given}, **EMA).unlabelled
    assert (found.ratio, found.confidence, found.weight, found.ramp_up, found.cut_mix) == (2, 0.8, 0.5, 0, 1)
    assert spec({"images": "more", "confidence": "adaptive"}, **EMA).unlabelled.confidence == "adaptive"
    [part] = found.strong
    assert (part.kind, part.type, dict(part.args)) == ("transform", "GaussianBlur", {"prob": 0.3})


def test_a_teacher() -> None:
    assert spec(teacher={"weights": "run"}).teacher == TeacherSpec("run")
    found = spec(teacher={"weights": "run", "weight": 2, "loss": "channels", "temperature": 4}).teacher
    assert found == TeacherSpec("run", 2, "channels", 4)


def test_somebody_must_make_the_pseudo_labels() -> None:
    [(path, message)] = problems({"images": "more"})
    assert path == "intarsia.unlabelled"
    assert "EMAHook" in message
    assert problems({"images": "more"}, {"weights": "run"}) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("confidence", 1.5),
        ("confidence", "sure"),
        ("cut_mix", -0.1),
        ("ramp_up", 2),
        ("ratio", 0),
        ("weight", 0),
        ("images", 3),
        ("rate", 1),
    ],
)
def test_values_of_unlabelled_images_that_make_no_sense(key: str, value: Any) -> None:
    [(path, _)] = problems({"images": "more", key: value}, **EMA)
    assert path == f"intarsia.unlabelled.{key}"


@pytest.mark.parametrize(("key", "value"), [("temperature", 0), ("weight", -1), ("loss", "labels"), ("file", "x")])
def test_values_of_a_teacher_that_make_no_sense(key: str, value: Any) -> None:
    [(path, _)] = problems(teacher={"weights": "run", key: value})
    assert path == f"intarsia.teacher.{key}"


def test_images_and_weights_must_be_said() -> None:
    assert [path for path, _ in problems({"ratio": 1}, **EMA)] == ["intarsia.unlabelled"]
    assert [path for path, _ in problems(teacher={"weight": 1})] == ["intarsia.teacher"]


def test_a_strong_view_moves_no_pixel_and_its_arguments_are_checked() -> None:
    [(path, message)] = problems({"images": "more", "strong": [{"type": "RandomFlip", "prob": 0.5}]}, **EMA)
    assert path == "intarsia.unlabelled.strong.0"
    assert "may move pixels" in message
    [(path, message)] = problems({"images": "more", "strong": [{"type": "GaussianBlur", "sigmas": 3}]}, **EMA)
    assert path == "intarsia.unlabelled.strong.0.sigmas"


def test_networks_of_queries_are_not_taught() -> None:
    [(path, message)] = problems(teacher={"weights": "run"}, name="mask2former_r50")
    assert path == "intarsia.teacher"
    assert "MaskClassification" in message
