"""What each network of the recipes costs: parameters, multiply-adds, memory, time. Writes intarsia/guide/costs.json.

    python benchmarks/models.py          what is not counted yet: parameters, multiply-adds, memory
    python benchmarks/models.py --time   seconds too, of one recipe of each network that has none yet

Images are 512 x 512, numbers float32. Multiply-adds are those of one image through the network as it is used, counted
by torch's own flop counter, halved, since that counts a multiply-add as two. It counts convolutions, matrix products
and attention, and nothing else: no norms, activations, pooling, resizing, or sampling of deformable attention.

Memory is the most that tensors take at once, weights included: of the forward pass of one image, and of a training step
of two with AdamW, from its second step on. It is added up as torch makes tensors and lets go of them, so that it does
not depend on the machine; what operations need within is not in it. Both are counted with FakeTensors, which have sizes
and no numbers. A training step that looks at numbers (where masks are matched) is counted with real tensors.

Time is the processor time of one thread, each network in a process of its own: the fastest of --repeat passes after
one that warms up, fewer where they are long; a pass of LONG seconds counts although it is the first. While other
programs have the processor, this clock stands still; what it does see of them are fuller caches and slower memory. So
segformer_mit-b0 is measured before and after each large network or group of small ones, in processes of its own too,
since what a network leaves of the heap makes the next one up to a third faster: a network's time is its multiple of the
mean of these two, times what segformer_mit-b0 took at first. Where the two differ by more than DRIFT, the machine has
changed meanwhile, and the group is measured again, up to ATTEMPTS times; the steadiest counts. The guide shows
multiples alone.

Figures are in the file as soon as they are known, so that the script can be interrupted, and goes on where it was.
Those of another machine are dropped. A network whose step needs more memory than there is is passed over, with a
word, and so is one that takes longer than --limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from intarsia import recipes
from intarsia.guide.counting import fake_tensors, flop_counter, peak_counter
from intarsia.guide.facts import REFERENCE
from intarsia.guide.networks import layers, networks
from intarsia.io.whole_files import write_text
from intarsia.terminal import progress, say

TARGET = Path(__file__).parents[1] / "intarsia" / "guide" / "costs.json"
SIDE, CLASSES_SHOWN = 512, 10
PADDING = ("size", "size_divisor", "test_cfg")
"""Keys of a recipe's preprocessing that would enlarge images to the size that it trains on."""


# --- building -----------------------------------------------------------------------------------------------------


def task_of(recipe: str, device: str):
    """The recipe's task, on a device: "meta" makes no numbers."""
    import torch

    from intarsia.config.build import build_task
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower

    model = recipes.network(recipe)
    given = model["data_preprocessor"].items()
    model["data_preprocessor"] = {key: value for key, value in given if key not in PADDING}  # images stay at SIDE
    model.get("backbone", {}).pop("pretrained", None)  # a download that changes no figure
    spec = lower(Config.from_values({"model": model}, file=recipe))
    with torch.device(device):
        return build_task(spec)


def bands_of(recipe: str) -> int:
    """Of the images that a recipe takes: 3, or 6 of two images of one place."""
    bands: int = recipes.network(recipe).get("backbone", {}).get("in_channels", 3)
    return bands


