"""Weights and recipes of timm's networks: which file a name means, how it gets into a network, what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import intarsia
from intarsia import catalog, recipes
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.engine.optim.optimizers import optimizer_for
from intarsia.spec import RunSpec
from intarsia.weights.legacy_names import with_present_names
from intarsia.weights.pretrained.find import find_pretrained, unknown
from intarsia.weights.pretrained.table import Pretrained
from intarsia.workflows import pretrained
from intarsia.workflows.pretrained import NotToBeHadError, start_from
from intarsia.workflows.run_options import RunOptions
from intarsia.workflows.trunks import normalisation
from tests.recipes.test_recipes import own

timm = pytest.importorskip("timm", reason="timm is not installed")
State = dict[str, Tensor]


def config_of(**backbone: Any) -> Config:
    head = {"type": "FCNHead", "in_channels": 64, "in_index": -1, "channels": 8, "num_classes": 3}
    model = {
        "type": "EncoderDecoder",
        "backbone": {"model_name": "test_vit.r160_in1k", **backbone},
        "decode_head": head,
    }
    return Config.from_values({"model": model}, file="of timm")


def published(name: str, file: Path, **arguments: Any) -> State:
    torch.manual_seed(5)
    state: State = timm.create_model(name, **arguments).state_dict()
    save_file(state, file)
    return state


@pytest.fixture
def at_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """The hub has what timm publishes of one network; gives the addresses that it was asked for."""

    def put(name: str) -> list[str]:
        asked: list[str] = []
        file = tmp_path / "model.safetensors"
        published(name.partition(".")[0], file)

        def fetch(address: str) -> Path:
            asked.append(address)
            return file

        monkeypatch.setattr(pretrained, "_FAILED", {})
        monkeypatch.setattr("intarsia.workflows.locate.BY_PREFIX", {"hf://": fetch})
        return asked

    return put


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"type": "TIMMBackbone"}, (("backbone", "timm://test_vit.r160_in1k"),)),
        ({"type": "TIMMBackbone", "pretrained": False}, ()),
        ({"type": "TIMMBackbone", "features_only": True, "checkpoint_path": "a.pth"}, (("backbone", "a.pth"),)),
        ({"type": "mmseg.TIMMBackbone", "checkpoint_path": ""}, (("backbone", "timm://test_vit.r160_in1k"),)),
        ({"type": "TIMM"}, ()),
        ({"type": "TIMM", "pretrained": True}, (("backbone", "timm://test_vit.r160_in1k"),)),
        ({"type": "TIMM", "pretrained": "b.safetensors"}, (("backbone", "b.safetensors"),)),
    ],
)
def test_what_a_config_starts_from(written: dict[str, Any], expected: tuple[tuple[str, str], ...]) -> None:
    config = config_of(**written)
    assert check(config, shapes=False) == []
    assert lower(config).pretrained == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"features_only": False}, "expected True, found False"),
        ({"pretrained": 3}, "expected bool | str | None, found 3"),
        ({"checkpoint_path": 3}, "expected str, found 3"),
        ({"model_nam": "x"}, "TIMMBackbone has no argument 'model_nam'"),
    ],
)
def test_what_a_config_cannot_say(written: dict[str, Any], message: str) -> None:
    problems = check(config_of(type="TIMMBackbone", **written), shapes=False)
    assert any(message in problem.message for problem in problems), problems


def test_the_file_of_a_name_and_its_licence() -> None:
    found = find_pretrained("timm://convnext_tiny.dinov3_lvd1689m")
    assert found is not None
    assert found.address == "hf://timm/convnext_tiny.dinov3_lvd1689m/model.safetensors"
    assert found.licence.startswith("DINOv3 License")
    usual = find_pretrained("timm://swin_tiny_patch4_window7_224")
    assert usual == Pretrained(
        "timm://swin_tiny_patch4_window7_224.ms_in1k",
        "hf://timm/swin_tiny_patch4_window7_224.ms_in1k/model.safetensors",
        licence="MIT",
    )
    assert find_pretrained("timm://no_such_network") is None
    assert "has no weights 'resnet50.none'; it has resnet50.a1_in1k" in unknown("timm://resnet50.none")


@pytest.mark.parametrize("kind", ["TIMM", "TIMMBackbone"])
def test_weights_come_from_the_hub_and_their_licence_is_kept(
    at_the_hub: Callable[[str], list[str]], tmp_path: Path, kind: str
) -> None:
    asked = at_the_hub("test_vit")
    spec = lower(config_of(type=kind, pretrained=True))
    task: Any = build_task(spec)
    begun = start_from(task, spec, RunOptions(out=tmp_path / "run"))
    assert asked == ["hf://timm/test_vit.r160_in1k/model.safetensors"]
    (loaded,) = begun.loaded
    assert (loaded["licence"], loaded["part"]) == ("Apache-2.0", "backbone")
    torch.manual_seed(5)
    expected = timm.create_model("test_vit").state_dict()
    own = task.model.backbone.state_dict()
    assert loaded["tensors"] == len(own)
    assert all(value.equal(expected[name]) for name, value in own.items())
    assert "left out" in begun.notes[0]


def test_auto_finds_what_timm_publishes(at_the_hub: Callable[[str], list[str]], tmp_path: Path) -> None:
    asked = at_the_hub("test_vit")
    spec = lower(config_of(type="TIMM").override(["intarsia.pretrained='auto'"]))
    assert start_from(build_task(spec), spec, RunOptions(out=tmp_path / "run")).loaded
    assert asked == ["hf://timm/test_vit.r160_in1k/model.safetensors"]


def test_files_that_others_would_translate_are_taken_as_they_are(tmp_path: Path) -> None:
    """Swin's names are translated for our own SwinTransformer; the network of timm has them itself."""
    small = {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 4)}
    name = "swin_tiny_patch4_window7_224"
    state = published(name, tmp_path / "swin.safetensors", **small)
    backbone: Any = intarsia.trunk(name, pretrained=str(tmp_path / "swin.safetensors"), options=small)
    assert all(value.equal(state[key]) for key, value in backbone.state_dict().items())


