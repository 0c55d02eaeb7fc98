"""A `type` that a stranger chose, in every place of a config and for everything that opens one.

Quick: every place with a few of the tricks, and every trick in some places. Slow: every trick in every place.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from attacks import Attack, Trap
from type_places import MORE, at, changed, places
from whole_configs import ALL, pixels

from intarsia import catalog
from intarsia.config.build import build, build_task, import_parts
from intarsia.config.checking.check import check
from intarsia.config.checking.foreign_code import components
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower_all
from intarsia.spec import RunSpec

EVERY = 31
"""Of the tricks, one in so many is tried in a place in the quick run; which, moves on from place to place."""

PARTS = 12
"""Into which all tricks in all places are divided, so that processes share them; the slow run tries every third."""

IGNORED = {
    "visualizer", "runner_type", "log_processor", "launcher", "default_scope", "hooks", "plugins", "vis_backends",
    "experiment_name", "work_dir", "task", "observers", "compile", "sync_bn", "load_from", "data_preprocessor",
    "test_evaluator", "test_evaluator.0", "model.pretrained", "model.backbone.pretrained", "auto_scale_lr", "resume",
    "val_dataloader.dataset.img_suffix", "visualizer.vis_backends.0.init_kwargs", "visualizer.vis_backends.0",
    "visualizer.vis_backends.1", "visualizer.vis_backends.1.init_kwargs",
}  # fmt: skip
"""Places that mean nothing here, or a file's name: what stands there is never looked up."""


@cache
def targets() -> list[tuple[str, tuple[Any, ...]]]:
    """(config, path): every place once, in the first config that has it."""
    found: dict[tuple[Any, ...], str] = {}
    for name, make in ALL.items():
        for path in (*places(make()), *MORE):
            found.setdefault(path, name)
    return [(name, path) for path, name in found.items()]


def test_there_are_places_enough() -> None:
    assert len(targets()) > 200
    for make in ALL.values():
        assert not check(Config.from_values(make(), file="right.py"), shapes=True)


def written(attack: Attack, standing: Any, *, dotted: bool) -> Iterator[Any]:
    """The forms of an attack in a place: beside what stands there, alone, as a bare name, in a list."""
    if isinstance(standing, dict):
        yield attack.values(standing)
    if dotted:
        yield attack.values()
        yield attack.type
        yield [attack.values()]


def strike(values: dict[str, Any], attack: Attack, path: tuple[Any, ...]) -> None:
    """Check it, and build what the attack has become, as one does who does not check."""
    config = Config.from_values(values, file="downloaded.py")
    problems = [str(problem) for problem in check(config)]
    assert all(len(problem) < 10_000 for problem in problems)
    lowered = lower_all(config)
    spec = lowered.spec
    if spec is None:
        assert problems
        return
    # A data set of an unknown name that brings its classes is one of files: the name is a note, and is not looked up.
    as_data = any("is read as a BaseSegDataset" in note for note in lowered.notes)
    refused = import_and_build(spec, attack)
    if not problems:
        place = ".".join(map(str, path))
        assert refused or as_data or is_ignored(place, attack), f"{place}: {attack.type!r} passes"


def import_and_build(spec: RunSpec, attack: Attack) -> int:
    """How often the attack was refused when it was to be built."""
    refused, longest = 0, 0
    steps = [lambda: import_parts(spec)]
    steps += [lambda part=part: build(part) for part in components(spec) if is_attack(part, attack)]  # type: ignore[misc]
    if spec.optim is not None and spec.optim.constructor == attack.type:
        steps.append(lambda: catalog.resolve("constructor", attack.type))
    for step in steps:
        try:
            step()
        except ValueError as error:
            refused += 1
            longest = max(longest, len(str(error)))
    assert longest < 10_000
    return refused


def is_attack(part: Any, attack: Attack) -> bool:
    inner = attack.type["type"] if isinstance(attack.type, dict) and attack.type else attack.type
    return inner in (part.type, part.args.get("kind"))


def is_ignored(place: str, attack: Attack) -> bool:
    """Whether nothing is looked up: a number or an empty dict is no name, OpenMMLab's packages are never imported."""
    if isinstance(attack.type, (int, float)) or not attack.type or place in IGNORED:
        return True
    return place.startswith("custom_imports") and str(attack.type).startswith("mm")


def tried(trap: Trap, every: int, rest: int = 0) -> None:
    """Of all tricks in all places, those whose numbers have this rest."""
    attacks = trap.attacks()
    bases = {name: make() for name, make in ALL.items()}
    for row, (name, path) in enumerate(targets()):
        for column, attack in enumerate(attacks):
            if (row + column) % every == rest:
                for new in written(attack, at(bases[name], path), dotted=path in MORE):
                    strike(changed(bases[name], path, new), attack, path)
        assert not trap.sprung(), path


def test_no_type_runs_code(trap: Trap) -> None:
    tried(trap, EVERY)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(0, PARTS, 3))
def test_no_type_runs_code_anywhere(part: int, trap: Trap) -> None:
    tried(trap, PARTS, part)


def test_every_trick_is_refused_as_a_part_of_the_network(trap: Trap) -> None:
    for attack in trap.attacks():
        values = changed(pixels(), ("model", "decode_head"), attack.values())
        config = Config.from_values(values, file="downloaded.py")
        assert check(config)
        spec = lower_all(config).spec
        assert spec is not None
        with pytest.raises((ConfigError, TypeError)):
            build_task(spec)


def test_names_of_other_kinds_are_refused_in_their_places(trap: Trap) -> None:
    """Of each kind one place, with a name of every other kind."""
    where = {
        "backbone": ("model", "backbone"), "neck": ("model", "neck"), "head": ("model", "auxiliary_head", 0),
        "loss": ("model", "decode_head", "loss_decode"), "sampler": ("model", "decode_head", "sampler"),
        "dataset": ("val_dataloader", "dataset"), "transform": ("val_dataloader", "dataset", "pipeline", 1),
        "metric": ("val_evaluator",), "optimizer": ("optim_wrapper", "optimizer"), "observer": ("custom_hooks", 0),
        "model": ("model",),
    }  # fmt: skip
    own = {kind: next(iter(names)) for kind, names in catalog.TABLE.items()}
    for kind, path in where.items():
        for other, name in own.items():
            if name not in catalog.TABLE[kind] and (kind, other) != ("head", "head_part"):
                values = changed(pixels(), path, {"type": name})
                assert check(Config.from_values(values, file="downloaded.py")), (kind, name)
