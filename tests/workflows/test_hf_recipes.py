"""Recipes on networks of transformers, and the same networks as trunks of `create_model`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import intarsia
from intarsia import recipes
from intarsia.cli.main import main
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes
from intarsia.guide.models import UnknownModelError, find
from intarsia.recipes.hf_facts import OfTransformers
from intarsia.recipes.trunk_heads import HEADS, PYRAMIDS
from intarsia.weights.file import read_meta
from intarsia.weights.pretrained.fit import resize_patches
from intarsia.workflows.hub_trunks import network_at, normalisation_at, place_of
from intarsia.workflows.trunks import normalisation
from tests.recipes.test_recipes import own
from tests.workflows.standin_hub import Hub
from tests.workflows.test_hf_weights import DINO, NETWORKS, published

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SWIN = {"model_type": "swin", **NETWORKS["SwinForImageClassification"][1]}
VALUES: dict[str, dict[str, Any]] = {
    "swin": SWIN,
    "resnet": {"model_type": "resnet", **NETWORKS["ResNetForImageClassification"][1]},
    "convnextv2": {"model_type": "convnextv2", **NETWORKS["ConvNextV2Model"][1]},
    "dinov2": {"model_type": "dinov2", **DINO},
}
DATA = {"train": {"type": "DescribedDataset", "file": "d.yaml", "split": "train"}}
OF_TIMM = {"eomt", "pmt"}
DILATED = {"pspnet", "deeplabv3"}
OF_PYRAMIDS = {"deeplabv3plus", "lraspp", "efficientvit"}
PROCESSOR = {"image_mean": [0.5, 0.25, 0.5], "image_std": [0.25, 0.5, 0.25], "do_normalize": True}
SOME = ((127.5, 63.75, 127.5), (63.75, 127.5, 63.75))


def values_of(name: str) -> OfTransformers:
    return OfTransformers(name, json.dumps(VALUES[name]))


def folder_of(tmp_path: Path, values: Any, processor: Any = None) -> str:
    """A folder that has a network's config, and no weights."""
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    if processor is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return str(tmp_path)


# --- Heads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["swin", "resnet", "dinov2"])
def test_every_head_that_fits_the_network(kind: str) -> None:
    """Channels, strides and indices are what each part needs of the one before it; others are refused."""
    plain = kind.startswith("dino")
    taken = set()
    for head in HEADS:
        try:
            config = own(f"{head}_hf:{kind}", find=values_of, data=DATA)
        except ValueError:
            continue
        taken.add(head)
        assert check(Config.from_values(config, file=head), shapes=True) == [], head
        assert config["model"]["backbone"]["in_channels"] == 3
        assert "pretrained" not in config["model"]["backbone"]
    assert set(HEADS) - taken == OF_TIMM | DILATED | (OF_PYRAMIDS if plain else {"dpt"})


@pytest.mark.parametrize(
    ("recipe", "indices", "channels"),
    [
        ("unet_hf:swin", (1, 2, 3, 4), [8, 16, 32, 64]),
        ("lraspp_hf:resnet", (1, 2, 4), [16, 16, 32]),
        ("deeplabv3plus_hf:resnet", (1, 4), 32),
        ("linear_hf:convnextv2", (4,), 24),
        ("multilevel_hf:dinov2", (-4, -3, -2, -1), [16] * 4),
        ("dpt_hf:dinov2", None, [16] * 4),
    ],
)
def test_levels_are_stages_as_transformers_counts_them(recipe: str, indices: Any, channels: Any) -> None:
    model = own(recipe, find=values_of)["model"]
    assert model["backbone"].get("out_indices") == indices
    assert model["decode_head"]["in_channels"] == channels


def test_rates_are_as_wide_as_those_of_the_paper() -> None:
    """6, 12 and 18 cells of 16 pixels."""
    assert own("deeplabv3plus_hf:resnet", find=values_of)["model"]["decode_head"]["dilations"] == (1, 3, 6, 9)


