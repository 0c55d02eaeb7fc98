from __future__ import annotations

import itertools
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.collate import collate
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.labels import LabelTable
from intarsia.data.loader import eval_loader, train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.sampling import Order, sample_rng
from intarsia.data.transforms.colour import PhotoMetricDistortion
from intarsia.data.transforms.edges import GenerateEdge
from intarsia.data.transforms.geometry import Pad, RandomCrop, RandomFlip
from intarsia.data.transforms.resize import RandomResize, Resize
from intarsia.data.transforms.scale import SegRescale

TRANSFORMS = (
    RandomResize((60, 40), (0.8, 2.0), keep_ratio=True),
    RandomCrop((24, 32), cat_max_ratio=0.75),
    RandomFlip(0.5),
    PhotoMetricDistortion(),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (root / name).mkdir()
    for number in range(7):
        size = (30 + number, 45)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / f"images/{number}.png")
        label = rng.choice(np.array([0, 1, 2, 255], np.uint8), (size[0] // 5 + 1, 9)).repeat(5, 0).repeat(5, 1)
        Image.fromarray(label[: size[0]]).save(root / f"labels/{number}.png")
    return root


def dataset(folder, **changes):
    return FolderDataset(
        root=str(folder), images="images", labels="labels", image_suffix=".png", classes=("a", "b", "c"), **changes
    )


@pytest.fixture
def pipeline(folder):
    return Pipeline(dataset(folder), TRANSFORMS)


def take(loader, count):
    batches = list(itertools.islice(loader, count))
    loader.close()
    return batches


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
        assert a.sizes == b.sizes
        assert a.metas == b.metas


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(pipeline, workers):
    alone = take(train_loader(pipeline, batch_size=3, seed=5, workers=0), 6)
    assert_same(alone, take(train_loader(pipeline, batch_size=3, seed=5, workers=workers), 6))


@pytest.mark.parametrize("start", [1, 4, 100_000])
def test_starting_at_a_step_gives_what_would_have_come(pipeline, start):
    first = start - 1 if start > 10 else 0
    whole = take(train_loader(pipeline, batch_size=2, seed=1, workers=0, start_step=first), start - first + 2)
    assert_same(
        whole[start - first :], take(train_loader(pipeline, batch_size=2, seed=1, workers=0, start_step=start), 2)
    )


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_same_batch(pipeline, world):
    whole = take(train_loader(pipeline, batch_size=6, seed=2, workers=0), 4)
    parts = [
        take(train_loader(pipeline, batch_size=6 // world, seed=2, workers=0, rank=rank, world_size=world), 4)
        for rank in range(world)
    ]
    for step, batch in enumerate(whole):
        assert torch.equal(batch.images, torch.cat([part[step].images for part in parts]))
        assert torch.equal(batch.labels, torch.cat([part[step].labels for part in parts]))


def test_training_goes_through_all_images_and_varies(pipeline):
    batches = take(train_loader(pipeline, batch_size=7, seed=0, workers=0), 2)
    for batch in batches:
        assert sorted(meta.name for meta in batch.metas) == list("0123456")
        assert batch.images.dtype == torch.uint8
        assert batch.labels.dtype == torch.uint8
    assert not torch.equal(batches[0].images, batches[1].images)
    assert not torch.equal(
        batches[0].images, take(train_loader(pipeline, batch_size=7, seed=1, workers=0), 1)[0].images
    )


def test_another_seed_of_the_order_changes_nothing_else(pipeline):
    """The same positions have the same random streams; the samples there are those of the other order."""
    found = take(train_loader(pipeline, batch_size=7, seed=5, order_seed=6, workers=0), 2)
    order = Order(7, seed=6, shuffle=True)
    for step, batch in enumerate(found):
        expected = [pipeline.get(order.index(p), sample_rng(5, p)) for p in range(7 * step, 7 * step + 7)]
        assert [meta.name for meta in batch.metas] == [sample.meta.name for sample in expected]
        for image, sample in zip(batch.images, expected, strict=True):
            assert (image.permute(1, 2, 0).numpy() == sample.image).all()
    assert_same(found, take(train_loader(pipeline, batch_size=7, seed=5, order_seed=6, workers=2), 2))
    usual = take(train_loader(pipeline, batch_size=7, seed=5, workers=0), 1)
    assert_same(usual, take(train_loader(pipeline, batch_size=7, seed=5, order_seed=5, workers=0), 1))
    assert [m.name for m in usual[0].metas] != [m.name for m in found[0].metas]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 3])
def test_evaluation_sees_every_image_once(folder, workers, world):
    pipeline = Pipeline(dataset(folder), [Resize((20, 10))], label_size="original")
    seen = []
    for rank in range(world):
        for batch in eval_loader(pipeline, batch_size=2, workers=workers, rank=rank, world_size=world):
            assert batch.images.shape[1:] == (3, 10, 20)
            assert [tuple(label.shape) for label in batch.labels] == [meta.original_size for meta in batch.metas]
            seen += [meta.name for meta in batch.metas]
    assert sorted(seen) == list("0123456")
    if world == 1:
        assert seen == list("0123456")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_arrives_as_one_message(folder, tmp_path, workers):
    good = dataset(folder)
    (tmp_path / "broken.png").write_bytes(b"")
    pairs = [good.paths(0), (str(tmp_path / "broken.png"), good.paths(1)[1])]
    pipeline = Pipeline(FolderDataset(root="/", classes=("a", "b", "c"), pairs=pairs), ())
    with pytest.raises(ValueError, match=r"broken\.png") as caught:
        list(eval_loader(pipeline, batch_size=1, workers=workers))
    assert str(caught.value) == f"{tmp_path / 'broken.png'}: the file is empty (0 bytes); copy or download it again"
    assert "read_image" in str(caught.value.__cause__)


@dataclass(frozen=True)
class SetLabel:
    value: int
    dtype: type = np.uint8

    def __call__(self, sample, rng):
        return replace(sample, label=np.full_like(sample.label, self.value, dtype=self.dtype))


@dataclass(frozen=True)
class DropRow:
    def __call__(self, sample, rng):
        return replace(sample, image=sample.image[1:])


@dataclass(frozen=True)
class Vanish:
    def __call__(self, sample, rng):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_the_system_ends_is_explained(folder):
    with pytest.raises(ValueError, match=r"ended a data worker.*fewer workers"):
        list(eval_loader(Pipeline(dataset(folder), [Vanish()]), batch_size=1, workers=1))


@dataclass(frozen=True)
class Fail:
    def __call__(self, sample, rng):
        raise ValueError("too dark")


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (SetLabel(3), r"labels/0\.png: after SetLabel, the label holds 3, but 3 classes have the indices 0-2, and 255"),
        (SetLabel(254), "holds 254"),
        (SetLabel(-1, np.int64), "holds -1"),
        (SetLabel(256, np.uint16), "holds 256"),
        (DropRow(), r"images/0\.png: after DropRow, the image has \(29, 45\) pixels and the label \(30, 45\)"),
        (Fail(), r"images/0\.png: too dark \(transform Fail\)"),
    ],
)
def test_the_transform_that_is_to_blame_is_named(folder, transform, message):
    with pytest.raises(ValueError, match=message):
        Pipeline(dataset(folder), [transform]).get(0, np.random.default_rng(0))


