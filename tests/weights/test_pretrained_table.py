"""The table of pretrained weights: everything that the 681 published configs name is in it, and what fits what."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intarsia import recipes
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.weights.pretrained.find import find_pretrained, unknown
from intarsia.weights.pretrained.table import NOT_USABLE, PRETRAINED, SHORT_NAMES, digits_of
from intarsia.weights.pretrained.usual import DEFAULTS, USUAL, usual_weights
from intarsia.workflows.pretrained import _usual
from tests.recipes.test_recipes import own

WITHOUT_DIGITS = {
    "stable_diffusion_v1-5_pretrain_third_party", "nyu_class_embeddings", "mae_pretrain_vit_base",
    "beit_base_patch16_224_pt22k_ft22k", "beit_large_patch16_224_pt22k_ft22k",
}  # fmt: skip
NONE_KNOWN = {
    "bisenetv2", "cgnet", "erfnet", "fast_scnn", "gcnet-s", "gcnet-m", "gcnet-l", "nnunet", "nnunet_resenc", "regseg",
    "sctnet", "small_r18", "unet",
}  # fmt: skip
"""Networks of own recipes that are trained from random weights in their papers, too."""


def named(values: Any) -> Iterator[str]:
    """Every address of weights in a config."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key in ("pretrained", "checkpoint", "class_embed_path") and isinstance(value, str):
                yield value
            yield from named(value)
    elif isinstance(values, list):
        for value in values:
            yield from named(value)


def published(shared: Path) -> dict[str, Any]:
    configs: dict[str, Any] = json.loads(gzip.decompress((shared / "facts" / "mmseg_configs.json.gz").read_bytes()))
    return configs


def test_every_address_of_the_published_configs_is_known(shared: Path) -> None:
    addresses = {address for config in published(shared).values() for address in named(config)}
    assert len(addresses) > 70
    for address in addresses:
        found = find_pretrained(address)
        assert found is not None, address
        assert PRETRAINED[found.name] == found, address
        assert found.address.startswith("https://")
        assert bool(found.sha256) == (found.name not in WITHOUT_DIGITS)


def test_the_recipes_name_what_the_table_has(shared: Path) -> None:
    for name in published(shared):
        if name.rpartition("/")[2] in recipes.names():
            for address in named(json.loads(json.dumps(recipes.get(name.rpartition("/")[2])))):
                assert find_pretrained(address) is not None, (name, address)


def test_digits_are_those_of_the_file_names() -> None:
    for entry in PRETRAINED.values():
        assert entry.sha256 == digits_of(entry.address)
        assert entry.sha256 == "" or f"-{entry.sha256}." in entry.address
    assert len({entry.address for entry in PRETRAINED.values()}) == len(PRETRAINED)
    assert digits_of("https://x/model-0676ba61.pth") == "0676ba61"
    assert digits_of("https://x/model_20220101.pth") == ""


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("open-mmlab://resnet50_v1c", "resnet50_v1c"),
        ("open-mmlab://msra/hrnetv2_w18", "hrnetv2_w18"),
        ("torchvision://resnet101", "resnet101"),
        ("mmcls://mobilenet_v2", "mobilenet_v2"),
        ("mmpretrain://mobilenet_v2", "mobilenet_v2"),
        ("mit_b0", "mit_b0"),
        ("pretrain/vit_large_p16.pth", "jx_vit_large_p16_384"),
        ("./pretrain/mae_pretrain_vit_base_mmcls.pth", "mae_pretrain_vit_base"),
        ("pretrain\\deit_base_patch16_224-b5f2ef4d.pth", "deit_base_patch16_224"),
        ("elsewhere/mit_b0_20220624-7e0fe6dd.pth", "mit_b0"),
    ],
)
def test_names(written: str, name: str) -> None:
    found = find_pretrained(written)
    assert found is not None
    assert found.name == name


def test_an_address_of_others_stands_for_itself() -> None:
    found = find_pretrained("https://example.org/my/backbone-0123abcd.pth")
    assert found is not None
    assert (found.address, found.sha256) == ("https://example.org/my/backbone-0123abcd.pth", "0123abcd")


