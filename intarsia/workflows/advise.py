"""Which recipes suit data and machine: a pure function of facts, so that it can be asked about any machine.

A recipe must fit into memory and be done within a limit of time. Of those that are, the ones with the best published
scores are proposed: within all of the time, within a small part of it, and within something between. What is measured
of networks goes in as facts; of the others, time is estimated by multiply-adds and memory by the guide's count.
`measure_recipes` finds the facts. Imports no torch.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from intarsia.contracts import Size
from intarsia.engine.optim.duration import format_duration
from intarsia.spec import Duration

QUICK = 15 * 60.0
"""Seconds that a quick training may take."""
SPREAD = 16
"""The quick proposal takes at most so small a part of the time of the accurate one, if there is one like that."""
WORTH = 0.75
"""A proposal takes at most this part of the time of the next better one."""
SPARE = 0.9
"""Share of the free memory that a training may fill."""
COUNTED = 512 * 512
"""Pixels of the images by which the guide has counted costs; its training steps have two of them."""
STATE = 16
"""Bytes of training for each parameter: itself, its gradient, and two averages of AdamW, in float32."""
ALIKE = 8
"""So many networks with about as many multiply-adds stand for one whose training was not counted."""
FORWARD = 1 / 3
"""Share of a training step that the forward pass takes, by which evaluations are counted as steps."""

Role = Literal["quick", "balanced", "accurate"]


@dataclass(frozen=True)
class Work:
    """What ``intarsia train`` does with the data where nothing else is asked for.

    images: of training. batch, crop: of a step, crop as (height, width). evaluated: images of all evaluations together.
    image_size: (height, width) of a typical image.
    """

    images: int
    batch: int
    crop: Size
    steps: int
    evaluated: int = 0
    image_size: Size = (512, 512)

    @property
    def step_pixels(self) -> int:
        """That a step sees."""
        return self.batch * self.crop[0] * self.crop[1]

    @property
    def evaluation_steps(self) -> float:
        """How many steps take as long as all evaluations do."""
        return FORWARD * self.evaluated * self.image_size[0] * self.image_size[1] / self.step_pixels

    @property
    def whole(self) -> float:
        """Steps of the training, with those that its evaluations are counted as."""
        return self.steps + self.evaluation_steps


@dataclass(frozen=True)
class Candidate:
    """A network with a recipe for own data. multiply_adds, parameters, step_bytes: as `guide.facts.Cost` has them.

    score: on the benchmark that networks are ranked by, in percent; None where nothing was published.
    """

    name: str
    multiply_adds: float
    parameters: int
    step_bytes: int | None = None
    score: float | None = None


@dataclass(frozen=True)
class Measured:
    """What was measured of a network on this machine.

    seconds, memory: of a training step with all images of the work, in seconds and bytes. images: that were in the
    steps in truth; where they are fewer, both were multiplied by images.
    """

    seconds: float
    memory: int
    images: int


@dataclass(frozen=True)
class Machine:
    """Where is trained. device: "cpu", "cuda:0" ... free: bytes of its memory."""

    device: str
    free: int


@dataclass(frozen=True)
class Facts:
    """All that proposals follow from.

    measured: by name of the network. refused: those that cannot be trained here, by name, and why.
    within: seconds that a training may take. benchmark: whose published scores rank the networks.
    """

    work: Work
    machine: Machine
    candidates: Sequence[Candidate]
    measured: Mapping[str, Measured] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    within: float = 8 * 3600.0
    benchmark: str = "ade20k"


@dataclass(frozen=True)
class Outlook:
    """What a network costs here. seconds: of the whole training, None if nothing was measured. memory: bytes.

    measured: what was measured of itself; None: both are estimated.
    """

    candidate: Candidate
    seconds: float | None
    memory: float
    measured: Measured | None


@dataclass(frozen=True)
class Proposal:
    """A recipe to take, with the reason in one line. duration: for ``--for``, where the usual length is too long."""

    role: Role
    outlook: Outlook
    reason: str
    duration: float | None = None

    @property
    def name(self) -> str:
        """Of the recipe."""
        return self.outlook.candidate.name

    def command(self, data: Path, options: Sequence[str] = ()) -> str:
        """Ready to be copied. options: of ``intarsia train``, that its cost depends on."""
        words = ["intarsia", "train", self.name, "--data", str(data), "--out", f"runs/{self.name}", *options]
        if self.duration is not None:
            words += ["--for", format_duration(Duration(self.duration, "seconds"))]
        return shlex.join(words)


@dataclass(frozen=True)
class Advice:
    """The proposals, the quickest first. note: what keeps a better network out, or why there is no proposal."""

    proposals: tuple[Proposal, ...]
    note: str = ""


def propose(facts: Facts) -> Advice:
    """Up to three recipes that fit into memory and, if times are known, are done within the limit.

    If none is, the one that takes least time is proposed for as long as the limit allows.
    """
    known = [outlook(one, facts) for one in facts.candidates if one.name not in facts.refused]
    fitting = [one for one in known if one.memory <= SPARE * facts.machine.free]
    if not fitting:
        return Advice((), _nothing_fits(known, facts))
    done = [one for one in fitting if one.seconds is None or one.seconds <= facts.within]
    if not done:
        return Advice((_shortened(fitting, facts),), _left_out(known, None, facts))
    accurate = _best(done)
    limits = _limits(done, accurate)
    found: dict[str, Proposal] = {}
    roles: tuple[Role, ...] = ("quick", "balanced", "accurate")
    for role, limit in zip(roles, limits, strict=True):
        within = [one for one in done if _length(one) <= limit]
        best = _best(within)
        before = found.get(best.candidate.name)
        reason = _reason(role, best, within, limit, facts)
        kept = role if before is None or role == "accurate" else before.role
        found[best.candidate.name] = Proposal(kept, best, reason)
    return Advice(_worth_it(tuple(found.values())), _left_out(known, accurate, facts))


def _worth_it(proposals: Sequence[Proposal]) -> tuple[Proposal, ...]:
    """Without those that take nearly as long as the next, which is better."""
    kept = [proposals[-1]]
    for one in proposals[-2::-1]:
        if _length(one.outlook) <= WORTH * _length(kept[0].outlook):
            kept.insert(0, one)
    return tuple(kept)


def outlook(candidate: Candidate, facts: Facts) -> Outlook:
    """What a network costs here: as measured, or as estimated by what was measured of others and by the guide."""
    own = facts.measured.get(candidate.name)
    if own is not None:
        return Outlook(candidate, own.seconds * facts.work.whole, own.memory, own)
    memory = scaled_memory(candidate.parameters, _step_bytes(candidate, facts.candidates), facts.work.step_pixels)
    step = _estimated_step(candidate, facts)
    return Outlook(candidate, None if step is None else step * facts.work.whole, memory, None)


def scaled_memory(parameters: int, step_bytes: float, pixels: float, of: float = 2 * COUNTED) -> float:
    """Bytes of a step of `pixels`, from those of a step of `of`: what parameters need is the same, the rest follows."""
    fixed = min(STATE * parameters, step_bytes)
    return fixed + (step_bytes - fixed) * pixels / of


def _estimated_step(candidate: Candidate, facts: Facts) -> float | None:
    """Seconds of a step, from the measured network that is nearest in multiply-adds; None if there is none."""
    there = [one for one in facts.candidates if one.name in facts.measured]
    if not there:
        return None
    nearest = min(there, key=lambda one: abs(math.log(one.multiply_adds / candidate.multiply_adds)))
    return facts.measured[nearest.name].seconds * candidate.multiply_adds / nearest.multiply_adds


def _step_bytes(candidate: Candidate, others: Sequence[Candidate]) -> float:
    """As counted; else what a multiply-add needs in the hungriest of the networks that have about as many."""
    if candidate.step_bytes is not None:
        return candidate.step_bytes
    counted = [one for one in others if one.step_bytes is not None]
    alike = sorted(counted, key=lambda one: abs(math.log(one.multiply_adds / candidate.multiply_adds)))[:ALIKE]
    each = max((_activations(one) / one.multiply_adds for one in alike), default=0.0)
    return STATE * candidate.parameters + each * candidate.multiply_adds


def _activations(candidate: Candidate) -> float:
    return max(0.0, (candidate.step_bytes or 0) - STATE * candidate.parameters)


def _length(one: Outlook) -> float:
    """Seconds, or what stands for them where nothing was measured."""
    return one.candidate.multiply_adds if one.seconds is None else one.seconds


def _best(given: Sequence[Outlook]) -> Outlook:
    """The best published score; of equal ones and of those without, the shortest."""
    return max(
        given, key=lambda one: (-math.inf if one.candidate.score is None else one.candidate.score, -_length(one))
    )


def _limits(done: Sequence[Outlook], accurate: Outlook) -> tuple[float, float, float]:
    """Lengths up to which a proposal of each role may go."""
    whole, least = _length(accurate), min(map(_length, done))
    quick = whole / SPREAD if accurate.seconds is None else min(whole / SPREAD, QUICK)
    quick = max(quick, least)
    return quick, math.sqrt(quick * max(whole, quick)), max(whole, quick)


# --- In words -----------------------------------------------------------------------------------------------------


def _reason(role: Role, best: Outlook, within: Sequence[Outlook], limit: float, facts: Facts) -> str:
    score = best.candidate.score
    scored = "" if score is None else f"{facts.benchmark} {score:g} mIoU"
    count = len(within)
    if best.seconds is None:
        how = f"up to {limit / 1e9:,.3g} billion multiply-adds" if role != "accurate" else "fit into memory"
    elif role == "accurate":
        how = f"are done within {show_time(facts.within)} and fit into {show_bytes(facts.machine.free)}"
        count = sum(_length(one) <= facts.within for one in within)
    else:
        how = f"are done within {show_time(limit)}"
    if count == 1:
        least = "no network takes less" + ("" if best.seconds is not None else " multiply-adds")
        return f"{least}; {scored or f'nothing was published of it on {facts.benchmark}'}"
    of = (
        f"of the {count} networks that {how}"
        if best.seconds is not None or role == "accurate"
        else (f"of the {count} networks with {how}")
    )
    if score is None:
        return f"the shortest {of}; nothing was published of it on {facts.benchmark}"
    return f"the best published score ({scored}) {of}"


def _shortened(fitting: Sequence[Outlook], facts: Facts) -> Proposal:
    least = min(fitting, key=_length)
    reason = (
        f"its {facts.work.steps:,} steps would take {show_time(_length(least))}, and no network takes less: the "
        f"schedule is shortened to {show_time(facts.within)}"
    )
    return Proposal("quick", least, reason, duration=facts.within)


def _left_out(known: Sequence[Outlook], accurate: Outlook | None, facts: Facts) -> str:
    """The network with the best score of all, if time or memory keeps it out."""
    best = _best(known)
    score = best.candidate.score
    if score is None or (accurate is not None and (accurate.candidate.score or -math.inf) >= score):
        return ""
    said = f"{best.candidate.name} has the best published score ({facts.benchmark} {score:g} mIoU)"
    if best.memory > SPARE * facts.machine.free:
        return (
            f"{said}, but would need about {show_bytes(best.memory)} of memory; a smaller --batch or --crop needs less"
        )
    if best.seconds is not None and best.seconds > facts.within:
        return f"{said}, but would take about {show_time(best.seconds)}; --within {math.ceil(best.seconds / 3600)}h"
    return ""


def _nothing_fits(known: Sequence[Outlook], facts: Facts) -> str:
    if not known:
        return f"none of the networks can be trained here: {next(iter(facts.refused.values()), '')}"
    least = min(known, key=lambda one: one.memory)
    height, width = facts.work.crop
    return (
        f"no network fits into {show_bytes(facts.machine.free)} of memory: {least.candidate.name}, the smallest, needs "
        f"about {show_bytes(least.memory)} for a step of {facts.work.batch} images of {height} x {width} (height x "
        "width); give a smaller --batch or --crop"
    )


def show_time(seconds: float) -> str:
    """For people: "40 s", "12 min", "3.5 h", "2 days"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.2g} h" if seconds < 9.5 * 3600 else f"{round(seconds / 3600)} h"
    return f"{round(seconds / 86400):,} days"


def show_bytes(count: float) -> str:
    """In GB, or in MB below one."""
    return f"{count / 1e9:.1f} GB" if count >= 0.95e9 else f"{max(1, round(count / 1e6))} MB"
