"""What a network costs: parameters and multiply-adds by part, memory, and, measured, images per second."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.contracts import Batch, ConditionalTask, PathLike, SampleMeta, Size, Task
from intarsia.engine.training.environment import hardware
from intarsia.guide.counting import fake_tensors, flop_counter, multiply_adds_by_part, parts_of, peak_counter
from intarsia.inference.execution import Execution
from intarsia.inference.network import network_errors
from intarsia.inference.precision import AUTOCAST
from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec, RunSpec
from intarsia.terminal import progress, warn
from intarsia.workflows.assemble import checked
from intarsia.workflows.hub_trunks import network_at
from intarsia.workflows.locate import known
from intarsia.workflows.names import CONFIG_SUFFIXES, config_of, find_config, find_weights
from intarsia.workflows.trained_model import choose_device

SIDE = 512
"""Pixels of a side of the images, where no size is asked for: as in the guide to the models."""

WARM_UP = 3
"""Passes before any is timed: the first ones allocate, choose algorithms and fill caches."""


@dataclass(frozen=True, kw_only=True)
class ProfileRequest:
    """What a profile is asked for.

    model: a recipe, a config file, a run's folder, weights of any origin. config: of the model, where weights do not
    say it. settings: changes of the config. size: (height, width) of the images; 512 x 512 by default. batch: of them.
    seconds: whether time is measured, on `device`, in `passes` passes, with `precision` "32", "16" or "bf16".
    """

    model: PathLike
    config: str | None = None
    settings: Sequence[str] = ()
    size: Size | None = None
    batch: int = 1
    seconds: bool = False
    passes: int = 20
    device: str = "auto"
    precision: str = "32"


@dataclass(frozen=True)
class Part:
    """A part of the network. training_only: an auxiliary head, which prediction does not run."""

    name: str
    kind: str
    parameters: int
    multiply_adds: int
    training_only: bool = False


@dataclass(frozen=True)
class Timing:
    """Seconds of single passes over a batch, in the order measured."""

    what: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the passes."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the passes is below the first, a quarter above the second."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third


@dataclass(frozen=True)
class Profile:
    """What was found.

    parts: the last one, named "(elsewhere)", is what the network computes outside of its parts. multiply_adds: of the
    whole batch. peak_bytes: the most that tensors take at once in a forward pass, weights included. timings: empty
    where none were asked for; `where` then is empty, too. device_bytes: the most that torch took of a GPU's memory
    while it was timed.
    """

    name: str
    network: str
    channels: int
    size: Size
    batch: int
    num_classes: int
    parts: tuple[Part, ...]
    parameters: int
    trained: int
    multiply_adds: int
    peak_bytes: int
    timings: tuple[Timing, ...] = ()
    where: Mapping[str, str] | None = None
    device_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        timings = {
            one.what: {
                "median_seconds": one.median, "quartiles_seconds": list(one.quartiles),
                "images_per_second": self.batch / one.median, "passes": list(one.seconds),
            }
            for one in self.timings
        }  # fmt: skip
        return {
            "model": self.name, "network": self.network, "channels": self.channels, "size": list(self.size),
            "batch": self.batch, "num_classes": self.num_classes, "parameters": self.parameters,
            "trained_parameters": self.trained, "multiply_adds": self.multiply_adds, "peak_bytes": self.peak_bytes,
            "parts": [
                {"name": p.name, "type": p.kind, "parameters": p.parameters, "multiply_adds": p.multiply_adds,
                 "training_only": p.training_only}
                for p in self.parts
            ],
            **({"timings": timings, "measured_on": dict(self.where or {})} if timings else {}),
            **({} if self.device_bytes is None else {"device_bytes": self.device_bytes}),
        }  # fmt: skip


def profile(request: ProfileRequest) -> Profile:
    """Count a network's parameters, multiply-adds and memory, and measure its time where that is asked for.

    The numbers in its weights play no part, so that files of weights are asked for their config alone.

    Raises ValueError where the model cannot be found or built, or does not take images of this size.
    """
    if request.precision not in AUTOCAST:
        raise ValueError(f"--precision is {', '.join(AUTOCAST)}, found {request.precision!r}")
    config = _config(request).override(request.settings)
    spec = checked(config)
    channels = _channels(spec, config)
    size = request.size or (SIDE, SIDE)
    counted = _counted(spec, channels, size, request.batch)
    found = Profile(
        name=str(request.model),
        network=spec.model.type,
        channels=channels,
        size=size,
        batch=request.batch,
        num_classes=spec.inference.num_classes,
        **counted,
    )
    return _timed(found, spec, request) if request.seconds else found


def _config(request: ProfileRequest) -> Config:
    name = str(request.model)
    if recipes.is_published(name) or recipes.is_for_data(name):
        return Config.from_values({"model": recipes.network(name, find=network_at)}, file=name)
    path = Path(name)
    if path.suffix in CONFIG_SUFFIXES or (path / "config.py").is_file():
        return find_config(name)
    if not known(name):
        raise recipes.UnknownRecipeError(name)
    return config_of(find_weights(name), request.config)


def _channels(spec: RunSpec, config: Config) -> int:
    """Bands of the images that the network takes."""
    said = config.values["model"].get("backbone", {}).get("in_channels")
    return len(spec.preprocess.mean) if not isinstance(said, int) else said


# --- counting -----------------------------------------------------------------------------------------------------


def _counted(spec: RunSpec, channels: int, size: Size, batch: int) -> dict[str, Any]:
    """With tensors that have sizes and no numbers, which is quick at any size; with real ones where that cannot be."""
    shape = (batch, channels, *size)
    try:
        with _without_numbers(spec) as task:
            return _count(task, shape)
    except Exception as error:  # an operation that needs numbers; which error says so depends on the operation
        warn(f"counted with real tensors, which takes longer ({type(error).__name__})")
    with network_errors([SampleMeta(name="an image")], size):
        return _count(build_task(spec), shape)


@contextmanager
def _without_numbers(spec: RunSpec) -> Iterator[Task]:
    with torch.device("meta"):
        task = build_task(spec)
    with fake_tensors():
        yield cast("nn.Module", task).to_empty(device="cpu")  # type: ignore[misc]


def _count(task: Task, shape: Sequence[int]) -> dict[str, Any]:
    model = cast("nn.Module", task.model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    _ready(task)
    with torch.no_grad():
        images = torch.zeros(*shape)
        with peak_counter([*model.parameters(), *model.buffers(), images]) as memory, flop_counter() as flops:
            model(images)
    counts = multiply_adds_by_part(model, flops)
    parts = [
        Part(name, type(part).__name__, _size(part), counts[name], training_only=name.startswith("auxiliary_head"))
        for name, part in parts_of(model)
    ]
    parameters = _size(model)
    # What belongs to no part, or to two: the column adds up to the whole.
    beyond = parameters - sum(part.parameters for part in parts)
    if beyond or counts[""]:
        parts.append(Part("(elsewhere)", "", beyond, counts[""]))
    return {
        "parts": tuple(parts), "parameters": parameters, "trained": trained,
        "multiply_adds": sum(counts.values()), "peak_bytes": memory.peak,
    }  # fmt: skip


def _ready(task: Task) -> None:
    """As for prediction; what a network computes once and keeps, such as the vectors of class names, is no cost."""
    module = cast("nn.Module", task).eval().requires_grad_(False)
    compute = getattr(module.model, "compute_constants", None)
    if compute is not None:
        compute()


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- measuring ----------------------------------------------------------------------------------------------------


def _timed(found: Profile, spec: RunSpec, request: ProfileRequest) -> Profile:
    """With seconds of the network alone, and of the whole way from stored pixels to a label map."""
    device = torch.device(choose_device(request.device))
    task = build_task(spec)
    _ready(task)
    cast("nn.Module", task).to(device)
    note_of_load()
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    images = torch.rand(found.batch, found.channels, *found.size, device=device)
    execution = Execution(task, device, precision=request.precision)

    def network() -> Tensor:
        with torch.inference_mode():
            return execution(images)

    works: dict[str, Callable[[], object]] = {"network": network}
    if not isinstance(task, ConditionalTask):
        works["pixels to labels"] = _prediction(task, spec.inference, found, request.precision)
    with progress("measuring") as bar:
        timings = []
        for number, (what, work) in enumerate(works.items()):

            def shown(done: int, before: int = number * request.passes) -> None:
                bar(before + done, len(works) * request.passes)

            timings.append(Timing(what, measured(work, request.passes, _waiting(device), progress=shown)))
    taken = torch.cuda.max_memory_allocated(device) if cuda else None
    values = {name: getattr(found, name) for name in found.__dataclass_fields__}
    values |= {"timings": tuple(timings), "where": _where(device, request), "device_bytes": taken}
    return Profile(**values)


def measured(
    work: Callable[[], object],
    passes: int,
    wait: Callable[[], None],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[float, ...]:
    """Seconds of each of so many passes, after some that warm up. wait: until the device is done."""
    seconds = []
    for number in range(WARM_UP + passes):
        wait()
        start = time.perf_counter()
        work()
        wait()
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - start)
            progress(len(seconds))
    return tuple(seconds)


def _prediction(task: Task, inference: InferenceSpec, found: Profile, precision: str) -> Callable[[], object]:
    """From 8-bit pixels on the processor to label maps there, at the images' own size: what a user waits for."""
    names = [f"class {index}" for index in range(max(inference.num_classes, 1))]
    palette = [(0, 0, 0)] * len(names)
    predictor = Predictor(task, inference=inference, classes=names, palette=palette, precision=precision)
    pixels = torch.randint(0, 256, (found.batch, found.channels, *found.size), dtype=torch.uint8)
    meta = SampleMeta(name="image", original_size=found.size)
    batch = Batch(pixels, None, (found.size,) * found.batch, (meta,) * found.batch)

    def predict() -> object:
        return [label.cpu() for label in predictor.predict_batch(batch)]

    return predict


def _waiting(device: torch.device) -> Callable[[], None]:
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def _where(device: torch.device, request: ProfileRequest) -> dict[str, str]:
    machine = hardware()
    on_processor = device.type == "cpu"
    name = machine["processor"] if on_processor else (machine["accelerators"] or [device.type])[0]
    return {
        "device": f"{device.type}: {name}",
        "threads": str(torch.get_num_threads()),
        "precision": request.precision,
        "torch": torch.__version__,
        "passes": f"{request.passes}, after {WARM_UP} that warm up",
    }


def note_of_load() -> None:
    """Warn where other programs have the processor, too."""
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5:
        warn(f"this machine has a load of {load:.1f}: other programs make what is measured here slower")
