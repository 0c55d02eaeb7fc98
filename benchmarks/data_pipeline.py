"""Training pipelines: how long a sample takes on one core, from file to batch.

    python benchmarks/data_pipeline.py [--samples 40] [--compression none lz4 zstd zlib] [--json FILE]

Each pipeline runs beside a plain formulation of the same work (decode, map labels, resize everything, crop by
np.unique, distort in floating point, transpose), taking turns in one process, so that the ratio holds although the
machine's speed varies; times are the processor's. Both give bit-equal results, which is checked. So do two more: of the
same files packed (`intarsia data pack`), by each compression that is installed, and of decoded samples from a cache
(`--cache`), once it is filled. Files are drawn here.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from intarsia.contracts import Sample
from intarsia.data.collate import collate
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Source
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import FolderSplit
from intarsia.data.labels import LabelTable
from intarsia.data.packed.codecs import CODECS, compressor
from intarsia.data.packed_source import PackSource
from intarsia.data.packing import pack
from intarsia.data.pipeline import Pipeline
from intarsia.data.sample_cache import SampleCache, use_cache
from intarsia.data.sampling import sample_rng
from intarsia.data.transforms.colour import PhotoMetricDistortion
from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
from intarsia.data.transforms.resize import RandomResize, fit

CASES = {
    "2048 x 1024 PNG -> 512 x 1024 crop": {
        "size": (1024, 2048), "suffix": ".png", "classes": 19, "zero": False, "scale": (2048, 1024), "crop": (512, 1024)
    },
    "683 x 512 JPEG -> 512 x 512 crop": {
        "size": (512, 683), "suffix": ".jpg", "classes": 150, "zero": True, "scale": (2048, 512), "crop": (512, 512)
    },
}  # fmt: skip


def draw(folder, size, suffix, classes, count=6):
    """Photo-like files: large shapes, texture and grain; about as many bytes a pixel as a street photograph."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        noise = [rng.normal(size=(*size, 3)).astype(np.float32) for _ in range(2)]
        shapes = cv2.GaussianBlur(noise[0], (0, 0), 40) * 4000 + cv2.GaussianBlur(noise[1], (0, 0), 3) * 120
        image = np.clip(shapes + 110 + rng.normal(0, 1.2, (*size, 1)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"images/{number}{suffix}"), image)
        field = cv2.GaussianBlur(rng.normal(size=size).astype(np.float32), (0, 0), 25)
        label = np.clip((field / field.std() + 2) / 4 * classes, 0, classes - 1).astype(np.uint8)
        Image.fromarray(label).save(folder / f"labels/{number}.png")


