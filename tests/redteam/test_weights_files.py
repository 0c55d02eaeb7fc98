"""Weights of a stranger: pickles that run something or fill the memory, headers and descriptions of nothing."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

import intarsia
from intarsia.cli.main import main
from intarsia.weights.about import about
from intarsia.weights.file import KEY, WeightsMeta, read_meta, read_state
from intarsia.weights.foreign import ForeignFileError, open_foreign

MEGABYTES = 2**20


def archive(path: Path, program: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", program)
        for name, data in members.items():
            file.writestr(f"x/{name}", data)
    return path


def refused(
    path: Path, said: str = "is refused|no checkpoint|no tensors|whole object", *, megabytes: int = 200
) -> None:
    """The file is one error, and little memory is taken."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=said) as caught:
            open_foreign(path).load()
        assert tracemalloc.get_traced_memory()[1] < megabytes * MEGABYTES
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 5_000


# --- Code ---------------------------------------------------------------------------------------------------------

CALLS = [
    "os system", "posix system", "nt system", "subprocess Popen", "subprocess check_output", "builtins eval",
    "builtins exec", "__builtin__ eval", "builtins __import__", "builtins open", "importlib import_module",
    "runpy run_path", "shutil rmtree", "socket socket", "ctypes CDLL", "pickle loads", "webbrowser open", "pty spawn",
    "sys exit", "code interact", "commands getoutput", "asyncio run", "multiprocessing.util spawnv_passfds",
    "pdb run", "timeit timeit", "cProfile run", "bdb run", "zipfile ZipFile", "tempfile mktemp",
    "urllib.request urlopen",
]  # fmt: skip
OTHERS = [
    "torch.hub load", "torch load", "torch.jit load", "numpy load", "numpy.f2py compile", "pip main",
    "intarsia.config.language.reader read_file", "intarsia.consent trust", "intarsia.cli.main main",
    "yaml unsafe_load", "setuptools setup",
    "evil_of_redteam Evil", "__main__ main", "torch.utils.cpp_extension load_inline", "cloudpickle loads",
    "joblib load",
]  # fmt: skip


