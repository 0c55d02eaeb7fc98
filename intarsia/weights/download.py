"""Files of the web, into a folder of this user: whole and checked, or not at all.

HTTP itself (connections, proxies, certificates, redirects) is `requests`, the lock `filelock`. That a download goes on
where it broke off, is compared with the first digits of a hash, and is never taken for finished before that, none of
the usual libraries does together.

    INTARSIA_CACHE    folder of what was downloaded; by default intarsia in the user's folder for such files
    INTARSIA_MIRROR   where to look first: an address or a folder that has every file under the name of its host, so
                      that https://host/a/b.pth is looked for at MIRROR/host/a/b.pth; or pairs FROM=TO of beginnings of
                      addresses; several, separated by blanks, one after the other
    INTARSIA_OFFLINE  with 1, nothing is fetched; what is in the cache or in a folder of INTARSIA_MIRROR is used
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from intarsia.io.cache import CACHE as CACHE
from intarsia.io.cache import cache_root
from intarsia.io.digest import file_hash
from intarsia.io.stores import OFFLINE as OFFLINE
from intarsia.io.stores import is_offline as is_offline
from intarsia.io.text import encodable
from intarsia.io.whole_files import DiskFullError, put_in_place, write_text
from intarsia.terminal import progress, say

if TYPE_CHECKING:
    import requests

MIRROR = "INTARSIA_MIRROR"

TO_CONNECT, PATIENCE = 10.0, 30.0
"""Seconds after which a server is given up that cannot be reached, or is silent."""
SLOWEST, SLOW_FOR = 1_000, 60.0
"""Bytes a second: a server that sends less for so many seconds is given up."""
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try, while tries bring nothing; a server that cannot be reached is tried twice."""
MOST_TRIES = 100
LARGEST = 2**36
"""Bytes of the largest file that is fetched; a server that goes on and on is left."""

