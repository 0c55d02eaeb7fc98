"""Files behind addresses, in object stores and on the web, through fsspec: listed, copied here, and put there.

    s3://bucket/photos/a.jpg      a file
    s3://bucket/photos            what lies below
    https://host/photos/a.jpg     a file; the web has no folders

Where a store is and who asks is said as its own library wants it (AWS_ENDPOINT_URL, AWS_PROFILE, FSSPEC_S3_ANON=true).
What is fetched is only bytes: nothing of it is run or unpacked here.
"""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from intarsia.contracts import PathLike

STORES = ("s3", "gs", "az", "abfs", "file", "memory")
WEB = ("https", "http")
HERE = ("file", "memory")
"""Those for which no network is needed."""

PROTOCOLS = (*STORES, *WEB)
"""Those that do nothing but read and write; fsspec has others, which unpack or call something."""

OFFLINE = "INTARSIA_OFFLINE"

TO_CONNECT, PATIENCE = 10.0, 30.0
"""Seconds after which a server of the web is given up that cannot be reached, or is silent; stores have their own."""

LARGEST = 2**33
"""Bytes of the largest file that is copied here; a server that goes on and on is left."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SILENT = ("TimeoutError", "EndpointConnectionError", "HTTPClientError", "ClientConnectorError", "ServerTimeoutError")
"""Errors of the libraries, by name since these are extras, that mean that nobody answered."""


def scheme_of(text: PathLike) -> str:
    """What stands before ://, in lower case; "" for anything else."""
    match = _SCHEME.match(text) if isinstance(text, str) else None
    return match[1].lower() if match is not None else ""


def is_address(text: PathLike) -> bool:
    """Whether something is the address of a file or folder that fsspec finds, and not a path."""
    return scheme_of(text) in PROTOCOLS


def refuse_data(place: PathLike) -> None:
    """Raises ValueError for an address in the place of data that are read again and again."""
    address = _address_of(place)
    scheme = scheme_of(address)
    if scheme in PROTOCOLS and not os.path.exists(str(place)):
        copy = "aws s3 sync s3://BUCKET/FOLDER FOLDER" if scheme == "s3" else "a tool of its own"
        raise ValueError(
            f"{public(address)}: data for training and evaluation are read from this machine, again and again: copy "
            f"them first ({copy}), packed or as tars where they are many; `intarsia predict` takes addresses"
        )


def refuse_output(place: PathLike, name: str) -> None:
    """Raises ValueError for an address in the place of what is written to this machine, where a folder called ``s3:``
    would hold it. name: of the option.
    """
    address = _address_of(place)
    if scheme_of(address) in PROTOCOLS:
        fix = "give a path, and copy it there afterwards; `intarsia predict` writes into object stores"
        if scheme_of(address) == "file":
            fix = f"give its path: {unquote(address.removeprefix('file://'))}"
        raise ValueError(f"{name} {public(address)}: this is written to a disk of this machine: {fix}")


def _address_of(place: PathLike) -> str:
    """What somebody has written; of an address a `Path` has one slash left."""
    text = str(place)
    return text if scheme_of(text) else re.sub(r"^([^/]+:)/+", r"\1///" if text.startswith("file:") else r"\1//", text)


def is_web(address: str) -> bool:
    """Whether an address is of the web, where nothing can be listed or written."""
    return scheme_of(address) in WEB


def is_offline() -> bool:
    """Whether the person has forbidden the network."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def public(address: str) -> str:
    """An address as it may be shown: without the signature behind its "?", and without a password."""
    if not is_address(address):
        return address
    scheme, _, rest = address.partition("://")
    host, slash, path = (rest.partition("?")[0] if is_web(address) else rest).partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def path_of(address: str) -> PurePosixPath:
    """Host or bucket and path, for names and suffixes; the web's %20 as what it stands for."""
    scheme, _, rest = public(address).partition("://")
    rest = unquote(rest).replace("\0", "_") if scheme.lower() in WEB else rest
    return PurePosixPath(rest.replace("\\", "_"))


def name_of(address: str) -> str:
    """The name of the file, such as this machine may have it."""
    name = path_of(address).name
    return "file" if name in ("", ".", "..") else name