def plain(image_path, label_path, case, rng):
    """The same work written straightforwardly; draws from `rng` in the same order."""
    image = cv2.imdecode(np.frombuffer(Path(image_path).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    label = np.array(Image.open(label_path)).astype(np.uint8)
    if case["zero"]:
        label[label == 0] = 255
        label = label - 1
        label[label == 254] = 255
    ratio = rng.uniform(0.5, 2.0)
    scale = int(case["scale"][0] * ratio), int(case["scale"][1] * ratio)
    height, width = fit(image.shape[:2], scale)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
    crop = case["crop"]

    def place():
        top = int(rng.integers(max(height - crop[0], 0), endpoint=True))
        left = int(rng.integers(max(width - crop[1], 0), endpoint=True))
        return slice(top, top + crop[0]), slice(left, left + crop[1])

    window = place()
    for _ in range(10):
        values, counts = np.unique(label[window], return_counts=True)
        counts = counts[values != 255]
        if len(counts) > 1 and counts.max() / counts.sum() < 0.75:
            break
        window = place()
    image, label = image[window], label[window]
    if rng.random() < 0.5:
        image, label = np.flip(image, axis=1), np.flip(label, axis=1)
    image = distorted(np.ascontiguousarray(image), rng)
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return tensor[[2, 1, 0]], torch.from_numpy(np.ascontiguousarray(label))


def distorted(image, rng):
    def scaled(values, factor, offset):
        return np.clip(values.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)

    if rng.integers(2):
        image = scaled(image, 1.0, rng.uniform(-32, 32))
    first = rng.integers(2)
    contrast = rng.uniform(0.5, 1.5) if rng.integers(2) else None
    if contrast is not None and first:
        image = scaled(image, contrast, 0.0)
    if rng.integers(2):
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[:, :, 1] = scaled(hsv[:, :, 1], rng.uniform(0.5, 1.5), 0.0)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if rng.integers(2):
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + rng.integers(-18, 18)) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if contrast is not None and not first:
        image = scaled(image, contrast, 0.0)
    return image


def packed(case, folder, codec):
    """The same data set as a packed file, and how large it is beside the files."""
    classes = tuple(f"class {index}" for index in range(case["classes"]))
    first = int(case["zero"])
    labels = {index + first: name for index, name in enumerate(classes)}
    labels |= {255: "ignore"} | ({0: "ignore"} if first else {})
    description = DataDescription(folder, classes, {"train": FolderSplit(Source("images", "labels"))}, labels)
    file = folder / f"{codec}.pack"
    size = pack(PackSource.of(description, folder), file, codec=codec).size
    files = sum(path.stat().st_size for path in folder.glob("*/*"))
    return read_description(file).dataset("train"), round(size / files, 2)


def installed(codecs):
    for codec in codecs:
        try:
            compressor(codec)
        except ValueError as error:
            print(f"left out: {error}")
        else:
            yield codec


def measure(case, folder, samples, codecs):
    draw(folder, case["size"], case["suffix"], case["classes"])
    table = LabelTable.reduce_zero(case["classes"]) if case["zero"] else LabelTable.identity(case["classes"])
    dataset = FolderDataset(
        root=str(folder), images="images", labels="labels", image_suffix=case["suffix"], label_table=table,
        classes=[str(index) for index in range(case["classes"])],
    )  # fmt: skip
    steps = [
        RandomResize(case["scale"], (0.5, 2.0), keep_ratio=True),
        RandomCrop(case["crop"], cat_max_ratio=0.75),
        RandomFlip(0.5),
        PhotoMetricDistortion(),
    ]
    pipeline = Pipeline(dataset, steps)
    kept = copy.copy(dataset)
    use_cache(kept, SampleCache.opened(folder / "cache", 10**9))
    for index in range(len(kept)):
        kept.load(index)
    routes, sizes = {"from the cache": Pipeline(kept, steps)}, {}
    for codec in codecs:
        read, sizes[codec] = packed(case, folder, codec)
        routes[f"packed, {codec}"] = Pipeline(read, steps)
    times = {"intarsia": [], "plain": [], "decoding alone": [], "distortion alone": []} | {name: [] for name in routes}
    for position in range(samples):
        index = position % len(dataset)
        start = time.process_time()
        batch = collate([pipeline.get(index, sample_rng(0, position))])
        middle = time.process_time()
        image, label = plain(*dataset.paths(index), case, sample_rng(0, position))
        end = time.process_time()
        assert torch.equal(batch.images[0], image)
        assert torch.equal(batch.labels[0], label)
        for name, route in routes.items():
            begin = time.process_time()
            other = collate([route.get(index, sample_rng(0, position))])
            times[name].append(time.process_time() - begin)
            assert torch.equal(other.images, batch.images)
            assert torch.equal(other.labels, batch.labels)
        cut = Sample(batch.images[0].permute(1, 2, 0).contiguous().numpy())
        begin = time.process_time()
        steps[3](cut, sample_rng(0, position))
        times["distortion alone"].append(time.process_time() - begin)
        begin = time.process_time()
        dataset.load(index)
        times["decoding alone"].append(time.process_time() - begin)
        times["intarsia"].append(middle - start)
        times["plain"].append(end - middle)
    megabytes = Path(dataset.paths(0)[0]).stat().st_size / 1e6
    milliseconds = {name: round(statistics.mean(values) * 1e3, 2) for name, values in times.items()}
    ratio = sum(times["plain"]) / sum(times["intarsia"])
    decoding = sum(times["decoding alone"])
    rest = (sum(times["plain"]) - decoding) / (sum(times["intarsia"]) - decoding)
    return {
        "file MB": round(megabytes, 2),
        "CPU ms": milliseconds,
        "plain / intarsia": round(ratio, 2),
        "intarsia / plain": round(1 / ratio, 2),
        "from the cache / plain": round(sum(times["from the cache"]) / sum(times["plain"]), 2),
        "share of looking at the clock": round(clock_share(pipeline, milliseconds["intarsia"]), 5),
        "the same after decoding": round(rest, 2),
        "packed / plain": {
            name: round(sum(times[name]) / sum(times["plain"]), 3) for name in routes if name.startswith("packed")
        },
        "packed / files, bytes": sizes,
    }


def clock_share(pipeline, milliseconds, count=10_000):
    """What timing the stages of a sample costs, as a share of the sample's own time."""
    start = time.process_time()
    for _ in range(count):
        with pipeline.times.measure("a stage"):
            pass
    stages = len(pipeline.transforms) + 1  # two transforms are one step; and there are reading and collating
    return (time.process_time() - start) / count * stages / (milliseconds / 1e3)


def listing(folder, count=100_000):
    """Seconds to pair `count` images with their labels."""
    for name, suffix in (("images", ".jpg"), ("labels", ".png")):
        for group in range(10):
            (folder / name / str(group)).mkdir(parents=True)
        for number in range(count):
            (folder / name / str(number % 10) / f"{number}{suffix}").touch()
    start = time.time()
    assert len(FolderDataset(root=str(folder), images="images", labels="labels", classes=("a", "b"))) == count
    return {"files": 2 * count, "seconds": round(time.time() - start, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--compression", nargs="+", default=CODECS, choices=CODECS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    results = {"machine": f"{platform.processor() or platform.machine()}, OpenCV {cv2.__version__}"}
    with tempfile.TemporaryDirectory() as temporary:
        for number, (name, case) in enumerate(CASES.items()):
            codecs = list(installed(arguments.compression))
            results[name] = measure(case, Path(temporary) / str(number), arguments.samples, codecs)
        results["listing"] = listing(Path(temporary) / "many")
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
