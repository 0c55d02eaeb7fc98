"""Intarsia itself, in the environment of the driver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from peer_parts import measuring
from peer_parts.networks import config


def _spec(job):
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower

    windows = tuple(job.windows) if job.windows else None
    values = {"model": config(job.network, job.classes, windows=windows)}
    return lower(Config.from_values(values, file=f"the network {job.network}"))


def _made(job):
    import torch

    from intarsia.config.build import build_task
    from intarsia.weights.file import apply_state
    from intarsia.weights.maps import translated

    torch.manual_seed(0)
    task = build_task(_spec(job))
    if job.state:
        apply_state(task.model, translated(torch.load(job.state)))
    return task


def _batch(job):
    from intarsia.contracts import Batch

    images, labels = measuring.batch_of(job)
    return Batch(images, labels, (tuple(job.size),) * job.batch, ())


def _loss(task, batch):
    import torch

    return torch.stack([term.value * term.weight for term in task.training_terms(batch) if term.weight]).sum()


def step(job):
    """A training step with AdamW."""
    import torch

    task, batch = _made(job).train(), _batch(job)
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-4)

    def work() -> dict:
        loss = _loss(task, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": float(loss)}

    return work


def _predictor(job):
    from intarsia.data.transforms.resize import Resize
    from intarsia.inference.predictor import Predictor

    return Predictor(
        _made(job).eval(), inference=_spec(job).inference,
        transforms=[] if job.windows else [Resize(tuple(job.test_scale), keep_ratio=True)],
        classes=[f"class {k}" for k in range(job.classes)], palette=[(k % 256,) * 3 for k in range(job.classes)],
    )  # fmt: skip


def labels(job):
    """One image file to labels at its size."""
    import numpy as np

    predictor = _predictor(job)

    def work() -> None:
        label = predictor.predict(job.photo).label
        if job.keep:
            np.save(job.keep, label.astype(np.uint8))

    return work


def start(job):
    """From nothing to the first labels."""
    return lambda: labels(job)()


def command(job):
    """The help of the command line."""
    words = [sys.executable, "-m", "intarsia", "--help"]
    return lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL) and None


def folder(job):
    """Image files to label files; decoding goes on beside the network."""
    predictor, out = _predictor(job), Path(job.out)
    files = sorted(Path(job.data, "images").iterdir())[: job.count]

    def work() -> None:
        for found in predictor.predict(files):
            found.save(out / f"{Path(found.name).stem}.png")

    return work


def _dataset(job):
    """The first `count` files of the job's folder."""
    from intarsia.data.datasets.folder import FolderDataset
    from intarsia.data.labels import LabelTable

    table = LabelTable.reduce_zero(job.classes) if job.zero else LabelTable.identity(job.classes)
    names = sorted(file.stem for file in Path(job.data, "images").iterdir())[: job.count]
    return FolderDataset(
        root=job.data, pairs=[(f"images/{name}{job.suffix}", f"labels/{name}.png") for name in names],
        label_table=table, classes=[f"class {k}" for k in range(job.classes)],
    )  # fmt: skip


def evaluation(job):
    """`evaluate` with mIoU."""
    from intarsia.data.pipeline import Pipeline
    from intarsia.distributed.runtime import FabricRuntime
    from intarsia.evaluation.evaluate import evaluate
    from intarsia.metrics.iou import IoUMetric

    predictor = _predictor(job)
    pipeline = Pipeline(_dataset(job), predictor.transforms, label_size="original")
    metric, runtime = IoUMetric(num_classes=job.classes), FabricRuntime(accelerator="cpu")

    def work() -> dict:
        return {"mIoU": evaluate(predictor, pipeline, metric, workers=job.workers, runtime=runtime).summary["mIoU"]}

    return work


def _training_pipeline(job):
    from intarsia.data.pipeline import Pipeline
    from intarsia.data.transforms.colour import PhotoMetricDistortion
    from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
    from intarsia.data.transforms.resize import RandomResize

    steps = [
        RandomResize(tuple(job.scale), tuple(job.ratios), keep_ratio=True),
        RandomCrop(tuple(job.size), cat_max_ratio=0.75),
        RandomFlip(job.flip),
        *([PhotoMetricDistortion()] if job.distort else []),
    ]
    return Pipeline(_source(job), steps)