@contextmanager
def store_errors(address: str, doing: str = "read") -> Iterator[None]:
    """Whatever goes wrong in a store, as a ValueError that names the address."""
    where = public(address)
    try:
        yield
    except ImportError as error:
        raise ValueError(
            f"{where} needs a library of its store: {error} (of S3 and the web: pip install 'intarsia[remote]')"
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{where}: no such file or folder") from None
    except Exception as error:  # every store has errors of its own
        if type(error) is ValueError:
            raise
        raise ValueError(f"{where}: {_reason(error, address, doing)}") from error


def _reason(error: Exception, address: str, doing: str) -> str:
    status = getattr(error, "status", None)
    kind = type(error).__name__
    who = "; who asks is said as the store's own library wants it (of S3: AWS_PROFILE, or FSSPEC_S3_ANON=true)"
    if isinstance(error, PermissionError) or status in (401, 403):
        return f"may not be {doing}: forbidden{'' if is_web(address) else who}"
    if kind == "NoCredentialsError":  # of S3
        return f"may not be {doing}: no credentials were found{who}"
    if status == 0:  # of aiohttp, where no answer was final: redirections without an end
        return f"cannot be {doing}: {kind}"
    if isinstance(status, int):
        return f"cannot be {doing}: the server says {status} {getattr(error, 'message', '')}".rstrip()
    if {base.__name__ for base in type(error).__mro__} & set(_SILENT) or isinstance(error, TimeoutError):
        there = f" (AWS_ENDPOINT_URL is {end})" if (end := os.environ.get("AWS_ENDPOINT_URL")) and kind else ""
        there = there if scheme_of(address) == "s3" else ""
        return f"cannot be {doing}: nobody answers there{there}: {kind}"
    text = str(error)
    if is_web(address):
        text = text.replace(address, public(address))
    return f"cannot be {doing}: {kind}: {text}"


def opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it. Call it within `store_errors`.

    Raises ValueError for addresses within addresses, without fsspec, and while the network is forbidden.
    """
    if "::" in address:
        raise ValueError(f"{address[:200]}: addresses within addresses (::) are not read; give that of the file itself")
    if is_offline() and scheme_of(address) not in HERE:
        raise ValueError(f"{public(address)}: the network is not asked: {OFFLINE} is set")
    fsspec = _fsspec()
    options: dict[str, Any] = {}
    if is_web(address) and "client_kwargs" not in fsspec.config.conf.get(scheme_of(address), {}):
        patience = importlib.import_module("aiohttp").ClientTimeout(None, sock_connect=TO_CONNECT, sock_read=PATIENCE)
        options["client_kwargs"] = {"timeout": patience, "trust_env": True}  # proxies, as everybody has them
    system, path = fsspec.core.url_to_fs(address, **options)
    return system, str(path)


def _fsspec() -> Any:
    try:
        return importlib.import_module("fsspec")
    except ImportError as error:
        raise ValueError(f'files behind addresses need fsspec: pip install "intarsia[remote]" ({error})') from None


# --- Reading ------------------------------------------------------------------------------------------------------


def fetch_file(address: str, folder: Path) -> Path:
    """A copy of a file in a folder, under its own name.

    Raises ValueError naming the address if it cannot be had whole, or is larger than `LARGEST`; OSError of this
    machine's disk.
    """
    target = folder / name_of(address)
    with store_errors(address):
        system, path = opened(address)
        if not is_web(address) and scheme_of(address) != "s3" and system.isdir(path):  # S3 says it by itself
            raise ValueError(f"{public(address)}: is a folder, expected a file")
        system.get_file(path, str(target), callback=_counting(address))
    return target


@contextmanager
def copied(address: str) -> Iterator[Path]:
    """A copy of a file for as long as this lasts; errors about it name the address. Raises as `fetch_file`."""
    with tempfile.TemporaryDirectory(prefix="intarsia-") as folder:
        file = fetch_file(address, Path(folder))
        try:
            yield file
        except ValueError as error:
            raise ValueError(str(error).replace(str(file), public(address))) from None


def _counting(address: str) -> Any:
    def check(size: int | None, value: int, **_: Any) -> None:
        if max(size or 0, value) > LARGEST:
            raise ValueError(f"{public(address)}: has more than {LARGEST:,} bytes")

    return importlib.import_module("fsspec.callbacks").Callback(hooks={"largest": check})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """address: of the file. relative: its path below what was searched; its name, if that was the file. size: bytes."""

    address: str
    relative: str
    size: int


def list_files(address: str) -> list[StoredFile]:
    """The file of an address, or all files below it; or of a pattern, those that match it. In no order.

    Raises ValueError naming the address if there are none, or the store does not say.
    """
    with store_errors(address):
        system, path = opened(address)
        system.invalidate_cache()
        if "*" in path or "[" in path:
            found = system.glob(path, detail=True)
            path = re.split(r"[^/]*[*\[]", path, maxsplit=1)[0]
        else:
            found = system.find(path, detail=True)
    root = path.rstrip("/")
    beginning = re.split(r"[^/]*[*\[]", address, maxsplit=1)[0].rstrip("/")
    files = []
    for name, about in found.items():
        if about.get("type") == "directory" or name.endswith("/"):  # S3 may have an empty object for a folder
            continue
        size = int(about.get("size") or 0)
        if name.rstrip("/") == root:
            files.append(StoredFile(address, PurePosixPath(root).name, size))
        else:
            relative = name[len(root) :].lstrip("/")
            files.append(StoredFile(f"{beginning}/{relative}", relative, size))
    return files


def read_start(address: str, count: int) -> bytes:
    """The first bytes of a file. Raises ValueError naming the address."""
    with store_errors(address):
        system, path = opened(address)
        return bytes(system.cat_file(path, start=0, end=count))


# --- Writing ------------------------------------------------------------------------------------------------------


def put_file(file: Path, address: str) -> None:
    """Give a finished file of this machine its place in a store: there it is whole, or not at all.

    Raises ValueError naming the address.
    """
    with store_errors(address, "written"):
        system, path = opened(address)
        system.put_file(str(file), path)


def remove_file(address: str) -> None:
    """Remove a file of a store, if it is there. Raises ValueError naming the address."""
    with store_errors(address, "removed"):
        system, path = opened(address)
        if system.exists(path):
            system.rm_file(path)