@pytest.mark.parametrize("written", ["open-mmlab://resnet51", "nothing://resnet50", "mit_b9", "some/file.pth"])
def test_what_nobody_knows(written: str) -> None:
    assert find_pretrained(written) is None
    assert written in unknown(written)
    assert "mit_b5" in unknown("mit_b9")


def test_short_names_lead_into_the_table() -> None:
    for names in SHORT_NAMES.values():
        assert set(names.values()) <= set(PRETRAINED)
    assert {name for _, _, name in USUAL} <= set(PRETRAINED)


@pytest.mark.parametrize("name", recipes.short_names())
def test_own_recipes_have_their_usual_weights(name: str) -> None:
    values = own(name, data={"train": {"type": "DescribedDataset", "file": "d.yaml", "split": "train"}})
    found = _usual(lower(Config.from_values(values, file=name)))
    assert (found is None) == (name.partition("-")[0] in NONE_KNOWN or name in NONE_KNOWN), name


def test_usual_weights_are_among_those_that_published_configs_name(shared: Path) -> None:
    """What a config names is usual for its backbone, or another file for the very same one."""
    others: dict[str, set[str]] = {}
    checked = 0
    for name, values in published(shared).items():
        if name in NOT_USABLE or name.startswith(("vpd/", "san/")) or "_r50s-" in name:  # r50s: a stem of another width
            continue
        spec = lower(Config.from_values(values, file=name))
        if len(spec.pretrained) != 1:
            continue
        entry = find_pretrained(spec.pretrained[0][1].partition("#")[0])
        usual = _usual(spec)
        assert entry is not None, name
        assert usual is not None, name
        assert usual.parts == (spec.pretrained[0][0],), name
        others.setdefault(usual.written, set()).add(entry.name)
        checked += 1
    assert checked > 550
    different = {usual: sorted(names - {usual}) for usual, names in others.items() if names - {usual}}
    assert different == {
        "resnet18": ["resnet18_v1c"],  # BiSeNetV1, whose stem is then random
        "resnet50": ["resnet50_8xb256-rsb-a1-600e_in1k", "resnet50_v1c"],
        "resnet101": ["resnet101_v1c"],
        "convnext-base_3rdparty_32xb128-noema_in1k": ["convnext-base_3rdparty_in21k"],
        "swin_tiny_patch4_window7_224": ["swin_tiny_patch4_window7_224.20220308"],
        "swin_base_patch4_window7_224": ["swin_base_patch4_window7_224_22k"],
        "swin_base_patch4_window12_384": ["swin_base_patch4_window12_384_22k"],
        "swin_large_patch4_window7_224_22k": ["swin_large_patch4_window7_224_22k.20220308"],
        "vit_small_p16_384": ["deit_small_patch16_224"],
        "vit_base_p16_384": ["deit_base_patch16_224", "jx_vit_base_p16_224"],
        "jx_vit_base_p16_224": ["deit_base_patch16_224"],
    }


def test_other_sizes_have_none() -> None:
    assert usual_weights("ResNetV1c", {"depth": 18, "base_channels": 24, "stem_channels": 24}) is None
    assert usual_weights("SwinTransformer", {"embed_dims": 12}) is None
    assert usual_weights("MyBackbone", {}) is None
    found = usual_weights("SwinTransformer", {"depths": [2, 2, 6, 2]})
    assert found is not None
    assert found.name == "swin_tiny_patch4_window7_224"
    assert set(DEFAULTS) <= {kind for kind, _, _ in USUAL}


def test_the_page_is_current() -> None:
    root = Path(__file__).resolve().parents[2]
    location = importlib.util.spec_from_file_location("pretrained_script", root / "scripts" / "pretrained.py")
    assert location is not None
    assert location.loader is not None
    script = importlib.util.module_from_spec(location)
    location.loader.exec_module(script)
    page = (root / "docs" / "pretrained.md").read_text(encoding="utf-8")
    assert page == script.render(), "run `python scripts/pretrained.py`"
    assert all(f"`{name}`" in page for name in PRETRAINED)
