"""Every text file states its encoding, and `intarsia.io.whole_files` is the only place where a file gets its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "intarsia"
FILES = sorted(PACKAGE.rglob("*.py"))

# file -> calls that write without being whole or not at all, and why they may.
ALLOWED = {
    "engine/training/log.py": {"open": "lines are appended to metrics.jsonl, and one cut short is passed over"},
    "config/language/calls.py": {"replace": "a text's, with the arguments of a config"},
    "data/packing.py": {"open": "inside whole_file: a full disk ends hours of samples at once, not behind the last"},
    "export/formats/coreml.py": {"rename": "a package is a folder, which is made aside and then gets its name"},
    "export/formats/pt2.py": {"copyfile": "an archive is copied aside before it is added to, and then gets its name"},
    "workflows/bench.py": {"write_text": "a switch of the kernel in /proc"},
    "weights/download.py": {"open": "what has come is appended to, and put in place when it is whole and checked"},
    "inference/logits/scratch.py": {"open": "gives a mapped file its room, which is put in place when it is full"},
}
LIBRARIES = {"imwrite", "savetxt", "tofile", "to_csv", "NamedTemporaryFile"}


def calls(path: Path) -> Iterator[tuple[ast.Call, str, str]]:
    """(call, what it is called on or "", name) of every call."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node, "", node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node, ast.unparse(node.func.value), node.func.attr


def mode_of(call: ast.Call, owner: str) -> str:
    position = 0 if owner else 1  # Path.open(mode), open(file, mode)
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[position : position + 1]
    return given[0].value if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str) else "r"


def is_opening(owner: str, name: str) -> bool:
    """Whether a call opens a file of Python's: `open`, `Path.open`, and no library's or archive's own."""
    return name == "open" and owner not in (
        "os",
        "Image",
        "rasterio",
        "memory",
        "archive",
        "tarfile",
        "raster_library()",
        "av",
        "webbrowser",
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_text_files_state_their_encoding(path: Path) -> None:
    for call, owner, name in calls(path):
        keywords = {keyword.arg for keyword in call.keywords}
        where = f"{path}:{call.lineno}: {ast.unparse(call)[:100]}"
        if is_opening(owner, name) and "b" not in mode_of(call, owner):
            assert "encoding" in keywords, f"{where} opens text in the encoding of the machine"
        if owner and name in ("read_text", "write_text"):
            assert "encoding" in keywords or len(call.args) == {"read_text": 1, "write_text": 2}[name], where
        if owner == "subprocess" and keywords & {"text", "universal_newlines"}:
            assert "encoding" in keywords, f"{where} reads a program's text in the encoding of the machine"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_get_their_names_in_one_place(path: Path) -> None:
    here = path.relative_to(PACKAGE).as_posix()
    if here == "io/whole_files.py":
        return
    for call, owner, name in calls(path):
        renames = name == "rename" or (name == "replace" and len(call.args) == 1 and not call.keywords)
        if owner in ("os", "shutil"):
            renames = name in ("replace", "rename", "renames", "link", "symlink", "move", "copy", "copy2", "copyfile")
        writes = (is_opening(owner, name) and set(mode_of(call, owner)) & set("wxa+")) or (
            bool(owner) and name in ("write_text", "write_bytes", *LIBRARIES)
        )
        if renames or writes:
            assert name in ALLOWED.get(here, {}), (
                f"{path}:{call.lineno}: {ast.unparse(call)[:100]}: files are written by intarsia.io.whole_files"
            )


WALKS = {"walk", "scandir", "rglob", "iterdir", "glob", "iglob", "listdir"}

# Room -> file -> why it looks into folders by itself. Only rooms in which users' images and labels are found.
MAY_LOOK = {
    "data/doctor/benchmarks.py": "one folder, for a palette of one row",
    "inference/inputs/finding.py": "a pattern of the user's, whose matches follow the rules of io.folders",
    "inference/kept_code.py": "Inductor's folder of compiled code, which holds no images",
    "inference/raster/resume.py": "whether a folder is empty",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_folders_are_walked_by_one_rule(path: Path) -> None:
    here = path.relative_to(PACKAGE).as_posix()
    if here.split("/")[0] not in ("data", "inference", "evaluation", "visual", "demo") or here in MAY_LOOK:
        return
    for call, owner, name in calls(path):
        assert not owner or name not in WALKS, (
            f"{path}:{call.lineno}: {ast.unparse(call)[:100]}: folders are walked by intarsia.io.folders"
        )
