"""Depth estimation from a config to scores: data, terms, scenes, windows with mirrored ones, pictures."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from simulated_gpu import DEVICE, simulated_gpu
from tiny_vpd import config, write_rooms
from torch import Tensor

from intarsia.config.build import build_metric, build_pipeline, build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower, lower_all
from intarsia.contracts import Batch, ConditionalTask, SampleMeta
from intarsia.data.collate import collate
from intarsia.data.datasets.nyu import CLASSES, NYUDataset, category_of
from intarsia.data.transforms.depth import RandomDepthMix
from intarsia.data.transforms.geometry import Pad
from intarsia.evaluation.evaluate import evaluate
from intarsia.evaluation.score_table import report_table
from intarsia.inference.depth_predictor import DepthPredictor
from intarsia.inference.predictor import Predictor
from intarsia.losses.silog import SiLogLoss
from intarsia.tasks.depth import DepthEstimation
from intarsia.visual.depth import coloured_depth, depth_panes
from intarsia.workflows.assemble import initial_weights
from intarsia.workflows.run_options import RunOptions


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    return write_rooms(tmp_path)


def task_of(values: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return build_task(lower(Config.from_values(values, file="depth")))


# --- Configs ------------------------------------------------------------------------------------------------------


def test_a_config_becomes_a_task_of_depth() -> None:
    values = Config.from_values(config(), file="depth")
    assert check(values, shapes=True) == []
    spec = lower(values)
    assert (spec.task, spec.inference.answer, spec.losses[0].ignore_index) == ("DepthEstimation", "depth", 0)
    assert [(term.name, term.loss.type) for term in spec.losses[0].terms if term.loss] == [("loss_silog", "SiLogLoss")]
    assert spec.pretrained == (("backbone.class_embeddings", "embeddings.pth"), ("backbone", "sd.ckpt"))
    assert spec.train is not None
    assert spec.train.transforms[0].args == {"depth_rescale_factor": 1e-3, "prob": 1.0}
    assert spec.val is not None
    assert spec.val.label_size == "original"
    task = task_of(config())
    assert isinstance(task, DepthEstimation)
    assert isinstance(task, ConditionalTask)
    assert isinstance(task.losses[0].terms[0].loss, SiLogLoss)
    assert task.model.backbone.unet.get_submodule("unet.diffusion_model").model_channels == 32


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (
            ("diffusion_cfg", "params", "first_stage_config", "params", "ddconfig", "attn_resolutions"),
            [16],
            "attention",
        ),
        (("diffusion_cfg", "params", "unet_config", "params", "use_spatial_transformer"), False, "attends"),
        (("diffusion_cfg", "target"), "my.Diffusion", "latent diffusion model"),
        (("diffusion_cfg", "parms"), {}, "unknown key 'parms'"),
        (("diffusion_cfg",), 3, "expected dict"),
        (("unet_cfg", "attn_selector"), "up_cross+mid_cross", "levels in the middle are no features"),
        (("unet_cfg", "attn_selector"), "down_self", "a channel for each pixel"),
        (("unet_cfg", "attn_selector"), "sideways", "expected 'up_cross' or 'down_cross', found 'sideways'"),
        (("unet_cfg", "max_attn_size"), 31, "levels of 32 x 32 pixels, at stride 16, are larger than 31"),
        (("unet_cfg",), None, "expected dict"),
        (("class_embed_path",), 3, "expected str"),
    ],
)
def test_what_a_diffusion_model_cannot_be_is_said(place: tuple[str, ...], value: Any, said: str) -> None:
    values = config()
    section = values["model"]["backbone"]
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    if place[0] == "unet_cfg" and len(place) > 1:
        section["use_attn"] = True
    found = [
        problem for problem in lower_all(Config.from_values(values, file="depth")).problems if said in str(problem)
    ]
    assert [problem.path for problem in found] == [".".join(("model.backbone", *place))]


@pytest.mark.parametrize(
    ("wrapper", "channels"),
    [
        ({}, (32, 34, 66, 64)),
        ({"use_attn": True, "attn_selector": "down_cross", "max_attn_size": 64}, (34, 34, 66, 64)),
        ({"max_attn_size": 16, "base_size": 256}, (32, 34, 66, 64)),
        ({"use_attn": False, "attn_selector": "mid_cross"}, (32, 32, 64, 64)),
        (None, (32, 34, 66, 64)),
    ],
)
def test_maps_of_words_are_features_for_segmentation(wrapper: Any, channels: tuple[int, ...]) -> None:
    """As MMSegmentation's `unet_cfg` says, whose maps are features unless it says otherwise."""
    backbone = {**config()["model"]["backbone"], "class_embed_select": False, "num_class_embeddings": 2}
    backbone = {key: value for key, value in backbone.items() if key != "unet_cfg"}
    model = {
        "type": "EncoderDecoder",
        "backbone": {**backbone, **({} if wrapper is None else {"unet_cfg": wrapper})},
        "neck": {"type": "FPN", "in_channels": list(channels), "out_channels": 8, "num_outs": 4},
        "decode_head": {"type": "FPNHead", "in_channels": [8] * 4, "in_index": [0, 1, 2, 3], "channels": 8,
                        "feature_strides": [8, 16, 32, 64], "num_classes": 2, "norm_cfg": {"type": "BN"},
                        "loss_decode": {"type": "CrossEntropyLoss"}},
    }  # fmt: skip
    assert check(Config.from_values({"model": model}, file="vpd"), shapes=True) == []
    task = task_of({"model": model})
    assert [spec.channels for spec in task.model.backbone.features] == list(channels)
    assert task.model.eval()(torch.rand(1, 3, 64, 96)).shape == (1, 2, 8, 12)


