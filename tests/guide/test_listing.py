"""Finding and sorting models."""

from __future__ import annotations

import pytest

from intarsia.guide.models import UnknownModelError, data_names, find, models, ordered, select


def test_a_model_is_found_by_each_of_its_names() -> None:
    for name in ("segformer_mit-b0", "segformer_mit-b0_8xb2-160k_ade20k-512x512"):
        assert find(name).name == "segformer_mit-b0"
    assert find("swin-tiny-patch4-window7_upernet").network.own is None
    assert find("segformer_mit-b0_512x512_160k_ade20k_20210726_101530-8ffa8fda.pth").name == "segformer_mit-b0"
    assert find("eemanet_r50-d8_4xb2-80k_cityscapes-512x1024").method_name == "EMANet", "as the list misspells it"


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
    best = [one.rank("cityscapes") for one in ordered(models(), "score", data="cityscapes")]
    values = [value for value in best if value is not None]
    assert values == sorted(values, reverse=True)
    assert best[: len(values)] == values, "those without a score come last"
    depth = ordered(select(data="nyu"), "score", data="nyu")
    assert [one.best("nyu").score[0] for one in depth] == ["RMSE"]
    assert depth[0].best("nyu").score[1] == 0.253, "the smaller error is the better one"
    assert [one.name for one in ordered(select(["segformer_mit"]), "kind")] == [f"segformer_mit-b{i}" for i in range(6)]
    with pytest.raises(ValueError, match=r"--sort speed: expected one of kind, name"):
        ordered(models(), "speed")


def test_scores_of_authors_count_where_no_checkpoint_is_better() -> None:
    one = find("eomt_vit-l-dinov2")
    assert one.best("ade20k") is None
    assert one.best_stated("ade20k").score == one.rank("ade20k") == 58.4
    assert {found.data for found in one.stated} == {"ade20k", "cityscapes"}
    assert find("segformer_mit-b0").best_stated("ade20k") is None
    assert find("segformer_mit-b0").rank("ade20k") == 37.41
    assert find("vpd_sd").rank("nyu") == -0.253


def test_networks_of_timm_that_the_list_leaves_out_say_where_they_are_counted() -> None:
    assert find("unet_timm:resnet34").method_name == "UNet"
    with pytest.raises(UnknownModelError, match=r"the list shows some\. `intarsia models profile unet_timm:res"):
        find("unet_timm:resnet18")


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
