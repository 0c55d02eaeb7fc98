"""Several models that answer the same question: whether they do, what their mean is of, and by which threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from intarsia.inference.logits.mean import MeanOf, check_mean
from intarsia.inference.threshold import at_threshold, at_thresholds

if TYPE_CHECKING:
    from intarsia.data.image_reader import ImageReader
    from intarsia.spec import Component, InferenceSpec, RunSpec

MEMBERS_NAMED = 3
"""Of models that contradict each other, in an error."""


@dataclass(frozen=True)
class Member:
    """One of several models. name: in errors. classes, palette, regions: what its weights say, empty where they do not.

    steps: of its test pipeline. head: the module that gives its logits, None where there is no such thing.
    """

    name: str
    inference: InferenceSpec
    classes: tuple[str, ...]
    palette: tuple[tuple[int, ...], ...]
    regions: Any
    reader: ImageReader
    steps: tuple[Component, ...]
    head: object = None

    @classmethod
    def of(
        cls,
        name: str,
        spec: RunSpec,
        model: object,
        reader: ImageReader,
        *,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        regions: Any,
    ) -> Member:
        """Of a network that was built from `spec`."""
        pattern = spec.test or spec.val
        steps = () if pattern is None else tuple(pattern.first_steps)
        colours = tuple(tuple(colour) for colour in palette)
        head = getattr(model, "decode_head", None)
        return cls(name, spec.inference, tuple(classes), colours, regions, reader, steps, head)


def check_members(members: Sequence[Member], *, windows_given: bool = False) -> None:
    """Raises ValueError, naming all that contradicts, unless the models answer the same question of the same images.

    windows_given: by the person, for all of them.
    """
    first, *others = members
    lines = []
    for what, of in _COMPARED.items():
        if what == _WINDOWS and windows_given:
            continue
        said = of(first)
        apart = [(member.name, of(member)) for member in others if _contradict(said, of(member))]
        shown = "".join(f"\n    {name}: {value}" for name, value in [(first.name, said), *apart][:MEMBERS_NAMED])
        more = f"\n    and {1 + len(apart) - MEMBERS_NAMED} more" if len(apart) >= MEMBERS_NAMED else ""
        if apart:
            lines.append(f"\n  {what}{shown}{more}")
    if lines:
        raise ValueError(f"{len(members)} models have no mean where they contradict each other:{''.join(lines)}")


def mean_of(members: Sequence[Member], wanted: str | None) -> MeanOf:
    """What is averaged: what is asked for, or else logits where all heads say that theirs are (nnU-Net).

    Of depths it is what the network gives, as of logits. Raises ValueError for a word that is neither, or of depths.
    """
    if members[0].inference.answer == "depth":
        if wanted is not None:
            raise ValueError(f"--mean {wanted} is for models of classes; of depths the mean is taken: leave it out")
        return "logits"
    if wanted is not None:
        return check_mean(wanted)
    as_logits = all(getattr(member.head, "averaged_as_logits", False) for member in members)
    return "logits" if as_logits else "probabilities"


def mean_inference(each: Sequence[InferenceSpec], mean: MeanOf) -> InferenceSpec:
    """That of the first, with the mean of the models' thresholds.

    A mean of probabilities above the mean of the thresholds says that the models are, on average, above their own. Of
    logits it is the mean of the thresholds' logits, for the same reason.
    """
    first = each[0]
    if first.answer == "depth":
        return first
    if first.answer == "classes":
        apart = [one.thresholds or () for one in each]
        if all(one == apart[0] for one in apart):
            return first
        return at_thresholds(first, [_mean(values, mean) for values in zip(*apart, strict=True)])
    above = [one.foreground_above for one in each]
    if all(one == above[0] for one in above):
        return first
    return at_threshold(first, _mean([0.5 if one is None else one for one in above], mean))


def _mean(thresholds: Sequence[float], mean: MeanOf) -> float:
    if mean == "probabilities":
        return math.fsum(thresholds) / len(thresholds)
    logit = math.fsum(math.log(one / (1 - one)) for one in thresholds) / len(thresholds)
    return 1 / (1 + math.exp(-logit))


def mean_reader(members: Sequence[Member]) -> ImageReader:
    """The first one's, which takes values that any of the models has seen."""
    reader = members[0].reader
    found = [member.reader.spec.values for member in members]
    known = [values for values in found if values is not None]
    if reader.spec.values is None or len(known) < len(found):
        return reader
    dimmest = [values.high if values.dimmest is None else values.dimmest for values in known]
    values = replace(
        reader.spec.values,
        low=min(one.low for one in known),
        high=max(one.high for one in known),
        dimmest=min(dimmest) if any(one.dimmest is not None for one in known) else None,
    )
    return replace(reader, spec=replace(reader.spec, values=values))


# --- What is compared ---------------------------------------------------------------------------------------------

_WINDOWS = "windows (--slide CROP STRIDE gives all of them the same)"


def _contradict(one: object, other: object) -> bool:
    """Whether two models say different things; what one does not say contradicts nothing."""
    return one != other and one not in ((), None, "") and other not in ((), None, "")


def _kind(member: Member) -> str:
    spec = member.inference
    answers = {"class": "a class for each pixel", "classes": "several classes for each pixel", "depth": "a depth"}
    one_logit = ", as one logit" if spec.answer == "class" and spec.threshold is not None else ""
    return f"{answers[spec.answer]}, of {spec.num_classes}{one_logit}"


def _bands(member: Member) -> str:
    spec = member.reader.spec
    inputs = ", ".join(f"{one.name} ({one.bands}, {one.channels})" for one in spec.inputs)
    extra = "".join(f", {name} = {text}" for name, text in spec.indices)
    axis = f", slices along {spec.slices}" if spec.slices else ""
    names = f" ({', '.join(spec.names)})" if any(spec.names) else ""
    return f"{spec.stored} of {spec.bands} images{names}{extra}{axis}{f', inputs {inputs}' if inputs else ''}"


def _numbers(member: Member) -> str:
    values = member.reader.spec.values
    return "" if values is None else values.dtype


def _scale(member: Member) -> str:
    scale = member.reader.spec.scale
    return "as they are" if scale is None else ", ".join(map(str, scale.ends))


def _windows(member: Member) -> str:
    spec = member.inference
    if spec.mode == "whole":
        return "whole images"
    sizes = " every ".join(f"{size[0]} x {size[1]}" for size in (spec.crop_size, spec.stride) if size is not None)
    return f"{spec.mode}, {sizes}, {spec.blend}{', in four ways' if spec.mirror else ''}"


def _steps(member: Member) -> str:
    return ", ".join(f"{one.type}({', '.join(f'{k}={v!r}' for k, v in one.args.items())})" for one in member.steps)


_COMPARED = {
    "what they say": _kind,
    "classes": lambda member: member.classes,
    "palette": lambda member: member.palette,
    "regions": lambda member: member.regions,
    "bands": _bands,
    "numbers of images": _numbers,
    "scale of these": _scale,
    "steps of the test pipeline": lambda member: _steps(member) or "none",
    _WINDOWS: _windows,
}
"""What models must agree on -> how each has it."""
