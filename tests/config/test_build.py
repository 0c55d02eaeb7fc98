from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia import catalog
from intarsia.config.build import build, build_dataset, build_metric, build_pipeline, build_task
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.consent import TRUST
from intarsia.spec import Component, Origin


def small(**sections: Any) -> Config:
    norm = {"type": "BN", "requires_grad": True}
    values = {
        "model": {
            "type": "EncoderDecoder",
            "data_preprocessor": {"mean": [1, 2, 3], "std": [4, 5, 6], "bgr_to_rgb": True},
            "backbone": {"type": "ResNetV1c", "depth": 18, "norm_cfg": norm},
            "decode_head": {
                "type": "FCNHead", "in_channels": 512, "in_index": 3, "channels": 8, "num_classes": 3, "norm_cfg": norm,
                "ignore_index": 7,
                "loss_decode": [{"type": "CrossEntropyLoss", "loss_weight": 0.5, "class_weight": [1.0, 2.0, 3.0]}],
            },
            "auxiliary_head": [
                {
                    "type": "FCNHead", "in_channels": 256, "in_index": 2, "channels": 8, "num_classes": 3,
                    "ignore_index": 7,
                }
            ],
        },
    }  # fmt: skip
    return Config.from_values(values | sections, file="small.py")


def test_task_of_a_config() -> None:
    task = build_task(lower(small()))
    assert type(task.model).__name__ == "EncoderDecoder"
    assert (task.num_classes, task.ignore_index) == (3, 7)
    decode, auxiliary = task.losses
    assert (decode.head, auxiliary.head) == ("decode", "aux_0")
    [(name, loss, weight)] = [(term.name, term.loss, term.weight) for term in decode.terms]
    assert (name, weight) == ("loss_ce", 0.5)
    assert loss.ignore_index == 7
    assert loss.class_weight.tolist() == [1.0, 2.0, 3.0]
    names = set(task.state_dict())
    assert "model.decode_head.convs.0.bn.weight" in names
    assert "model.auxiliary_head.0.convs.0.conv.bias" in names


@pytest.mark.parametrize("family", ["fcn", "segformer", "fastscnn"])
def test_published_models_have_the_published_tensors(shared: Path, family: str) -> None:
    with gzip.open(shared / "facts" / "mmseg_configs.json.gz", "rt") as file:
        published = json.load(file)
    references = [json.loads(file.read_text()) for file in sorted((shared / "golden" / "models").glob(f"{family}__*"))]
    assert references
    for reference in references[:2]:
        spec = lower(Config.from_values({"model": published[reference["config"]]["model"]}, file=reference["config"]))
        state = {name: list(tensor.shape) for name, tensor in build(spec.model).state_dict().items()}
        stored = {name: [size for size in shape if isinstance(size, int)] for name, shape in reference["state"].items()}
        assert state == stored


def test_parts_are_built_before_what_takes_them() -> None:
    norm = Component("norm", "Norm", {"kind": "GN", "num_groups": 2})
    head = build(
        Component("head", "FCNHead", {"in_channels": 4, "channels": 4, "num_classes": 2, "num_convs": 1, "norm": norm})
    )
    assert type(head.convs[0].gn).__name__ == "GroupNorm"


def test_what_a_constructor_refuses_is_reported_with_its_place() -> None:
    norm = Component("norm", "Norm", {"kind": "GN"}, "model.decode_head.norm_cfg", Origin("a.py", 12))
    with pytest.raises(ConfigError, match=r"^a.py:12: model.decode_head.norm_cfg: Norm cannot be built: ") as caught:
        build(Component("head", "FCNHead", {"in_channels": 4, "channels": 4, "num_classes": 2, "norm": norm}, "model"))
    assert isinstance(caught.value.__cause__, ValueError)


