"""The loops that users write around a network of a library that has none: a training step, files, scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_parts import measuring
from peer_parts.measuring import Facts, Job


@dataclass(frozen=True)
class Library:
    """What differs between libraries.

    make: the network of a job with random weights. loss: of it for normalised images and labels, 255 ignored.
    predictor: of a network, from an image file to labels (H, W), uint8, at the file's size.
    """

    make: Callable[[Job], Any]
    loss: Callable[[Any, Any, Any], Any]
    predictor: Callable[[Any, Job], Callable[[Path], Any]]

    def works(self) -> dict[str, Callable[[Job], Callable[[], Facts]]]:
        """By the names of `works.py`."""
        return {
            "step": self._step, "labels": self._labels, "start": self._start, "folder": self._folder,
            "evaluation": self._evaluation, "check": self._check,
        }  # fmt: skip

    def _fresh(self, job: Job) -> Any:
        import torch

        torch.manual_seed(0)
        return self.make(job)

    def _step(self, job: Job) -> Callable[[], Facts]:
        import torch

        model = self._fresh(job).train()
        images, labels = measuring.batch_of(job)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def work() -> Facts:
            optimizer.zero_grad()
            loss = self.loss(model, measuring.normalised(images), labels.long())
            loss.backward()
            optimizer.step()
            return {"loss": float(loss)}

        return work

    def _labels(self, job: Job) -> Callable[[], Facts]:
        import numpy as np

        predict = self.predictor(self._fresh(job).eval(), job)

        def work() -> None:
            label = predict(Path(job.photo))
            if job.keep:
                np.save(job.keep, label)

        return work

    def _start(self, job: Job) -> Callable[[], Facts]:
        return lambda: self._labels(job)()

    def _folder(self, job: Job) -> Callable[[], Facts]:
        from PIL import Image

        predict, out = self.predictor(self._fresh(job).eval(), job), Path(job.out)
        files = sorted(Path(job.data, "images").iterdir())[: job.count]

        def work() -> None:
            for file in files:
                Image.fromarray(predict(file)).save(out / f"{file.stem}.png")

        return work

    def _evaluation(self, job: Job) -> Callable[[], Facts]:
        import numpy as np
        from PIL import Image

        predict = self.predictor(self._fresh(job).eval(), job)
        files = sorted(Path(job.data, "images").iterdir())[: job.count]

        def work() -> Facts:
            total = np.zeros((job.classes, job.classes), np.int64)
            for file in files:
                label = measuring.shifted(np.array(Image.open(Path(job.data, "labels", f"{file.stem}.png"))))
                total = measuring.counted(total, label, predict(file), job.classes)
            return {"mIoU": measuring.mean_iou(total)}

        return work

    def _check(self, job: Job) -> Callable[[], Facts]:
        import torch

        model = self._fresh(job)
        torch.save(model.state_dict(), job.save)
        measuring.still(model)
        images, labels = measuring.batch_of(job)
        loss = self.loss(model, measuring.normalised(images), labels.long())
        self._labels(job)()
        return lambda: {"loss": float(loss)}
