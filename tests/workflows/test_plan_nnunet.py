"""The planner against nnunetv2 2.8.1, whose answers are kept here, and what becomes of a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import intarsia
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.data.description.model import DataDescription
from intarsia.data.description.read import read_description
from intarsia.weights.file import read_meta
from intarsia.workflows.adjust import TrainingOptions
from intarsia.workflows.plan_nnunet import feature_values, normalised, plan, settings_of
from intarsia.workflows.train import start_training
from intarsia.workflows.training_config import TrainingRequest, training_config

Size = tuple[int, int]
ALONG = {"=": (2, 2), "|": (1, 2), "-": (2, 1)}
THEIRS: list[tuple[str, Size, int, Size, str, int, int]] = [
    ("nnunet", (512, 512), 30, (512, 512), "=======", 2, 82_624_512),
    ("nnunet", (512, 512), 5000, (512, 512), "=======", 12, 82_624_512),
    ("nnunet", (256, 320), 500, (256, 320), "======", 25, 25_784_320),
    ("nnunet", (1024, 2048), 2975, (896, 1792), "=======|", 2, 506_275_840),
    ("nnunet", (64, 1000), 400, (64, 1024), "====|||", 20, 20_971_520),
    ("nnunet", (30, 400), 400, (32, 448), "===|||", 17, 4_788_224),
    ("nnunet", (13, 500), 4000, (14, 512), "=|||||", 181, 3_799_040),
    ("nnunet_resenc-m", (512, 512), 100, (512, 512), "=======", 13, 129_441_792),
    ("nnunet_resenc-m", (520, 696), 5, (640, 768), "=======", 4, 242_703_360),
    ("nnunet_resenc-l", (1024, 1024), 100, (1024, 1024), "========", 9, 517_939_200),
    ("nnunet_resenc-xl", (1000, 1400), 300, (1024, 1536), "========", 9, 776_908_800),
    ("nnunet_resenc-xl", (3000, 2500), 300, (2048, 2048), "=========", 3, 2_071_928_832),
]
"""Recipe, median size, images -> patch, the halvings, batch, values of all maps; for two classes. Of its
`get_pool_and_conv_props`, and of `compute_conv_feature_map_size` of dynamic-network-architectures 0.4.4."""


@pytest.mark.parametrize(("name", "size", "images", "patch", "halvings", "batch", "values"), THEIRS)
def test_patch_depth_and_batch_are_those_of_the_original(
    name: str, size: Size, images: int, patch: Size, halvings: str, batch: int, values: int
) -> None:
    found = plan(name, image_size=size, images=images, num_logits=2)
    assert (found.topology.patch, found.batch) == (patch, batch)
    assert found.topology.strides == ((1, 1), *(ALONG[one] for one in halvings))
    assert feature_values(found.preset.kind, found.topology, 2) == values


def test_a_patch_of_ones_own_is_enlarged_to_what_the_strides_divide() -> None:
    found = plan("nnunet", image_size=(500, 500), images=10, num_logits=2, patch=(60, 100)).topology
    assert (found.patch, found.divisor) == ((64, 112), (16, 16))


def test_images_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match="7 x 6: they are too small"):
        plan("nnunet", image_size=(7, 6), images=10, num_logits=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs that are brighter than their ground, which is of another brightness in each image."""
    found, rng = tmp_path_factory.mktemp("discs"), np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for kind in ("images", "masks"):
            (found / kind / split).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((40, 48), np.uint8)
            cv2.circle(mask, (int(rng.integers(10, 38)), int(rng.integers(10, 30))), 8, 1, -1)
            image = rng.normal(0, 8, mask.shape) + 40 + 20 * number + 40 * mask
            cv2.imwrite(str(found / "images" / split / f"{number}.png"), image.clip(0, 255).astype(np.uint8))
            cv2.imwrite(str(found / "masks" / split / f"{number}.png"), mask * 255)
    return found


def request(folder: Path, out: Path, name: str = "nnunet", **options: object) -> TrainingRequest:
    training = TrainingOptions(workers=0, **options)  # type: ignore[arg-type]
    return TrainingRequest(name=name, out=out, data=folder, training=training)


def config_of(folder: Path, out: Path, **options: object) -> Config:
    return training_config(request(folder, out, **options), out / "data.yaml")


