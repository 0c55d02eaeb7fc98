"""What a trunk that stands still makes of the training images, kept on disk: each image in some views, drawn once.

A training draws a new view of an image whenever it comes; here view v of image i is a function of the seed, i and v,
and an image comes in its views in turn. So there are as many samples as images times views, and what a trunk makes of
them has to be computed once. The order of the images is the one of any training, a function of seed and position.

A file holds one sample: its label, its further maps, and each level of the trunk. It is whole or not there, so that two
trainings may fill a folder at the same time.

Shape letters: N images, C channels, h, w height and width of a level, H, W of an image.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from intarsia.contracts import Batch, Sample, SampleMeta
from intarsia.data.collate import collate
from intarsia.data.datasets.mixed import order_of
from intarsia.data.loader import BatchIterator, BatchLoader
from intarsia.data.pipeline import Pipeline
from intarsia.data.sample_errors import Failure
from intarsia.data.sampling import Order, WeightedOrder, sample_rng
from intarsia.io.whole_files import write_bytes

_LEVEL, _MAP, _LABEL = "level.", "map.", "label"


@dataclass(frozen=True)
class FixedViews:
    """Samples of a pipeline in `views` views each, drawn by the seed once for all."""

    pipeline: Pipeline
    views: int
    seed: int

    def __len__(self) -> int:
        return len(self.pipeline) * self.views

    def get(self, index: int, view: int) -> Sample:
        """One view of one image."""
        return self.pipeline.get(index, sample_rng(self.seed, index * self.views + view))

    def view_at(self, position: int) -> int:
        """In which view an image comes at a position of the training: in each epoch the next one."""
        return position // len(self.pipeline) % self.views

    def identity(self, index: int) -> str:
        """Of the files of an image, by name, size and time; "" where a data set does not say which they are."""
        dataset: Any = self.pipeline.dataset
        while hasattr(dataset, "place"):  # one of several
            part, index = dataset.place(index)
            dataset = dataset.datasets[part]
        if not hasattr(dataset, "paths"):
            return ""
        paths = [path for path in (*dataset.paths(index), *dataset.partners(index)) if path]
        stats = [(path, os.stat(path)) for path in paths if os.path.exists(path)]
        return repr([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])


@dataclass(frozen=True)
class FeatureCache:
    """Samples and levels in a folder. half: levels are kept in 16 bits. A folder is for one trunk and one pipeline."""

    folder: Path
    samples: FixedViews
    half: bool = False

    def path(self, index: int, view: int) -> Path:
        """The file of a sample; another one once the files of its image have changed."""
        files = sha256(self.samples.identity(index).encode("utf-8", "surrogateescape")).hexdigest()[:12]
        return self.folder / f"{index:07d}-{view}-{files}.safetensors"

    def missing(self) -> list[tuple[int, int]]:
        """(image, view) of samples that have no file yet."""
        images, views = range(len(self.samples.pipeline)), range(self.samples.views)
        return [(index, view) for index in images for view in views if not self.path(index, view).is_file()]

    def write(self, index: int, view: int, sample: Sample, levels: Sequence[Tensor]) -> int:
        """Keep a sample with its levels (C, h, w); gives the bytes that it takes. Raises DiskFullError."""
        from safetensors.torch import save

        kept = [level.detach().half() if self.half else level.detach() for level in levels]
        tensors = {f"{_LEVEL}{number}": level.cpu().contiguous() for number, level in enumerate(kept)}
        arrays = {f"{_MAP}{name}": array for name, array in sample.maps.items()}
        if sample.label is not None:
            arrays[_LABEL] = sample.label
        tensors |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        said = {"shape": sample.image.shape, "meta": dataclasses.asdict(sample.meta)}
        data = save(tensors, metadata={"sample": json.dumps(said)})
        write_bytes(self.path(index, view), data)
        return len(data)

    def read(self, index: int, view: int) -> tuple[Sample, list[Tensor]]:
        """A sample, black where its image was, and its levels (C, h, w). Raises ValueError for a damaged file."""
        from safetensors import SafetensorError, safe_open

        path = self.path(index, view)
        try:
            with safe_open(path, "pt") as file:
                said = json.loads(file.metadata()["sample"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} of the cached features cannot be read ({error}); delete it, and go on: it is made again"
            ) from error
        levels = [tensors[f"{_LEVEL}{number}"] for number in range(sum(name.startswith(_LEVEL) for name in tensors))]
        label = tensors.get(_LABEL)
        sample = Sample(
            image=np.zeros(said["shape"], np.uint8),
            label=None if label is None else label.numpy(),
            maps={name[len(_MAP) :]: value.numpy() for name, value in tensors.items() if name.startswith(_MAP)},
            meta=_meta(said["meta"]),
        )
        return sample, levels

    def batches(
        self, *, batch_size: int, seed: int, workers: int, start_step: int, shuffle: bool, rank: int, world_size: int,
        pin_memory: bool,
    ) -> BatchIterator:  # fmt: skip
        """The batches of `data.loader.train_loader`, of fixed views, with levels in the place of images."""
        order = order_of(self.samples.pipeline.dataset, seed=seed, shuffle=shuffle)
        source = _CachedBatches(self, order, batch_size, rank, world_size)
        return iter(BatchLoader(source, partial(count, start_step), workers=workers, pin_memory=pin_memory))


@dataclass(frozen=True)
class _CachedBatches(TorchDataset["Batch | Failure"]):
    cache: FeatureCache
    order: Order | WeightedOrder
    batch_size: int
    rank: int
    world_size: int

    def __getitem__(self, step: int) -> Batch | Failure:
        try:
            return self._load(step)
        except Exception as error:  # it goes on in the main process
            return Failure.of(error)

    def _load(self, step: int) -> Batch:
        first = (step * self.world_size + self.rank) * self.batch_size
        read = [
            self.cache.read(self.order.index(position), self.cache.samples.view_at(position))
            for position in range(first, first + self.batch_size)
        ]
        batch = collate([sample for sample, _ in read], ignore_index=self.cache.samples.pipeline.dataset.ignore_index)
        levels = tuple(map(torch.stack, zip(*(levels for _, levels in read), strict=True)))
        return dataclasses.replace(batch, levels=levels)


def _meta(values: dict[str, Any]) -> SampleMeta:
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return SampleMeta(**given)
