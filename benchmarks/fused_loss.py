"""Upsampling, losses and accuracy with their gradient: without enlarged logits against the plain operations.

    python benchmarks/fused_loss.py [--repeat 3] [--forms dice both]

Time is processor time of one thread, so that other programs matter less; memory is what tensors take at once
(`guide.counting.peak_counter`), logits and labels left out, and what the resident set of a process of its own grows by.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

CASES = {
    "ADE20K, 2 x 150": (2, 150, (128, 128), (512, 512)),
    "Cityscapes, 2 x 19": (2, 19, (64, 128), (512, 1024)),
    "2 x 19, square": (2, 19, (128, 128), (512, 512)),
    "2 x 4": (2, 4, (128, 128), (512, 512)),
    "2 x 2": (2, 2, (128, 128), (512, 512)),
    "own size, 2 x 19": (2, 19, (256, 256), (256, 256)),
    "small, 4 x 19": (4, 19, (16, 16), (64, 64)),
}
WAYS = ("plain", "in strips")
FORMS = ("softmax", "sigmoid", "validation", "dice", "both", "lovasz")
"""Cross entropy, but for the last three: Dice of a softmax, alone and beside cross entropy, and Lovász-Softmax."""


def step_of(case: str, way: str, form: str) -> tuple[Callable[[], object], Sequence]:
    """A step, and the tensors that are there before it."""
    import torch

    from intarsia.losses.accuracy import accuracy_of_resized, pixel_accuracy
    from intarsia.losses.cross_entropy import CrossEntropyLoss
    from intarsia.losses.dice import DiceLoss
    from intarsia.losses.lovasz import LovaszLoss
    from intarsia.losses.resized_logits import ResizedLogits

    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, classes, low, size = CASES[case]
    logits = torch.randn(images, classes, *low, requires_grad=form != "validation")
    labels = torch.randint(0, classes, (images, *size))
    entropy, dice = CrossEntropyLoss(use_sigmoid=form == "sigmoid"), DiceLoss(use_sigmoid=False)
    losses = {"dice": [dice], "both": [entropy, dice], "lovasz": [LovaszLoss()]}.get(form, [entropy])

    def step() -> None:
        logits.grad = None
        resized = ResizedLogits(logits, size, labels=labels)
        if way == "plain":
            value = sum(loss(resized.whole, labels) for loss in losses)
            accuracy = pixel_accuracy(resized.whole.detach(), labels, ignore_index=255)
        else:
            value = sum(loss.of_resized(resized, labels) for loss in losses)
            accuracy = accuracy_of_resized(resized, labels, ignore_index=255)
        if value.requires_grad:
            value.backward()
        assert accuracy >= 0

    return step, (logits, labels)


def measure(case: str, way: str, form: str, repeat: int) -> None:
    """Prints seconds, MB of tensors, MB of the resident set."""
    from intarsia.guide.counting import peak_counter

    step, known = step_of(case, way, form)
    before = resident_peak()
    times = []
    for _ in range(repeat):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    resident = resident_peak() - before
    with peak_counter(known) as memory:
        alive = memory.alive
        step()
    print(min(times), (memory.peak - alive) / 1e6, resident)


def resident_peak() -> float:
    """Peak resident set of this process in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    import os

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        measure(*options.only, options.repeat)
        return
    print(f"one thread, {platform.processor() or platform.machine()}; load {os.getloadavg()[0]:.1f}")
    for case in CASES:
        for form in options.forms:
            rows = []
            for way in WAYS:
                command = [sys.executable, __file__, "--repeat", str(options.repeat), "--only", case, way, form]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                rows.append([float(x) for x in output.split()])
            shown = "; ".join(
                f"{way} {seconds:.3f} s, tensors {tensors:.1f} MB, resident {resident:.0f} MB"
                for way, (seconds, tensors, resident) in zip(WAYS, rows, strict=True)
            )
            print(f"{case:20} {form:10} {shown}; time {rows[1][0] / rows[0][0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
