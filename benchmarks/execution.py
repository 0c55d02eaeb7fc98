"""Networks in half precision and through torch.compile: processor time, and how many labels stay as they are.

    OMP_NUM_THREADS=1 python benchmarks/execution.py [--repeat 3] [--ways 32 bf16 compiled] [RECIPE ...]
    OMP_NUM_THREADS=1 python benchmarks/execution.py --weights FILE --config CONFIG --images FOLDER [--ways ...]

By default four networks with random weights, on a drawn image of 512 x 512: `Predictor.network`, from its input to its
logits. With random weights classes are nearly alike everywhere, so that more labels change than of any trained network;
with --weights the images of a folder are predicted whole, and all their labels compared. "compiled" is in float32, and
the time that the first image takes is said beside it: run it twice, the second time reads what the first has compiled
(INTARSIA_CACHE says where that is). Processor time is that of all threads and of the compilers that were started; the
fastest of the passes counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

RECIPES = (
    "fast_scnn_8xb4-160k_cityscapes-512x1024",
    "segformer_mit-b0_8xb2-160k_ade20k-512x512",
    "pspnet_r50-d8_4xb2-80k_cityscapes-512x1024",
    "swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
)
SIDE = 512


def processor_seconds() -> float:
    return sum(os.times()[:4])


def timed(work: Callable[[], object], repeat: int) -> tuple[float, float, float]:
    """Seconds on the clock and of the processor of the first pass, and of the processor of the fastest one later."""
    clock, began = time.perf_counter(), processor_seconds()
    work()
    first, spent, later = time.perf_counter() - clock, processor_seconds() - began, []
    for _ in range(repeat):
        began = time.process_time()
        work()
        later.append(time.process_time() - began)
    return first, spent, min(later)


def predictors(task, ways: list[str]) -> Iterator[tuple[str, object]]:
    from intarsia.inference.predictor import Predictor
    from intarsia.spec import InferenceSpec

    count = task.num_classes
    for way in ways:
        yield way, Predictor(
            task, inference=InferenceSpec(num_classes=count), classes=[str(k) for k in range(count)],
            palette=[(0, 0, 0)] * count, device="cpu",
            precision="32" if way == "compiled" else way, compile=way == "compiled",
        )  # fmt: skip


def of_recipe(recipe: str, ways: list[str], repeat: int) -> None:
    import torch
    from inference import photo
    from models import task_of

    torch.manual_seed(0)
    task = task_of(recipe, "cpu").eval()
    pixels = torch.from_numpy(photo(SIDE, SIDE)).permute(2, 0, 1)[None]
    shown = task.preprocess(pixels, ((SIDE, SIDE),), train=False)
    with torch.inference_mode():
        plain = task.model(shown).argmax(1)
        for way, predictor in predictors(task, ways):
            first, spent, later = timed(lambda predictor=predictor: predictor.network(shown), repeat)
            same = (predictor.network(shown).argmax(1) == plain).double().mean().item()
            print(f"{recipe}, {way}: {later:.3f} s, {same:.3%} equal; first {first:.1f} s, {spent:.1f} s of processor")


def of_weights(weights: Path, config: str | None, folder: Path, ways: list[str]) -> None:
    import numpy as np

    from intarsia.workflows.trained_model import open_model

    plain: dict[str, object] = {}
    for way in ["32", *(way for way in ways if way != "32")]:
        how = {"compile": True} if way == "compiled" else {"precision": way}
        predictor = open_model(weights, config=config, device="cpu", **how).predictor()
        began, same = processor_seconds(), []
        for found in predictor.predict(folder):
            same.append(np.mean(found.label == plain.setdefault(found.name, found.label)))
        seconds = processor_seconds() - began
        print(f"{weights.name}, {way}: {len(same)} images, {seconds:.1f} s, {np.mean(same):.3%} of labels equal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=["32", "bf16"], choices=["32", "bf16", "16", "compiled"])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--config")
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads")
    if options.weights is not None:
        of_weights(options.weights, options.config, options.images, options.ways)
        return
    for recipe in options.recipes:
        of_recipe(recipe, options.ways, options.repeat)


if __name__ == "__main__":
    main()
