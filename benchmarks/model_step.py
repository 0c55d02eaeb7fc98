"""Forward and training step of whole networks: seconds and peak memory, each measured in a process of its own.

    OMP_NUM_THREADS=2 python benchmarks/model_step.py [--repeat 2] [--networks NAME ...] [--processor-time]

Next to SegFormer stand three variants of it, for the ratios: attention written out with its (L, S) matrix instead of
scaled_dot_product_attention, the head that concatenates all levels before it fuses them, and "enlarged logits", the
loss of logits at the size of the labels, as PyTorch has it; the last next to PSPNet, too. Peak memory is the resident
set of the process, less what it was before the first step. With --processor-time seconds are those of the threads,
which other programs disturb less; with `--repeat 0` the first pass counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

NETWORKS = (
    "segformer_mit-b0",
    "explicit attention",
    "concatenating head",
    "enlarged logits",
    "fcn_r18",
    "fast_scnn",
    "pspnet_r50",
    "pspnet_r50, enlarged logits",
)
VARIANTS = {
    "explicit attention": "segformer_mit-b0",
    "concatenating head": "segformer_mit-b0",
    "enlarged logits": "segformer_mit-b0",
    "pspnet_r50, enlarged logits": "pspnet_r50",
}
CLASSES = {"fcn_r18": 19, "fast_scnn": 19}


def build(name: str):
    import torch
    import torch.nn.functional as F

    from intarsia.backbones.mit import MixVisionTransformer
    from intarsia.backbones.resnet import ResNetV1c
    from intarsia.layers.levels import concat_levels
    from intarsia.layers.norm import BN
    from intarsia.losses.resized_logits import ResizedLogits
    from intarsia.methods.fast_scnn import DepthwiseSeparableFCNHead, FastSCNN
    from intarsia.methods.fcn import FCNHead
    from intarsia.methods.pspnet import PSPHead
    from intarsia.methods.segformer import SegformerHead
    from intarsia.models.encoder_decoder import EncoderDecoder

    if "enlarged logits" in name:
        ResizedLogits.worthwhile = False
    if name.startswith("pspnet_r50"):
        return EncoderDecoder(
            backbone=ResNetV1c(50, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True),
            decode_head=PSPHead(in_channels=2048, channels=512, num_classes=150, in_index=3, norm=BN),
            auxiliary_head=FCNHead(
                in_channels=1024, channels=256, num_classes=150, in_index=2, num_convs=1, concat_input=False, norm=BN
            ),
        )
    if name == "fcn_r18":
        return EncoderDecoder(
            backbone=ResNetV1c(18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True),
            decode_head=FCNHead(in_channels=512, channels=128, num_classes=19, in_index=3, norm=BN),
            auxiliary_head=FCNHead(
                in_channels=256, channels=64, num_classes=19, in_index=2, num_convs=1, concat_input=False, norm=BN
            ),
        )
    if name == "fast_scnn":
        return EncoderDecoder(
            backbone=FastSCNN(),
            decode_head=DepthwiseSeparableFCNHead(
                in_channels=128, channels=128, num_classes=19, concat_input=False, norm=BN
            ),
        )
    if name == "explicit attention":

        def attention(q, k, v, dropout_p=0.0):
            return F.dropout((q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1), dropout_p) @ v

        F.scaled_dot_product_attention = attention
    if name == "concatenating head":
        SegformerHead._fuse = lambda self, levels: self.fusion_conv(concat_levels(levels))
    torch.manual_seed(0)
    return EncoderDecoder(
        backbone=MixVisionTransformer(
            embed_dims=32, num_layers=(2, 2, 2, 2), num_heads=(1, 2, 5, 8), drop_path_rate=0.1
        ),
        decode_head=SegformerHead(in_channels=(32, 64, 160, 256), channels=256, num_classes=150, norm=BN),
    )


def resident_peak() -> float:
    """Peak resident set of this process in GB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def fastest(work: Callable[[], object], repeat: int, clock: Callable[[], float]) -> float:
    times = []
    for _ in range(repeat + 1):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times[1:] or times)


def measure(name: str, repeat: int, clock: Callable[[], float]) -> None:
    """Prints seconds of a forward pass, seconds of a training step, GB."""
    import torch

    from intarsia.contracts import Batch
    from intarsia.losses.cross_entropy import CrossEntropyLoss
    from intarsia.spec import PreprocessSpec
    from intarsia.tasks.preprocess import Preprocess
    from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    classes = CLASSES.get(name, 150)
    model = build(name)
    heads = ["decode"] if model.auxiliary_head is None else ["decode", "aux"]
    task = SemanticSegmentation(
        model,
        preprocess=Preprocess(PreprocessSpec((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))),
        losses=[HeadLoss(head, [HeadTerm("loss_ce", CrossEntropyLoss(), 1.0)], 255, False) for head in heads],
        num_classes=classes,
        ignore_index=255,
    )
    images = torch.randint(0, 256, (2, 3, 512, 512), dtype=torch.uint8)
    batch = Batch(images, torch.randint(0, classes, (2, 512, 512), dtype=torch.uint8), ((512, 512),) * 2, ())
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-4)
    before = resident_peak()

    def step() -> None:
        terms = task.training_terms(batch)
        optimizer.zero_grad()
        torch.stack([term.value * term.weight for term in terms if term.weight]).sum().backward()
        optimizer.step()

    def forward() -> None:
        with torch.inference_mode():
            task.logits(images, batch.sizes)

    training = fastest(step, repeat, clock)
    peak = resident_peak() - before
    task.eval()
    print(fastest(forward, repeat, clock), training, peak)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--only", choices=NETWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        measure(options.only, options.repeat, time.process_time if options.processor_time else time.perf_counter)
        return
    print(
        f"2 x 512 x 512, {platform.processor() or platform.machine()}, {os.environ.get('OMP_NUM_THREADS', '1')} threads"
    )
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':28} {'forward':>9} {'training':>9} {'memory':>9}")
    measured: dict[str, list[float]] = {}
    for name in options.networks:
        command = [sys.executable, __file__, "--only", name, "--repeat", str(options.repeat)]
        command += ["--processor-time"] if options.processor_time else []
        figures = [float(x) for x in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]
        measured[name] = figures
        row = f"{name:28} {figures[0]:7.2f} s {figures[1]:7.2f} s {figures[2]:6.2f} GB"
        if reference := measured.get(VARIANTS.get(name, "")):
            ratios = " ".join(f"{a / b:.2f}" for a, b in zip(figures, reference, strict=True))
            row += f"   times {VARIANTS[name]}: {ratios}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
