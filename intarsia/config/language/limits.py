"""How much a config may compute. The bounds are far above any real config and far below what would hurt."""

from __future__ import annotations

from typing import Any

from intarsia.config.language.values import MAX_BITS, measure

MAX_STEPS = 300_000
STEPS_PER_FILE = 1_000
MAX_SOURCE = 1_000_000
MAX_BRACES = 20_000
MAX_TEXT = 1_000_000
MAX_ITEMS = 100_000
MAX_KEYS = 20_000
MAX_WIDTH = 1_000
MAX_BLOCKS = 200
"""Levels of `if`, `elif` and `for`. Python has a limit of its own, which moves from version to version."""


class RefusedError(Exception):
    """An operation that the language does not carry out. The evaluator adds file and line."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Budget:
    """The steps that are left for reading one config with all its bases."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Take steps off; RefusedError when none are left."""
        self.steps -= steps
        if self.steps < 0:
            raise RefusedError(
                f"the config computes more than {MAX_STEPS:,} steps", "Write the result down, or compute less"
            )

    def charge(self, *values: Any) -> None:
        """Take off what it costs to look at values in full: compare, print or sort them."""
        for value in values:
            if isinstance(value, str):
                self.spend(1 + len(value) // 64)
            elif isinstance(value, range):
                self.spend(check_length(len(value)))
            else:
                try:
                    self.spend(measure(value))
                except OverflowError as error:
                    raise RefusedError(str(error)) from None

    def charge_printing(self, value: Any) -> int:
        """Take off what it costs to write a value out; return the length of the strings in it."""
        self.charge(value)
        size = 0
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                size = check_text(size + len(item))
            elif isinstance(item, dict):
                stack += [*item.keys(), *item.values()]
            elif isinstance(item, (list, tuple, set)):
                stack += item
        self.spend(size // 64)
        return size


def check_length(count: int) -> int:
    """`count` itself; RefusedError when a list of that length is too long."""
    if count > MAX_ITEMS:
        raise RefusedError(f"a list of {_number(count)} items; at most {MAX_ITEMS:,} are possible")
    return count


def check_text(length: int) -> int:
    """`length` itself; RefusedError when a string of that length is too long."""
    if length > MAX_TEXT:
        raise RefusedError(f"a string of {_number(length)} characters; at most {MAX_TEXT:,} are possible")
    return length


def check_keys(count: int) -> int:
    """`count` itself; RefusedError when a dict or set of that size is too large."""
    if count > MAX_KEYS:
        raise RefusedError(f"a dict or set of {_number(count)} entries; at most {MAX_KEYS:,} are possible")
    return count


def check_bits(bits: int) -> int:
    """`bits` itself; RefusedError when an integer of that many bits is too large."""
    if bits > MAX_BITS:
        raise RefusedError(f"an integer of more than {MAX_BITS} bits")
    return bits


def check(value: Any) -> Any:
    """`value` itself, which an operation has just made; RefusedError when it is too large."""
    if isinstance(value, str):
        check_text(len(value))
    elif isinstance(value, (list, tuple, range)):
        check_length(len(value))
    elif isinstance(value, (dict, set)):
        check_keys(len(value))
    elif isinstance(value, int):
        check_bits(value.bit_length())
    elif isinstance(value, (complex, bytes)):
        raise RefusedError(f"the result has type {type(value).__name__}, which is not a config value")
    return value


def _number(count: int) -> str:
    return f"{count:,}" if count < 10**12 else "more than 10^12"
