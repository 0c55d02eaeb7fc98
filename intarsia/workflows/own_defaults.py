"""What a training on own data is given by default, chosen from what the data doctor has measured.

Each choice is settings for the config of the run and one line that says what and why; `--plain` leaves choices out, and
so does a `--set` of the same place, or of one below or above it.

    loss    where one class covers nearly everything, the Lovász loss beside cross entropy, which is content with that
            class alone: the IoU itself, in which each class counts alike (Berman, Rannen Triki, Blaschko 2018,
            arXiv:1705.08790)
    sizes   there, too, images are made smaller or larger by a quarter at most: short trainings were measured to gain
    crops   there, too, half of the windows that training sees are drawn around a pixel of a class that is rare
    steps   how long the training is, where nobody says it: from the number of images, how many crops one is, and how
            many a step takes
    threshold   of one foreground on a background, the probability above which a pixel is foreground: the IoU of a rare
            class is largest elsewhere than at one half (`metrics.best_threshold`). Where a pixel may have several
            classes, that of each class

Where a pixel may have several classes, what covers nearly everything is the pixels that have none; windows are not
drawn around rare classes then, which labels do not hold by their index.

And, only where `--rare-every` asks for it:

    drawing     of every so many samples, one is drawn for each rare class, and its window around a pixel of that class

What they are worth on real images, and what was tried and did not help, is in docs/own-data.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from intarsia.config.language.paths import locate, split_path
from intarsia.contracts import Size
from intarsia.workflows.adjust import steps_of

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config
    from intarsia.data.description.model import DataDescription

DOMINANT = 0.85
"""A class with this share of the labelled training pixels covers nearly everything."""
RARE = 0.05
"""A class with less than this share is rare."""
SIZES = (0.8, 1.25)
"""Factors by which images are made smaller and larger there."""
CHOICES = ("loss", "sizes", "crops", "threshold", "steps")
ALL = "all"
_SHOWN = 6

SMALLEST_RUN, LARGEST_RUN = 500, 20_000
"""Steps of a training whose length is chosen."""
EPOCHS, BATCH = 60, 8
"""How often each image, or each crop of it, is seen; images a step of a recipe for own data."""
MOST_CROPS = 4
"""Crops that an image counts as, at most: those of one image resemble each other."""


@dataclass(frozen=True)
class Amount:
    """What there is to learn from, and how much of it a step takes. crops: that an image is large enough for."""

    images: int
    crops: float
    batch: int

    @classmethod
    def of(cls, images: int, image_size: Size, crop: Size, batch: int) -> Amount:
        """Of images (height, width) of which a step sees `batch` crops."""
        return cls(images, image_size[0] * image_size[1] / (crop[0] * crop[1]), batch)

    @property
    def counted(self) -> int:
        """The crops that an image counts as."""
        return min(max(1, round(self.crops)), MOST_CROPS)

    @property
    def steps(self) -> int:
        """As many as show each crop so often, within bounds."""
        return _bounded(EPOCHS * self.images * self.counted // self.batch)

    @property
    def plain_steps(self) -> int:
        """As many as show each image so often by the usual batch, whatever its size and the batch are."""
        return _bounded(EPOCHS * self.images // min(BATCH, max(2, self.images)))


def _bounded(steps: int) -> int:
    return min(max(steps, SMALLEST_RUN), LARGEST_RUN)


def has(name: str, plain: Collection[str]) -> bool:
    """Whether a choice is made where `plain` is left out."""
    return name not in plain and ALL not in plain


@dataclass(frozen=True)
class Choice:
    """name: of `CHOICES`. line: what and why, in words. settings: overrides of the config, none where it is not
    made.
    """

    name: str
    line: str
    settings: tuple[str, ...]


def choose(
    config: Config,
    description: DataDescription,
    *,
    plain: Collection[str] = (),
    given: Sequence[str] = (),
    rare_every: int | None = None,
    amount: Amount | None = None,
) -> list[Choice]:
    """The choices that these data call for, in a recipe's config for them.

    plain: names of choices that are not made, or "all". Without measured shares only the threshold is chosen.
    given: what the user sets in the config (PATH=VALUE, PATH-). Where it is about the place of a choice, that one has
    no settings, and its line says so. rare_every: samples of which one is drawn for each rare class; None draws all
    alike. amount: of a training whose length is chosen.

    Raises ValueError for a name that no choice has, and for `rare_every` where no class is rare, or too many are.
    """
    choices = _called_for(config, description, plain)
    if amount is not None and has("steps", plain):
        choices.append(_length(amount))
    if rare_every is not None:
        choices.append(_drawing(description, rare_every))
    return [_unless_given(choice, config, given) for choice in choices]


def _called_for(config: Config, description: DataDescription, plain: Collection[str]) -> list[Choice]:
    unknown = [name for name in plain if name not in (*CHOICES, ALL)]
    if unknown:
        raise ValueError(f"--plain takes {', '.join((*CHOICES, ALL))}, found {', '.join(map(repr, unknown))}")
    if ALL in plain:
        return []
    found = [] if "threshold" in plain else list(_threshold(description))
    shares = description.shares or {}
    largest = max(shares, key=lambda name: shares[name], default="")
    if shares.get(largest, 0) < DOMINANT:
        return found
    values = config.values
    covers = f"{largest} covers {shares[largest]:.1%}"
    if "loss" not in plain and (settings := tuple(_losses(values["model"], description.multi_label))):
        line = f"loss: Lovász beside cross entropy, since {covers} (--plain loss: as the recipe has it)"
        found.append(Choice("loss", line, settings))
    if "sizes" not in plain and (settings := tuple(_sizes(values))):
        factors = f"{SIZES[0]:g} to {SIZES[1]:g} times their size"
        line = f"sizes: images are trained on at {factors}, since {covers} (--plain sizes: as the recipe has it)"
        found.append(Choice("sizes", line, settings))
    rare = rare_classes(description)
    indices = [description.class_index(name) for name in rare]
    if "crops" not in plain and rare and not description.multi_label and (settings := tuple(_crops(values, indices))):
        shown = ", ".join(f"{name} {share:.2%}" for name, share in list(rare.items())[:_SHOWN])
        more = f" and {len(rare) - _SHOWN} more" if len(rare) > _SHOWN else ""
        line = f"crops: every other one is drawn around {shown}{more} (--plain crops: anywhere)"
        found.append(Choice("crops", line, settings))
    return found


def _unless_given(choice: Choice, config: Config, given: Sequence[str]) -> Choice:
    """The choice, or what is said in place of it where the user decides."""
    own = [_place(config, setting) for setting in choice.settings]
    for setting in given:
        place = _place(config, setting)
        if any(all(mine == theirs for mine, theirs in zip(place, other, strict=False)) for other in own):
            line = f"{choice.name}: as the recipe has it, since --set changes {_path(setting)}"
            return replace(choice, line=line, settings=())
    return choice


def _place(config: Config, setting: str) -> list[str]:
    """The keys of a setting's path, each as it stands in the config. What is no path is none's place."""
    try:
        parts = split_path(_path(setting))
    except ValueError:
        return [setting]  # where it is applied, the message says what is wrong
    keys, used = locate(config.values, parts)
    return [*map(str, keys), *parts[used:]]


def _path(setting: str) -> str:
    path, equals, _ = setting.partition("=")
    return path.strip() if equals else path.strip().removesuffix("-")


def rare_classes(description: DataDescription) -> dict[str, float]:
    """Class -> share of the labelled training pixels, of those that are rare; the rarest first."""
    shares = description.shares or {}
    known = {name: shares[name] for name in description.classes if 0 < shares.get(name, 0) < RARE}
    return dict(sorted(known.items(), key=lambda item: item[1]))


def _length(amount: Amount) -> Choice:
    steps, plain = amount.steps, amount.plain_steps
    bound = {SMALLEST_RUN: ", the least", LARGEST_RUN: ", the most"}.get(steps, "")
    crops = f" in {amount.counted} crops" if amount.counted > 1 else ""
    times = steps * amount.batch / (amount.images * amount.counted)
    line = (
        f"steps: {steps:,}{bound}, in which each of {amount.images:,} images comes {times:.0f} times{crops}, "
        f"{amount.batch} a step (--plain steps: {plain:,}; --for DURATION: as long as you like)"
    )
    return Choice("steps", line, (f"train_cfg.max_iters={steps}",))


def _drawing(description: DataDescription, every: int) -> Choice:
    if description.multi_label:
        raise ValueError("--rare-every draws windows around pixels of a class; these may have several here: drop it")
    rare = rare_classes(description)
    if not rare:
        raise ValueError(
            f"--rare-every draws samples for classes with less than {RARE:.0%} of the labelled training pixels, of "
            "which these data have none"
        )
    if every <= len(rare):
        raise ValueError(
            f"--rare-every {every}: one of so many samples is drawn for each of {len(rare)} rare classes "
            f"({', '.join(rare)}), and some for none of them; write {len(rare) + 1} or more"
        )
    indices = [description.class_index(name) for name in rare]
    each = " and one for ".join(list(rare)[:_SHOWN]) if len(rare) <= _SHOWN else f"each of {len(rare)} rare classes"
    line = f"drawing: of every {every} samples one is drawn for {each}, and shows it"
    settings = (f"train_dataloader.sampler.rare={indices!r}", f"train_dataloader.sampler.every={every}")
    return Choice("drawing", line, settings)


def _losses(model: Mapping[str, Any], several: bool) -> Iterator[str]:
    """The same head with a second loss; heads that have several losses, or others, know what they need.

    A sampler of hard pixels goes: the second loss is of whole images, and does what that is for. (STDC1, nuclei, 150
    steps: IoU 0.656 so, 0.579 with the sampler and cross entropy alone.)

    several: whether a pixel may have several classes.
    """
    head, path = model.get("decode_head"), "model.decode_head"
    if isinstance(head, Sequence):
        head, path = head[-1], f"{path}.{len(head) - 1}"
    loss = head.get("loss_decode") if isinstance(head, Mapping) else None
    if not isinstance(loss, Mapping) or loss.get("type") != "CrossEntropyLoss":
        return
    assert isinstance(head, Mapping)
    one_logit = head.get("num_classes") == 1 or several
    if loss.get("use_sigmoid") and not one_logit:
        return
    second = {"type": "LovaszLoss", "loss_type": "binary" if one_logit else "multi_class", "reduction": "none"}
    yield f"{path}.loss_decode={[dict(loss), second]!r}"
    if head.get("sampler") is not None:
        yield f"{path}.sampler-"


def _threshold(description: DataDescription) -> Iterator[Choice]:
    """Of two classes that are of one kind, neither is a foreground."""
    if description.multi_label and "val" in description.splits:
        line = (
            "threshold: every evaluation chooses for each class the probability above which a pixel has it, for its "
            "largest IoU, and the weights keep them (--plain threshold: one half)"
        )
        yield Choice("threshold", line, ("intarsia.choose_threshold=True",))
        return
    *others, name = description.classes
    if "val" not in description.splits or others not in ([], ["background"]):
        return
    line = (
        f"threshold: every evaluation chooses the probability above which a pixel is {name}, for its largest IoU, and "
        "the weights keep it (--plain threshold: the more probable class)"
    )
    yield Choice("threshold", line, ("intarsia.choose_threshold=True",))


def _sizes(values: Mapping[str, Any]) -> Iterator[str]:
    for path, step in steps_of(values.get("train_dataloader") or {}, "train_dataloader"):
        if step.get("type") == "RandomScale":
            yield f"{path}.ratio_range={SIZES}"


def _crops(values: Mapping[str, Any], rare: Sequence[int]) -> Iterator[str]:
    for path, step in steps_of(values.get("train_dataloader") or {}, "train_dataloader"):
        if step.get("type") == "RandomCrop":
            yield f"{path}.rare={list(rare)!r}"
