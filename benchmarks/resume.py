"""Resuming late in a run: seconds to the first step, and what a checkpoint costs.

    python benchmarks/resume.py [--steps 1 1000 100000]

The same checkpoint is given different step numbers; a resumed run must then find its place in the data. "replayed" is
what a loader that draws every batch again would do at least: the indices of all samples before, without their images.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engine"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 1000, 100_000, 1_000_000])
    options = parser.parse_args(arguments)

    import torch
    from standins import Pictures, tiny_run

    from intarsia.engine.checkpoint import load_checkpoint
    from intarsia.engine.train import train

    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        data = Pictures(20_000, size=(8, 8))
        with contextlib.redirect_stdout(io.StringIO()):
            train(tiny_run(start, steps=1, save_every=1, validate=False, pictures=data))
        state = load_checkpoint(start / "checkpoints/step_00000001.pt")
        for step in options.steps:
            out = Path(folder) / str(step)
            (out / "checkpoints").mkdir(parents=True)
            torch.save({**state, "step": step}, out / f"checkpoints/step_{step:08d}.pt")
            run = tiny_run(out, steps=step + 1, validate=False, pictures=data, resume=True, save_every=10**9)
            began = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                train(replace(run, log_every=1))
            seconds = time.perf_counter() - began
            began = time.perf_counter()
            batches = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(range(20_000)), 4, False)
            drawn = 0
            while drawn < step:
                for _ in batches:
                    drawn += 1
                    if drawn == step:
                        break
            print(f"step {step:>9,}: one step and everything around it {seconds:6.2f} s; "
                  f"replayed, indices alone {time.perf_counter() - began:6.2f} s", flush=True)  # fmt: skip

    from intarsia.backbones.resnet import ResNetV1c
    from intarsia.engine.checkpoint import Checkpoints

    network = ResNetV1c(50)
    momentum = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        began = time.perf_counter()
        path = checkpoints.save(1, {"task": network.state_dict(), "optimizer": momentum})
        print(f"checkpoint of ResNet-50 with momentum: {path.stat().st_size / 1e6:.0f} MB, "
              f"{time.perf_counter() - began:.2f} s with fsync")  # fmt: skip


if __name__ == "__main__":
    main()
