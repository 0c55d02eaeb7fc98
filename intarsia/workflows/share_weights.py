"""Weights to the Hugging Face Hub and back: `intarsia weights push` and `pull`."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from intarsia.io.whole_files import write_text, write_whole
from intarsia.terminal import say, warn
from intarsia.version import __version__
from intarsia.weights.download import OFFLINE, is_offline
from intarsia.weights.file import KEY, SUFFIX, WeightsMeta, read_meta, write_described
from intarsia.weights.maps.folder import CARD
from intarsia.weights.tensor_file import read_header
from intarsia.workflows.hub import LOGIN, WEIGHTS, HubAddress, HubError, client, endpoint, fetch, library, told
from intarsia.workflows.locate import local
from intarsia.workflows.model_card import MARK, RunFacts, model_card
from intarsia.workflows.names import find_weights

MAIN = "main"
SHOWN = 5
_PATH = re.compile(r"(file://)?(/[^/\\]|~[^/\\]*[/\\]|[A-Za-z]:[\\/]|\\\\[^\\]).*")


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """What is asked of a push.

    weights: a file that Intarsia wrote, or the folder of a run. address: hf://OWNER/NAME, perhaps @BRANCH.
    licence: of the file from now on; None leaves what it says. private: nobody else sees the repository.
    revision: a branch. dry_run: a folder for the files that would be sent. message: of the commit.
    strip_paths: leave out the folders of this machine. overwrite: replace a card of somebody else's, or files in
    `dry_run`.
    """

    weights: str
    address: str
    licence: str | None = None
    private: bool = False
    revision: str | None = None
    dry_run: Path | None = None
    message: str | None = None
    strip_paths: bool = False
    overwrite: bool = False


def push_weights(request: PushRequest) -> None:
    """Send a weights file and its model card to a repository of the hub, in one commit; it is made if need be.

    Raises ValueError for a file that nobody could use alone, and HubError where the hub does not take it.
    """
    where = _goal(request.address, request.revision)
    file = _file(request.weights)
    before = read_meta(file)
    meta = replace(
        before,
        licence=before.licence if request.licence is None else request.licence.strip(),
        config=without_paths(before.config) if request.strip_paths else before.config,
    )
    paths = list(dict.fromkeys(paths_in(meta.config)))
    if paths:
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        warn(
            f"the config in {file} names folders of this machine, which everybody will read: "
            f"{', '.join(paths[:SHOWN])}{more}. With --strip-paths only their last parts are sent"
        )
    if not meta.licence:
        warn("no licence is given, and the card says so; say what others may do with it by --licence, as in MIT")
    values = sum(math.prod(entry["shape"]) for name, entry in read_header(file).items() if name != "__metadata__")
    shown = replace(where, revision="" if where.revision == MAIN else where.revision)
    card = model_card(shown, meta, RunFacts.read(file.parent, meta) if file.name == WEIGHTS else RunFacts(), values)
    if request.dry_run is not None:
        _write(request.dry_run, file, before, meta, card, overwrite=request.overwrite)
        return
    with tempfile.TemporaryDirectory(prefix="intarsia-push-") as folder:
        sent = file
        if meta != before:
            sent = Path(folder) / WEIGHTS
            write_described(file, sent, meta)
        _send(where, sent, card, request)
    say(f"next: intarsia predict {shown} IMAGES -o OUT")


def _goal(address: str, revision: str | None) -> HubAddress:
    where = HubAddress.parse(address)
    if where.file:
        raise HubError(f"{address}: a repository holds one model, in {WEIGHTS}; leave out /{where.file}")
    if revision and where.revision and revision != where.revision:
        raise HubError(f"--revision {revision} and {address}: give one branch")
    return replace(where, revision=revision or where.revision or MAIN)


def _file(weights: str) -> Path:
    """The file, if it is one that can be used alone."""
    path = local(weights)
    if path is None:
        raise ValueError(f"{weights} does not exist (in {Path.cwd()}); expected a weights file or the folder of a run")
    file = find_weights(path).path
    if file.suffix != SUFFIX or KEY not in read_header(file).get("__metadata__", {}):
        raise ValueError(
            f"{weights} was not written by Intarsia and cannot be used alone; make a file of it that can, and push "
            f"that: intarsia weights convert {weights} -o model.safetensors"
        )
    meta = read_meta(file)
    missing = [name for name in ("config", "classes") if not getattr(meta, name)]
    if missing:
        raise ValueError(
            f"{file} does not say its {' and '.join(missing)}, so that nobody could use it alone. Push what a training "
            "or `intarsia weights convert` has written"
        )
    return file


def _write(folder: Path, file: Path, before: WeightsMeta, meta: WeightsMeta, card: str, *, overwrite: bool) -> None:
    taken = [folder / name for name in (WEIGHTS, CARD) if (folder / name).exists()]
    if taken and (not overwrite or any(one.samefile(file) for one in taken)):
        raise ValueError(f"--dry-run {folder}: {taken[0].name} is there already; choose another folder, or --overwrite")
    out = folder / WEIGHTS
    if meta != before:
        write_described(file, out, meta)
    else:
        _copy(file, out)
    write_text(folder / CARD, card)
    say(f"what would be sent: {out}, {folder / CARD}; nothing was")


def _copy(source: Path, out: Path) -> None:
    with open(source, "rb") as data:
        write_whole(out, lambda file: shutil.copyfileobj(data, file))


# --- Sending ------------------------------------------------------------------------------------------------------


def _send(where: HubAddress, file: Path, card: str, request: PushRequest) -> None:
    hub, repository = library(), where.repository
    if is_offline():
        raise HubError(f"{OFFLINE} forbids to send anything; --dry-run DIR writes what would be sent")
    if hub.get_token() is None:
        raise HubError(f"nothing can be sent without a token of yours: {LOGIN}")
    with told(where, writing=True):
        speaker = client()
        speaker.create_repo(repository, private=True if request.private else None, exist_ok=True)
        if request.private and speaker.model_info(repository).private is False:
            raise HubError(
                f"hf://{repository} is there already, and everybody can read it; make it private in its settings "
                "first, or leave out --private"
            )
        if where.revision != MAIN:
            speaker.create_branch(repository, branch=where.revision, exist_ok=True)
        files = {WEIGHTS: file}
        operations = [
            hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(one)) for name, one in files.items()
        ]
        if request.overwrite or not _is_of_others(where):
            operations.append(hub.CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=card.encode()))
        else:
            warn(f"{CARD} there was not written by Intarsia, and is kept; replace it with --overwrite")
        made = speaker.create_commit(
            repository,
            operations=operations,
            commit_message=request.message or f"Weights and model card, by Intarsia {__version__}",
            revision=where.revision,
        )
    say(f"sent: {endpoint() or 'https://huggingface.co'}/{repository}, commit {made.oid[:8]}")


def _is_of_others(where: HubAddress) -> bool:
    """Whether a person has written the card that is there."""
    found = client().model_info(where.repository, revision=where.revision)
    if CARD not in [one.rfilename for one in found.siblings or ()]:
        return False
    file = library().hf_hub_download(where.repository, CARD, revision=where.revision, endpoint=endpoint())
    return MARK not in Path(file).read_text(encoding="utf-8", errors="replace")


# --- Paths of this machine ----------------------------------------------------------------------------------------


def paths_in(values: Any) -> Iterator[str]:
    """Absolute paths among the texts of a config."""
    if isinstance(values, str):
        if _PATH.fullmatch(values):
            yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from paths_in(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from paths_in(value)


def without_paths(values: Any) -> Any:
    """A config in which of every absolute path the last part is left."""
    if isinstance(values, str):
        return re.split(r"[/\\]", values.rstrip("/\\"))[-1] if _PATH.fullmatch(values) else values
    if isinstance(values, Mapping):
        return {key: without_paths(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(without_paths(value) for value in values)
    return values


# --- Fetching -----------------------------------------------------------------------------------------------------


def pull_weights(
    address: str, *, out: Path | None = None, revision: str | None = None, overwrite: bool = False
) -> Path:
    """Fetch weights of the hub, look whether they can be read, and give where they are.

    out: a copy, as a file or in a folder; by default they stay in the hub's cache.

    Raises ValueError where they cannot be had or read, or `out` is taken.
    """
    where = HubAddress.parse(address)
    if revision:
        if where.revision and where.revision != revision:
            raise HubError(f"--revision {revision} and {address}: give one of them")
        where = replace(where, revision=revision)
    path = fetch(str(where))
    found = find_weights(path)
    if out is not None:
        path = _put(path, out, overwrite=overwrite)
    classes = f", {len(found.meta.classes)} classes" if found.meta.classes else ""
    say(f"{where}: {found.origin}, {len(found.tensors)} tensors{classes}")
    if found.meta.licence:
        say(f"licence: {found.meta.licence}")
    return path


def _put(path: Path, out: Path, *, overwrite: bool) -> Path:
    if path.is_dir():
        if out.suffix == SUFFIX or out.is_file():
            raise ValueError(f"--out {out}: these weights are a folder of files; name a folder")
        pairs = [(file, out / file.relative_to(path)) for file in sorted(path.rglob("*")) if file.is_file()]
    else:
        pairs = [(path, out if out.suffix == path.suffix and not out.is_dir() else out / path.name)]
    for _, copy in pairs:
        if copy.exists() and not overwrite:
            raise ValueError(f"--out {out}: {copy} exists already; replace it with --overwrite, or choose another name")
    for file, copy in pairs:
        _copy(file, copy)
    return out if path.is_dir() else pairs[0][1]
