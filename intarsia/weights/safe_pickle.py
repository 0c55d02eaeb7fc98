"""A pickle read as data, without Python's own machine for it.

A pickle is a program: it may import any module and call anything in it. The machine here runs the same instructions on
plain values only. A class or a function is a `Name` to it, never the thing itself. What happens when the program calls
one is decided by name:

    in the table of calls         a function of ours builds the value: an ordered dict, a tensor's description ...
    of the standard library,      refused, with an error that names it: `os.system` has no business in a file
    and not in `_HARMLESS`        of weights. Modules whose objects are data (dates, paths) are not refused
    anything else                 becomes an `Opaque`, which says what it stands for and swallows what is done to it

The second line is a courtesy to the user, who should know what he was sent; safety does not rest on it, since nothing
is ever imported or called in any case.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from intarsia.terminal import printable

OPERATIONS = 4_000_000
"""Instructions before a pickle is taken for an attack. A checkpoint of a long training has a million."""

COPIED = 8_000_000
"""Entries and words of 8 bytes that a pickle may have copied from one value into another, which it can do endlessly."""

MEMO, KEY_BITS, LARGE_KEYS = 2**32, 60, 200
"""Of numbers that name an entry of the memo, or are keys of a dict: many larger ones may all have one hash."""

KINDS = 1_000
"""Classes of objects that are remembered as left out."""


class RefusedPickleError(ValueError):
    """The pickle asks for something that no file of weights needs."""


class DamagedPickleError(ValueError):
    """The pickle is no pickle, is cut short, or does what no writer of pickles does."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function by name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class Opaque:
    """Stands for an object that is not rebuilt, of this class or made by this function.

    state: what the pickle would have set on it, as far as that is plain; a network's tensors are there.
    """

    kind: Name
    state: Any = field(default=None, compare=False, repr=False)


class Rebuilt:
    """A value that a table's function made and that wants the rest of what the pickle says about it."""

    def take_state(self, state: Any) -> None:
        """What the pickle would set on the object."""
        raise NotImplementedError


class Stream(Protocol):
    """Bytes with a position, which is left right behind the pickle."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102
    def readline(self) -> bytes: ...  # noqa: D102


Calls = Mapping[tuple[str, str], Callable[..., Any]]
"""(module, name) -> what is called in its place, with the pickle's arguments."""


@dataclass(frozen=True, slots=True)
class Unpickled:
    """value: what was pickled. left_out: the classes and functions behind its `Opaque` parts."""

    value: Any
    left_out: tuple[Name, ...]


def read_pickle(stream: Stream, *, calls: Calls, persistent: Callable[[Any], Any] | None = None) -> Unpickled:
    """The value of one pickle.

    calls: such as `python_values.CALLS`. persistent: gives the object for a persistent id.

    Raises RefusedPickleError and DamagedPickleError. Values may contain themselves, and may be nested to any depth.
    """
    machine = _Machine(calls, persistent)
    try:
        value = machine.run(stream)
    except (RefusedPickleError, DamagedPickleError):
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, UnicodeError) as error:
        raise DamagedPickleError(first_line(error)) from error
    return Unpickled(value, tuple(machine.left_out))


def first_line(error: BaseException) -> str:
    """What an error says, in short: it may repeat what stands in the file."""
    return printable(str(error).splitlines()[0], 300) if str(error) else type(error).__name__


# --- What is let in, and what is refused --------------------------------------------------------------------------

_HARMLESS = frozenset({
    "argparse", "array", "calendar", "collections", "copy_reg", "copyreg", "datetime", "decimal", "enum", "fractions",
    "functools", "ipaddress", "logging", "numbers", "pathlib", "random", "re", "string", "threading", "types",
    "typing", "uuid", "warnings", "weakref", "zoneinfo", "_codecs", "_thread",
})  # fmt: skip
"""Modules of Python whose objects trainers put beside weights: options, dates, paths, loggers."""

_PYTHON_2 = frozenset({"__builtin__", "commands", "cPickle", "exceptions", "UserDict"})

