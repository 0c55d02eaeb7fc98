"""A folder of photos, end to end, to label files and overlays: `intarsia predict` against the plain way, in one run.

    OMP_NUM_THREADS=2 python benchmarks/photo_folder.py [--photos 200] [--kinds label,overlay]

Photos are painted scenes as JPEG of 1280 x 960; the network is SegFormer-B0 with 150 classes and random weights, whose
input is 512 x 683. The plain way takes one photo at a time: decode, resize, network, all logits resized to the input's
and to the photo's size in one piece, argmax, then writing of the same files by the same functions, nothing overlapped.
Random weights let hardly a class be left out early: on trained networks the ratio is better. "network" is the network
alone with its input. Each way runs in a process of its own; memory is the peak of its resident set, less what it was
when the network was there.

A pixel in some millions may differ: this network's logits lie side by side in memory, for which torch has another
kernel with other roundings; Intarsia gives what contiguous logits give (inference/logits/lazy.py), to the last pixel.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from inference import build, network_input, plain_whole, resident_peak, small

WAYS = ("network", "plain", "intarsia")
HEIGHT, WIDTH = 960, 1280


def paint(folder: Path, count: int) -> None:
    """Scenes enlarged to the size of photos, with the noise of a sensor, so that files are as large as real ones."""
    import cv2
    import numpy as np

    from intarsia.demo import draw

    folder.mkdir()
    noise = np.random.default_rng(0).normal(0, 6, (HEIGHT, WIDTH, 3))
    for number in range(count):
        scene = cv2.resize(draw(number, 0)[0], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        picture = np.clip(scene + np.roll(noise, 7 * number, axis=1), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"photo_{number:04}.jpg"), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


def work_of(way: str, task, folder: Path, out: Path, kinds: frozenset[str]) -> Callable[[], None]:
    """What is timed; everything is imported before."""
    from intarsia.colours import distinct_colours
    from intarsia.data.image_io import read_image
    from intarsia.data.transforms.resize import Resize
    from intarsia.inference.inputs.images import find_images
    from intarsia.inference.outputs.manifest import Manifest
    from intarsia.inference.outputs.writer import Outputs
    from intarsia.inference.prediction import Prediction
    from intarsia.inference.predictor import Predictor
    from intarsia.spec import InferenceSpec
    from intarsia.workflows.predict_images import predict_images

    classes, palette = tuple(map(str, range(task.num_classes))), distinct_colours(task.num_classes)
    files, outputs = sorted(folder.iterdir()), Outputs(out, kinds)

    def network() -> None:
        image = small(read_image(files[0]))
        for _ in files:
            task.model(network_input(task, image))

    def plain() -> None:
        for file in files:
            image = read_image(file)
            label = plain_whole(task, small(image), image.shape[:2]).argmax(dim=1)[0].byte().numpy()
            outputs.write(Prediction(label, classes, palette, image=image, name=file.stem))

    def intarsia() -> None:
        inference, transforms = InferenceSpec(num_classes=len(classes)), [Resize(scale=(683, 512))]
        predictor = Predictor(task, inference=inference, transforms=transforms, classes=classes, palette=palette)
        manifest = Manifest({"weights": "random"}, {})
        assert predict_images(
            predictor, find_images(folder), outputs, manifest=manifest, table=None, skip_existing=False
        )

    return {"network": network, "plain": plain, "intarsia": intarsia}[way]


def measure(way: str, folder: Path, out: Path, kinds: frozenset[str]) -> None:
    """Prints seconds, MB, and the seconds that processors worked."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    task = build("folder")
    with torch.inference_mode():
        task.model(torch.zeros(1, 3, 128, 128))
        do = work_of(way, task, folder, out, kinds)
        before, start, work = resident_peak(), time.perf_counter(), time.process_time()
        do()
        print(time.perf_counter() - start, resident_peak() - before, time.process_time() - work)


def differing(first: Path, second: Path) -> tuple[int, int]:
    """Pixels of the label files in two folders that differ, of how many."""
    import numpy as np
    from PIL import Image

    pairs = [[np.array(Image.open(folder / path.name)) for folder in (first, second)] for path in first.glob("*.png")]
    return sum(int((a != b).sum()) for a, b in pairs), sum(a.size for a, _ in pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--kinds", default="label,overlay", help="what is written, as --save of intarsia predict")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        way, folder, out = options.measure
        measure(way, Path(folder), Path(out), frozenset(options.kinds.split(",")))
        return
    print(f"{platform.processor() or platform.machine()}, {os.environ.get('OMP_NUM_THREADS', '1')} threads")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paint(folder / "photos", options.photos)
        figures = {}
        for way in WAYS:
            places = [str(folder / "photos"), str(folder / way)]
            command = [sys.executable, __file__, "--measure", way, *places, "--kinds", options.kinds]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            seconds, peak, work = figures[way] = [float(number) for number in done.stdout.split()]
            print(f"{way:10} {seconds:8.1f} s   {options.photos / seconds:6.2f} photos/s   {peak:6.0f} MB   "
                  f"processors {work:6.1f} s", flush=True)  # fmt: skip
        network, plain, ours = (figures[way][0] for way in WAYS)
        print(f"time {ours / plain:.2f} of the plain way's; beyond the network {ours - network:.1f} s "
              f"against {plain - network:.1f} s")  # fmt: skip
        if "label" in options.kinds.split(","):
            print("pixels that differ: {} of {}".format(*differing(folder / "plain", folder / "intarsia")))


if __name__ == "__main__":
    main()