def test_a_stem_is_a_level_where_no_stage_is_as_fine() -> None:
    """TextNet's stem has stride 2, FocalNet's first stage 8; MaskFormer's Swin does not give its stem."""
    values = {
        "textnet": {"stem_out_channels": 8, "hidden_sizes": [8, 8, 12, 16, 24]},
        "focalnet": {"embed_dim": 8, "depths": [1] * 4, "hidden_sizes": [8, 16, 24, 32], "focal_levels": [1] * 4,
                     "focal_windows": [3] * 4},
        "maskformer-swin": {key: value for key, value in SWIN.items() if key != "model_type"},
    }  # fmt: skip

    def find_it(name: str) -> OfTransformers:
        return OfTransformers(name, json.dumps({"model_type": name, **values[name]}))

    found = {
        name: recipes.network(f"unet_hf:{name}", num_classes=3, find=find_it)["backbone"]["out_indices"]
        for name in values
    }
    assert found == {"textnet": (0, 1, 2, 3, 4), "focalnet": (0, 1, 2, 4), "maskformer-swin": (1, 2, 3, 4)}


def test_training_is_that_of_the_same_heads_on_timm() -> None:
    assert own("linear_hf:swin", find=values_of)["intarsia"] == {"freeze": ["backbone"]}
    rates = [own(f"unet_hf:{kind}", find=values_of)["optim_wrapper"]["optimizer"]["lr"] for kind in ("swin", "dinov2")]
    assert rates == [3e-4, 1e-4]
    assert recipes.method("unet_hf:somebody/network") == recipes.method("unet_timm:resnet34")
    assert recipes.decoder("unet-sfp_hf:somebody/network") == "unet-sfp"
    assert recipes.decoder("small_r18") == ""
    assert recipes.is_for_data("unet_hf:~/a folder/of mine")
    with pytest.raises(UnknownModelError, match="is a recipe on a network of transformers"):
        find("unet_hf:somebody/network")


def test_pyramids_of_plain_transformers() -> None:
    assert set(PYRAMIDS) == {"sfp", "adapter"}
    model = own("upernet-sfp_hf:dinov2", find=values_of)["model"]
    assert (model["neck"]["type"], model["backbone"]["out_indices"]) == ("SimpleFeaturePyramid", (-1,))
    with pytest.raises(ValueError, match=r"stands on networks of timm only.*upernet-sfp_hf:dinov2"):
        own("upernet-adapter_hf:dinov2", find=values_of)
    with pytest.raises(ValueError, match="swin has levels of several strides: take upernet_hf:swin"):
        own("upernet-sfp_hf:swin", find=values_of)


# --- Weights ------------------------------------------------------------------------------------------------------


def test_a_trunk_of_four_bands_starts_from_its_folder(tmp_path: Path) -> None:
    """Its levels are those of transformers' own backbone, to which the fourth band is dark."""
    published("SwinForImageClassification", tmp_path / "swin")
    model = intarsia.create_model(
        "unet", trunk=tmp_path / "swin", num_classes=5, bands=4, pretrained=True, first_convolution="zero"
    ).eval()
    ours: Any = model.network.backbone
    theirs = type(ours.network[0]).from_pretrained(tmp_path / "swin", out_indices=[1, 2, 3, 4]).eval()
    given = torch.randn(1, 4, 96, 70)
    with torch.no_grad():
        for level, expected in zip(ours(given), theirs(given[:, :3]).feature_maps, strict=True):
            torch.testing.assert_close(level, expected, rtol=1e-5, atol=1e-5)
    assert model(given).shape == (1, 5, 96, 70)
    assert model.facts.loaded[0]["licence"] == "Apache-2.0"
    file = intarsia.save(model, tmp_path / "w.safetensors", classes=list("abcde"), mean=[0.0] * 4, std=[1.0] * 4)
    assert read_meta(file).pretrained[0].licence == "Apache-2.0"
    again = intarsia.create_model(file)
    assert again.state_dict()["decode_head.conv_seg.bias"].equal(model.state_dict()["decode_head.conv_seg.bias"])


def test_patches_of_14_become_16_under_a_pyramid(tmp_path: Path) -> None:
    """Positions stay, and weights of patches are resized as timm does it."""
    resample = pytest.importorskip("timm.layers.patch_embed", reason="timm is not installed").resample_patch_embed
    state = published("Dinov2Model", tmp_path).state_dict()
    model = intarsia.create_model("segformer", trunk=str(tmp_path), num_classes=3, pretrained=True)
    assert [level.stride for level in model.network.backbone.features] == [16] * 4
    found, name = model.network.backbone.state_dict(), "embeddings.patch_embeddings.projection.weight"
    assert found["embeddings.position_embeddings"].equal(state["embeddings.position_embeddings"])
    torch.testing.assert_close(found[name], resample(state[name], [16, 16]), rtol=1e-4, atol=1e-5)
    weight = torch.randn(2, 1, 14, 14)
    for size in ((8, 8), (14, 16)):
        torch.testing.assert_close(resize_patches(weight, size), resample(weight, list(size)), rtol=1e-4, atol=1e-4)
    linear = intarsia.create_model("linear", trunk=str(tmp_path), num_classes=3, pretrained=True)
    assert linear.network.backbone.state_dict()[name].equal(state[name])


