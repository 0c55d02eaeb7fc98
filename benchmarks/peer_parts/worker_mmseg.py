"""MMSegmentation 1.2.2 as its users run it: models by config, `inference_model`, the Runner with IoUMetric.

The ops-free variant of its base package (mmcv-lite) lacks one compiled module, whose functions networks of these works
never call; here they say so.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

from peer_parts import measuring
from peer_parts.networks import config


class _Operations(types.ModuleType):
    """Stands for `mmcv._ext`."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*arguments, **options):
            raise RuntimeError(f"mmcv-lite has no compiled operation {name}")

        return absent


sys.modules["mmcv._ext"] = _Operations("mmcv._ext")
sys.modules["mmcv._ext"].__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)


def _names(classes: int) -> dict:
    return {"classes": [f"class {k}" for k in range(classes)], "palette": [[k % 256] * 3 for k in range(classes)]}


def _whole_config(job):
    """What a config file of a user's would hold for these works."""
    from mmengine.config import Config

    windows = tuple(job.windows) if job.windows else None
    pipeline = [
        {"type": "LoadImageFromFile"},
        *([] if windows else [{"type": "Resize", "scale": tuple(job.test_scale), "keep_ratio": True}]),
        {"type": "LoadAnnotations", "reduce_zero_label": True},
        {"type": "PackSegInputs"},
    ]
    dataset = {
        "type": "BaseSegDataset", "data_root": job.data, "metainfo": _names(job.classes), "pipeline": pipeline,
        "data_prefix": {"img_path": "images", "seg_map_path": "labels"}, "img_suffix": ".jpg",
        "seg_map_suffix": ".png", "reduce_zero_label": True, "indices": job.count,
    }  # fmt: skip
    return Config({
        "model": config(job.network, job.classes, windows=windows),
        "default_scope": "mmseg", "work_dir": str(Path(job.out) / "mmseg"), "log_level": "ERROR",
        "test_pipeline": [dict(step) for step in pipeline],
        "test_dataloader": {
            "batch_size": 1, "num_workers": job.workers, "persistent_workers": job.workers > 0,
            "sampler": {"type": "DefaultSampler", "shuffle": False}, "dataset": dataset,
        },
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]}, "test_cfg": {"type": "TestLoop"},
        "default_hooks": {
            "timer": {"type": "IterTimerHook"}, "logger": {"type": "LoggerHook", "interval": 50},
            "sampler_seed": {"type": "DistSamplerSeedHook"}, "visualization": {"type": "SegVisualizationHook"},
        },
        "env_cfg": {"cudnn_benchmark": True, "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}},
        "log_processor": {"by_epoch": False},
    })  # fmt: skip


def _made(job):
    """The network of a config, with random weights, and the weights that a job names."""
    import torch
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules()
    torch.manual_seed(0)
    values = config(job.network, job.classes)
    values["data_preprocessor"]["size"] = tuple(job.size)
    model = MODELS.build(values)
    if job.state:
        model.load_state_dict(torch.load(job.state))
    return model


