"""Backbones of transformers in configs and from the hub: values of a config.json, weights, their licence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import intarsia
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.weights.file import WeightsMismatchError
from intarsia.workflows import pretrained
from intarsia.workflows.hub_trunks import with_values_of_trunks
from intarsia.workflows.names import find_config
from intarsia.workflows.pretrained import start_from
from intarsia.workflows.run_options import RunOptions

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

DINO = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 70, "patch_size": 14}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "Dinov2Model": ("dinov2", DINO),
    "Dinov2ForImageClassification": ("dinov2", DINO),
    "SwinForImageClassification": ("swin", {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2]}),
    "ResNetForImageClassification": (
        "resnet", {"embedding_size": 8, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]}),
    "ConvNextV2Model": ("convnextv2", {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}),
    "BeitForImageClassification": (
        "beit", {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32,
                 "image_size": 64, "use_relative_position_bias": True}),
    "DINOv3ViTModel": (
        "dinov3_vit", {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}),
}  # fmt: skip
"""Class of a published network, whose file names its tensors so -> its type and values that make it small."""
CARD = "---\nlicense: apache-2.0\n---\nA network.\n"


def published(name: str, folder: Path) -> Any:
    """A folder as the hub has it: written by transformers, which gives tensors the names of published files."""
    if not hasattr(transformers, name):
        pytest.skip(f"transformers {transformers.__version__} has no {name}")
    kind, values = NETWORKS[name]
    torch.manual_seed(5)
    network = getattr(transformers, name)(transformers.CONFIG_MAPPING[kind](**values)).eval()
    network.save_pretrained(folder)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return network


def config_of(config: Any, **backbone: Any) -> Config:
    head = {"type": "FCNHead", "in_channels": 16, "in_index": -1, "channels": 8, "num_classes": 3}
    backbone = {"type": "HFBackbone", "config": config, **backbone}
    return Config.from_values(
        {"model": {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head}}, file="of transformers"
    )


@pytest.fixture
def at_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """The hub has a network's folder; gives the addresses that it was asked for."""

    def put(name: str) -> list[str]:
        asked: list[str] = []
        published(name, tmp_path / "folder")

        def fetch(address: str) -> Path:
            asked.append(address)
            return tmp_path / "folder" / "config.json" if address.endswith(".json") else tmp_path / "folder"

        monkeypatch.setattr(pretrained, "_FAILED", {})
        monkeypatch.setattr("intarsia.workflows.hub.fetch", fetch)
        monkeypatch.setattr("intarsia.workflows.locate.BY_PREFIX", {"hf://": fetch})
        return asked

    return put


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_folder_becomes_a_backbone(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The levels are those of transformers' own backbone that has read the same folder."""
    published(name, tmp_path)
    backbone: Any = intarsia.trunk(str(tmp_path))
    theirs = type(backbone.network[0]).from_pretrained(tmp_path, out_indices=list(backbone.out_indices)).eval()
    given = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = backbone.eval()(given), theirs(given).feature_maps
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5)
    if "Classification" in name:
        assert "left out, of classifiers or other parts" in capsys.readouterr().err
    torch.manual_seed(6)
    assert not intarsia.trunk(str(tmp_path), pretrained=False)(given)[-1].equal(found[-1])


def test_an_address_becomes_values_and_weights(at_the_hub: Callable[[str], list[str]], tmp_path: Path) -> None:
    asked = at_the_hub("Dinov2ForImageClassification")
    config = with_values_of_trunks(config_of("hf://me/dino@main", pretrained=True))
    assert asked == ["hf://me/dino@main/config.json"]
    values = config.values["model"]["backbone"]
    assert {key: values["config"][key] for key in ("model_type", *DINO)} == {"model_type": "dinov2", **DINO}
    assert not {"architectures", "id2label", "transformers_version"} & set(values["config"])
    assert with_values_of_trunks(config) is config
    assert check(config, shapes=True) == []
    spec = lower(config)
    assert spec.pretrained == (("backbone", "hf://me/dino@main"),)
    task: Any = build_task(spec)
    (loaded,) = start_from(task, spec, RunOptions(out=tmp_path / "run")).loaded
    assert asked[1:] == ["hf://me/dino@main"]
    assert (loaded["licence"], loaded["part"]) == ("Apache-2.0", "backbone")
    assert loaded["tensors"] == len(task.model.backbone.state_dict())
    assert len(loaded["sha256"]) == 64


def test_a_config_file_may_name_a_folder(tmp_path: Path) -> None:
    published("Dinov2Model", tmp_path / "dino")
    (tmp_path / "mine.py").write_text(
        "model = dict(type='EncoderDecoder', backbone=dict(type='HFBackbone', config='here', out_indices=(4,)))\n",
        encoding="utf-8",
    )
    config = find_config(
        str(tmp_path / "mine.py"), settings=[f"model.backbone.config={(tmp_path / 'dino').as_posix()}"]
    )
    assert config.values["model"]["backbone"]["config"]["model_type"] == "dinov2"
    assert "pretrained" not in config.values["model"]["backbone"]


def test_values_that_nobody_knows_are_told_and_left_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"model_type": "dinov2", **DINO, "of_an_old_version": 1, "auto_map": {"AutoBackbone": "code.Network"}}
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    backbone: Any = intarsia.trunk(str(tmp_path), pretrained=False, in_channels=4)
    assert backbone.features[-1].channels == 16
    assert "values that dinov2 of transformers does not know: of_an_old_version" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "bert"}, "has no backbone of model_type 'bert'"),
        ({"hidden_size": 3}, "config says no model_type"),
        ([1], "holds a list; expected an object"),
    ],
)
def test_folders_of_something_else(values: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        with_values_of_trunks(config_of(str(tmp_path)))
    with pytest.raises(ValueError, match="is a file; expected a repository"):
        intarsia.trunk("hf://me/dino/model.safetensors")
    with pytest.raises(ValueError, match=r"config\.json does not exist"):
        with_values_of_trunks(config_of(str(tmp_path / "nowhere")))


def test_weights_of_another_network_and_of_other_bands(tmp_path: Path) -> None:
    resnet = published("ResNetForImageClassification", tmp_path / "resnet")
    published("Dinov2Model", tmp_path / "dino")
    with pytest.raises(WeightsMismatchError, match="not one tensor of the file fits"):
        intarsia.trunk(str(tmp_path / "resnet"), pretrained=str(tmp_path / "dino"))
    backbone: Any = intarsia.trunk(str(tmp_path / "resnet"), in_channels=5)
    name = "embedder.embedder.convolution.weight"
    weight = resnet.state_dict()[f"resnet.{name}"]
    torch.testing.assert_close(backbone.state_dict()[name], weight[:, [0, 1, 2, 0, 1]] * 3 / 5)
