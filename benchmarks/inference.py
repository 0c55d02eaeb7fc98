"""From images to label maps: seconds and peak memory against the plain way, each measured in a process of its own.

    OMP_NUM_THREADS=2 python benchmarks/inference.py [--repeat 2] [--only sliding whole large views folder]

The plain way is that of the original: one image, one window, one view at a time; all logits resized to the network's
input and then to the image's size in one piece; softmax and argmax over them. "forward" is the network alone with its
input. Weights are random, so that hardly a class can be left out early: on trained networks the ratios are better.
Memory is the peak of the resident set, less what it was when the network and the images were there.
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

CASES = {
    "sliding": "1024 x 2048, windows 512, stride 341, FCN-R18-D8, 19 classes",
    "whole": "512 x 683, SegFormer-B0, 150 classes",
    "large": "the same from an image of 3000 x 4000",
    "views": "512 x 683, six scales with mirror images, SegFormer-B0, 150 classes",
    "folder": "16 JPEG photos of 512 x 683 to label files, SegFormer-B0, 150 classes",
}
WAYS = ("forward", "plain", "intarsia")
PHOTOS = 16
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def build(name: str):
    import torch

    from intarsia.backbones.mit import MixVisionTransformer
    from intarsia.backbones.resnet import ResNetV1c
    from intarsia.layers.norm import BN
    from intarsia.losses.cross_entropy import CrossEntropyLoss
    from intarsia.methods.fcn import FCNHead
    from intarsia.methods.segformer import SegformerHead
    from intarsia.models.encoder_decoder import EncoderDecoder
    from intarsia.spec import PreprocessSpec
    from intarsia.tasks.preprocess import Preprocess
    from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation

    torch.manual_seed(0)
    if name == "sliding":
        classes = 19
        model = EncoderDecoder(
            backbone=ResNetV1c(18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True),
            decode_head=FCNHead(in_channels=512, channels=128, num_classes=19, in_index=3, norm=BN),
        )
    else:
        classes = 150
        model = EncoderDecoder(
            backbone=MixVisionTransformer(
                embed_dims=32, num_layers=(2, 2, 2, 2), num_heads=(1, 2, 5, 8), drop_path_rate=0.1
            ),
            decode_head=SegformerHead(in_channels=(32, 64, 160, 256), channels=256, num_classes=150, norm=BN),
        )
    preprocess = Preprocess(PreprocessSpec((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    losses = [HeadLoss("decode", [HeadTerm("loss_ce", CrossEntropyLoss(), 1.0)], 255, False)]
    return SemanticSegmentation(
        model, preprocess=preprocess, losses=losses, num_classes=classes, ignore_index=255
    ).eval()


def photo(height: int, width: int, seed: int = 0):
    import cv2
    import numpy as np

    coarse = np.random.default_rng(seed).integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def small(image):
    """What a test pipeline makes of it."""
    import cv2

    return cv2.resize(image, (683, 512), interpolation=cv2.INTER_LINEAR)


def network_input(task, image):
    import torch

    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    return task.preprocess(pixels, (image.shape[:2],), train=False)


def resize(logits, size: Sequence[int]):
    import torch.nn.functional as F

    return logits if logits.shape[2:] == tuple(size) else F.interpolate(logits, size=tuple(size), mode="bilinear")


def plain_whole(task, image, size: Sequence[int]):
    """Logits (1, K, H, W) at the image's own size."""
    inputs = network_input(task, image)
    return resize(resize(task.model(inputs), inputs.shape[2:]), size)


