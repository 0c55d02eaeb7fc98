"""The Hugging Face Hub: addresses there, files fetched from there, and what its answers mean.

hf://OWNER/NAME                    the weights file of a repository, or its folder as transformers saves one
hf://OWNER/NAME@REVISION           a branch, a tag or a commit; a / in its name is written %2F
hf://OWNER/NAME/FILE               one file of it, as in hf://OWNER/NAME@REVISION/FILE
https://huggingface.co/OWNER/NAME  the address of a page is the same, with /tree/REVISION, /blob/REVISION/FILE ... too

HTTP, cache and tokens are those of huggingface_hub, an extra: what other programs have fetched is not fetched again.
Files of weights and their descriptions are fetched and nothing else, most of all no code.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from intarsia.terminal import printable, say
from intarsia.weights.download import OFFLINE, is_offline
from intarsia.weights.maps.folder import CARD, CONFIG, INDEX, PROCESSOR, TENSORS

PREFIX = "hf://"
PAGES = ("https://huggingface.co/", "https://hf.co/")
"""What addresses of its pages begin with."""
WEIGHTS = "weights.safetensors"
"""Of a repository that Intarsia wrote."""

READ = (".safetensors", ".bin", ".pth", ".pt")
"""Suffixes of files of weights that are read."""

LOGIN = "log in by `hf auth login`, or set HF_TOKEN (tokens: https://huggingface.co/settings/tokens)"
SHOWN = 12
_PATTERN = re.compile(r"hf://([\w.-]+)/([\w.-]+?)(?:@([^/@]+))?(?:/(.+))?", re.ASCII)
_PAGE = re.compile(
    r"([\w.-]+)/([\w.-]+)(?:/(?:tree|commit)/([^/?#]+)/?|/(?:blob|resolve|raw)/([^/?#]+)/([^?#]+)|/)?(?:[?#].*)?",
    re.ASCII,
)
_SHARD = r"-\d+-of-\d+"
_CLIENTS = {"requests", "urllib3", "httpx", "httpx2", "httpcore", "httpcore2"}
"""Libraries of HTTP that versions of huggingface_hub stand on; their errors pass through it."""


class HubError(ValueError):
    """What the hub does not give or take, or that it cannot be reached; says how to mend it."""


@dataclass(frozen=True, slots=True)
class HubAddress:
    """revision, file: "" where the address says none."""

    owner: str
    name: str
    revision: str = ""
    file: str = ""

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """The address that is written so, or that a page of the hub has.

        Raises HubError for a text that is no such address.
        """
        match = _PATTERN.fullmatch(_of_page(text.strip()))
        parts = match[4].split("/") if match is not None and match[4] else []
        if match is None or any(part in ("", ".", "..") for part in parts) or "\\" in text:
            shown = printable(repr(text), 200)
            raise HubError(
                f"expected an address such as hf://OWNER/NAME, or hf://OWNER/NAME@BRANCH/FILE; found {shown}"
            )
        return cls(match[1], match[2], unquote(match[3] or ""), match[4] or "")

    @property
    def repository(self) -> str:
        """As the hub writes it."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        revision = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"{PREFIX}{self.repository}{revision}" + (f"/{self.file}" if self.file else "")


def _of_page(text: str) -> str:
    """The address as hf:// has it, where the text is that of a page; else the text."""
    for page in PAGES:
        if text.startswith(page) and (match := _PAGE.fullmatch(text[len(page) :])) is not None:
            owner, name, tree, revision, file = match.groups()
            revision = tree or revision
            return (
                f"{PREFIX}{owner}/{name}" + (f"@{revision}" if revision else "") + (f"/{unquote(file)}" if file else "")
            )
    return text


def library() -> Any:
    """The package huggingface_hub. Raises HubError where it is not installed."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError("addresses of hf:// need huggingface_hub: pip install 'intarsia[hub]'") from error
    return huggingface_hub


def client() -> Any:
    """A speaker to the hub, or to where HF_ENDPOINT points."""
    return library().HfApi(endpoint=endpoint(), library_name="intarsia")


def endpoint() -> str | None:
    """Another server than the hub, or None."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


# --- Fetching -----------------------------------------------------------------------------------------------------


def fetch(address: str) -> Path:
    """The file at an address of the hub, or the folder of a repository as transformers saves one, in the hub's cache.

    Without network, and with INTARSIA_OFFLINE=1, what is in the cache is taken.

    Raises HubError if there is no such thing, nobody may have it, or the hub cannot be reached.
    """
    where = HubAddress.parse(address)
    names = None if is_offline() else _listed(where)
    if names is None:
        folder = _cached(where)
        present = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
        chosen, alone = choose(where, present, all_known=False)
    else:
        chosen, alone = choose(where, names)
        patterns = [glob.escape(name) for name in chosen]
        with told(where):
            folder = Path(
                library().snapshot_download(
                    where.repository, revision=where.revision or None, allow_patterns=patterns, endpoint=endpoint()
                )
            )
    missing = [name for name in chosen if not (folder / name).is_file()]
    if missing:
        raise HubError(f"{where}: {', '.join(missing[:SHOWN])} could not be fetched; try again")
    return folder / chosen[0] if alone else folder


