"""Which tensors of a checkpoint are the network's, and what their names are without the trainer's additions.

Trainers put a network's tensors under keys of their own ("state_dict", "net", "model.state_dict", "model_ema"), and
words before every name ("model." of Lightning, "module." of parallel training and of averaged models, "_orig_mod." of
torch.compile). What can be told from the file alone is told here; what is a guess comes with a note. A person who knows
better names both: a key and a prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intarsia.terminal import printable
from intarsia.weights.maps import recognise
from intarsia.weights.safe_pickle import Opaque
from intarsia.weights.tensor_info import TensorInfo

USUAL = ("state_dict", "model_state_dict", "model", "")
"""Where the tensors are, in the order in which they are looked for; "" is the file itself."""

TOLD = (
    "model.state_dict", "model.model", "module", "net", "network", "net_state_dict", "network_state_dict", "weights",
    "params", "student", "segmentor", "checkpoint.state_dict",
)  # fmt: skip
"""Keys that are taken where none of the usual ones is there, and said."""

AVERAGED = ("ema", "average")
"""Words in the keys of averaged weights: other ones are taken before them."""

NOT_NETWORKS = ("optim", "sched", "scaler", "callbacks", "loops", "rng", "random", "message_hub", "hyper_parameters")
"""Beginnings of keys under which trainers keep other tensors."""

DEPTH, MOST_ENTRIES, MOST_TENSORS = 4, 20_000, 100_000

OWN = ("backbone.", "decode_head.")
"""What names of a whole network of ours begin with."""

_PARALLEL = "module."
_COMPILED = "_orig_mod."
_WRAPPERS = (_PARALLEL, "model.", "net.", "network.", "segmentor.", "ema_model.", "averaged_model.", "student.")
_COUNTERS = ("n_averaged",)
SHOWN = 6


class ChoiceError(ValueError):
    """There are no tensors where they were looked for; the message says where there are some."""


@dataclass(frozen=True)
class Chosen:
    """The network's tensors.

    names: today's name -> name in the set. key: where in the file the set is. notes: what was guessed, in words.
    """

    names: Mapping[str, str]
    key: str = ""
    notes: tuple[str, ...] = ()
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)


def choose(content: Any, *, key: str | None = None, prefix: str | None = None) -> Chosen:
    """The network's tensors among everything that a checkpoint holds.

    content: what was unpickled. key: dotted path of the set to take, instead of a guess. prefix: what every name of the
    network begins with there; the others are left out.

    Raises ChoiceError where there are none, naming what there is.
    """
    sets = dict(_sets(content))
    if key is not None:
        if key not in sets:
            raise ChoiceError(f"it holds no tensors under {printable(key, 100)!r}; {_listed(sets)}")
        chosen, notes = key, []
    else:
        if not sets:
            return Chosen({})
        chosen = min(sets, key=lambda one: _rank(one, len(sets[one])))
        notes = _said(chosen, sets)
    tensors = sets[chosen]
    if len(tensors) > MOST_TENSORS:
        raise ChoiceError(f"it holds {len(tensors):,} tensors; a network has at most {MOST_TENSORS:,}")
    names, more = plain_names(list(tensors), prefix=prefix)
    return Chosen(names, chosen, (*notes, *more), {name: tensors[old] for name, old in names.items()})


def _rank(key: str, size: int) -> tuple[int, int]:
    """Smaller is likelier."""
    averaged = any(word in key.lower() for word in AVERAGED)
    for place, keys in enumerate((USUAL, TOLD)):
        if key in keys and not (key == "" and size == 1):
            return place * 100 + keys.index(key) + averaged * 1_000, 0
    return 500 + averaged * 1_000, -size


def _said(key: str, sets: Mapping[str, Mapping[str, TensorInfo]]) -> list[str]:
    """What the user should know about the choice of a set."""
    notes = []
    if key not in USUAL:
        notes.append(f"the tensors under {printable(key, 100)!r} were taken")
    chosen = set(sets[key])
    others = [one for one, tensors in sets.items() if one != key and 2 * len(chosen & set(tensors)) > len(chosen)]
    if others:
        listed = ", ".join(printable(repr(one), 100) for one in others[:SHOWN])
        notes.append(f"of several sets of the same tensors {key!r} was taken; choose another with --key: {listed}")
    return notes


def _listed(sets: Mapping[str, Mapping[str, TensorInfo]]) -> str:
    if not sets:
        return "there are tensors nowhere in it"
    shown = [f"{printable(key, 100)!r} ({len(tensors)})" for key, tensors in list(sets.items())[:SHOWN]]
    more = f", and {len(sets) - SHOWN} more" if len(sets) > SHOWN else ""
    return f"there are tensors under {', '.join(shown)}{more}"


# --- Sets of tensors in a file ------------------------------------------------------------------------------------


def _sets(content: Any) -> Iterator[tuple[str, dict[str, TensorInfo]]]:
    """(dotted key, tensors by name) of every set, the outer ones first."""
    looked_at = 0
    open_: list[tuple[str, Any, int]] = [("", content, DEPTH)]
    for key, value, depth in open_:  # grows while it is walked
        if isinstance(value, Opaque):
            tensors = module_tensors(value)
        elif isinstance(value, Mapping):
            tensors = {
                name: one for name, one in value.items() if isinstance(name, str) and isinstance(one, TensorInfo)
            }
            for name, inner in value.items():
                looked_at += 1
                if looked_at > MOST_ENTRIES or depth == 0:
                    break
                if isinstance(name, str) and isinstance(inner, (Mapping, Opaque)) and not _is_trainers(name):
                    open_.append((f"{key}.{name}" if key else name, inner, depth - 1))
        else:
            continue
        tensors = {name: one for name, one in tensors.items() if name not in _COUNTERS}
        if tensors:
            yield key, tensors


def _is_trainers(name: str) -> bool:
    return name.lower().startswith(NOT_NETWORKS)


def module_tensors(module: Opaque) -> dict[str, TensorInfo]:
    """The tensors of a network that was pickled whole, under the names that its state dict would have.

    Nothing of its class is needed: a network keeps parameters, buffers and parts in dicts of these names.
    """
    found: dict[str, TensorInfo] = {}
    seen: set[int] = set()
    open_: list[tuple[str, Any]] = [("", module)]
    while open_ and len(found) <= MOST_TENSORS:
        prefix, part = open_.pop()
        state = part.state if isinstance(part, Opaque) else None
        if not isinstance(state, dict) or id(part) in seen or len(prefix) > 1_000:
            continue
        seen.add(id(part))
        dropped = state.get("_non_persistent_buffers_set")
        for group in ("_parameters", "_buffers"):
            values = state.get(group)
            for name, value in values.items() if isinstance(values, dict) else ():
                kept = group == "_parameters" or not (isinstance(dropped, list) and name in dropped)
                if isinstance(value, TensorInfo) and isinstance(name, str) and kept:
                    found[prefix + name] = value
        parts = state.get("_modules")
        inside = list(parts.items()) if isinstance(parts, dict) else []
        open_ += [(f"{prefix}{name}.", inner) for name, inner in reversed(inside) if isinstance(name, str)]
    return found


# --- Names --------------------------------------------------------------------------------------------------------


def plain_names(names: Sequence[str], *, prefix: str | None = None) -> tuple[dict[str, str], list[str]]:
    """Names without what trainers add -> names as they are, and notes on what was left out.

    prefix: of the names to take, instead of a guess; a dot at its end may be left out. Raises ChoiceError where no name
    begins with it.
    """
    plain = {name.replace(_COMPILED, ""): name for name in names}
    if prefix is not None:
        wanted = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
        found = _below(plain, wanted)
        if not found:
            begin = printable(wanted, 100)
            raise ChoiceError(f"no tensor has a name that begins with {begin!r}; they begin with {_beginnings(names)}")
        return found, []
    plain = _unwrapped(plain, (_PARALLEL,))
    if any(name.startswith(OWN) for name in plain):
        return plain, []
    for start in _prefixes(plain):
        inside = _below(plain, start)
        if all(any(name.startswith(own) for name in inside) for own in OWN):
            others = len(plain) - len(inside)
            left = f"; {others} others are left out ({_beginnings(plain, start)})" if others else ""
            return inside, [f"the tensors whose names begin with {start!r} were taken, without it{left}"]
    if recognise(plain) is None:
        plain = _unwrapped(plain, _WRAPPERS)
    return plain, []


def _below(names: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name[len(prefix) :]: old for name, old in names.items() if name.startswith(prefix) and name != prefix}


def _unwrapped(names: dict[str, str], wrappers: Sequence[str]) -> dict[str, str]:
    """Without the words that stand before every single name."""
    for _ in range(DEPTH):
        shared = next((word for word in wrappers if names and all(name.startswith(word) for name in names)), None)
        if shared is None:
            break
        names = _below(names, shared)
    return names


def _prefixes(names: Mapping[str, str]) -> list[str]:
    """The words, up to three, before which a network of ours might have its names: those in front of "backbone."."""
    found: dict[str, None] = {}
    for name in names:
        before, inside, _ = name.partition("." + OWN[0])
        if inside and before.count(".") < 3 and len(found) < 50:
            found[f"{before}."] = None
    return list(found)


def _beginnings(names: Sequence[str] | Mapping[str, str], besides: str = "") -> str:
    """The first words of names, with how many have them."""
    counts: dict[str, int] = {}
    for name in names:
        if not besides or not name.startswith(besides):
            first = name.partition(".")[0]
            counts[first] = counts.get(first, 0) + 1
    shown = [f"{printable(word, 60)} ({count})" for word, count in list(counts.items())[:SHOWN]]
    return ", ".join(shown) + (", ..." if len(counts) > SHOWN else "")
