"""The files of onnxruntime-web, from the npm registry, a folder or an archive.

What comes from a registry is one version, known by its hash, so that it does not matter which registry it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.io.text import read_text
from intarsia.terminal import say
from intarsia.weights.download import DownloadError, fetch

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the archive, as the npm registry publishes it (dist.integrity)."""

REGISTRY = "https://registry.npmjs.org/"

BACKENDS: Mapping[str, Mapping[str, str]] = {
    "wasm": {
        "script": "ort.wasm.min.js",
        "module": "ort-wasm-simd-threaded.mjs",
        "binary": "ort-wasm-simd-threaded.wasm",
    },
    "webgpu": {
        "script": "ort.webgpu.min.js",
        "module": "ort-wasm-simd-threaded.asyncify.mjs",
        "binary": "ort-wasm-simd-threaded.asyncify.wasm",
    },
}
"""What computes -> the files of the package that it needs: processors take the smaller one."""

LARGEST = 2**27
"""Bytes of a file of the package that is read."""

LICENSE = """\
MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
"""That of the package, whose archive names it (MIT, Microsoft Corporation) without its text."""


@dataclass(frozen=True)
class RuntimeFiles:
    """Files of the package by their names, and its version."""

    version: str
    files: Mapping[str, bytes]


def runtime_files(given: Path | None = None) -> RuntimeFiles:
    """The files that a page needs.

    given: a folder of the package (node_modules/onnxruntime-web, or its dist) or its archive (.tgz), in any version;
    None: the archive of `VERSION` from the npm registry, kept in the cache of downloads.

    Raises ValueError if something is missing; `weights.download.DownloadError` if it cannot be fetched.
    """
    if given is None:
        return _from_archive(_fetched())
    if given.is_dir():
        found = _from_folder(given)
    elif given.is_file():
        found = _from_archive(given)
    else:
        raise ValueError(f"--onnxruntime-web: {given} does not exist")
    if found.version != VERSION:
        say(f"note: {given} is {PACKAGE} {found.version or 'of an unknown version'}; tested is {VERSION}")
    return found


def _fetched() -> Path:
    address = f"{registry().rstrip('/')}/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"
    try:
        path = fetch(address, sha256=SHA256)
    except DownloadError as error:
        raise DownloadError(f"{error}; or name a folder or archive of it: --onnxruntime-web DIR|TGZ") from error
    found = "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise DownloadError(f"{path} is damaged or another file: its hash is {found}, expected {INTEGRITY}. Remove it")
    return path


def _from_folder(folder: Path) -> RuntimeFiles:
    dist = folder / "dist" if (folder / "dist").is_dir() else folder
    files = {name: (dist / name).read_bytes() for name in _names() if (dist / name).is_file()}
    about = next((path for path in (folder / "package.json", folder.parent / "package.json") if path.is_file()), None)
    return _checked(files, about.read_bytes() if about else b"{}", folder)


def _from_archive(path: Path) -> RuntimeFiles:
    files: dict[str, bytes] = {}
    wanted = {f"package/dist/{name}": name for name in _names()} | {"package/package.json": "package.json"}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name in wanted and member.isfile() and member.size <= LARGEST:
                    opened = archive.extractfile(member)
                    assert opened is not None
                    files[wanted[member.name]] = opened.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no archive of {PACKAGE} (.tgz): {error}") from error
    return _checked(files, files.pop("package.json", b"{}"), path)


def _checked(files: Mapping[str, bytes], about: bytes, place: Path) -> RuntimeFiles:
    missing = [name for name in _names() if name not in files]
    if missing:
        raise ValueError(f"{place}: expected the files of {PACKAGE}, found no {', '.join(missing)}")
    try:
        said = json.loads(about)
        version = said["version"] if said.get("name") == PACKAGE else ""
    except (ValueError, KeyError, AttributeError):
        version = ""
    return RuntimeFiles(str(version), files)


def _names() -> list[str]:
    return [name for backend in BACKENDS.values() for name in backend.values()]


# --- The registry that is set up here -----------------------------------------------------------------------------


def registry() -> str:
    """The npm registry of this machine, as npm finds it: its variables, .npmrc here, of the user, of all users."""
    for name, value in os.environ.items():
        if name.lower() == "npm_config_registry" and value.strip():
            return _address(value, name)
    for file in _npmrc():
        for line in read_text(file).splitlines() if file.is_file() else ():
            key, _, value = line.partition("=")
            if key.strip() == "registry" and (value := _expanded(value.strip().strip("\"'"))):
                return _address(value, str(file))
    return REGISTRY


def _npmrc() -> Iterator[Path]:
    known: dict[str, Any] = {name.lower(): value for name, value in os.environ.items()}
    yield Path(".npmrc")
    yield Path(known.get("npm_config_userconfig") or Path.home() / ".npmrc")
    if "npm_config_globalconfig" in known:
        yield Path(known["npm_config_globalconfig"])
    for prefix in ("/usr/local", "/usr"):
        yield Path(prefix) / "etc" / "npmrc"


def _expanded(value: str) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), value)


def _address(value: str, place: str) -> str:
    if not re.match(r"https?://[^/]+", value.strip()):
        raise ValueError(f"{place}: expected the address of an npm registry (https://...), found {value[:200]!r}")
    return value.strip()