def batch_of(num_classes: int, bands: int):
    """Two images and labels of ten classes in squares of 32 pixels, with the map of edges that some methods learn.

    num_classes: 0 where depths are learnt, which are real numbers.
    """
    import torch

    from intarsia.contracts import Batch, SampleMeta

    images = torch.zeros(2, bands, SIDE, SIDE, dtype=torch.uint8)
    squares = torch.arange(2 * (SIDE // 32) ** 2).view(2, SIDE // 32, SIDE // 32)
    labels = (squares % min(max(num_classes, 2), CLASSES_SHOWN)).repeat_interleave(32, 1).repeat_interleave(32, 2)
    edges = torch.zeros_like(labels)
    labels = labels if num_classes else labels + 1.0
    metas = (SampleMeta(category=0),) * 2  # the kind of scene, which VPD reads
    return Batch(images, labels, ((SIDE, SIDE),) * 2, metas, {"edge": edges})


def compute_constants(model: Any) -> None:
    """What is computed once and kept, SAN's classes as vectors, is no cost of an image."""
    if hasattr(model, "compute_constants"):
        model.compute_constants()


def freeze(task: Any, recipe: str) -> None:
    """What the recipe does not train."""
    from intarsia.tasks.freezing import Frozen

    Frozen(task, [f"model.{part}" for part in recipes.frozen(recipe)])


def training_step(task: Any, batch: Any) -> Callable[[], None]:
    import torch

    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-5)

    def step() -> None:
        terms = task.training_terms(batch)
        optimizer.zero_grad()
        torch.stack([term.value * term.weight for term in terms if term.weight]).sum().backward()
        optimizer.step()

    return step


# --- counting -----------------------------------------------------------------------------------------------------


COUNTED = ("parameters", "auxiliary", "multiply_adds", "forward_bytes")


def count(recipe: str, *, real: bool) -> dict[str, int]:
    """Parameters, of which in heads that only training has, multiply-adds and bytes of a forward pass."""
    import torch

    with numbers(recipe, real) as task, torch.no_grad():
        model = task.eval().requires_grad_(False).model
        compute_constants(model)
        image = torch.zeros(1, bands_of(recipe), SIDE, SIDE)
        with peak_counter([*model.parameters(), *model.buffers(), image]) as memory, flop_counter() as flops:
            model(image)
    auxiliary = getattr(model, "auxiliary_head", None)
    in_auxiliary = 0 if auxiliary is None else sum(p.numel() for p in auxiliary.parameters())
    found = (sum(p.numel() for p in model.parameters()), in_auxiliary, flops.get_total_flops() // 2, memory.peak)
    return dict(zip(COUNTED, found, strict=True))


def count_step(recipe: str, *, real: bool) -> dict[str, int]:
    """Bytes of a training step, without gradients of what the recipe does not train."""
    with numbers(recipe, real) as task:
        freeze(task, recipe)
        batch = batch_of(task.num_classes, bands_of(recipe))
        step = training_step(task.train(), batch)
        with peak_counter([*task.parameters(), *task.buffers(), batch.images, batch.labels]) as memory:
            step()
            memory.peak = 0
            step()
    return {"step_bytes": memory.peak}


@contextmanager
def numbers(recipe: str, real: bool) -> Iterator[Any]:
    """The recipe's task, within tensors that have numbers or within such that have none."""
    if real:
        yield task_of(recipe, "cpu")
        return
    task = task_of(recipe, "meta")
    with fake_tensors():
        yield task.to_empty(device="cpu")


# --- measuring ----------------------------------------------------------------------------------------------------


DRIFT, ATTEMPTS = 0.1, 3
GROUP = 300 * 10**9
"""Multiply-adds of the networks between two measurements of the reference: a minute's work of one core, or more."""
LONG = 10.0
"""Seconds of passes after which no more are made. The first training steps of pspnet_r50-d8 and of UPerNet-Swin-T, 18
seconds each, were within 5 % of the two after them."""

Seconds = dict[str, float]
"""Processor time of the "forward" pass of one image, and of a training "step" of two."""


def measure(recipe: str, repeat: int) -> None:
    """Prints the seconds of a network."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("figures", json.dumps(seconds_of(recipe, repeat)))


def seconds_of(recipe: str, repeat: int) -> Seconds:
    import torch

    task = task_of(recipe, "cpu")
    batch = batch_of(task.num_classes, bands_of(recipe))
    compute_constants(task.model)
    freeze(task, recipe)
    step = training_step(task.train(), batch)
    training = fastest(step, repeat)
    task.eval()
    image = torch.randn(1, bands_of(recipe), SIDE, SIDE)
    with torch.inference_mode():
        return {"forward": fastest(lambda: task.model(image), repeat), "step": training}


def fastest(work: Callable[[], object], repeat: int) -> float:
    """Processor time of this process, whose other threads wait."""
    times: list[float] = []
    while len(times) <= repeat and sum(times) < LONG:
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times[1:] or times)


def drift_and_mean(before: Seconds, after: Seconds) -> tuple[float, Seconds]:
    """By what share two measurements of the reference differ at most, and their means."""
    drift = max(max(before[what], after[what]) / min(before[what], after[what]) - 1 for what in before)
    return drift, {what: (before[what] + after[what]) / 2 for what in before}


def in_own_process(*arguments: str, limit: float | None = None) -> list[str]:
    """The words that another process of this script prints behind "figures".

    Raises RuntimeError if there are none, or it takes longer than `limit` seconds.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, __file__, *arguments], check=False, capture_output=True, text=True, timeout=limit,
            env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"it takes longer than {limit:g} seconds; more with --limit") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("figures ")]
    if not lines:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return lines[-1].split()[1:]