def plain_sliding(task, image):
    import torch

    inputs = network_input(task, image)
    height, width = inputs.shape[2:]
    total, count = torch.zeros(1, 19, height, width), torch.zeros(1, 1, height, width)
    for row in range((height - 512 + 340) // 341 + 1):
        for column in range((width - 512 + 340) // 341 + 1):
            bottom, right = min(row * 341 + 512, height), min(column * 341 + 512, width)
            window = (..., slice(bottom - 512, bottom), slice(right - 512, right))
            total[window] += resize(task.model(inputs[window]), (512, 512))
            count[window] += 1
    return (total / count).argmax(dim=1)[0].byte().numpy()


def plain_views(task, image):
    import cv2
    import torch

    height, width = image.shape[:2]
    total = torch.zeros(1, 150, height, width)
    for scale in SCALES:
        scaled = cv2.resize(image, (int(width * scale + 0.5), int(height * scale + 0.5)))
        for mirrored in (False, True):
            inputs = network_input(task, scaled[:, ::-1] if mirrored else scaled)
            logits = resize(task.model(inputs), inputs.shape[2:])
            total += resize(logits.flip(3) if mirrored else logits, (height, width)).softmax(dim=1)
    return (total / (2 * len(SCALES))).argmax(dim=1)[0].byte().numpy()


def plain_folder(task, folder: Path):
    from PIL import Image

    for path in sorted(folder.glob("*.jpg")):
        import numpy as np

        image = np.asarray(Image.open(path).convert("RGB"))
        label = plain_whole(task, image, image.shape[:2]).argmax(dim=1)[0].byte().numpy()
        Image.fromarray(label).save(folder / f"{path.stem}.png")


def forward(task, case: str, image) -> None:
    """The network alone, with its input."""
    import cv2

    if case == "sliding":
        inputs = network_input(task, image)
        for _ in range(3 * 6):
            task.model(inputs[:, :, :512, :512])
    elif case == "views":
        for scale in SCALES:
            inputs = network_input(task, cv2.resize(image, None, fx=scale, fy=scale))
            task.model(inputs)
            task.model(inputs)
    else:
        for _ in range(PHOTOS if case == "folder" else 1):
            task.model(network_input(task, small(image)))


def predictor_of(task, case: str):
    from intarsia.data.transforms.resize import Resize
    from intarsia.inference.predictor import Predictor
    from intarsia.spec import InferenceSpec

    classes = [str(k) for k in range(task.num_classes)]
    inference = InferenceSpec(num_classes=len(classes))
    if case == "sliding":
        inference = InferenceSpec(mode="slide", crop_size=(512, 512), stride=(341, 341), num_classes=len(classes))
    transforms = [Resize(scale=(683, 512))] if case == "large" else []
    return Predictor(
        task, inference=inference, augment=case == "views", transforms=transforms, classes=classes,
        palette=[(k, k, k) for k in range(len(classes))],
    )  # fmt: skip


def resident_peak() -> float:
    """Peak resident set of this process in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20


def work_of(case: str, way: str, task, image, folder: Path) -> Callable[[], object]:
    if way == "forward":
        return lambda: forward(task, case, image)
    if way == "intarsia":
        predictor = predictor_of(task, case)
        if case == "folder":
            return lambda: [found.save(folder / f"{found.name}.png") for found in predictor.predict(folder / "*.jpg")]
        return lambda: predictor.predict(image).label
    if case == "sliding":
        return lambda: plain_sliding(task, image)
    if case == "views":
        return lambda: plain_views(task, image)
    if case == "folder":
        return lambda: plain_folder(task, folder)
    return lambda: plain_whole(task, small(image), image.shape[:2]).argmax(dim=1)[0].byte().numpy()


def measure(case: str, way: str, repeat: int) -> None:
    """Prints seconds and MB, and leaves the label map as a file, so that the ways can be compared."""
    import cv2
    import numpy as np
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    size = {"sliding": (1024, 2048), "large": (3000, 4000)}.get(case, (512, 683))
    task, image = build(case), photo(*size)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        if case == "folder":
            for number in range(PHOTOS):
                cv2.imwrite(str(folder / f"{number:03}.jpg"), photo(*size, seed=number))
        task.model(network_input(task, photo(128, 128)))
        work = work_of(case, way, task, image, folder)
        before = resident_peak()
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            label = work()
            times.append(time.perf_counter() - start)
        print(min(times), resident_peak() - before)
        if isinstance(label, np.ndarray):
            np.save(Path(tempfile.gettempdir()) / f"intarsia_{case}_{way}.npy", label)


def differing(case: str) -> str:
    """How many pixels the two ways label differently."""
    import numpy as np

    files = [Path(tempfile.gettempdir()) / f"intarsia_{case}_{way}.npy" for way in WAYS[1:]]
    if not all(file.exists() for file in files):
        return ""
    plain, ours = (np.load(file) for file in files)
    for file in files:
        file.unlink()
    return f"   pixels that differ: {int((plain != ours).sum())} of {plain.size}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        measure(*options.measure, options.repeat)
        return
    print(f"{platform.processor() or platform.machine()}, {os.environ.get('OMP_NUM_THREADS', '1')} threads")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for case in options.only:
        print(f"\n{case}: {CASES[case]}")
        figures = {}
        for way in WAYS:
            command = [sys.executable, __file__, "--measure", case, way, "--repeat", str(options.repeat)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            figures[way] = [float(number) for number in output.split()]
            print(f"    {way:10} {figures[way][0]:7.2f} s {figures[way][1]:8.0f} MB", flush=True)
        (forward_time, forward_peak), (time_plain, peak_plain), (time_ours, peak_ours) = (figures[way] for way in WAYS)
        print(f"    time {time_ours / time_plain:.2f} of the plain way's; beyond the network alone: "
              f"{time_ours - forward_time:.2f} s against {time_plain - forward_time:.2f} s, "
              f"{peak_ours - forward_peak:.0f} MB against {peak_plain - forward_peak:.0f} MB")  # fmt: skip
        if text := differing(case):
            print(text)


if __name__ == "__main__":
    main()