def _listed(where: HubAddress) -> list[str] | None:
    """Names of the files of a repository; None where the hub cannot be reached."""
    try:
        with told(where):
            found = client().model_info(where.repository, revision=where.revision or None)
    except HubError as error:
        if error.__cause__ is None or not _is_unreachable(error.__cause__):
            raise
        say(f"note: {error}; looking into its cache")
        return None
    names = [str(one.rfilename) for one in found.siblings or ()]
    return [name for name in names if "\\" not in name and not {"", ".", ".."} & set(name.split("/"))]


def _cached(where: HubAddress) -> Path:
    """The folder of a repository in the cache."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = library().snapshot_download(
            where.repository, revision=where.revision or None, allow_patterns=[], local_files_only=True
        )
    except LocalEntryNotFoundError as error:
        why = f"{OFFLINE} forbids to fetch it" if is_offline() else "the hub cannot be reached"
        raise HubError(f"{where} is not in the hub's cache, and {why}") from error
    return Path(found)


def choose(where: HubAddress, names: Sequence[str], *, all_known: bool = True) -> tuple[tuple[str, ...], bool]:
    """Which files of a repository are wanted, and whether it is one that stands alone.

    all_known: whether there are no others than `names`; else the only one of several is not taken for the only one.

    Raises HubError for a file that is not there or is none that is read, and where it is not clear which is meant.
    """
    if where.file:
        if not where.file.endswith((*READ, ".json")):
            raise HubError(f"{where} is no file of weights; those that are read end in {', '.join(READ)}")
        if where.file not in names:
            raise HubError(f"{where} is not there{_having(names, all_known)}")
        return (where.file,), True
    if WEIGHTS in names:
        return (WEIGHTS,), True
    if CONFIG in names:
        described = [name for name in (CONFIG, PROCESSOR, CARD) if name in names]
        for tensors in TENSORS:
            if tensors in names:
                return (*described, tensors), False
            if f"{tensors}{INDEX}" in names:
                stem, dot, suffix = tensors.rpartition(".")
                shard = re.compile(re.escape(stem) + _SHARD + re.escape(dot + suffix))
                return (*described, f"{tensors}{INDEX}", *sorted(filter(shard.fullmatch, names))), False
    files = [name for name in names if name.endswith(READ)]
    if len(files) == 1 and all_known:
        return (files[0],), True
    raise HubError(
        f"{where} holds neither {WEIGHTS} nor a model as transformers saves it; name the file that you mean, "
        f"{HubAddress(where.owner, where.name, where.revision)}/FILE{_having(names, all_known)}"
    )


def _having(names: Sequence[str], all_known: bool) -> str:
    files = sorted(name for name in names if name.endswith(READ))
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    what = "files of weights there" if all_known else "in the cache"
    return f"; {what}: {printable(', '.join(files[:SHOWN]), 2_000) or 'none'}{more}"


# --- What its answers mean ----------------------------------------------------------------------------------------


@contextmanager
def told(where: HubAddress, *, writing: bool = False) -> Iterator[None]:
    """Errors of the hub and of the network as a HubError of one line. writing: whether something is sent there."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        text = _meaning(error, where, writing)
        if text is None:
            raise
        raise HubError(text) from error


def _meaning(error: BaseException, where: HubAddress, writing: bool) -> str | None:
    from huggingface_hub import errors

    status = _status(error)
    repository = f"{PREFIX}{where.repository}"
    if isinstance(error, errors.GatedRepoError):
        page = f"{endpoint() or 'https://huggingface.co'}/{where.repository}"
        return f"{repository} is given to those only who accept its terms: do so at {page}, then {LOGIN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} has no branch, tag or commit {where.revision!r}"
    if isinstance(error, errors.RepositoryNotFoundError):
        if writing:
            return f"the hub lets nobody write to {repository} with this token, or does not know it: {LOGIN}"
        return f"there is no {repository}, or it is private and you may not see it; if it is, {LOGIN}"
    if status == 401:
        return f"the hub does not accept the token: {LOGIN}"
    if status == 403:
        what = f"write to {where.owner}" if writing else f"read {repository}"
        return f"your token may not {what}: make one that may, and {LOGIN}; or choose another OWNER"
    if status == 404:
        return f"the hub has no {where}"
    if status == 429:
        return "the hub has been asked too often; try again in a few minutes"
    if status is not None:
        return f"the hub answered {status} for {repository}: {_said(error)}"
    inner = _meaning(error.__cause__, where, writing) if error.__cause__ is not None else None
    if inner is not None:
        return inner
    if _is_unreachable(error):
        return f"the hub cannot be reached ({endpoint() or 'https://huggingface.co'}: {_said(error)})"
    if isinstance(error, RuntimeError):  # of hf_xet, which moves large files and has no errors of its own
        return f"{'sending to' if writing else 'fetching'} {repository} has failed ({_said(error)}); try again"
    return None


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _is_unreachable(error: BaseException) -> bool:
    """Whether there was no answer at all."""
    if _status(error) is not None:
        return False
    if isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__.partition(".")[0] in _CLIENTS:
        return True
    return error.__cause__ is not None and _is_unreachable(error.__cause__)


def _said(error: BaseException) -> str:
    """The server's own words, or the first line of the error's."""
    text = str(getattr(error, "server_message", None) or error).strip()
    return printable(text.splitlines()[0] if text else type(error).__name__, 300)