_RUNS_CODE = frozenset({
    "eval", "exec", "execfile", "compile", "open", "file", "input", "raw_input", "__import__", "breakpoint", "help",
    "reload",
})  # fmt: skip
"""Of builtins. The others are as harmless as not called; `getattr` stands in every checkpoint of MMEngine."""


def _check(name: Name) -> None:
    root = name.module.partition(".")[0]
    if root in ("builtins", "__builtin__"):
        refused = name.name.partition(".")[0] in _RUNS_CODE
    else:
        refused = (root in sys.stdlib_module_names or root in _PYTHON_2) and root not in _HARMLESS
    if refused:
        raise RefusedPickleError(f"it asks for {printable(str(name), 200)}")


_KEYS = (str, bytes, int, float, bool, type(None))


def put(target: dict[Any, Any], key: Any, value: Any) -> None:
    """An item of a dict. Other keys than plain values are dropped with it: to hash them would be to run into depths."""
    if isinstance(key, int) and key.bit_length() > KEY_BITS and len(target) >= LARGE_KEYS:
        raise RefusedPickleError(f"a dict has more than {LARGE_KEYS} keys of more than {KEY_BITS} bits")
    if isinstance(key, _KEYS):
        target[key] = value


def cost(value: Any) -> int:
    """What it takes to make a new value of others: its entries, or its words."""
    if isinstance(value, (list, tuple, dict)):
        return len(value)
    return len(value) // 8 if isinstance(value, (bytes, str)) else 1


# --- The machine --------------------------------------------------------------------------------------------------


