"""What recipes cost on this machine, measured with the user's own data for some seconds each, and what is proposed.

Networks are measured one after the other, each time the shortest of those that would be proposed by what is known so
far, until all that are proposed were measured.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia import recipes
from intarsia.contracts import Size
from intarsia.guide.facts import REFERENCE
from intarsia.guide.models import Model, UnknownModelError, data_names, find, models
from intarsia.terminal import progress
from intarsia.workflows.adjust import TrainingOptions, images_per_step
from intarsia.workflows.advise import Advice, Candidate, Facts, Machine, Measured, Work, propose, scaled_memory
from intarsia.workflows.training_config import OwnData, TrainingRequest, base_config, prepare_data, run_config

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config
    from intarsia.distributed.runtime import FabricRuntime
    from intarsia.engine.training.run import Run

MOST_MEASURED = 7
"""Networks that are measured at most; what is proposed beyond that is estimated."""
FEW = 2
"""Images of the first steps that are measured; of one image there may be no batch statistics."""
PATIENCE = 15.0
"""Seconds that steps with all images may take together, or else those with few images stand for them."""
SCORED = "mIoU"


@dataclass(frozen=True, kw_only=True)
class AdviceRequest:
    """What advice is asked for.

    data: a folder of images and masks, or a description. within: seconds that a training may take. measure: try the
    networks out. among: names of the networks to choose from; all, if there are none. benchmark: whose published
    scores rank them. training: options of ``intarsia train`` that its cost depends on.
    """

    data: Path
    within: float = 8 * 3600.0
    measure: bool = True
    among: tuple[str, ...] = ()
    benchmark: str = "ade20k"
    device: str = "auto"
    training: TrainingOptions = field(default_factory=TrainingOptions)


@dataclass(frozen=True)
class Advised:
    """What came out: the advice, and the facts that it follows from."""

    advice: Advice
    facts: Facts


def advise(request: AdviceRequest) -> Advised:
    """Look at the data and the machine, measure what may be proposed, and propose.

    Raises ValueError for data that cannot be trained on, and for networks and benchmarks that there are not.
    """
    candidates = candidates_for(request.among, request.benchmark)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.yaml"
        prepare_data(_asked(request, candidates[0].name, file.parent), file)
        trial = _Trial(request, OwnData.read(file))
        facts = trial.begin(candidates)
        with progress("measuring networks") as bar:
            for count in range(MOST_MEASURED):
                name = _next(facts, request.measure)
                if name is None:
                    break
                bar(count, MOST_MEASURED)
                facts = trial.learn(facts, name)
        return Advised(propose(facts), facts)


def candidates_for(among: Sequence[str], benchmark: str) -> list[Candidate]:
    """The guide's networks with a recipe for own data, but for those of timm, an extra; or those that are named.

    Raises ValueError for a name that none of them has, and for a benchmark without published scores.
    """
    if benchmark not in data_names():
        raise ValueError(f"no published score is of {benchmark!r}; there are: {', '.join(data_names())}")
    chosen = [find(name) for name in among] if among else [one for one in models() if _is_at_hand(one)]
    for one in chosen:
        if one.network.own is None:
            raise UnknownModelError(f"{one.name} has no recipe for own data; see: intarsia models list")
    found = [_candidate(one, benchmark) for one in dict.fromkeys(chosen)]
    counted = [one for one in found if one is not None]
    if not counted:
        raise UnknownModelError("what these networks cost was not counted, so that nothing can be said of them")
    return counted


def _is_at_hand(model: Model) -> bool:
    own = model.network.own
    return own is not None and recipes.trunk(own) is None


def _candidate(model: Model, benchmark: str) -> Candidate | None:
    cost, best = model.cost(), model.best(benchmark)
    if cost is None or model.network.own is None:
        return None
    score = None if best is None or best.score[0] != SCORED else best.score[1]
    return Candidate(model.network.own, cost.multiply_adds, cost.parameters, cost.step_bytes, score)


def _asked(request: AdviceRequest, name: str, out: Path) -> TrainingRequest:
    """The training that a proposal would begin. Weights change no cost, and none are fetched to measure it."""
    return TrainingRequest(
        name=name, out=out, data=request.data, training=request.training, device=request.device, pretrained="none"
    )


def _next(facts: Facts, measure: bool) -> str | None:
    """The network to be looked at next: one to begin with, then the shortest of those proposed and not yet measured."""
    if not facts.measured and measure:
        left = [one for one in facts.candidates if one.name not in facts.refused]
        usual = find(REFERENCE).network.own
        first = [one for one in left if one.name == usual]
        return min(first or left, key=lambda one: one.multiply_adds).name if left else None
    waiting = [one for one in propose(facts).proposals if one.name not in facts.measured] if measure else []
    return min(waiting, key=lambda one: one.outlook.candidate.multiply_adds).name if waiting else None


class _Trial:
    """Trainings on some data that are begun and not ended."""

    def __init__(self, request: AdviceRequest, data: OwnData) -> None:
        self._request, self._data = request, data
        self._runtime: FabricRuntime | None = None
        self._floor = 0

    def config(self, name: str) -> Config:
        """Of a training. Raises ValueError if that network cannot be trained on the data."""
        asked = _asked(self._request, name, self._data.file.parent)
        with redirect_stderr(io.StringIO()):  # what a training says of its choices is not asked for here
            return run_config(asked, base_config(asked), self._data, 1)

    def begin(self, candidates: Sequence[Candidate]) -> Facts:
        """What is known before anything is measured, and which networks cannot be trained."""
        from intarsia.inference.memory import free_memory

        configs, refused = [], {}
        for one in candidates:
            try:
                configs.append(self.config(one.name))
            except ValueError as error:
                refused[one.name] = str(error)
        if not configs:
            raise ValueError(next(iter(refused.values())))
        first = configs[0]
        runtime = self.runtime(first)
        work = work_of(first, len(self._data.description.pairs("train")), _evaluated(self._data), self._data.image_size)
        machine = Machine(str(runtime.device), free_memory(runtime.device))
        return Facts(
            work, machine, candidates, refused=refused, within=self._request.within, benchmark=self._request.benchmark
        )

    def runtime(self, config: Config) -> FabricRuntime:
        """The one device of all trials; launched when it is first asked for."""
        if self._runtime is None:
            from intarsia.workflows.assemble import checked, make_runtime
            from intarsia.workflows.run_options import RunOptions

            options = RunOptions(self._data.file.parent, device=self._request.device)
            self._runtime = make_runtime(checked(config), options)
            self._runtime.launch()
        return self._runtime

    def learn(self, facts: Facts, name: str) -> Facts:
        """The facts with those of one more network: what it costs, or that it cannot be trained here."""
        try:
            found = self.measured(name, facts)
        except (ValueError, RuntimeError) as error:  # crops too small for it, data it does not take, too little memory
            return replace(facts, refused={**facts.refused, name: str(error)})
        return replace(facts, measured={**facts.measured, name: found})

    def measured(self, name: str, facts: Facts) -> Measured:
        """Some steps of a training. Raises what the training would."""
        from intarsia.engine.training.step_time import measure_step_time
        from intarsia.workflows.assemble import assemble, checked
        from intarsia.workflows.run_options import RunOptions

        config = self.config(name)
        runtime = self.runtime(config)
        whole = facts.work.batch
        with self._memory() as memory:
            options = RunOptions(self._data.file.parent, device=self._request.device)
            run = assemble(config, checked(config), options, runtime)
            images = min(FEW, whole)
            seconds = measure_step_time(_with_images(run, images), warm_up=1, steps=3, seconds=2.0)
            if images < whole and 3 * seconds * whole / images <= PATIENCE:
                images = whole
                seconds = measure_step_time(run, warm_up=1, steps=20, seconds=4.0)
        parameters = sum(one.numel() for one in run.network.parameters())
        needed = scaled_memory(parameters, memory(), whole, images)
        return Measured(seconds * whole / images, round(needed), images)

    @contextmanager
    def _memory(self) -> Iterator[Callable[[], int]]:
        """Gives a function for the bytes used inside, at most at one time.

        What the process still holds of an earlier network counts, since this one is given it again.
        """
        import psutil

        from intarsia.engine.memory import give_back, memory_used

        assert self._runtime is not None
        give_back()
        kept = 0
        if self._runtime.device.type != "cuda":
            now = psutil.Process().memory_info().rss
            self._floor = self._floor or now
            kept = max(0, now - self._floor)
        with memory_used(self._runtime.device) as used:
            yield lambda: used() + kept


def _with_images(run: Run, images: int) -> Run:
    return replace(run, batch=images, optim=replace(run.optim, accumulate=1))


def work_of(config: Config, images: int, val_images: int, image_size: Size) -> Work:
    """What a training does, as its config says. val_images: of one evaluation."""
    values = config.values
    steps = int(values["train_cfg"]["max_iters"])
    every = values["train_cfg"].get("val_interval") or steps
    size = (values["model"].get("data_preprocessor") or {}).get("size") or image_size
    return Work(
        images=images,
        batch=images_per_step(values, 1),
        crop=(int(size[0]), int(size[1])),
        steps=steps,
        evaluated=-(-steps // every) * val_images,
        image_size=image_size,
    )


def _evaluated(data: OwnData) -> int:
    description = data.description
    return len(description.pairs("val")) if "val" in description.splits else 0