def test_a_folder_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trunk = folder_of(tmp_path, SWIN)
    assert intarsia.create_model("fpn", trunk=trunk, num_classes=3, pretrained=False).facts.loaded == ()
    assert intarsia.create_model(f"fpn_hf:{trunk}", num_classes=3).facts.loaded == ()
    said = capsys.readouterr().err
    assert "there are no weights to start from" in said
    assert "starts from random weights" in said
    with pytest.raises(ValueError, match=r"pretrained=True: .*random weights"):
        intarsia.create_model("fpn", trunk=trunk, num_classes=3, pretrained=True)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ValueError, match="expected a weight_map of tensors"):
        intarsia.create_model("fpn", trunk=trunk, num_classes=3)


def test_the_decoder_of_such_a_trunk_can_be_changed(tmp_path: Path) -> None:
    trunk = folder_of(tmp_path, SWIN)
    model = intarsia.create_model("unet", trunk=trunk, num_classes=3, depth=4, decoder_channels=(32, 16, 8, 8))
    assert [level.stride for level in model.network.backbone.features] == [4, 8, 16]
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3, 64, 64)
    with pytest.raises(ValueError, match="depth of unet is 3 to 5, found 6"):
        intarsia.create_model("unet", trunk=trunk, num_classes=3, depth=6)


# --- The hub ------------------------------------------------------------------------------------------------------