def test_positions_patches_and_bands_are_made_to_fit(tmp_path: Path) -> None:
    state = published("test_vit", tmp_path / "vit.safetensors")
    backbone: Any = intarsia.trunk(
        "test_vit", pretrained=str(tmp_path / "vit.safetensors"), in_channels=5, img_size=(64, 96)
    )
    own = backbone.state_dict()
    assert own["pos_embed"].shape == (1, 1 + 4 * 6, 64) != state["pos_embed"].shape
    weight = state["patch_embed.proj.weight"]
    torch.testing.assert_close(own["patch_embed.proj.weight"], weight[:, [0, 1, 2, 0, 1]] * 3 / 5)


def test_weights_that_cannot_be_had_or_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(NotToBeHadError, match=r"has no weights .test_vit\.none"):
        intarsia.trunk("test_vit", pretrained="timm://test_vit.none")
    published("test_resnet", tmp_path / "resnet.safetensors")
    with pytest.raises(ValueError, match="not one tensor of the file fits"):
        intarsia.trunk("test_vit", pretrained=str(tmp_path / "resnet.safetensors"))


@pytest.mark.parametrize(
    "name", ["test_vit", "test_convnext", "test_resnet", "resnetv2_18", "densenet121", "efficientvit_b0", "dpn48b"]
)
def test_names_of_the_originals_checkpoints(name: str) -> None:
    """MMSegmentation keeps timm's own network of levels below `timm_model`, whose sequences are taken apart."""
    with torch.device("meta"):
        original = timm.create_model(name, features_only=True).state_dict()
        own = catalog.resolve("backbone", "TIMM")(name).state_dict()
    state = {**{f"backbone.timm_model.{key}": value for key, value in original.items()}, "decode_head.w": torch.ones(1)}
    found, notes = with_present_names(state)
    assert {key.removeprefix("backbone.") for key in found} - {"decode_head.w"} <= {*own, "norm.weight", "norm.bias"}
    assert {key for key in own if f"backbone.{key}" not in found} == set()
    assert notes == ["names of MMSegmentation's TIMMBackbone became those of timm"]