class _Machine:
    """A stack, marks on it, and a memo. One method for each kind of instruction."""

    def __init__(self, calls: Calls, persistent: Callable[[Any], Any] | None) -> None:
        self.calls = calls
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.left_out: dict[Name, None] = {}
        self.copied = 0

    def run(self, stream: Stream) -> Any:
        for count, (name, argument) in enumerate(_instructions(stream)):
            if count > OPERATIONS:
                raise RefusedPickleError(f"it has more than {OPERATIONS:,} instructions")
            if name == "STOP":
                return self.pop()
            if name in _ARGUMENT:
                self.stack.append(argument)
            elif name in _CONSTANT:
                self.stack.append(_CONSTANT[name])
            elif name in _FRESH:
                self.stack.append(_FRESH[name]())
            else:
                method = _METHODS.get(name)
                if method is None:
                    raise DamagedPickleError(f"it has the instruction {name}, which checkpoints do not have")
                method(self, argument)
        raise DamagedPickleError("it ends before its last instruction")

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise DamagedPickleError("it takes more from its stack than is there")
        return self.stack.pop()

    def pop_marked(self, _argument: object = None) -> list[Any]:
        if not self.marks:
            raise DamagedPickleError("it goes back to a mark that is not there")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    # --- containers ---

    def mark(self, _argument: object) -> None:
        self.marks.append(len(self.stack))

    def duplicate(self, _argument: object) -> None:
        value = self.pop()
        self.stack += [value, value]

    def drop(self, _argument: object) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def tuple_of(self, size: int) -> None:
        items = [self.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(items)))

    def marked_tuple(self, _argument: object) -> None:
        self.stack.append(tuple(self.pop_marked()))

    def marked_list(self, _argument: object) -> None:
        self.stack.append(self.pop_marked())

    def marked_dict(self, _argument: object) -> None:
        items = self.pop_marked()
        self.stack.append({})
        self._set_items(items)

    def append(self, _argument: object) -> None:
        self._extend([self.pop()])

    def extend(self, _argument: object) -> None:
        self._extend(self.pop_marked())

    def _extend(self, items: list[Any]) -> None:
        target = self.pop()
        self.stack.append(target)
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, (Opaque, Rebuilt)):
            raise DamagedPickleError(f"it appends to a {type(target).__name__}")

    def set_item(self, _argument: object) -> None:
        value, key = self.pop(), self.pop()
        self._set_items([key, value])

    def set_items(self, _argument: object) -> None:
        self._set_items(self.pop_marked())

    def _set_items(self, items: Sequence[Any]) -> None:
        target = self.pop()
        self.stack.append(target)
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                put(target, key, value)
        elif not isinstance(target, (Opaque, Rebuilt)):
            raise DamagedPickleError(f"it sets an item of a {type(target).__name__}")

    # --- memo ---

    def remember(self, index: int) -> None:
        if not 0 <= index < MEMO:
            raise DamagedPickleError("it numbers an entry of its memo as no pickle does")
        value = self.pop()
        self.stack.append(value)
        self.memo[index] = value

    def memoize(self, _argument: object) -> None:
        self.remember(len(self.memo))

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise DamagedPickleError(f"it recalls entry {index} of its memo, which is not there")
        self.stack.append(self.memo[index])

    # --- objects ---

    def name(self, argument: str) -> None:
        self._name(*argument.split(" ", 1))

    def stack_name(self, _argument: object) -> None:
        name, module = self.pop(), self.pop()
        self._name(module, name)

    def _name(self, module: Any, name: Any = None) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise DamagedPickleError("it names a class by something that is no text")
        found = Name(module, name)
        _check(found)
        self.stack.append(found)

    def reduce(self, _argument: object) -> None:
        arguments, function = self.pop(), self.pop()
        self._call(function, arguments)

    def new_object_with_names(self, _argument: object) -> None:
        self.pop()
        self.reduce(None)

    def instance(self, argument: str) -> None:
        arguments = self.pop_marked()
        self.name(argument)
        self._call(self.pop(), tuple(arguments))

    def object_of(self, _argument: object) -> None:
        kind, *arguments = self.pop_marked()
        self._call(kind, tuple(arguments))

    def _call(self, function: Any, arguments: Any) -> None:
        if isinstance(function, Opaque):
            self.stack.append(function)
            return
        if not isinstance(function, Name) or not isinstance(arguments, (tuple, list, Opaque)):
            raise DamagedPickleError(f"it calls a {type(function).__name__}")
        call = self.calls.get((function.module, function.name))
        if call is None or isinstance(arguments, Opaque):
            result: Any = Opaque(function)
        else:
            result = call(*arguments)
            self.copied += cost(result)
            if self.copied > COPIED:
                raise RefusedPickleError(f"it copies more than {COPIED:,} values from one place to another")
        if isinstance(result, Opaque) and len(self.left_out) < KINDS:
            self.left_out[result.kind] = None
        self.stack.append(result)

    def build(self, _argument: object) -> None:
        state, target = self.pop(), self.pop()
        self.stack.append(target)
        if isinstance(target, Rebuilt):
            target.take_state(state)
        elif isinstance(target, Opaque) and isinstance(state, dict):
            target.state = state

    def persistent_object(self, _argument: object) -> None:
        if self.persistent is None:
            raise DamagedPickleError("it refers to an object outside of it")
        self.stack.append(self.persistent(self.pop()))

    def nothing(self, _argument: object) -> None: ...


def _instructions(stream: Stream) -> Iterator[tuple[str, Any]]:
    """Name and argument of each; Python's `pickletools` takes them apart and runs nothing."""
    for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
        yield opcode.name, bytes(argument) if isinstance(argument, bytearray) else argument


_ARGUMENT = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "FLOAT", "BINFLOAT",
})  # fmt: skip
_CONSTANT: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_FRESH: Mapping[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
_METHODS: Mapping[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _Machine.nothing),
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.pop_marked,
    "DUP": _Machine.duplicate,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "TUPLE": _Machine.marked_tuple,
    **dict.fromkeys(("LIST", "FROZENSET"), _Machine.marked_list),
    "DICT": _Machine.marked_dict,
    "APPEND": _Machine.append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _Machine.extend),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.remember),
    "MEMOIZE": _Machine.memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.reduce),
    "NEWOBJ_EX": _Machine.new_object_with_names,
    "INST": _Machine.instance,
    "OBJ": _Machine.object_of,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent_object,
}
