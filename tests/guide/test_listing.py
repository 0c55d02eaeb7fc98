"""Finding and sorting models, and the published checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import scores as script

from intarsia import recipes
from intarsia.guide import facts
from intarsia.guide.models import UnknownModelError, data_names, find, models, ordered, select


def test_a_model_is_found_by_each_of_its_names() -> None:
    for name in ("segformer_mit-b0", "segformer_mit-b0_8xb2-160k_ade20k-512x512"):
        assert find(name).name == "segformer_mit-b0"
    assert find("swin-tiny-patch4-window7_upernet").network.own is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("segformer_mitb0", "Did you mean segformer_mit-b0 "),
        ("SegFormer", "several sizes.*segformer_mit-b0, segformer_mit-b1"),
        ("pidnet_s", "Did you mean pidnet-s "),
        ("???", "models list"),
    ],
)
def test_unknown_names_offer_near_ones(name: str, said: str) -> None:
    with pytest.raises(UnknownModelError, match=said):
        find(name)


def test_words_select_by_name_method_and_kind() -> None:
    assert {one.method_name for one in select(["mask2former"])} == {"Mask2Former"}
    assert {one.network.method.kind for one in select(["real-time"]) if one.network.method} == {"real-time"}
    assert [one.name for one in select(["SegFormer", "b3"])] == ["segformer_mit-b3"]
    assert {one.name for one in select(["resnest"])} == {one.name for one in select(["ResNeSt"])}
    with pytest.raises(UnknownModelError, match=r"'segfromer'.*SegFormer"):
        select(["segfromer"])
    with pytest.raises(UnknownModelError, match="all of: segformer, unet"):
        select(["segformer", "unet"])


def test_data_selects_too() -> None:
    assert {one.name for one in select(data="drive")} == {one.name for one in select(["drive"])}
    with pytest.raises(UnknownModelError, match=r"'ade'.*ade20k.*There are: cityscapes"):
        select(data="ade")
    with pytest.raises(UnknownModelError, match="drive: segformer_mit-b0"):
        select(["segformer_mit"], data="drive")
    assert {"ade20k", "cityscapes", "nyu", "mapillary"} < set(data_names())


def test_orders() -> None:
    cheap = [one.cost().multiply_adds for one in ordered(models(), "cost") if one.cost()]
    assert cheap == sorted(cheap)
    assert ordered(models(), "cost")[-1].cost() is None or all(one.cost() for one in models())
    best = [one.best("cityscapes") for one in ordered(models(), "score", data="cityscapes")]
    values = [one.score[1] for one in best if one]
    assert values == sorted(values, reverse=True)
    assert best[: len(values)] == [one for one in best if one], "those without a score come last"
    depth = ordered(select(data="nyu"), "score", data="nyu")
    assert [one.best("nyu").score[0] for one in depth] == ["RMSE"]
    assert depth[0].best("nyu").score[1] == 0.253, "the smaller error is the better one"
    assert [one.name for one in ordered(select(["segformer"]), "kind")] == [f"segformer_mit-b{i}" for i in range(6)]
    with pytest.raises(ValueError, match=r"--sort speed: expected one of kind, name"):
        ordered(models(), "speed")


def test_costs_follow_the_data_asked_for() -> None:
    one = find("segformer_mit-b0")
    rooms, streets = one.cost("ade20k"), one.cost("cityscapes")
    assert rooms is not None
    assert streets is not None
    assert rooms.parameters - streets.parameters == 131 * (256 + 1), "the classifier's"
    assert one.cost("drive") == one.cost() == rooms


def test_times_are_relative_to_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("segformer_mit-b0").times("forward_bytes") == 1
    assert find("segformer_mit-b1").times("forward_bytes") > 1
    monkeypatch.setattr("intarsia.guide.facts.cost", lambda recipe: None)
    assert find("segformer_mit-b1").times("forward_bytes") is None


# --- published checkpoints ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo(shared: Path) -> list[dict]:
    return json.loads((shared / "facts" / "zoo.json").read_text())


def test_the_file_of_scores_is_current(zoo: list[dict]) -> None:
    written = script.TARGET.read_text(encoding="utf-8")
    assert written == script.render(zoo), "run `python scripts/scores.py .../zoo.json`"


def test_every_published_checkpoint_is_there(zoo: list[dict]) -> None:
    there = {one.address: one for model in models() for one in model.checkpoints}
    assert len(there) == len(zoo) == 626
    for entry in zoo:
        found = there[entry["weights"].replace(script.MISSPELT_ADDRESS, script.ADDRESS)]
        assert dict(found.scores) == {name: value for name, value in entry["metrics"].items() if value is not None}
        assert found.recipe in recipes.names()


def test_checkpoints_are_with_the_recipe_that_their_file_names() -> None:
    """The schedule and the size of what was trained on, where the file's name has them."""
    for model in models():
        for one in model.checkpoints:
            file = one.address.rpartition("/")[2]
            steps = re.findall(r"_(\d+)k_", file)
            assert not steps or int(steps[0]) * 1000 == recipes.published(one.recipe).steps or (
                one.recipe in recipes_that_say_another_length()
            ), (one.recipe, file)  # fmt: skip
            sizes = [size for size in re.findall(r"_(\d{2,4}x\d{2,4})_", file) if size in one.recipe or "x" in size]
            assert not sizes or any(size in one.recipe for size in sizes), (one.recipe, file)


def recipes_that_say_another_length() -> set[str]:
    from intarsia.recipes.published import MISNAMED

    return set(MISNAMED)


def test_two_checkpoints_never_stand_with_one_recipe() -> None:
    """Nine did in the list that they are from."""
    for name in recipes.names():
        assert len(facts.checkpoints(name)) <= 1


def test_an_address_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a checkpoint below"):
        script.file_of({"name": "a", "weights": "https://example.org/a.pth"})