def test_the_published_configs_build_without_memory(shared: Path) -> None:
    with gzip.open(shared / "facts" / "mmseg_configs.json.gz") as file:
        published = {name: values for name, values in json.load(file).items() if name.startswith("vpd/")}
    assert len(published) == 2
    for name, values in published.items():
        problems = check(Config.from_values(values, file=name), shapes=True)
        assert problems == []
        with torch.device("meta"):
            task = task_of({"model": values["model"]})
        count = sum(p.numel() for p in task.model.parameters())
        assert 0.85e9 < count < 1e9
        shape = task.model(torch.zeros(1, 3, *values["crop_size"], device="meta")).shape
        assert shape == (1, 1, *values["crop_size"])


def test_embeddings_of_scenes_start_from_their_file(tmp_path: Path) -> None:
    values, file = config(), tmp_path / "embeddings.pth"
    values["model"]["backbone"]["class_embed_path"] = str(file)
    embeddings = torch.randn(27, 16)
    torch.save(embeddings, file)
    spec, task = lower(Config.from_values(values, file="depth")), task_of(values)
    said = initial_weights(task, spec, RunOptions(out=tmp_path / "run")).notes
    assert said[0] == f"backbone.class_embeddings: read from {file}"
    found = task.model.backbone.class_embeddings
    torch.testing.assert_close(found, torch.cat([embeddings, embeddings.mean(dim=0, keepdim=True)]))
    torch.save(torch.randn(26, 16), file)
    with pytest.raises(ValueError, match=r"expected embeddings \(27, 16\), found \(26, 16\)"):
        initial_weights(task, spec, RunOptions(out=tmp_path / "run"))
    torch.save({"embeddings": embeddings}, file)
    with pytest.raises(ValueError, match="expected a single tensor, found dict"):
        initial_weights(task, spec, RunOptions(out=tmp_path / "run"))


# --- Data ---------------------------------------------------------------------------------------------------------


def test_depths_of_rooms(rooms: Path) -> None:
    data = NYUDataset(root=str(rooms), images="images/train", depths="annotations/train", depth_rescale_factor=1e-3)
    assert len(data) == 2
    samples = [data.load(index) for index in range(2)]
    assert [sample.meta.name for sample in samples] == ["attic_00001", "bathroom_00000"]
    assert [sample.meta.category for sample in samples] == [-1, CLASSES.index("bathroom")]
    stored = cv2.imread(str(rooms / "annotations/train/bathroom_00000.png"), cv2.IMREAD_UNCHANGED)
    label = samples[1].label
    assert label is not None
    assert label.dtype == np.float32
    np.testing.assert_allclose(label, stored / 1000, rtol=1e-6)
    assert NYUDataset(root=str(rooms), images="images/train", depths=None).load(0).label is None


def test_a_depth_of_another_size_is_refused(rooms: Path) -> None:
    cv2.imwrite(str(rooms / "annotations/train/attic_00001.png"), np.ones((60, 79), np.uint16))
    data = NYUDataset(root=str(rooms), images="images/train", depths="annotations/train")
    with pytest.raises(ValueError, match=r"attic_00001.png: expected a depth for each of 60 x 80 pixels.*60 x 79"):
        data.load(0)