def test_labels_are_rescaled_by_the_last_transform_alone(folder):
    rng = np.random.default_rng(0)
    found = Pipeline(dataset(folder), [SegRescale(0.2)]).get(0, rng)
    assert found.image.shape == (30, 45, 3)
    assert found.label.shape == (6, 9)
    stored = np.array(Image.open(folder / "labels/0.png"))
    np.testing.assert_array_equal(found.label, stored[::5, ::5])
    evaluated = Pipeline(dataset(folder), [SegRescale(0.2)], label_size="original").get(0, rng)
    np.testing.assert_array_equal(evaluated.label, stored)
    with pytest.raises(ValueError, match="which Resize behind it would not know: make it the last transform"):
        Pipeline(dataset(folder), [SegRescale(0.2), Resize((20, 10))])
    Pipeline(dataset(folder), [SegRescale(1), Resize((20, 10))])
    with pytest.raises(ValueError, match=r"the image has \(29, 45\) pixels and the label \(60, 90\)"):
        Pipeline(dataset(folder), [DropRow(), SegRescale(2)]).get(0, rng)
    edges = [GenerateEdge(edge_width=2), SegRescale(0.2)]
    with pytest.raises(ValueError, match="this network also learns edge"):
        Pipeline(dataset(folder), edges).get(0, rng)


def test_labels_in_range_pass(folder):
    for value, dtype in ((2, np.uint8), (255, np.uint8), (255, np.int64), (0, np.uint16)):
        Pipeline(dataset(folder), [SetLabel(value, dtype)]).get(0, np.random.default_rng(0))
    other = LabelTable({0: 0, 1: 1, 2: 2, 255: 7}, ignore_index=7)
    pipeline = Pipeline(dataset(folder, label_table=other), ())
    assert set(np.unique(pipeline.get(0, np.random.default_rng(0)).label)) <= {0, 1, 2, 7}