# --- Recipes ------------------------------------------------------------------------------------------------------


def spec_of(recipe: str, **changes: Any) -> RunSpec:
    data = {"train": {"type": "DescribedDataset", "file": "d.yaml", "split": "train"}}
    config = Config.from_values(own(recipe, data=data, **changes), file=recipe)
    assert check(config, shapes=True) == []
    return lower(config)


@pytest.mark.parametrize(
    ("recipe", "strides"),
    [
        ("upernet_timm:test_resnet", [4, 8, 16, 32]),
        ("upernet_timm:test_convnext.r160_in1k", [4, 8, 16, 32]),
        ("segformer_timm:test_vit", [16] * 4),
        ("upernet_timm:vit_small_patch14_dinov2", [16] * 4),
        ("deeplabv3plus_timm:test_resnet", [4, 16]),
        ("fpn_timm:test_convnext", [4, 8, 16, 32]),
        ("fpn_timm:test_vit", [16] * 4),
        ("pspnet_timm:test_resnet", [8, 8]),
        ("deeplabv3_timm:test_resnet", [8, 8]),
        ("dpt_timm:test_vit", [16] * 4),
        ("dpt_timm:vit_small_patch14_dinov2", [16] * 4),
        ("dpt_timm:vit_base_patch16_siglip_224", [16] * 4),
        ("linear_timm:test_vit", [16]),
        ("unet_timm:resnet18", [2, 4, 8, 16, 32]),
        ("unet_timm:test_convnext.r160_in1k", [4, 8, 16, 32]),
        ("unet_timm:test_vit", [16] * 4),
        ("unetplusplus_timm:test_efficientnet", [2, 4, 8, 16, 32]),
        ("linknet_timm:test_convnext", [4, 8, 16, 32]),
        ("manet_timm:test_resnet", [2, 4, 8, 16, 32]),
        ("pan_timm:test_resnet", [4, 8, 16, 16]),
        ("pan_timm:mobilenetv3_small_050", [4, 8, 16, 32]),
        ("pan_timm:test_vit", [16] * 4),
        ("pan_timm:swin_tiny_patch4_window7_224", [4, 8, 16, 32]),
        ("eomt_timm:test_vit", [16]),
        ("eomt_timm:vit_large_patch14_reg4_dinov2.lvd142m", [16]),
        ("eomt_timm:vit_small_patch16_dinov3", [16]),
    ],
)
def test_recipes_on_any_network(recipe: str, strides: list[int]) -> None:
    with torch.device("meta"):
        task: Any = build_task(spec_of(recipe))
    assert [level.stride for level in task.model.backbone.features] == strides
    assert recipes.is_for_data(recipe)
    assert recipe not in recipes.short_names()


@pytest.mark.parametrize(
    ("recipe", "stride"),
    [
        ("fpn_timm:test_vit", 4),
        ("pspnet_timm:test_resnet", 8),
        ("deeplabv3_timm:test_resnet", 8),
        ("dpt_timm:test_vit", 2),
    ],
)
def test_other_decoders_end_at_their_stride(recipe: str, stride: int) -> None:
    task: Any = build_task(spec_of(recipe, num_classes=3))
    with torch.no_grad():
        assert task.model.eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 3, 64 // stride, 96 // stride)


@pytest.mark.parametrize("head", ["unet", "unetplusplus", "linknet", "manet"])
@pytest.mark.parametrize("network", ["test_efficientnet", "test_convnext", "test_vit"])
def test_decoders_of_unets_end_at_the_size_of_the_image(head: str, network: str) -> None:
    task: Any = build_task(spec_of(f"{head}_timm:{network}", num_classes=3))
    with torch.no_grad():
        assert task.model.eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 3, 64, 96)


