"""Forward and training step of every method at 512 x 512, against the plain way of computing the same numbers.

    OMP_NUM_THREADS=2 python benchmarks/methods.py [--repeat 2] [--only mask2former] [--batch 2] [--device cuda]

The methods are those of tests/golden/figures, in their published sizes. Each is measured in a process of its own:

    plain          attention written out with its (L, S) matrix, layout as PyTorch makes it
    ours           scaled_dot_product_attention; networks without attention are measured once, as both
    channels last  ours, with images and weights laid out pixel by pixel
    checkpointed   ours, recomputing the backbone's activations in the backward pass

and on a GPU also "compiled": bfloat16, channels last, torch.compile. Peak memory is the device's, or on a processor the
resident set of the process, less what it was before the first step.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

FIGURES = Path(__file__).parents[1] / "tests" / "golden" / "figures"
OTHERS = ("channels last", "checkpointed")
ON_GPU = ("compiled",)
SIZE = (512, 512)


def use_explicit_attention() -> None:
    """What scaled_dot_product_attention computes, step by step, with everything that it avoids to store."""
    import torch.nn.functional as F

    def attention(q, k, v, attn_mask=None, dropout_p=0.0, scale=None):
        scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            added = attn_mask.dtype.is_floating_point
            scores = scores + attn_mask if added else scores.masked_fill(~attn_mask, float("-inf"))
        return F.dropout(scores.softmax(-1), dropout_p) @ v

    F.scaled_dot_product_attention = attention


def count_attention() -> list[None]:
    """Gets an entry at each call of scaled_dot_product_attention from now on."""
    import torch.nn.functional as F

    calls, attention = [], F.scaled_dot_product_attention

    def counting(*args, **kwargs):
        calls.append(None)
        return attention(*args, **kwargs)

    F.scaled_dot_product_attention = counting
    return calls


def task_of(name: str):
    from intarsia.config.build import build_task
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower

    model = json.loads((FIGURES / f"{name}.json").read_text())["model"]
    bands = model["backbone"].get("in_channels", 3)
    model["data_preprocessor"] = {"type": "SegDataPreProcessor", "mean": [128.0] * bands, "std": [64.0] * bands}
    return build_task(lower(Config.from_values({"model": model}, file=name))), bands


def peak_memory(device) -> float:
    """GB: of the device, or of this process."""
    import resource

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def fastest(work: Callable[[], object], repeat: int, device) -> float:
    import torch

    times = []
    for _ in range(repeat + 1):  # the first warms up
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def measure(name: str, variant: str, repeat: int, batch_size: int, device_name: str) -> None:
    """Prints seconds of a forward pass, seconds of a training step, GB of a training step, how often it attends."""
    import torch

    from intarsia.contracts import Batch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    device = torch.device(device_name)
    if variant == "plain":
        use_explicit_attention()
    calls = count_attention() if variant == "ours" else []
    torch.manual_seed(0)
    task, bands = task_of(name)
    task.to(device)
    if variant in ("channels last", "compiled"):
        task.to(memory_format=torch.channels_last)
    if variant == "checkpointed":
        task.model.backbone.checkpoint_activations = True
    images = torch.randint(0, 256, (batch_size, bands, *SIZE), dtype=torch.uint8, device=device)
    if variant in ("channels last", "compiled"):
        images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, task.num_classes, (batch_size, SIZE[0] // 32, SIZE[1] // 32), device=device)
    labels = labels.repeat_interleave(32, 1).repeat_interleave(32, 2)
    batch = Batch(images, labels, (SIZE,) * batch_size, ())
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-5)
    if variant == "compiled":
        task.model.compile()
    precision = torch.autocast("cuda", torch.bfloat16) if variant == "compiled" else nullcontext()
    before = 0.0 if device.type == "cuda" else peak_memory(device)

    def step() -> None:
        with precision:
            terms = task.training_terms(batch)
        optimizer.zero_grad()
        torch.stack([term.value * term.weight for term in terms if term.weight]).sum().backward()
        optimizer.step()

    def forward() -> None:
        with torch.inference_mode(), precision:
            task.logits(images, batch.sizes)

    task.train()
    training = fastest(step, repeat, device)
    peak = peak_memory(device) - before
    task.eval()
    print("figures", fastest(forward, repeat, device), training, peak, len(calls))


def figures_of(arguments: Sequence[str]) -> list[float] | None:
    """What a process of its own measures; None if it failed, after saying why."""
    found = subprocess.run([sys.executable, __file__, *arguments], check=False, capture_output=True, text=True)
    lines = [line for line in found.stdout.splitlines() if line.startswith("figures ")]
    if not lines:
        print("   failed:", found.stderr.strip().splitlines()[-1:], flush=True)
        return None
    return [float(x) for x in lines[-1].split()[1:]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--only", default="", help="part of a method's name")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "VARIANT"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        measure(*options.measure, options.repeat, options.batch, options.device)
        return
    machine = f"{platform.processor() or platform.machine()}, {os.environ.get('OMP_NUM_THREADS', '1')} threads"
    print(f"{options.batch} x 512 x 512, {options.device}, {machine}")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':34} {'forward':>9} {'training':>9} {'memory':>9}   times the plain way")
    common = ["--repeat", str(options.repeat), "--batch", str(options.batch), "--device", options.device]

    def measured(name: str, variant: str) -> list[float] | None:
        return figures_of(["--measure", name, variant, *common])

    for name in sorted(path.stem for path in FIGURES.iterdir()):
        if options.only not in name:
            continue
        ours = measured(name, "ours")
        if ours is None:
            continue
        plain = (measured(name, "plain") if ours[3] else None) or ours
        for variant in ("plain", "ours") if ours[3] else ("ours",):
            show(name, variant, plain if variant == "plain" else ours, plain)
        for variant in (*OTHERS, *(ON_GPU if options.device != "cpu" else ())):
            show(name, variant, measured(name, variant), plain)


def show(name: str, variant: str, found: list[float] | None, plain: list[float]) -> None:
    if found is not None:
        ratios = " ".join(f"{a / b:5.2f}" for a, b in zip(found[:3], plain[:3], strict=True))
        print(f"{name:18} {variant:15} {found[0]:7.3f} s {found[1]:7.3f} s {found[2]:6.2f} GB   {ratios}", flush=True)


if __name__ == "__main__":
    main()