@pytest.mark.parametrize(
    ("name", "scene"), [("kitchen_0001.jpg", "kitchen"), ("home_office_12.png", "home_office"), ("kitchen.jpg", None)]
)
def test_the_scene_is_in_the_name(name: str, scene: str | None) -> None:
    assert category_of(f"some_3/{name}", CLASSES) == (-1 if scene is None else CLASSES.index(scene))


def test_a_stripe_of_the_image_shows_the_depth(rooms: Path) -> None:
    sample = NYUDataset(
        root=str(rooms), images="images/train", depths="annotations/train", depth_rescale_factor=1e-3
    ).load(0)
    mix = RandomDepthMix(prob=1.0, depth_rescale_factor=1e-3)
    found = mix(sample, np.random.default_rng(0))
    changed = (found.image != sample.image).any(axis=(0, 2))
    columns = np.flatnonzero(changed)
    assert 0 < len(columns) < 80
    assert (np.diff(columns) == 1).all()
    assert sample.label is not None
    expected = np.rint(sample.label * 1000).astype(np.int64) % 256
    for band in range(3):
        assert (found.image[:, changed, band] == expected[:, changed]).all()
    assert RandomDepthMix(prob=0.0)(sample, np.random.default_rng(0)) is sample
    with pytest.raises(ValueError, match="prob must be a chance"):
        RandomDepthMix(prob=2.0)


def test_depths_stay_real_and_padding_is_unknown(rooms: Path) -> None:
    pipeline = build_pipeline(lower(Config.from_values(config(str(rooms)), file="depth")).train)  # type: ignore[arg-type]
    samples = [pipeline.get(index, np.random.default_rng(1)) for index in range(2)]
    batch = collate(samples, ignore_index=pipeline.dataset.ignore_index)
    assert isinstance(batch.labels, Tensor)
    assert batch.labels.dtype == torch.float32
    assert batch.labels.shape == (2, 48, 48)
    padded = Pad(size=(52, 50))(samples[0], np.random.default_rng(0))
    assert padded.label is not None
    assert padded.label.shape == (50, 52)
    assert not padded.label[48:].any()


def test_a_depth_that_is_none_names_its_file(rooms: Path) -> None:
    pipeline = build_pipeline(lower(Config.from_values(config(str(rooms)), file="depth")).train)  # type: ignore[arg-type]
    data: Any = pipeline.dataset
    data.depth_rescale_factor = -1.0
    with pytest.raises(ValueError, match=r"attic_00001.png: after .* expected 0 or more"):
        pipeline.get(0, np.random.default_rng(0))


# --- The task -----------------------------------------------------------------------------------------------------


def batch_of(*categories: int) -> Batch:
    images = torch.randint(0, 255, (len(categories), 3, 48, 48), dtype=torch.uint8)
    metas = tuple(SampleMeta(name=str(category), category=category) for category in categories)
    return Batch(images, torch.rand(len(categories), 48, 48) + 0.5, ((48, 48),) * len(categories), metas)


def test_terms_are_the_losses_of_depths_at_the_size_of_the_truth() -> None:
    task, batch = task_of(config()).train(), batch_of(1, -1)
    [term] = task.training_terms(batch)
    assert (term.name, term.weight) == ("decode.loss_silog", 1.0)
    term.value.backward()
    assert all(p.grad is not None for p in task.model.decode_head.parameters())
    with torch.no_grad():
        images = task.preprocess(batch.images, batch.sizes, train=True)
        found = task.model.training_outputs(images, torch.tensor([1, -1]))["decode"]
    assert found.shape[2:] == (64, 64)  # of the padded image, which the border is cut from in published configs
    assert isinstance(batch.labels, Tensor)
    resized = torch.nn.functional.interpolate(found, (48, 48), mode="bilinear")
    torch.testing.assert_close(term.value, SiLogLoss()(resized, batch.labels))


def test_scenes_reach_the_network_in_training_and_evaluation() -> None:
    task = task_of(config()).eval()
    assert task.conditions([SampleMeta(category=3), SampleMeta()])[0].tolist() == [3, -1]
    others = task_of(config(backbone={**config()["model"]["backbone"], "class_embed_select": False}))
    assert others.conditions([SampleMeta(category=3)]) == ()


def test_scenes_are_told_to_a_gpu_without_a_wait() -> None:
    task = task_of(config())
    with simulated_gpu() as waits:
        task.preprocess.to(DEVICE)
        waits.found.clear()
        (scenes,) = task.conditions([SampleMeta(category=3), SampleMeta()])
        assert waits.found == []
        assert scenes.device == DEVICE
        assert scenes.cpu().tolist() == [3, -1]