_BLOCK = 2**18
_REDIRECTS = 10
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""Answers of a server that may be otherwise a little later."""


class DownloadError(ValueError):
    """A file that could not be fetched, or is not the one that was expected. Says where to put it by hand."""


class OfflineError(DownloadError):
    """A file that is not here, while `INTARSIA_OFFLINE` is set."""


class _BrokenOffError(Exception):
    """A try that may succeed when it is made again.

    after: seconds that the server wants to be left alone. reached: whether there was a server.
    """

    def __init__(self, text: str, after: float = 0.0, *, reached: bool = True) -> None:
        super().__init__(text)
        self.after, self.reached = after, reached


class _RefusedError(Exception):
    """An answer that the same question would be given again."""


@dataclass(frozen=True)
class _Wanted:
    """file: where it will be. sha256: first digits, or ""."""

    address: str
    file: Path
    sha256: str

    @property
    def by_hand(self) -> str:
        return f"To do it by hand, fetch {self.address} and put it at {self.file}"


def cache_folder() -> Path:
    """Where downloads are kept."""
    return cache_root() / "weights"


def cached_file(address: str) -> Path:
    """Where the file of an address is or will be kept."""
    path = unquote(urlsplit(address).path)
    name = re.sub(r"[^\w.+=@-]", "_", path.rpartition("/")[2]).lstrip(".")[-150:] or "weights"
    return cache_folder() / hashlib.sha256(address.encode()).hexdigest()[:8] / name


def fetch(address: str, *, sha256: str = "") -> Path:
    """The file at an address of the web, from the cache if it is there.

    sha256: the first digits of its hash; "" checks its length alone, and that it is no page of a browser.

    Several processes may ask for the same file: one fetches it and the others wait. What was interrupted goes on.

    Raises DownloadError, naming the file, the address and the place to put it by hand; DiskFullError.
    """
    address = encodable(address.strip())
    if not re.match(r"https?://[^/]+/", address):
        raise DownloadError(f"expected an address such as https://host/file.pth, found {address[:200]!r}")
    if not re.fullmatch(r"[0-9a-f]{0,64}", sha256):
        raise DownloadError(f"expected digits of a SHA-256, found {sha256[:100]!r}")
    wanted = _Wanted(address, cached_file(address), sha256)
    if wanted.file.is_file():
        return _checked(wanted, wanted.file)
    for place in _places(address):
        if isinstance(place, Path) and place.is_file():
            return _checked(wanted, place)
    if is_offline():
        raise OfflineError(f"{wanted.file.name} is not here, and {OFFLINE} forbids to fetch it. {wanted.by_hand}")
    wanted.file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(wanted):
        if not wanted.file.is_file():
            _download(wanted)
    return _checked(wanted, wanted.file)


def _checked(wanted: _Wanted, file: Path) -> Path:
    if wanted.sha256 and not (found := file_hash(file)).startswith(wanted.sha256):
        raise DownloadError(
            f"{file} is damaged or another file: its SHA-256 begins with {found[:8]}, expected {wanted.sha256}. "
            f"Remove it; it is fetched again from {wanted.address}"
        )
    return file


def _places(address: str) -> Iterator[str | Path]:
    """Where to look, mirrors first."""
    for mirror in os.environ.get(MIRROR, "").split():
        start, marked, other = mirror.partition("=")
        if marked and re.match(r"https?://", start):
            if not address.startswith(start):
                continue
            found = other + address.removeprefix(start)
        else:
            found = mirror.rstrip("/") + "/" + address.partition("://")[2]
        yield found if re.match(r"https?://", found) else Path(found)
    yield address


@contextmanager
def _alone(wanted: _Wanted) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(wanted.file.with_name(f"{wanted.file.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another process is fetching {wanted.file.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# --- Tries --------------------------------------------------------------------------------------------------------


def _download(wanted: _Wanted) -> None:
    problems = []
    part = _Part(wanted)
    with progress(f"fetching {wanted.file.name}") as bar:
        for place in _places(wanted.address):
            if isinstance(place, Path):
                continue
            try:
                _from(place, part, bar)
                put_in_place(part.file, wanted.file)
                part.forget()
                return
            except _RefusedError as error:
                problems.append(f"{place}: {error}")
    raise DownloadError(f"{wanted.file.name} could not be fetched. {'; '.join(problems)}. {wanted.by_hand}")


def _from(address: str, part: _Part, bar: Callable[[int, int], None]) -> None:
    """Fetch the whole of a file from one place into `part`. Raises _RefusedError."""
    idle, started_over = 0, False
    for _ in range(MOST_TRIES):
        before = part.size()
        try:
            _try(address, part, bar)
        except _BrokenOffError as error:
            idle = 0 if part.size() > before else idle + 1
            if idle > (len(PAUSES) if error.reached else 1):
                kept = f"; {part.size():,} bytes are kept, and the next time it goes on there" if part.size() else ""
                raise _RefusedError(f"{error}{kept}") from error
            time.sleep(max(PAUSES[max(idle - 1, 0)], min(error.after, PATIENCE)))
            continue
        problem = part.problem()
        if problem is None:
            return
        in_pieces = part.resumed
        part.empty()
        if started_over or not in_pieces:
            raise _RefusedError(problem)
        started_over = True  # the pieces may have been of two files
    raise _RefusedError(f"broke off {MOST_TRIES} times")


def _try(address: str, part: _Part, bar: Callable[[int, int], None]) -> None:
    import requests

    try:
        with requests.Session() as session, _answer(session, address, part.asks(address)) as answer:
            total = part.begin(address, answer)
            bar(part.size(), total or part.size())
            _copy(answer, part, total, bar)
    except (requests.RequestException, TimeoutError, ConnectionError) as error:
        reached = not isinstance(error, requests.ConnectionError)
        raise _BrokenOffError(f"no answer, or broken off ({_shortly(error)})", reached=reached) from error


def _answer(session: requests.Session, address: str, headers: dict[str, str]) -> requests.Response:
    """The answer of the last of all redirects. Raises _RefusedError, _BrokenOffError."""
    for _ in range(_REDIRECTS):
        wait = (TO_CONNECT, PATIENCE)
        answer = session.get(address, headers=headers, stream=True, timeout=wait, allow_redirects=False)
        following = answer.next
        if following is None or following.url is None:
            return _accepted(answer)
        answer.close()
        if address.startswith("https://") and not following.url.startswith("https://"):
            raise _RefusedError(f"leads to {following.url[:200]!r}, which is not encrypted")
        address = following.url
    raise _RefusedError(f"leads from one address to the next, {_REDIRECTS} times")


def _accepted(answer: requests.Response) -> requests.Response:
    status = answer.status_code
    if status in (200, 206, 416):
        return answer
    text = f"the server answered {status} {encodable(answer.reason or '')[:80]}".rstrip()
    after = answer.headers.get("Retry-After", "")
    answer.close()
    if status in _AGAIN:
        raise _BrokenOffError(text, float(after) if after.isdecimal() else 0.0)
    raise _RefusedError(text)


def _copy(answer: requests.Response, part: _Part, total: int | None, bar: Callable[[int, int], None]) -> None:
    import urllib3

    size, clock, seen = part.size(), time.monotonic(), part.size()
    with open(part.file, "ab") as out:
        try:
            for block in answer.raw.stream(_BLOCK, decode_content=False):
                size += len(block)
                if size > LARGEST or (total is not None and size > total):
                    raise _RefusedError(
                        f"sends more than the {min(total or LARGEST, LARGEST):,} bytes that it may have"
                    )
                out.write(block)
                bar(size, total or size)
                if (passed := time.monotonic() - clock) > SLOW_FOR:
                    if size - seen < SLOWEST * passed:
                        raise _BrokenOffError(f"sends less than {SLOWEST:,} bytes a second")
                    clock, seen = time.monotonic(), size
        except urllib3.exceptions.HTTPError as error:
            raise _BrokenOffError(f"broken off after {size:,} bytes ({_shortly(error)})") from error
        except OSError as error:
            if shutil.disk_usage(part.file.parent).free < _BLOCK:
                raise DiskFullError(f"no room on the disk for {part.wanted.file}, {size:,} bytes so far") from error
            raise
    if total is not None and size < total:
        raise _BrokenOffError(f"broken off after {size:,} bytes of {total:,}")


def _shortly(error: BaseException) -> str:
    """The innermost of the errors that libraries have put around one another."""
    inner: Any = error
    while isinstance(inner, BaseException):
        error = inner
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
    text = inner if isinstance(inner, str) else str(error)
    return encodable(text).replace("\n", " ")[:200] or type(error).__name__


# --- What has come so far -----------------------------------------------------------------------------------------


class _Part:
    """The file until it is whole, and beside it which file of the server it is the beginning of.

    resumed: whether it was put together of several answers.
    """

    def __init__(self, wanted: _Wanted) -> None:
        self.wanted = wanted
        self.file = wanted.file.with_name(f"{wanted.file.name}.part")
        self._notes = wanted.file.with_name(f"{wanted.file.name}.part.json")
        self.resumed = False

    def size(self) -> int:
        """Bytes that have come."""
        return self.file.stat().st_size if self.file.is_file() else 0

    def asks(self, address: str) -> dict[str, str]:
        """Headers that ask for the rest, if it is sure that it is the rest, or that a hash will show that it is not."""
        headers = {"Accept-Encoding": "identity"}
        known = self._read()
        version = known.get("version", "") if known.get("address") == address else ""
        if self.size() and (version or self.wanted.sha256):
            headers["Range"] = f"bytes={self.size()}-"
            if version:
                headers["If-Range"] = version
        return headers

    def begin(self, address: str, answer: requests.Response) -> int | None:
        """Make the file ready for what the answer brings; gives the size of the whole."""
        total = _length(answer)
        if answer.status_code != 200:
            first, total = _range(answer)
            if first is None or first != self.size():
                self.empty()
                raise _BrokenOffError("the server gave another piece than it was asked for")
            self.resumed = True
        else:
            self.empty()
        if total is not None and total > LARGEST:
            raise _RefusedError(f"has {total:,} bytes, more than {LARGEST:,}")
        free = shutil.disk_usage(self.file.parent).free
        if total is not None and total - self.size() > free:
            raise DiskFullError(f"no room on the disk for {self.wanted.file}: {total:,} bytes, {free:,} are free")
        headers = answer.headers
        tag = headers.get("ETag", "")
        version = "" if tag.startswith("W/") else tag or headers.get("Last-Modified", "")
        write_text(self._notes, json.dumps({"address": address, "version": version}))
        return total

    def problem(self) -> str | None:
        """Why the whole is not the file that was wanted, or None."""
        if not self.size():
            return "is empty"
        if self.wanted.sha256:
            found = file_hash(self.file)
            if found.startswith(self.wanted.sha256):
                return None
            return (
                f"is not the file that is expected: its SHA-256 begins with {found[:8]}, expected "
                f"{self.wanted.sha256}; it was not kept{self._page()}"
            )
        return f"it was not kept{self._page()}" if self._page() else None

    def _page(self) -> str:
        with open(self.file, "rb") as data:
            start = data.read(200).lstrip().lower()
        return ": it is a page for a browser" if start.startswith((b"<!doctype html", b"<html")) else ""

    def empty(self) -> None:
        """Begin again from nothing."""
        self.resumed = False
        self.forget()
        self.file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove what is noted beside the file."""
        self._notes.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _length(answer: requests.Response) -> int | None:
    written = answer.headers.get("Content-Length", "")
    return int(written) if written.isdecimal() and len(written) < 19 else None


def _range(answer: requests.Response) -> tuple[int | None, int | None]:
    """First byte and size of the whole, of an answer with a piece; a place behind the end has none to give."""
    match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", answer.headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])