# --- the file -----------------------------------------------------------------------------------------------------


def read() -> dict[str, Any]:
    return json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}


def write(costs: dict[str, Any]) -> None:
    """One recipe a line."""
    lines = []
    for part in ("counted", "timed"):
        rows = [f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(costs.get(part, {}).items())]
        lines.append(f'  "{part}": {{\n' + ",\n".join(rows) + "\n  }" if rows else f'  "{part}": {{}}')
    head = {"torch": costs.get("torch", ""), "machine": costs.get("machine", "")}
    heads = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    write_text(TARGET, "{\n" + ",\n".join([*heads, *lines]) + "\n}\n")


@contextmanager
def each(title: str, names: Sequence[str]) -> Iterator[Iterator[str]]:
    with progress(title) as show:

        def names_shown() -> Iterator[str]:
            for done, name in enumerate(names):
                show(done, len(names))
                yield name

        yield names_shown()


def without_numbers_if_possible(work: Callable[..., dict[str, int]], option: str, recipe: str) -> dict[str, int]:
    """What `work` counts, else what another process counts with real tensors."""
    try:
        return work(recipe, real=False)
    except Exception as error:  # an operation that needs numbers; which error says so depends on the operation
        say(f"{recipe}: counted with real tensors ({type(error).__name__})")
        return json.loads(" ".join(in_own_process(option, recipe)))


def count_all(only: str) -> None:
    """What is not counted yet. Recipes of one network and number of classes have the same figures."""
    import torch

    from intarsia.catalog import UnknownPartError
    from intarsia.config.errors import ConfigError

    costs = read()
    counted = costs.setdefault("counted", {})
    known = {name for one in networks() for name in one.names}
    for name in set(counted) - known:
        del counted[name]
    same: dict[str, list[str]] = {}
    for name in sorted(known):
        same.setdefault(layers(name, with_data=True), []).append(name)
    todo = [names for names in same.values() if only in names[0] and any(name not in counted for name in names)]
    with each("parameters and multiply-adds", [names[0] for names in todo]) as shown:
        for name, names in zip(shown, todo, strict=True):
            try:
                task_of(name, "meta")
            except (ConfigError, UnknownPartError) as error:
                say(f"left out: {', '.join(names)}: {error}")
                continue
            there = next((counted[other] for other in names if other in counted), None)
            found = there or without_numbers_if_possible(count, "--count", name)
            for each_name in names:
                counted.setdefault(each_name, {key: found[key] for key in COUNTED})
            costs["torch"] = torch.__version__.split("+")[0]
            write(costs)
    firsts = [one.first for one in networks()]
    todo_steps = [n for n in firsts if only in n and n in counted and "step_bytes" not in counted[n]]
    with each("memory of training", todo_steps) as shown:
        for name in shown:
            try:
                counted[name] |= without_numbers_if_possible(count_step, "--step", name)
            except RuntimeError as error:  # the page says how many are missing
                say(f"{name}: training not counted: {error}")
            write(costs)