def test_labels_of_classes_are_no_depths() -> None:
    task, batch = task_of(config()), batch_of(1)
    assert isinstance(batch.labels, Tensor)
    wrong = Batch(batch.images, batch.labels.long(), batch.sizes, batch.metas)
    with pytest.raises(ValueError, match=r"depths are real numbers, but the ground truth .* is torch\.int64"):
        task.training_terms(wrong)


def predictor_of(values: dict[str, Any]) -> tuple[DepthPredictor, Any]:
    spec = lower(Config.from_values(values, file="depth"))
    task = task_of(values)
    for parameter in task.model.decode_head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pipeline = build_pipeline(spec.val)  # type: ignore[arg-type]
    dataset = pipeline.dataset
    found = DepthPredictor(
        task, inference=spec.inference, transforms=pipeline.transforms, classes=dataset.classes, palette=dataset.palette
    )
    return found, (spec, pipeline)


def test_evaluation_compares_depths_at_the_size_of_their_files(rooms: Path) -> None:
    predictor, (spec, pipeline) = predictor_of(config(str(rooms)))
    metric: Any = build_metric(spec, pipeline.dataset.classes)
    seen: list[Tensor] = []
    report = evaluate(
        predictor, pipeline, metric, task=predictor.task, on_prediction=lambda meta, depth: seen.append(depth)
    )
    assert report.images == 2
    assert all(depth.shape == (60, 80) and depth.dtype == torch.float32 for depth in seen)
    assert all(0 < depth.min() < depth.max() < 10 for depth in seen)
    assert np.isfinite(report.losses["loss"])
    for index, depth in enumerate(seen):
        sample = pipeline.dataset.load(index)
        torch.testing.assert_close(torch.from_numpy(predictor.depth(sample.image, meta=sample.meta)), depth)
    again: Any = build_metric(spec, pipeline.dataset.classes)
    for index, depth in enumerate(seen):
        again.update(depth, torch.from_numpy(pipeline.dataset.load(index).label))
    assert report.summary == pytest.approx(again.report().summary)


def test_windows_are_averaged_with_their_mirror_images(rooms: Path) -> None:
    predictor, _ = predictor_of(config(str(rooms)))
    image = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    found = predictor.depth(image)

    def depth(pixels: Tensor) -> Tensor:
        network = predictor.task.preprocess(pixels[None], ((48, 48),), train=False)
        answer = predictor.task.model(network, torch.tensor([-1]))
        return torch.nn.functional.interpolate(answer, (48, 48), mode="bilinear")[0, 0]

    pixels = torch.from_numpy(image).permute(2, 0, 1)
    with torch.no_grad():
        expected = (depth(pixels) + depth(pixels.flip(2)).flip(1)) / 2
    torch.testing.assert_close(torch.from_numpy(found), expected)


def test_depths_are_no_label_maps(rooms: Path) -> None:
    found, (spec, pipeline) = predictor_of(config(str(rooms)))
    image = np.zeros((48, 48, 3), np.uint8)
    plain = Predictor(
        found.task, inference=spec.inference, classes=pipeline.dataset.classes, palette=pipeline.dataset.palette
    )
    with pytest.raises(ValueError, match=r"make a DepthPredictor of it"):
        plain.predict(image)
    with pytest.raises(ValueError, match="a model of depth has no probabilities, entropy"):
        found.predict(image, probabilities=True, entropy=True)


# --- Pictures and tables ------------------------------------------------------------------------------------------


def test_pictures_show_image_truth_and_prediction() -> None:
    image, truth = np.zeros((30, 40, 3), np.uint8), np.linspace(0, 5, 1200, dtype=np.float32).reshape(30, 40)
    alone, compared = depth_panes(image, None, truth + 1), depth_panes(image, truth, truth + 1, title="room")
    assert compared.shape[1] > alone.shape[1]
    colours = coloured_depth(np.array([[1.0, 5.0, 9.0]]), 1.0, 5.0)
    assert colours[0, 0].sum() > 500 > colours[0, 1].sum()
    assert (colours[0, 1] == colours[0, 2]).all()
    with pytest.raises(ValueError, match="expected the truth at the image's size"):
        depth_panes(image, truth[:20], truth)


def test_scores_of_depths_are_no_table_of_classes(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from intarsia.metrics.depth import DepthMetric

    metric = DepthMetric()
    metric.update(torch.ones(2, 2), torch.ones(2, 2))
    Console().print(report_table(metric.report(), "val, 1 images"))
    assert capsys.readouterr().out.strip() == "val, 1 images"