def program(name: str, argument: str, shape: int) -> bytes:
    """One of several ways in which a pickle calls a function with a text."""
    module, function = name.split(" ")
    text = b"X" + struct.pack("<I", len(argument)) + argument.encode()
    by_name = f"c{module}\n{function}\n".encode()
    stack = b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(function)]) + function.encode()
    calls = [
        by_name + text + b"\x85R",
        b"(" + text + f"i{module}\n{function}\n".encode(),
        b"(" + by_name + text + b"o",
        by_name + text + b"\x85\x81",
        stack + b"\x93" + text + b"\x85R",
        by_name + text + b"\x85}\x92",
        by_name + text + b"\x85R}b",
    ]
    call = calls[shape % len(calls)]
    key = b"X\x01\x00\x00\x00k"
    places = [call, b"]" + call + b"a", b"}" + key + call + b"s", b"(" + call + b"t", b"}" + call + key + b"s"]
    return b"\x80\x04" + places[shape // len(calls) % len(places)] + b"."


@pytest.mark.parametrize("name", CALLS + OTHERS)
def test_no_pickle_runs_code(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for shape in range(35):
        file = archive(tmp_path / "a.pth", program(name, f"touch {canary}", shape))
        with pytest.raises(ForeignFileError):
            open_foreign(file)
        assert not canary.exists()
        if name in CALLS:
            with pytest.raises(ForeignFileError, match="is refused: it asks for"):
                open_foreign(file)


# --- Memory and time ----------------------------------------------------------------------------------------------


def repeated(call: bytes, times: int) -> bytes:
    """A list that is made once, remembered, and given to a function again and again."""
    body = b"](" + b"N" * 20_000 + b"eq\x01"
    return b"\x80\x02](" + body + (call + b"h\x01\x85R") * times + b"e."


COLLIDING = [number * (2**61 - 1) for number in range(1, 5_000)]
BOMBS: dict[str, bytes] = {
    "lists copied": repeated(b"c__builtin__\nlist\n", 3_000),
    "tuples copied": repeated(b"c__builtin__\ntuple\n", 3_000),
    "sets copied": repeated(b"c__builtin__\nset\n", 3_000),
    "queues copied": repeated(b"ccollections\ndeque\n", 3_000),
    "bytes copied": b"\x80\x02](X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\x01"
    + b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R" * 3_000 + b"e.",
    "keys that collide": b"\x80\x02}("
    + b"".join(b"\x8a\x0a" + key.to_bytes(10, "little") + b"N" for key in COLLIDING) + b"u.",
    "a memo that collides": b"\x80\x02" + b"".join(f"Np{key}\n0".encode() for key in COLLIDING) + b"N.",
    "a name without end": b"\x80\x02c" + b"a" * 300_000 + b"\nb\n)R.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_no_pickle_fills_the_memory(name: str, tmp_path: Path) -> None:
    refused(archive(tmp_path / "a.pth", BOMBS[name]))


def test_rows_without_columns(tmp_path: Path) -> None:
    """An array of a thousand million empty rows has no values, and would be a list of as many lists."""
    file = tmp_path / "a.pth"
    meta = {"x": np.zeros((10**9, 0)), "y": np.zeros((2, 0)), "z": np.arange(2)}
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": meta}, file)
    assert open_foreign(file).meta == {"y": [[], []], "z": [0, 1]}


def test_archives_that_unpack_to_more(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for member in ("byteorder", "data.pkl"):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x/data.pkl", b"\x80\x02}.")
            packed = zipfile.ZipInfo(f"x/{member}")
            packed.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(packed, bytes(300 * MEGABYTES))
        refused(
            path, "compressed|not one of torch.save|damaged|no tensors", megabytes=400 if member == "data.pkl" else 50
        )


def test_an_archive_with_an_enormous_table_of_contents(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pth", b"\x80\x02}.")
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\5\6")
    data[end + 12 : end + 16] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    refused(path, "table of contents")


def test_tar_files_that_unpack_or_name_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for mode in ("w:gz", "w:"):
        with tarfile.open(path, mode) as file:
            for name in ("sys_info", "pickle", "tensors", "storages"):
                info = tarfile.TarInfo(f"{'n' * 5_000_000}{name}")
                file.addfile(info, io.BytesIO(b""))
        refused(path, "no checkpoint of torch.save")


# --- Safetensors --------------------------------------------------------------------------------------------------

TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HEADERS: list[Any] = [
    [], "text", None, 3, 1.5, True, {"a": None}, {"a": []}, {"a": "x"}, {"a": {}}, {"__metadata__": 3},
    {"__metadata__": []}, {"__metadata__": {"intarsia": 3}}, {"__metadata__": {"intarsia": None}},
    *({"a": {**TENSOR, "shape": shape}} for shape in (None, 3, "x", [-1], [1.5], ["1"], [2**63], [True], [1] * 500)),
    *({"a": {**TENSOR, "data_offsets": o}} for o in (None, 3, [], [0], [0, 4, 8], [4, 0], [-4, 0], ["0", "4"])),
    {"a": {**TENSOR, "data_offsets": [0, 2**70]}},
    *({"a": {**TENSOR, "dtype": dtype}} for dtype in (None, 3, [], {}, "F32" * 1_000, "Q7", "\x1b[31m")),
    {"a": TENSOR, "b": {**TENSOR, "shape": [7]}}, {"a": {**TENSOR, "data_offsets": [0, 10**9]}},
    {"n" * 200_000: {**TENSOR, "dtype": 3}},
]  # fmt: skip


def tensor_file(path: Path, header: bytes, data: bytes = bytes(4)) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@pytest.mark.parametrize("number", range(len(HEADERS)))
def test_headers_of_nothing(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tensor_file(tmp_path / "a.safetensors", json.dumps(HEADERS[number]).encode())
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        read_state(file)
    for words in (["weights", "convert", str(file), "-o", str(tmp_path / "b.safetensors")], ["eval", str(file)]):
        assert main(words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(said) < 20_000


@pytest.mark.parametrize("header", [b"[" * 200_000, b'{"a":' * 100_000, b"{", b"\xff\xfe", b"", b"NaN", b'{"a": NaN}'])
def test_headers_that_are_no_json(header: bytes, tmp_path: Path) -> None:
    for file in (tensor_file(tmp_path / "a.safetensors", header), tmp_path / "b.safetensors"):
        if not file.exists():
            file.write_bytes(struct.pack("<Q", 2**63) + header)
        with pytest.raises(ValueError, match="safetensors"):
            about(file)


GOOD = json.loads(WeightsMeta({"model": {"type": "EncoderDecoder"}}, ("a", "b"), ((0, 0, 0), (1, 1, 1))).to_json())
INFINITE = float("inf")
DESCRIPTIONS: list[Any] = [
    [], 3, None, "x", True,
    *({**GOOD, "palette": p} for p in (3, [3], [[1, 2]], [[1, 2, 3, 4]], [[INFINITE, 0, 0], [0, 0, 0]], [["a", 0, 0]],
                                       [[-1, 0, 0]], [[256, 0, 0]], [[1.5, 0, 0]], {"a": 1}, [None, None], "red")),
    *({**GOOD, "classes": c} for c in (3, [3], [None], "ab", {"a": 1}, [["a"]])),
    *({**GOOD, "config": c} for c in (3, [], None, "x", [["model", 3]])),
    *({**GOOD, "ignore_index": i} for i in (None, "x", 1.5, [], INFINITE, -1, 10**30)),
    *({**GOOD, key: value} for key in ("labels", "scores", "image") for value in (3, [], None, "x")),
    *({**GOOD, "pretrained": p} for p in (3, {}, "x", None, [3], [{}], [{"part": 3}], [{"part": "a", "licence": []}])),
    {**GOOD, "licence": 3},
    {**GOOD, "scores": {"mIoU": "high"}}, {**GOOD, "step": "x"}, {**GOOD, "step": INFINITE}, {**GOOD, "version": []},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(DESCRIPTIONS)))
def test_descriptions_of_nothing(number: int, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(save({"a": torch.zeros(1)}, metadata={KEY: json.dumps(DESCRIPTIONS[number])}))
    for read in (read_meta, about, lambda path: intarsia.load(path, device="cpu")):
        with pytest.raises(ValueError, match="the description in the weights file"):
            read(file)


# --- Tensors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((2**62,), (0,), 0), ((10**9, 10**9), (0, 0), 0), ((-1,), (1,), 0), ((2,), (-1,), 0), ((2,), (1,), -1),
        ((2,), (10**18,), 0), ((1,) * 5_000, (1,) * 5_000, 0), ((2, 2), (1,), 0), ((10**18, 0), (1, 1), 10**30),
        ((True,), (1,), 0), ((2,), (1,), 2**61),
    ],
)  # fmt: skip
def test_tensors_of_absurd_shapes(shape: Any, strides: Any, offset: int, tmp_path: Path) -> None:
    class Reference:
        """What torch.save refers to: a storage of four numbers."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, item: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if isinstance(item, Reference) else None

    class Tensor:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (Reference(), offset, shape, strides, False, None)

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"a": Tensor()})
    file = archive(tmp_path / "a.pth", buffer.getvalue(), **{"data/0": bytes(16)})
    refused(file, "a tensor|a storage", megabytes=50)


def test_names_in_a_file_do_not_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.safetensors"
    meta = WeightsMeta(GOOD["config"], ("\x1b[2Jclean", "b" * 100_000), ((0, 0, 0), (1, 1, 1)))
    file.write_bytes(save({"\x1b]0;title\x07.weight": torch.zeros(1)}, metadata={KEY: meta.to_json()}))
    assert main(["weights", "show", str(file)]) == 0
    said = capsys.readouterr().out
    assert "\x1b]0" not in said
    assert "\x1b[2J" not in said
    assert len(said) < 20_000