def test_the_linear_recipe_trains_its_norm_and_one_layer() -> None:
    config = own("linear_timm:test_vit")
    assert config["intarsia"]["freeze"] == ["backbone"]
    assert config["model"]["backbone"]["norm"] is True
    task: Any = build_task(spec_of("linear_timm:test_vit"))
    names = [name for name, _ in task.model.decode_head.named_parameters()]
    assert names == ["bn.weight", "bn.bias", "conv_seg.weight", "conv_seg.bias"]


def test_the_recipe_of_eomt_is_that_of_its_authors() -> None:
    spec = spec_of("eomt_timm:vit_large_patch14_reg4_dinov2")
    head, backbone = spec.model.args["decode_head"].args, spec.model.args["backbone"].args
    assert (head["num_blocks"], backbone["open_blocks"], head["num_queries"], head["num_upscales"]) == (4, 4, 100, 2)
    assert spec.objective is not None
    assert spec.objective.args["loss_weights"] == spec.objective.args["match_weights"] == (2.0, 5.0, 5.0)
    with torch.device("meta"):
        network = build_task(spec).model
        groups = optimizer_for(network, spec.optim).param_groups  # type: ignore[arg-type]
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    found = {name: rates[id(parameter)] for name, parameter in network.named_parameters()}  # type: ignore[attr-defined]
    assert found["backbone.pos_embed"] == pytest.approx(1e-4 * 0.8**23)
    assert found["backbone.blocks.22.ls1.gamma"] == pytest.approx(0.8e-4)
    assert found["backbone.norm.weight"] == found["decode_head.class_head.bias"] == pytest.approx(1e-4)
    assert {group["weight_decay"] for group in groups} == {0.05}
    assert spec.optim.clip == {"max_norm": 0.01, "norm_type": 2}


def test_recipes_of_any_bands_and_one_foreground() -> None:
    task: Any = build_task(spec_of("segformer_timm:test_convnext", mean=(1.0,) * 5, std=(1.0,) * 5, raw_bands=True))
    assert task.model.backbone.state_dict()["stem.0.weight"].shape[1] == 5
    assert own("upernet_timm:test_vit", num_classes=1)["model"]["decode_head"]["threshold"] == 0.5


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("upernet_timm:resnet5", "has no network 'resnet5'; did you mean"),
        ("upernet_timm:beit_base_patch16_224", "does not take images of any size"),
        ("deeplabv3plus_timm:test_vit", "cannot be built with .*output_stride=16"),
        ("pspnet_timm:test_vit", "are for networks that can be dilated to stride 8: .*; take upernet or segformer"),
        ("deeplabv3_timm:swin_tiny_patch4_window7_224", "are for networks that can be dilated to stride 8"),
        ("dpt_timm:resnet18", r"dpt is for plain transformers; resnet18 has levels of strides \[2, 4, 8, 16, 32\]"),
        ("nothing_timm:resnet50", "unknown recipe .* Before _timm: stands one of upernet, .*, unet, "),
        ("unet_timm:timm/resnet18", "behind it a network of timm: unet_timm:resnet34"),
        ("eomt_timm:convnext_tiny", "open_blocks is for plain transformers"),
    ],
)
def test_recipes_that_cannot_be(recipe: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        own(recipe)


def test_colours_are_normalised_as_for_the_weights() -> None:
    said: list[str] = []
    images: Any = SimpleNamespace(bands="rgb", channels=3, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    found = normalisation("upernet_timm:vit_base_patch16_clip_224.openai", images, None, said.append)
    assert found == ((122.771, 116.746, 104.094), (68.501, 66.632, 70.323))
    assert "vit_base_patch16_clip_224.openai: mean 122.771, 116.746, 104.094" in said[0]
    own_values = ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert normalisation("upernet_timm:test_vit", images, "none", said.append) == own_values
    assert normalisation("upernet_r50", images, None, said.append) == own_values
    assert len(said) == 1