def _source(job):
    """The data set as files, packed, or with its samples in a cache that is full already."""
    dataset, out = _dataset(job), Path(job.out)
    if job.way == "packed":
        from intarsia.data.description.model import DataDescription
        from intarsia.data.description.pairing import Source
        from intarsia.data.description.read import read_description
        from intarsia.data.description.splits import FolderSplit
        from intarsia.data.packed_source import PackSource
        from intarsia.data.packing import pack

        names = tuple(f"class {k}" for k in range(job.classes))
        values = {index + job.zero: name for index, name in enumerate(names)}
        values |= {255: "ignore"} | ({0: "ignore"} if job.zero else {})
        described = DataDescription(Path(job.data), names, {"train": FolderSplit(Source("images", "labels"))}, values)
        (out / "data.pack").unlink(missing_ok=True)
        pack(PackSource.of(described, Path(job.data)), out / "data.pack", codec="none")
        return read_description(out / "data.pack").dataset("train")
    if job.way == "cached":
        from intarsia.data.sample_cache import SampleCache, use_cache

        use_cache(dataset, SampleCache.opened(out / "cache", 10**10))
        for index in range(len(dataset)):
            dataset.load(index)
    return dataset


def pipeline(job):
    """Samples of the training pipeline, one after the other, in this process."""
    import numpy as np

    from intarsia.data.collate import collate
    from intarsia.data.sampling import sample_rng

    found = _training_pipeline(job)
    images = min(job.count, len(found)) or len(found)  # packed data hold all of the folder, in the order of its files

    def work() -> None:
        for position in range(job.samples):
            batch = collate([found.get(position % images, sample_rng(0, position))])
        if job.keep:
            np.savez(job.keep, image=batch.images[0].numpy(), label=batch.labels[0].numpy())

    return work


def loader(job):
    """Batches of the training loader, its workers' start included."""
    from intarsia.data.loader import train_loader

    found = _training_pipeline(job)

    def work() -> None:
        batches = train_loader(found, batch_size=job.batch, seed=0, workers=job.workers)
        for _ in range(job.samples // job.batch):
            next(batches)
        batches.close()

    return work


def check(job):
    """Loss and labels with another library's weights."""
    if job.of == "smp":
        return _check_smp(job)
    task = _made(job)
    measuring.still(task)
    loss = _loss(task, _batch(job))
    labels(job)()
    return lambda: {"loss": float(loss)}


def _check_smp(job):
    """That library's form of the network, by the constructors that have its names."""
    import cv2
    import numpy as np
    import torch
    from torch.nn import functional as F

    import intarsia.smp as smp
    from intarsia.weights.file import apply_state
    from intarsia.weights.maps import translated

    if job.network.startswith("segformer_mit-b0"):
        model = smp.Segformer("mit_b0", encoder_weights=None, classes=job.classes, decoder_segmentation_channels=256)
    else:
        model = smp.DeepLabV3("resnet50", encoder_weights=None, classes=job.classes, encoder_output_stride=8)
    apply_state(model, translated(torch.load(job.state)))
    measuring.still(model)
    images, labels = measuring.batch_of(job)
    loss = F.cross_entropy(model(measuring.normalised(images)), labels.long(), ignore_index=255)
    apply_state(model, translated(torch.load(job.state)))
    image = torch.from_numpy(cv2.imread(job.photo)[:, :, ::-1].transpose(2, 0, 1).copy())[None]
    with torch.inference_mode():
        np.save(job.keep, model.eval()(measuring.normalised(image)).argmax(1)[0].numpy().astype(np.uint8))
    return lambda: {"loss": float(loss)}


def versions() -> dict:
    import cv2
    import numpy
    import torch

    from intarsia.version import __version__

    return {
        "Python": sys.version.split()[0], "torch": torch.__version__, "Intarsia": __version__,
        "OpenCV": cv2.__version__, "NumPy": numpy.__version__,
    }  # fmt: skip


WORKS = {
    "step": step, "labels": labels, "start": start, "help": command, "folder": folder, "evaluation": evaluation,
    "pipeline": pipeline, "loader": loader, "check": check,
}  # fmt: skip

if __name__ == "__main__":
    measuring.main(WORKS, versions)
