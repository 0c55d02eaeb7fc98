"""How large a network a config may describe: counted while it is built, before its numbers are made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from intarsia.spec import Component

if TYPE_CHECKING:
    from torch import nn

KINDS = frozenset({"backbone", "head", "head_part", "model", "neck", "text_encoder"})
"""Of parts that make a network."""

MODULES, PARAMETERS = 20_000, 4_000_000_000
"""Of one network. The largest published ones have 3,000 and 900 million."""

LARGEST = 100_000_000
"""Of a whole number that a part of a network is given: a width, a number of layers."""

_counting = threading.local()


@contextmanager
def bounded() -> Iterator[None]:
    """Building inside raises ValueError when it comes to more than a network may have. One inside another is one."""
    if getattr(_counting, "active", False):
        yield
        return
    from torch.nn.modules import module as registration

    _counting.active, _counting.modules, _counting.parameters = True, 0, 0
    hooks = (
        registration.register_module_module_registration_hook(_on_module),
        registration.register_module_parameter_registration_hook(_on_parameter),
    )
    try:
        yield
    finally:
        _counting.active = False
        for hook in hooks:
            hook.remove()


def _on_module(_parent: nn.Module, _name: str, _module: Any) -> None:
    if getattr(_counting, "active", False):  # torch calls this for every thread
        _counting.modules += 1
        if _counting.modules > MODULES:
            raise ValueError(f"the network has more than {MODULES:,} layers, which none has that is known")


def _on_parameter(_module: nn.Module, _name: str, parameter: Any) -> None:
    if getattr(_counting, "active", False) and parameter is not None:
        _counting.parameters += parameter.numel()
        if _counting.parameters > PARAMETERS:
            raise ValueError(f"the network has more than {PARAMETERS:,} parameters, which none has that is known")


def check_numbers(component: Component) -> None:
    """Raise ValueError for an argument that no network could be built with."""
    for name, value in component.args.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and abs(number) > LARGEST:
                raise ValueError(f"{name} is at most {LARGEST:,}, found a number of {number.bit_length()} bits")
