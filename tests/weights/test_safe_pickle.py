"""Pickles as data: what is read, what is refused, and that nothing is ever run."""

from __future__ import annotations

import collections
import contextlib
import datetime
import io
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.weights import numpy_values, python_values
from intarsia.weights.safe_pickle import DamagedPickleError, Name, Opaque, RefusedPickleError, Unpickled, read_pickle

CALLS = {**python_values.CALLS, **numpy_values.CALLS}

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=5)
        | st.dictionaries(st.text(), inner, max_size=3).map(collections.OrderedDict)
    ),
    max_leaves=20,
)


def read(data: bytes) -> Unpickled:
    return read_pickle(io.BytesIO(data), calls=CALLS)


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    stream = io.BytesIO(pickle.dumps(value, protocol=protocol) + b"rest")
    found = read_pickle(stream, calls=CALLS)
    assert found.value == value
    assert found.left_out == ()
    assert stream.read() == b"rest"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_and_numbers_of_others(protocol: int) -> None:
    value = {
        "set": {1},
        "frozen": frozenset({2}),
        "default": collections.defaultdict(list, a=[1]),
        "count": collections.Counter("aab"),
        "deque": collections.deque([1, 2]),
        "bytearray": bytearray(b"\x00\xff"),
        "scalar": np.float32(0.5),
        "big": np.array(7, ">i4")[()],
    }
    assert read(pickle.dumps(value, protocol=protocol)).value == {
        "set": [1],
        "frozen": [2],
        "default": {"a": [1]},
        "count": {"a": 2, "b": 1},
        "deque": [1, 2],
        "bytearray": b"\x00\xff",
        "scalar": 0.5,
        "big": 7,
    }


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">u2"),
        np.ones(0),
    ],
    ids=["rows", "columns", "big-endian", "empty"],
)
def test_arrays(array: np.ndarray[Any, Any], protocol: int) -> None:
    found = read(pickle.dumps(array, protocol=protocol)).value
    assert np.array_equal(found.value, array)


def test_arrays_of_objects_stay_closed() -> None:
    found = read(pickle.dumps(np.array([{"a": 1}, None], dtype=object), protocol=2))
    assert found.value.value is None
    assert Name("numpy", "dtype") in found.left_out


class Trainer:
    """An object whose class, constructor, state and items must not matter."""

    def __init__(self) -> None:
        self.values = np.arange(3.0)

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("code from the file was run")


class Settings(dict):  # type: ignore[type-arg]
    """A dict of a class of its own."""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_other_objects_are_named_and_nothing_else(protocol: int) -> None:
    value = [Trainer(), Settings(a=1), datetime.date(2020, 1, 2), Path("a"), "kept"]
    found = read(pickle.dumps(value, protocol=protocol))
    assert found.value[-1] == "kept"
    assert all(isinstance(item, Opaque) for item in found.value[:-1])
    assert {"Trainer", "Settings", "date"} <= {name.name for name in found.left_out}


# --- Attacks ------------------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def run(*opcodes: bytes) -> Unpickled:
    return read(b"\x80\x02" + b"".join(opcodes) + b".")


FLOAT64 = b"cnumpy\ndtype\n" + text("f8") + b"\x85R"

REFUSED = (
    "os system", "posix system", "nt system", "subprocess Popen", "builtins eval", "builtins exec", "__builtin__ eval",
    "__builtin__ execfile", "builtins __import__", "builtins open", "io open", "shutil rmtree", "sys exit",
    "runpy run_path", "importlib import_module", "importlib._bootstrap _gcd_import", "pickle loads", "marshal loads",
    "code interact", "socket socket", "ctypes CDLL",
    "webbrowser open", "timeit timeit", "pty spawn", "commands getoutput", "operator attrgetter",
    "builtins exec.__call__", "os path.join",
    "asyncio.unix_events _UnixSubprocessTransport.start", "pydoc pipepager",
)  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_file_of_weights_needs_is_refused_by_name(name: str) -> None:
    module, function = name.split()
    for way in (
        f"c{module}\n{function}\n".encode(),
        text(module) + text(function) + b"\x93",
        b"(i" + name.replace(" ", "\n").encode() + b"\n",
    ):
        with pytest.raises(RefusedPickleError, match=rf"it asks for {module}\.{function}"):
            run(way)


@pytest.mark.parametrize(
    "name",
    [
        "torch.hub load", "torch load", "torch.jit load", "numpy load", "numpy.testing._private.utils runstring",
        "torch._utils _rebuild_tensor_v2.__globals__", "collections OrderedDict.__init__", "torch nn.Module.__init__",
        "builtins getattr", "functools partial", "types FunctionType", "copyreg __reduce_ex__",
        "mmengine.config Config", "numpy.core.multiarray fromfile", "logging.config fileConfig", "pip main",
        "typing get_type_hints",
    ],
)  # fmt: skip
def test_other_functions_are_never_looked_up(name: str) -> None:
    """They stand for themselves, whatever is called on them, and on what that gives."""
    module, function = name.split()
    found = run(f"c{module}\n{function}\n".encode(), text("x"), b"\x85R", text("y"), b"\x85R", text("z"), b"\x85R")
    assert found.value == Opaque(Name(module, function))
    assert found.left_out == (Name(module, function),)


