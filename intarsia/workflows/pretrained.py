"""What the backbone of a new training starts from: found, fetched, made to fit, put into the network, and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from intarsia.config.lowering.names import CHILDREN
from intarsia.config.schema.fates import bare
from intarsia.guide.published import find_published, near_names
from intarsia.io.digest import file_hash
from intarsia.spec import Component, RunSpec, StartSpec
from intarsia.weights.file import (
    KEY,
    SUFFIX,
    WeightsMeta,
    WeightsMismatchError,
    apply_state,
    grouped,
    read_meta,
    read_state,
)
from intarsia.weights.foreign import read_tensor
from intarsia.weights.maps.folder import is_folder
from intarsia.weights.origins import warnings_of
from intarsia.weights.pretrained.find import find_pretrained, unknown
from intarsia.weights.pretrained.fit import fit_to, may_lack
from intarsia.weights.pretrained.hf_hub import KINDS as OF_TRANSFORMERS
from intarsia.weights.pretrained.hf_hub import as_in_transformers, folder_state
from intarsia.weights.pretrained.table import Pretrained
from intarsia.weights.pretrained.timm_hub import KINDS as OF_TIMM
from intarsia.weights.pretrained.timm_hub import as_published
from intarsia.weights.pretrained.usual import usual_weights
from intarsia.weights.tensor_file import read_header
from intarsia.workflows.locate import known, local, locate
from intarsia.workflows.names import find_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from intarsia.weights.pretrained.fit import FirstConvolution
    from intarsia.workflows.run_options import RunOptions

COST = "expect a lower score after the same steps, most of all with few images"
"""What random weights cost, in few words."""

_BACKBONES = ("backbone", "image_encoder")


@dataclass(frozen=True)
class Begun:
    """What a new training starts from.

    notes: in words. loaded: for run.json: part, what was asked for, file, address, SHA-256, licence, tensors; and what
    a file of ours was begun with itself.
    """

    notes: tuple[str, ...] = ()
    loaded: tuple[Mapping[str, Any], ...] = ()


class NotToBeHadError(ValueError):
    """Pretrained weights that are neither here nor can be fetched."""


@dataclass(frozen=True)
class _Source:
    """parts: where weights go. written: what asked for them. prefix: of their names in the file."""

    parts: tuple[str, ...]
    written: str
    prefix: str | None = None
    entry: Pretrained | None = None


def start_from(task: Any, spec: RunSpec, options: RunOptions) -> Begun:
    """Put pretrained weights into the parts of a new task, as its config asks for (`StartSpec`).

    What a config's own parts name is loaded as far as it fits, as MMSegmentation does, and what does not fit is listed.
    What a person has named must fit, but for what only classifies images or only segments them.

    Raises ValueError for weights that a person has named and that cannot be had, are damaged or do not fit.
    """
    start = spec.start
    if start.pretrained == "none":
        return Begun()
    explicit = start.pretrained not in (None, "auto")
    sources = [_asked(spec, start, options)] if explicit else _own(spec)
    if not sources and start.pretrained == "auto":
        found = _usual(spec)
        if found is None:
            kind = _backbone_type(spec)
            return Begun(
                (f"starts from random weights: none are known for a {kind} of this size; {COST} (--pretrained FILE)",)
            )
        sources = [found]
    begun = Begun()
    for source in sources:
        begun = _joined(begun, _started(task, source, start, options, explicit=explicit))
    return begun


def load_into(backbone: nn.Module, written: str, first_convolution: FirstConvolution = "repeat") -> Begun:
    """Put pretrained weights into a backbone that stands alone.

    written: a file, an address or a name, as after `--pretrained`. Raises ValueError as `start_from`.
    """
    from torch import nn

    from intarsia.workflows.run_options import RunOptions

    holder = SimpleNamespace(model=nn.ModuleDict({"backbone": backbone}))
    source = _Source(("backbone",), written)
    return _started(holder, source, StartSpec(written, first_convolution), RunOptions(out=Path()), explicit=True)


def _started(task: Any, source: _Source, start: StartSpec, options: RunOptions, *, explicit: bool) -> Begun:
    try:
        file = _file(source)
    except NotToBeHadError as error:
        if explicit:
            said = str(error)
            raise NotToBeHadError(
                f"--pretrained {source.written}, {said}" if said.startswith("which ") else said
            ) from error
        parts = ", ".join(source.parts)
        how = "--weights FILE --allow-partial" if start.pretrained is None else "--pretrained FILE"
        return Begun(
            (
                f"{parts}: starts from random weights, not from {source.written}, {error}; {COST}; give "
                f"pretrained ones with {how}",
            )
        )
    begun, failed = Begun(), []
    for part in source.parts:
        try:
            begun = _joined(begun, _loaded(task, part, file, source, start, options, explicit=explicit))
        except WeightsMismatchError as error:
            failed.append(error)
            begun = _joined(begun, Begun((f"{part}: starts from random weights: no tensor of {file} fits; {COST}",)))
    if failed and (explicit or len(failed) == len(source.parts)):
        raise failed[0]
    return begun


def _joined(first: Begun, second: Begun) -> Begun:
    return Begun((*first.notes, *second.notes), (*first.loaded, *second.loaded))


# --- Which weights ------------------------------------------------------------------------------------------------


def _own(spec: RunSpec) -> list[_Source]:
    """What the parts of a config name, parts of one file together."""
    parts: dict[tuple[str, str | None], list[str]] = {}
    for part, written in spec.pretrained:
        address, marked, prefix = written.rpartition("#") if "#" in written else (written, "", "")
        parts.setdefault((address, prefix if marked else None), []).append(part)
    return [_Source(tuple(found), address, prefix) for (address, prefix), found in parts.items()]


def _asked(spec: RunSpec, start: StartSpec, options: RunOptions) -> _Source:
    """What a person has named. Raises ValueError where nothing is usual for the backbone."""
    usual = _usual(spec)
    if start.pretrained == "imagenet":
        if usual is None:
            raise ValueError(
                f"no pretrained weights are known for a {_backbone_type(spec)} of this size; give them as "
                "--pretrained FILE, or begin with --pretrained none"
            )
        return usual
    parts = dict.fromkeys(part for part, _ in spec.pretrained) or {_place(spec, usual): None}
    return _Source(tuple(parts), str(start.pretrained), options.prefix)


def _usual(spec: RunSpec) -> _Source | None:
    """What is usual for the backbone, or for the one inside it."""
    found = _backbone(spec)
    while found is not None:
        part, component = found
        entry = usual_weights(bare(component.type), component.args)
        if entry is not None:
            return _Source((part,), entry.name, entry=entry)
        found = _inner(part, component)
    return None


def _backbone(spec: RunSpec) -> tuple[str, Component] | None:
    for part in _BACKBONES:
        component = spec.model.args.get(part)
        if isinstance(component, Component):
            return part, component
    return None


def _inner(part: str, component: Component) -> tuple[str, Component] | None:
    inner = component.args.get("backbone")
    if not isinstance(inner, Component):
        return None
    return f"{part}.{CHILDREN.get((bare(component.type), 'backbone_cfg'), 'backbone')}", inner


def _place(spec: RunSpec, usual: _Source | None) -> str:
    """The part that a file of a backbone is for."""
    if usual is not None:
        return usual.parts[0]
    found = _backbone(spec)
    if found is None:
        raise ValueError("the model has no backbone that pretrained weights could be for")
    return (_inner(*found) or found)[0]


def _backbone_type(spec: RunSpec) -> str:
    found = _backbone(spec)
    return bare(found[1].type) if found is not None else "model"


# --- Where they are -----------------------------------------------------------------------------------------------


def _file(source: _Source) -> Path:
    """The file or folder on this machine. Raises NotToBeHadError, whose text goes on a sentence."""
    if source.entry is None and (here := local(source.written)) is not None:
        return here
    entry = _entry(source)
    if entry is not None:
        return obtain(entry)
    if not known(source.written):
        near = near_names(source.written)
        hint = f"; or a published checkpoint, such as {' or '.join(near)}" if near else ""
        raise NotToBeHadError(f"{unknown(source.written)}{hint}")
    try:
        return locate(source.written).path
    except (ValueError, OSError) as error:
        raise NotToBeHadError(f"which cannot be had: {error}") from error


def _entry(source: _Source) -> Pretrained | None:
    """Of the table, or a published checkpoint of a whole network, of which the parts are taken."""
    found = source.entry or find_pretrained(source.written)
    checkpoint = find_published(source.written)
    if found is not None or checkpoint is None:
        return found
    return Pretrained(checkpoint.recipe, checkpoint.address, checkpoint.sha256)


def obtain(entry: Pretrained) -> Path:
    """A file of pretrained weights, from the cache or the network. Raises NotToBeHadError."""
    if entry.address in _FAILED:  # a training is put together several times; it waits for a dead network once
        raise NotToBeHadError(_FAILED[entry.address])
    from intarsia.weights.download import fetch

    try:
        if not entry.address.startswith(("http://", "https://")):
            return locate(entry.address).path
        return fetch(entry.address, sha256=entry.sha256)
    except (ValueError, OSError) as error:
        _FAILED[entry.address] = f"which cannot be had: {error}"
        raise NotToBeHadError(_FAILED[entry.address]) from error


_FAILED: dict[str, str] = {}


# --- Into the network ---------------------------------------------------------------------------------------------


def _loaded(
    task: Any, part: str, file: Path, source: _Source, start: StartSpec, options: RunOptions, *, explicit: bool
) -> Begun:
    entry = _entry(source)
    record: dict[str, Any] = {"part": part, "asked_for": source.written, "file": str(file)}
    if entry is not None:
        record |= {"address": entry.address, "licence": entry.licence}
    meta = WeightsMeta()
    if file.is_file():
        meta = _meta_of(file)
        record |= {"sha256": file_hash(file), **said_by(meta)}
    owner, _, tensor = part.rpartition(".")
    if file.is_file() and part in dict(task.model.named_buffers()):
        getattr(task.model.get_submodule(owner), f"set_{tensor}")(read_tensor(file))
        return Begun((f"{part}: read from {file}",), ({**record, "tensors": 1},))
    module: nn.Module = task.model.get_submodule(part)
    kind = type(module).__name__
    if file.is_file():
        own_key = options.key if explicit else None
        foreign = (*OF_TIMM, *OF_TRANSFORMERS)
        state, notes = read_state(file, key=own_key, prefix=source.prefix, translate=kind not in foreign)
    elif kind in OF_TRANSFORMERS and is_folder(file):
        state, notes, said_of_it = folder_state(file, source.prefix)
        record |= said_of_it
    else:
        found = find_weights(file, key=options.key, prefix=source.prefix)
        state, notes = found.state()
        meta = found.meta
        record |= {"sha256": file_hash(found.path), **said_by(meta)}
    state, others = _of_part(state, part)
    state = _NAMED.get(kind, _with_own_word)(state, module)
    fitted = fit_to(state, module, kind=kind, first_convolution=start.first_convolution)
    optional = may_lack(kind, list(module.state_dict()))
    strict = explicit and not options.allow_partial
    report = apply_state(module, fitted.state, allow_partial=not strict, optional=optional)
    said = [f"weights of {file}: {report}", *notes, *fitted.notes]
    left_out = [*fitted.left_out, *others]
    if left_out:
        said.append(f"{len(left_out)} left out, of classifiers or other parts: {', '.join(grouped(left_out, lines=4))}")
    said += warnings_of(record.get("licence", ""), meta.pretrained)
    return Begun((f"{part}: {'; '.join(said)}",), ({**record, "tensors": len(report.loaded)},))


def said_by(meta: WeightsMeta) -> dict[str, Any]:
    """What weights say of their licence and of what their training started from, for run.json."""
    licence = {"licence": meta.licence} if meta.licence else {}
    return {**licence, **({"started_from": [asdict(one) for one in meta.pretrained]} if meta.pretrained else {})}


def _meta_of(file: Path) -> WeightsMeta:
    """Of a file of ours; files of others say nothing."""
    ours = file.suffix == SUFFIX and KEY in read_header(file).get("__metadata__", {})
    return read_meta(file) if ours else WeightsMeta()


def _of_part(state: Mapping[str, Tensor], part: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of one part, without its name before theirs, and the names of others in the file."""
    for start in (f"{part}.", "backbone."):
        inside = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
        if inside:
            return inside, tuple(name for name in state if not name.startswith(start))
    return dict(state), ()


def _with_own_word(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The tensors under the names of a backbone that keeps its whole network in one attribute, as wrappers do.

    All names in such a backbone begin with one word ("net.conv_stem.weight"), those of the file do not. Where any name
    of the file is one of the backbone's already, all are left as they are; what has no counterpart is, too.
    """
    own = module.state_dict()
    words = {name.partition(".")[0] for name in own}
    if len(words) != 1 or any(name in own for name in state):
        return dict(state)
    word = words.pop()
    return {f"{word}.{name}" if f"{word}.{name}" in own else name: value for name, value in state.items()}


_NAMED: Mapping[str, Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]]] = {
    **dict.fromkeys(OF_TIMM, as_published),
    **dict.fromkeys(OF_TRANSFORMERS, as_in_transformers),
}
"""Type of a backbone whose network is another library's -> the tensors under the names that they have there."""