def sample(height, width, bands=3, dtype=np.uint8, label=True, name=""):
    rng = np.random.default_rng(height * width)
    return Sample(
        image=(rng.random((height, width, bands)) * 250).astype(dtype),
        label=rng.integers(0, 3, (height, width), dtype=np.uint8) if label else None,
        meta=SampleMeta(name=name),
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("bands", [1, 3, 4, 11])
def test_collating_pads_at_the_right_and_bottom(bands, dtype):
    samples = [sample(4, 9, bands, dtype), sample(6, 5, bands, dtype)]
    batch = collate(samples, ignore_index=255)
    assert batch.images.shape == (2, bands, 6, 9)
    assert batch.sizes == ((4, 9), (6, 5))
    for index, one in enumerate(samples):
        height, width = one.label.shape
        images, labels = batch.images[index].numpy(), batch.labels[index].numpy()
        np.testing.assert_array_equal(images[:, :height, :width], one.image.transpose(2, 0, 1))
        assert (images[:, height:] == 0).all()
        assert (images[:, :, width:] == 0).all()
        np.testing.assert_array_equal(labels[:height, :width], one.label)
        assert (labels[height:] == 255).all()
        assert (labels[:, width:] == 255).all()


def test_views_with_negative_strides_collate():
    one = sample(4, 5, 11, np.float32)
    backwards = replace(one, image=one.image[:, ::-1], label=one.label[::-1])
    batch = collate([backwards])
    np.testing.assert_array_equal(batch.images[0].numpy(), one.image[:, ::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(batch.labels[0].numpy(), one.label[::-1])


def test_padding_of_a_transform_belongs_to_the_image():
    after = Pad(size=(12, 12))(sample(4, 9), np.random.default_rng(0))
    batch = collate([after])
    assert batch.sizes == ((12, 12),)
    assert batch.metas[0].valid == (4, 9)


def test_wide_labels_become_int64_and_maps_are_stacked():
    one = sample(4, 5)
    one = replace(one, label=one.label.astype(np.uint16), maps={"edge": one.label == 1})
    batch = collate([one, one], ignore_index=65535)
    assert batch.labels.dtype == torch.int64
    assert batch.maps["edge"].shape == (2, 4, 5)
    assert batch.maps["edge"].dtype == torch.bool


def test_labels_of_original_size_are_a_tuple():
    one = replace(sample(4, 5), label=np.zeros((9, 9), np.uint8))
    labels = collate([one, sample(3, 3)], label_size="original").labels
    assert [tuple(label.shape) for label in labels] == [(9, 9), (3, 3)]
    assert collate([sample(3, 3, label=False)], label_size="original").labels is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"bands": 4}, "differ in bands: one has 3, two has 4"),
        ({"dtype": np.uint16}, "differ in type: one has uint8, two has uint16"),
        ({"label": False}, "differ in labels: one has True, two has False"),
    ],
)
def test_samples_that_do_not_go_together(other, message):
    with pytest.raises(ValueError, match=message):
        collate([sample(3, 3, name="one"), sample(3, 3, name="two", **other)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch size"),
        ({"workers": -1}, "workers"),
        ({"rank": 2, "world_size": 2}, "rank must be from 0 to 1"),
        ({"seed": -4}, "seed"),
    ],
)
def test_impossible_loaders_are_refused_at_once(pipeline, changes, message):
    with pytest.raises(ValueError, match=message):
        train_loader(pipeline, **{"batch_size": 1, "seed": 0, "workers": 0, **changes})


def test_pipelines_travel_to_workers_that_do_not_fork(pipeline):
    copy = pickle.loads(pickle.dumps(pipeline))
    assert_same(
        take(train_loader(pipeline, batch_size=2, seed=0, workers=0), 2),
        take(train_loader(copy, batch_size=2, seed=0, workers=0), 2),
    )


def test_a_program_ends_though_its_workers_wait_for_work():
    """They ignore SIGTERM, by which Python would end them; the generator is alive until the very end."""
    program = """
import multiprocessing
import os
import numpy as np
from intarsia.contracts import Sample
from intarsia.data.loader import train_loader
from intarsia.data.pipeline import Pipeline

class Grey:
    classes, palette, ignore_index = ("a",), ((0, 0, 0),), 255
    def __len__(self): return 8
    def load(self, index): return Sample(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))

if hasattr(os, "fork"):  # no other worker could import the class
    multiprocessing.set_start_method("fork", force=True)
batches = train_loader(Pipeline(Grey(), ()), batch_size=2, seed=0, workers=2)
print(next(batches).images.shape[0])
import sys
sys.keep_alive = batches
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