def _inputs(job) -> dict:
    """As collated from PackSegInputs: images in BGR."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    images, labels = measuring.batch_of(job)
    samples = []
    for label in labels:
        sample = SegDataSample(metainfo={"img_shape": tuple(job.size), "ori_shape": tuple(job.size)})
        sample.gt_sem_seg = PixelData(data=label[None].long())
        samples.append(sample)
    return {"inputs": list(images.flip(1)), "data_samples": samples}


def step(job):
    """A training step: `train_step` with AdamW."""
    import torch
    from mmengine.optim import OptimWrapper

    model, data = _made(job).train(), _inputs(job)
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-4))
    return lambda: {"loss": float(model.train_step(data, optimizer)["loss"])}


def _predictor(job):
    from mmseg.apis import inference_model, init_model

    model = init_model(_whole_config(job), device="cpu")
    if job.state:
        import torch

        model.load_state_dict(torch.load(job.state))
    return lambda file: inference_model(model, str(file)).pred_sem_seg.data[0].numpy()


def labels(job):
    """One image file to labels at its size."""
    import numpy as np

    predict = _predictor(job)

    def work() -> None:
        label = predict(job.photo)
        if job.keep:
            np.save(job.keep, label.astype(np.uint8))

    return work


def start(job):
    """From nothing to the first labels."""
    return lambda: labels(job)()


def command(job):
    """The help of its test command."""
    package = Path(importlib.util.find_spec("mmseg").origin).parent
    words = [sys.executable, str(package / ".mim" / "tools" / "test.py"), "--help"]
    return lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL) and None


def folder(job):
    """Image files to label files, one after the other."""
    from PIL import Image

    predict, out = _predictor(job), Path(job.out)
    files = sorted(Path(job.data, "images").iterdir())[: job.count]

    def work() -> None:
        for file in files:
            Image.fromarray(predict(file).astype("uint8")).save(out / f"{file.stem}.png")

    return work


def evaluation(job):
    """`Runner.test`."""
    from mmengine.runner import Runner

    runner = Runner.from_cfg(_whole_config(job))
    if job.state:
        import torch

        runner.model.load_state_dict(torch.load(job.state))
    return lambda: {"mIoU": runner.test()["mIoU"] / 100}


def _training_data(job):
    from mmseg.utils import register_all_modules

    register_all_modules()
    return {
        "type": "BaseSegDataset", "data_root": job.data, "metainfo": _names(job.classes), "indices": job.count,
        "data_prefix": {"img_path": "images", "seg_map_path": "labels"}, "img_suffix": job.suffix,
        "seg_map_suffix": ".png", "reduce_zero_label": job.zero,
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations", "reduce_zero_label": job.zero},
            {"type": "RandomResize", "scale": tuple(job.scale), "ratio_range": tuple(job.ratios), "keep_ratio": True},
            {"type": "RandomCrop", "crop_size": tuple(job.size), "cat_max_ratio": 0.75},
            {"type": "RandomFlip", "prob": job.flip},
            *([{"type": "PhotoMetricDistortion"}] if job.distort else []),
            {"type": "PackSegInputs"},
        ],
    }  # fmt: skip


def pipeline(job):
    """Samples of the training pipeline, one after the other, in this process."""
    import numpy as np
    from mmseg.registry import DATASETS

    dataset = DATASETS.build(_training_data(job))

    def work() -> None:
        np.random.seed(0)
        for number in range(job.samples):
            sample = dataset[number % len(dataset)]
        if job.keep:
            image = sample["inputs"].numpy()[::-1]
            np.savez(job.keep, image=image, label=sample["data_samples"].gt_sem_seg.data[0].numpy())

    return work


def loader(job):
    """Batches of the training loader, its workers' start included."""
    from mmengine.runner import Runner

    given = {
        "batch_size": job.batch, "num_workers": job.workers, "persistent_workers": job.workers > 0,
        "sampler": {"type": "InfiniteSampler", "shuffle": True}, "dataset": _training_data(job),
    }  # fmt: skip

    def work() -> None:
        batches = iter(Runner.build_dataloader(given, seed=0))
        for _ in range(job.samples // job.batch):
            next(batches)

    return work


def check(job):
    """Loss and labels, and the weights that gave them."""
    import torch

    model = _made(job)
    measuring.still(model)
    data = model.data_preprocessor(_inputs(job), True)
    loss = model.parse_losses(model.loss(**data))[0]
    fresh = _made(job)
    torch.save(fresh.state_dict(), job.save)
    job.state = job.save
    labels(job)()
    return lambda: {"loss": float(loss)}


def versions() -> dict:
    import mmcv
    import mmengine
    import mmseg
    import torch

    return {
        "torch": torch.__version__, "MMSegmentation": mmseg.__version__, "mmcv-lite": mmcv.__version__,
        "MMEngine": mmengine.__version__,
    }  # fmt: skip


WORKS = {
    "step": step, "labels": labels, "start": start, "help": command, "folder": folder, "evaluation": evaluation,
    "pipeline": pipeline, "loader": loader, "check": check,
}  # fmt: skip

if __name__ == "__main__":
    measuring.main(WORKS, versions)