@pytest.mark.parametrize("name", ["nnunet", "nnunet_resenc-l"])
def test_the_plan_stands_in_the_config(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = training_config(request(folder, tmp_path, name), tmp_path / "data.yaml")
    assert check(config, shapes=True) == []
    spec = lower(config)
    expected = plan(name, image_size=(40, 48), images=6, num_logits=1)
    assert spec.train is not None
    assert spec.optim is not None
    assert spec.duration is not None
    assert spec.train.batch_size == expected.batch
    patch = spec.train.transforms[0]
    assert (patch.type, patch.args["size"], patch.args["foreground"]) == ("RandomPatch", (40, 48), (1,))
    assert spec.model.args["backbone"].args["strides"] == expected.topology.strides
    inference = spec.inference
    assert (inference.mode, inference.crop_size, inference.stride, inference.blend) == (
        "slide_even", (40, 48), (20, 24), "gaussian"
    )  # fmt: skip
    optimizer = spec.optim.optimizer
    assert optimizer.type == "SGD"
    assert {name: optimizer.args[name] for name in ("lr", "momentum", "nesterov", "weight_decay")} == {
        "lr": 1e-2, "momentum": 0.99, "nesterov": True, "weight_decay": 3e-5,
    }  # fmt: skip
    assert spec.optim.clip == {"max_norm": 12, "norm_type": 2}
    assert spec.duration.value == 250_000
    said = capsys.readouterr().err
    for beginning in (
        "patch: 40 x 48",
        "network: 4 stages",
        "batch: ",
        "values: each image by itself",
        "length: 250,0",
    ):
        assert beginning in said


def test_another_patch_changes_the_network(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, tmp_path, crop=(32, 32))
    assert config.values["model"]["test_cfg"]["crop_size"] == (32, 32)
    assert config.values["model"]["backbone"]["channels"] == [32, 64, 128, 256]


def test_images_are_scaled_one_by_one_unless_the_data_say_how(folder: Path, tmp_path: Path) -> None:
    config_of(folder, tmp_path)
    description = read_description(tmp_path / "data.yaml")
    assert (description.scale, description.mean, description.std) == (("zscore",), (0.0,) * 3, (1.0,) * 3)
    own = replace(description, scale=(0.0, 200.0), mean=(90.0,) * 3, std=(30.0,) * 3)
    assert normalised(own) == own


def test_without_a_background_all_classes_count(tmp_path: Path, folder: Path) -> None:
    config = config_of(folder, tmp_path)
    description = read_description(tmp_path / "data.yaml")
    labels = {0: "road", 1: "tree", 2: "sky"}
    several = replace(description, classes=("road", "tree", "sky"), labels=labels, palette=None, shares=None)
    found = plan("nnunet", image_size=(40, 48), images=6, num_logits=3)
    changed = config.override(settings_of(found, config, several)).values
    assert changed["train_dataloader"]["dataset"]["pipeline"][2]["foreground"] == [0, 1, 2]
    assert changed["model"]["decode_head"]["loss_decode"][1]["background"] is None
    first = replace(several, classes=("background", "tree", "sky"), labels={**labels, 0: "background"})
    changed = config.override(settings_of(found, config, first)).values
    assert changed["train_dataloader"]["dataset"]["pipeline"][2]["foreground"] == [1, 2]


def test_a_training_learns_and_its_weights_scale_images(folder: Path, tmp_path: Path) -> None:
    options = {"duration": "12steps", "evaluate_every": "12steps"}
    start_training(request(folder, tmp_path / "run", crop=(32, 32), batch=2, **options))
    file = tmp_path / "run" / "weights.safetensors"
    assert read_meta(file).image["scale"] == ["zscore"]
    model = intarsia.load(file, device="cpu")
    image = cv2.imread(str(folder / "images" / "val" / "0.png"))
    found = model.predict(image, probabilities=True).probabilities
    brighter = model.predict(np.clip(image.astype(int) + 60, 0, 255).astype(np.uint8), probabilities=True).probabilities
    assert found is not None
    assert brighter is not None
    np.testing.assert_allclose(brighter, found, atol=1e-4)  # the mean is taken away


def test_a_description_keeps_the_scale(folder: Path, tmp_path: Path) -> None:
    config_of(folder, tmp_path)
    found: DataDescription = read_description(tmp_path / "data.yaml")
    sample = found.dataset("val").load(0)
    assert sample.image.dtype == np.float32
    np.testing.assert_allclose(sample.image.reshape(-1, 3).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(sample.image.reshape(-1, 3).std(0), 1, rtol=1e-5)