def time_all(only: str, repeat: int, limit: float) -> None:
    """Times that this machine has not measured yet. Those of another machine are dropped: ratios need one machine."""
    costs = read()
    machine = this_machine()
    if costs.get("machine") != machine:
        costs |= {"machine": machine, "timed": {}}
    timed = costs.setdefault("timed", {})
    measured = partial(seconds_in_own_process, repeat=repeat, limit=limit)
    names = [one.first for one in networks() if one.first != REFERENCE]
    counted = costs["counted"]
    todo = [name for name in names if only in name and name in counted and name not in timed]
    if not todo:
        return
    before = measured(REFERENCE)
    if REFERENCE not in timed:
        timed[REFERENCE] = as_written(before)
        write(costs)
    alone = {what: timed[REFERENCE][f"{what}_seconds"] for what in before}
    with progress("time") as show:
        done = 0
        for group in groups(todo, {name: counted[name]["multiply_adds"] for name in todo}):
            fitting = [name for name in group if fits_into_memory(name, counted[name])]
            found, before = steadiest(fitting, measured, before, alone)
            timed |= {name: as_written(seconds) for name, seconds in found.items()}
            write(costs)
            show(done := done + len(group), len(todo))


def groups(names: Sequence[str], multiply_adds: Mapping[str, int]) -> Iterator[list[str]]:
    """The cheapest first, so many at a time that they need GROUP multiply-adds, or one that needs more."""
    group: list[str] = []
    for name in sorted(names, key=multiply_adds.__getitem__):
        group.append(name)
        if sum(multiply_adds[each] for each in group) >= GROUP:
            yield group
            group = []
    if group:
        yield group


def seconds_in_own_process(name: str, *, repeat: int, limit: float) -> Seconds:
    words = in_own_process("--measure", name, "--repeat", str(repeat), limit=limit)
    found: Seconds = json.loads(" ".join(words))
    return found


def as_written(found: Seconds) -> dict[str, float]:
    return {f"{what}_seconds": round(value, 4) for what, value in found.items()}


def this_machine() -> str:
    from intarsia.engine.training.environment import hardware

    return f"{hardware()['processor']}, processor time of one thread"


def fits_into_memory(name: str, counted: Mapping[str, int]) -> bool:
    """False, with a word, if a training step would need more memory than is free."""
    free, needed = psutil.virtual_memory().available, counted.get("step_bytes", 0) * 5 // 4  # and what allocators keep
    if needed > free:
        say(f"{name}: not measured: a step needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free")
    return needed <= free


def steadiest(
    names: Sequence[str], measured: Callable[[str], Seconds], before: Seconds, alone: Seconds
) -> tuple[dict[str, Seconds], Seconds]:
    """Seconds of networks, of the attempt in which the reference changed least, and what that took the last time.

    A network that could not be measured is left out, with a word.
    """
    best: tuple[float, dict[str, Seconds]] | None = None
    for _ in range(ATTEMPTS):
        taken = dict(measured_of_all(names, measured))
        if not taken:
            break
        after = measured(REFERENCE)
        drift, between = drift_and_mean(before, after)
        before = after
        if best is None or drift < best[0]:
            found = {name: {what: it[what] * alone[what] / between[what] for what in it} for name, it in taken.items()}
            best = drift, found
        if drift <= DRIFT:
            break
        say(f"{', '.join(taken)}: the reference's time changed by {drift:.0%} meanwhile")
    return (best[1] if best else {}), before


def measured_of_all(names: Sequence[str], measured: Callable[[str], Seconds]) -> Iterator[tuple[str, Seconds]]:
    for name in names:
        try:
            yield name, measured(name)
        except RuntimeError as error:
            say(f"{name}: not measured: {error}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of a recipe's name")
    parser.add_argument("--time", action="store_true", help="measure times too")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one network, by the wall clock")
    parser.add_argument("--measure", metavar="RECIPE", help=argparse.SUPPRESS)
    parser.add_argument("--count", metavar="RECIPE", help=argparse.SUPPRESS)
    parser.add_argument("--step", metavar="RECIPE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        measure(options.measure, options.repeat)
    elif options.count:
        print("figures", json.dumps(count(options.count, real=True)))
    elif options.step:
        print("figures", json.dumps(count_step(options.step, real=True)))
    else:
        count_all(options.only)
        if options.time:
            time_all(options.only, options.repeat, options.limit)


if __name__ == "__main__":
    main()