def test_a_model_of_the_hub(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without pretrained weights its config is all that is fetched; code beside them never."""
    published("SwinForImageClassification", tmp_path / "swin")
    files = {file.name: file.read_bytes() for file in (tmp_path / "swin").iterdir()}
    files |= {"modeling.py": b"raise SystemExit", "preprocessor_config.json": json.dumps(PROCESSOR).encode()}
    hub.put("them/swin", files)
    model = intarsia.create_model("unet", trunk="hf://them/swin", num_classes=3, pretrained=False)
    assert model.facts.recipe == "unet_hf:them/swin"
    assert {line.rpartition("/")[2] for line in hub.asked if "/resolve/" in line} == {"config.json"}
    assert network_at("them/swin").weights == "hf://them/swin"
    model = intarsia.create_model("unet", trunk="https://huggingface.co/them/swin", num_classes=3, pretrained=True)
    assert model.mean is not None
    assert (tuple(model.mean), tuple(model.std or ())) == SOME
    assert not any("modeling.py" in line for line in hub.asked)
    assert (model.facts.loaded[0]["asked_for"], model.facts.loaded[0]["licence"]) == ("hf://them/swin", "Apache-2.0")

    hub.put("them/plain", {"config.json": files["config.json"]})
    assert normalisation_at("them/plain") is None
    assert "it is not known how them/plain wants its images normalised" in capsys.readouterr().err
    with pytest.raises(ValueError, match="there is no hf://them/nothing, or it is private"):
        intarsia.create_model("unet_hf:them/nothing", num_classes=3)


def test_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    from huggingface_hub import constants

    monkeypatch.setenv("INTARSIA_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"hf://me/net/config.json is not in the hub's cache, and INTARSIA_OFFLINE"):
        intarsia.create_model("unet", trunk="hf://me/net", num_classes=3)


# --- Normalisation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (PROCESSOR, SOME),
        ({**PROCESSOR, "rescale_factor": 1.0}, ((0.5, 0.25, 0.5), (0.25, 0.5, 0.25))),
        ({**PROCESSOR, "do_normalize": False}, ((0.0,) * 3, (255.0,) * 3)),
        ({"image_mean": [0.5], "image_std": [0.5]}, None),
        (None, None),
    ],
)
def test_images_are_normalised_as_the_model_wants_it(processor: Any, expected: Any, tmp_path: Path) -> None:
    found = normalisation_at(folder_of(tmp_path, SWIN, processor))
    assert (None if found is None else (found.mean, found.std)) == expected


def test_normalisation_is_said_and_is_of_colours_only(tmp_path: Path) -> None:
    recipe, said = f"unet_hf:{folder_of(tmp_path, SWIN, PROCESSOR)}", []
    images: Any = SimpleNamespace(bands="rgb", channels=3, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    assert normalisation(recipe, images, None, said.append) == SOME
    assert "mean 127.5, 63.75, 127.5; deviation 63.75, 127.5, 63.75" in said[0]
    own_values = ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert normalisation(recipe, images, "none", said.append) == own_values
    images.bands = "raw"
    assert normalisation(recipe, images, None, said.append) == own_values
    assert len(said) == 1
    with pytest.raises(ValueError, match="image_mean, image_std or rescale_factor are no numbers"):
        normalisation_at(folder_of(tmp_path, SWIN, {"image_mean": ["red"] * 3}))


# --- What cannot be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "bert"}, "has no backbone of model_type 'bert'"),
        ({"model_type": "mine", "auto_map": {"AutoModel": "code.Net"}}, r"code of its own \(auto_map\) is never run"),
        ({"architecture": "resnet18"}, "it is a network of timm: take resnet18 as a name of timm"),
        ({"model_type": "hiera", "embed_dim": 8, "image_size": [64, 64], "depths": [1] * 4, "num_heads": [1, 1, 2, 2]},
         "takes images of 64 x 64 only"),
        ({"model_type": "textnet"}, "takes images of 3 bands only"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_trunks(values: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        intarsia.create_model("unet", trunk=folder_of(tmp_path, values), num_classes=3, bands=4, pretrained=False)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("eomt", "runs its queries through blocks of timm's transformers"),
        ("pmt", "reads all tokens of timm's transformers"),
        ("pspnet", "can be dilated to stride 8: .* is a network of transformers, which are not dilated"),
        ("deeplabv3plus", r"reads a level of stride 4 and a coarser one; .*\[14, 14, 14, 14\]"),
        ("unet-foo", "Before _hf: stands one of upernet"),
    ],
)
def test_heads_that_cannot_be_on_them(head: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        intarsia.create_model(head, trunk=folder_of(tmp_path, VALUES["dinov2"]), num_classes=3, pretrained=False)


def test_names_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"is a folder without config\.json"):
        intarsia.create_model(f"unet_hf:{tmp_path / 'empty'}", num_classes=3)
    for name in ("resnet50", "a/b/c", "../model", str(tmp_path / "nowhere")):
        with pytest.raises(ValueError, match="expected OWNER/NAME of the Hugging Face Hub, or a folder"):
            place_of(name)
    with pytest.raises(ValueError, match="'hf://OWNER/NAME', or a folder with a config"):
        intarsia.create_model("unet", trunk="somebody/network", num_classes=3)
    assert place_of("me/net@v1") == place_of("hf://me/net@v1") == "hf://me/net@v1"


# --- Training -----------------------------------------------------------------------------------------------------


def test_the_command_trains_on_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published("ConvNextV2Model", tmp_path / "mine")
    folder_of(tmp_path / "mine", json.loads((tmp_path / "mine/config.json").read_text()), PROCESSOR)
    write_description(write_scenes(tmp_path / "scenes", train=3, val=1), tmp_path / "scenes/data.yaml")
    words = ["--data", str(tmp_path / "scenes/data.yaml"), "--batch", "2", "--crop", "64", "64", "--workers", "0"]
    command = ["train", f"segformer_hf:{tmp_path / 'mine'}", *words, "--device", "cpu", "--for", "3 steps"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert "colours are normalised as for the weights of" in capsys.readouterr().err
    (origin,) = json.loads((tmp_path / "run/run.json").read_text())["pretrained"]
    assert (origin["part"], origin["licence"]) == ("backbone", "Apache-2.0")
    meta = read_meta(tmp_path / "run/weights.safetensors")
    assert meta.config["model"]["backbone"]["config"]["model_type"] == "convnextv2"
    assert tuple(meta.config["model"]["data_preprocessor"]["mean"]) == SOME[0]

    assert main([*command[:-1], "1 step", "--pretrained", "none", "--out", str(tmp_path / "bare")]) == 0
    assert not json.loads((tmp_path / "bare/run.json").read_text()).get("pretrained")
    (tmp_path / "mine").rename(tmp_path / "gone")  # a run needs the folder no more
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "--device", "cpu"]) == 0