def test_heads_that_do_not_fit_are_a_config_error() -> None:
    values = small().values
    values["model"]["decode_head"]["in_channels"] = 2048
    with pytest.raises(ConfigError, match=r"model: EncoderDecoder cannot be built: .*2048"):
        build_task(lower(Config.from_values(values, file="small.py")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(rng.integers(0, 3, (12, 16), dtype=np.uint8)).save(tmp_path / "labels" / f"{name}.png")
    return tmp_path


def loader(folder: Path, pipeline: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    dataset = {
        "type": "BaseSegDataset",
        "data_root": str(folder),
        "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
        "img_suffix": ".png",
        "metainfo": {"classes": ["a", "b", "c"]},
        "pipeline": pipeline,
        **more,
    }
    return {"batch_size": 1, "num_workers": 0, "dataset": dataset}


RESIZE = {"type": "Resize", "scale": [8, 6], "keep_ratio": False}
LOAD, LABELS, PACK = {"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}


def test_pipelines_of_training_and_evaluation(folder: Path) -> None:
    spec = lower(
        small(
            train_dataloader=loader(folder, [LOAD, LABELS, RESIZE, PACK]),
            train_cfg={"type": "IterBasedTrainLoop", "max_iters": 1},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
            val_dataloader=loader(folder, [LOAD, RESIZE, LABELS, PACK]),
            val_evaluator={"type": "IoUMetric"},
        )
    )
    assert spec.train is not None
    assert spec.val is not None
    sample = build_pipeline(spec.train).get(0, np.random.default_rng(0))
    assert sample.label is not None
    assert (sample.image.shape, sample.label.shape) == ((6, 8, 3), (6, 8))
    sample = build_pipeline(spec.val).get(1, np.random.default_rng(0))
    assert sample.label is not None
    assert (sample.image.shape, sample.label.shape) == ((6, 8, 3), (12, 16))
    dataset = build_dataset(spec.val)
    assert (dataset.classes, dataset.ignore_index, len(dataset)) == (("a", "b", "c"), 7, 2)
    metric = build_metric(spec, dataset.classes)
    metric.update(torch.from_numpy(sample.label).long(), torch.from_numpy(sample.label).long())
    assert metric.report().summary["mIoU"] == 1.0


def test_parts_with_pipelines_of_their_own_and_an_epoch_of_the_first_batches(folder: Path) -> None:
    own = [loader(folder, [LOAD, LABELS, *steps, PACK])["dataset"] for steps in ((), (RESIZE,))]
    both = {"batch_size": 1, "dataset": {"type": "ConcatDataset", "datasets": own}, "num_batch_per_epoch": 3}
    spec = lower(
        small(
            train_dataloader=both,
            train_cfg={"type": "IterBasedTrainLoop", "max_iters": 1},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        )
    )
    assert spec.train is not None
    pipeline = build_pipeline(spec.train)
    shapes = [pipeline.get(index, np.random.default_rng(0)).image.shape[:2] for index in range(len(pipeline))]
    assert shapes == [(12, 16), (12, 16), (6, 8)]
    assert len(build_pipeline(spec.train, processes=2)) == 4


def test_label_table_of_a_config(folder: Path) -> None:
    table = {"values": [[0, 1], [1, 0], [2, 255]]}
    stream = loader(folder, [LOAD, LABELS, PACK], label_table=table)
    spec = lower(small(test_dataloader=stream, test_evaluator={"type": "IoUMetric"}))
    assert spec.test is not None
    label = build_dataset(spec.test).load(0).label
    assert label is not None
    assert set(np.unique(label)) <= {0, 1, 255}


def test_missing_folder_is_a_config_error_at_the_data_set(folder: Path) -> None:
    spec = lower(
        small(test_dataloader=loader(folder / "nowhere", [LOAD, LABELS, PACK]), test_evaluator={"type": "IoUMetric"})
    )
    assert spec.test is not None
    with pytest.raises(ConfigError, match=r"^small.py: test_dataloader.dataset: BaseSegDataset cannot .*nowhere"):
        build_dataset(spec.test)


def test_users_own_modules_are_imported_for_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("own_part_of_test_build.py").write_text(
        "from intarsia.catalog import register\nfrom intarsia.methods.fcn import FCNHead\n\n"
        "@register('head', 'ThinHead')\ndef thin(in_channels, num_classes, in_index=-1, ignored=0):\n"
        "    return FCNHead(in_channels=in_channels, channels=2, num_classes=num_classes, in_index=in_index)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalog, "_registered", dict(catalog._registered))  # other tests look at all heads
    values = small().values
    values["model"]["decode_head"] = {"type": "ThinHead", "in_channels": 512, "in_index": 3, "num_classes": 3}
    values["custom_imports"] = {"imports": "own_part_of_test_build"}
    monkeypatch.delenv(TRUST, raising=False)
    with pytest.raises(ConfigError, match="--trust own_part_of_test_build"):
        build_task(lower(Config.from_values(values, file="own.py")))
    monkeypatch.setenv(TRUST, "own_part_of_test_build,no_module_of_this_name")
    task = build_task(lower(Config.from_values(values, file="own.py")))
    assert task.model.decode_head.conv_seg.out_channels == 3
    values["custom_imports"] = {"imports": ["no_module_of_this_name"]}
    with pytest.raises(ConfigError, match="no_module_of_this_name"):
        build_task(lower(Config.from_values(values, file="own.py")))