def test_a_chain_over_getattr_ends_at_the_first_link(tmp_path: Path) -> None:
    """getattr(__import__("os"), "mkdir")(marker), and the same without __import__, by way of a class that is let in."""
    marker = tmp_path / "marker"
    imported = b"cbuiltins\n__import__\n" + text("os") + b"\x85R"
    with pytest.raises(RefusedPickleError, match=r"builtins\.__import__"):
        run(b"cbuiltins\ngetattr\n", imported, text("mkdir"), b"\x86R", text(str(marker)), b"\x85R")
    reached = b"cbuiltins\ngetattr\n" + b"ccollections\nOrderedDict\n" + text("__init__") + b"\x86R"
    found = run(b"cbuiltins\ngetattr\n", reached, text("__globals__"), b"\x86R")
    assert found.value == Opaque(Name("builtins", "getattr"))
    assert not marker.exists()


def test_what_is_let_in_cannot_be_changed() -> None:
    """BUILD sets attributes in Python: here those of a function, of a class, and of an ordered dict."""
    state = text("items") + b"cbuiltins\nlist\n"
    for target in (
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"ccollections\nOrderedDict\n)R",
    ):
        run(target, b"}", state, b"sb")
    found = run(b"ccollections\nOrderedDict\n)R}", state, b"sb")
    assert found.value == {}
    assert list(collections.OrderedDict(a=1).items()) == [("a", 1)]
    assert np.dtype("f8").byteorder == "="
    run(b"cnumpy\ndtype\n", text("f8"), b"\x85R(K\x03", text(">"), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
    assert np.dtype("f8").byteorder == "="


def test_nothing_is_imported() -> None:
    before = set(sys.modules)
    run(b"cturtle_of_the_attacker\nPen\n)R")
    run(b"cxmlrpc_like.client\nServerProxy\n)R")
    assert not {name for name in set(sys.modules) - before if "attacker" in name or "xmlrpc" in name}


def test_depth_is_no_danger() -> None:
    """A million lists in each other, tuples in each other as a key: Python's own machine would overflow its stack."""
    depth = 1_000_000
    value = read(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".").value
    for _ in range(1000):
        assert len(value) == 1
        value = value[0]
    assert run(b"}", b"N" + b"\x85" * depth, b"K\x01s").value == {}


def test_values_may_contain_themselves() -> None:
    found = run(b"]q\x00h\x00a").value
    assert found[0] is found


def test_bombs_of_instructions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.weights.safe_pickle.OPERATIONS", 1000)
    with pytest.raises(RefusedPickleError, match="more than 1,000 instructions"):
        run(b"]" * 2000)


@pytest.mark.parametrize(
    ("opcodes", "said"),
    [
        (b"h\x05", "recalls entry 5"),
        (b"0", "takes more from its stack"),
        (b"t", "a mark that is not there"),
        (b"NNb0", "takes more"),
        (b"N)R", "calls a NoneType"),
        (b"K\x01K\x02a", "appends to a int"),
        (b"NNNs", "sets an item of a NoneType"),
        (b"}(Nu", "zip"),
        (b"\x82\x01", "EXT1"),
        (b"P1\n", "PERSID"),
        (b"NQ", "refers to an object outside"),
        (b"NN\x93", "names a class by something that is no text"),
        (b"c_codecs\nencode\n" + text("a") + text("rot13") + b"\x86R", "rot13"),
        (b"ccollections\nOrderedDict\nK\x05\x85R", "int"),
        (b"cnumpy.core.multiarray\nscalar\n" + FLOAT64 + b"c_codecs\nencode\n" + text("a") + b"\x85R\x86R", "buffer"),
        (b"X\xff\xff\xff\x7fabc", "expected"),
        (b"\xff", "opcode"),
    ],
)  # fmt: skip
def test_damage_is_one_error(opcodes: bytes, said: str) -> None:
    with pytest.raises(DamagedPickleError, match=said):
        run(opcodes)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_one_of_two_errors(data: bytes) -> None:
    with contextlib.suppress(DamagedPickleError, RefusedPickleError):
        read(data)


@given(st.lists(st.integers(0, 400), max_size=8), st.binary(min_size=8, max_size=8))
def test_any_mutation_is_a_value_or_one_of_two_errors(places: list[int], new: bytes) -> None:
    data = bytearray(
        pickle.dumps({"a": [np.float64(1), Trainer(), {"b": (1, 2, 3, 4)}], "c": np.arange(3)}, protocol=2)
    )
    for place, value in zip(places, new, strict=False):
        data[place % len(data)] = value
    with contextlib.suppress(DamagedPickleError, RefusedPickleError):
        read(bytes(data))
