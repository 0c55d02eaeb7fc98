"""The whole tree against the constructors' signatures, before anything is built.

First stage, without torch: lowering's own problems, unknown parts, unknown and missing arguments, values of the wrong
type, values that contradict each other. Second stage, on request: backbone, neck and heads are built without memory (on
torch's meta device) and compared where they meet.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from intarsia import catalog, consent
from intarsia.config.checking.contradictions import contradictions
from intarsia.config.checking.foreign_code import components, consent_problem
from intarsia.config.checking.signatures import Parameter, Signature, accepts, registered_in, signature_of
from intarsia.config.errors import Problem
from intarsia.config.lowering.fields import MOST_PROBLEMS, TooMuchError, nearest, shown
from intarsia.config.lowering.lower import lower_all
from intarsia.config.lowering.names import user_key
from intarsia.config.schema.fates import bare
from intarsia.config.schema.vocabulary import AREAS
from intarsia.spec import Component, Origin, RunSpec

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config

PROVIDED = {"metric": ("num_classes", "classes")}
"""Arguments that building adds: kind -> names."""


def check(config: Config, *, shapes: bool = False) -> list[Problem]:
    """Everything that is wrong with a config, by file and line; empty when it can be built.

    shapes: also build the network without memory and compare channels; imports torch.
    """
    lowered = lower_all(config)
    problems = list(lowered.problems)
    if lowered.spec is not None:
        asked = consent_problem(lowered.spec, config.origin)
        problems += [] if asked is None else [asked]
        checker = _Checker(config, lowered.spec, asked is not None, {problem.path for problem in problems})
        try:
            for component in components(lowered.spec):
                checker.component(component)
        except TooMuchError as error:
            checker.problems.append(Problem("", str(error), Origin(config.file, 0)))
        problems += checker.problems
        problems += contradictions(lowered.spec, config.origin)
        if shapes:
            from intarsia.config.checking.shapes import shape_problems

            problems += shape_problems(lowered.spec, checker.wrong, config.origin)
    return _once(problems)


def _once(problems: list[Problem]) -> list[Problem]:
    """By file and line, without repetitions: one line of a file may be used in several places."""
    found: dict[Any, Problem] = {}
    for problem in problems:
        place: Any = (problem.origin, problem.path.rpartition(".")[2]) if problem.origin else problem.path
        found.setdefault((place, problem.message), problem)
    return sorted(found.values(), key=_line)


def _line(problem: Problem) -> tuple[str, int]:
    return (problem.origin.file, problem.origin.line) if problem.origin else ("", 0)


@dataclass
class _Checker:
    """Components against signatures. wrong: paths of the components that have a problem of their own.

    asks: whether nobody has agreed to some of the config's code; it is not looked at, so what it registers is unknown.
    reported: paths at which lowering has found something.
    """

    config: Config
    spec: RunSpec
    asks: bool = False
    reported: Collection[str] = ()
    problems: list[Problem] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)

    @cached_property
    def registered(self) -> Mapping[tuple[str, str], str]:
        """What the user's own modules will register when they are imported."""
        agreed = [module for module in self.spec.imports if consent.given(module) or catalog.is_declared(module)]
        if agreed:
            consent.look_here()
        found = [part for module in agreed for part in registered_in(module)]
        return {(kind, name): location for kind, name, location in found}

    def component(self, component: Component) -> None:
        """Report what is wrong with one component; not with the parts inside it."""
        if not component.type:
            self.wrong.add(component.path)
            if not {component.path, f"{component.path}.type"} & set(self.reported):
                self._report(component, f"{component.path}.type", f"the name of a {component.kind} is missing")
            return
        asked = catalog.module_to_trust(component.kind, component.type)
        if asked is not None and not consent.given(asked):
            self.wrong.add(component.path)  # the question about all such places has named it
            return
        if asked is not None:
            consent.look_here()
        try:
            location = self._location(component)
        except catalog.UnknownPartError as error:
            if self.asks and self.spec.imports:
                self.wrong.add(component.path)  # a module that was not looked at may register it
            else:
                self._report(component, f"{component.path}.type", str(error))
            return
        signature = signature_of(location)
        if signature is not None:
            self._arguments(component, signature)

    def _location(self, component: Component) -> str:
        own = self.registered.get((component.kind, bare(component.type)))
        return own or catalog.locate(component.kind, component.type)

    def _arguments(self, component: Component, signature: Signature) -> None:
        name = bare(component.type)
        for argument, value in component.args.items():
            if argument in signature.names:
                self._value(component, argument, value, signature[argument])
            elif not signature.open:
                self._unknown(component, argument, value, signature)
        for parameter in signature.parameters:
            provided = PROVIDED.get(component.kind, ())
            if parameter.required and parameter.name not in component.args and parameter.name not in provided:
                key = user_key(component.kind, parameter.name)
                expected = f"It expects {parameter.annotation}" if parameter.annotation else ""
                self._report(component, component.path, f"{name} needs {key!r}, which is missing", expected)

    def _value(self, component: Component, argument: str, value: Any, parameter: Parameter) -> None:
        if accepts(value, parameter.annotation):
            return
        found = f"a {value.kind}" if isinstance(value, Component) else shown(value)
        message = f"expected {parameter.annotation}, found {found}"
        self._report(component, self._path(component, argument), message, _advice(value, parameter.annotation))

    def _unknown(self, component: Component, argument: str, value: Any, signature: Signature) -> None:
        name = bare(component.type)
        keys = [*(user_key(component.kind, known) for known in signature.names), *AREAS.get(component.kind, ())]
        if argument in ("training", "inference") and isinstance(value, Mapping):
            for key in value:
                places = (component.path, f"{component.path}.train_cfg", f"{component.path}.test_cfg")
                path = self._first(*(f"{place}.{key}" for place in places))
                self._report(component, path, f"{name} has no use for {key!r}", nearest(str(key), keys))
            return
        key = user_key(component.kind, argument)
        self._report(component, self._path(component, argument), f"{name} has no argument {key!r}", nearest(key, keys))

    def _path(self, component: Component, argument: str) -> str:
        """The user's path of an argument. The last head has some from the model's own sections."""
        key = user_key(component.kind, argument)
        sections = ("model.train_cfg", "model.test_cfg") if component.kind == "head" else ()
        places = (f"{component.path}.{key}", *(f"{section}.{argument}" for section in (component.path, *sections)))
        return self._first(*places)

    def _first(self, *paths: str) -> str:
        return next((path for path in paths if _there(self.config.values, path)), paths[0])

    def _report(self, component: Component, path: str, message: str, hint: str = "") -> None:
        self.wrong.add(component.path)
        if len(self.problems) >= MOST_PROBLEMS:
            raise TooMuchError(f"more than {MOST_PROBLEMS:,} arguments are wrong; the rest was not looked at")
        self.problems.append(Problem(path, message, self.config.origin(path), hint))


def _there(values: Any, path: str) -> bool:
    for step in path.split("."):
        if isinstance(values, Mapping) and step in values:
            values = values[step]
        elif isinstance(values, list | tuple) and step.isdigit() and int(step) < len(values):
            values = values[int(step)]
        else:
            return False
    return True


def _advice(value: Any, annotation: str) -> str:
    """The nearest of the words that an annotation allows, or how a part is written."""
    if isinstance(value, str):
        words = [
            item.value
            for node in ast.walk(ast.parse(annotation, mode="eval"))
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal"
            for item in ast.walk(node.slice)
            if isinstance(item, ast.Constant) and isinstance(item.value, str)
        ]
        near = nearest(value, words) if words else ""
        if near.startswith("Did"):
            return near
    if any(part in annotation for part in ("Norm", "Activation")) and not isinstance(value, Component):
        return "Write dict(type='Name', ...)"
    return ""
