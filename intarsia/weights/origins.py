"""What a network's training started from, as its weights file says it, and which licences are free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit, urlunsplit

NOT_FREE = "not for every use"

_FREE = re.compile(
    r"apache(-2\.0)?|mit(-0)?|bsd(-[0-4]-clause(-clear)?)?|0bsd|isc|zlib|unlicense|wtfpl|bsl-1\.0|ncsa|postgresql|"
    r"cc0(-1\.0)?|cc-by(-sa)?-\d\.\d|pddl|odbl(-1\.0)?|odc-by(-1\.0)?|cdla-(permissive|sharing)-\d\.0|etalab-2\.0|"
    r"(a|l)?gpl(-\d\.\d)?(-only|-or-later)?|mpl-2\.0|epl-[12]\.0|eupl-1\.[12]|ecl-2\.0|afl-3\.0|osl-3\.0|artistic-2\.0|"
    r"ms-pl|openmdw-1\.0",
)
"""Licences of any use, under whatever conditions of naming and sharing, as SPDX or the hub writes them."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a part of a network started from.

    part: of the network, or "model" for all of it. asked_for: the name that the person or the config gave; of a file
    its name alone. address: where it was fetched, as far as anybody may know it. sha256, licence: "" where unknown.
    """

    part: str
    asked_for: str = ""
    address: str = ""
    sha256: str = ""
    licence: str = ""

    def __str__(self) -> str:
        address = f" ({self.address})" if self.address not in ("", self.asked_for) else ""
        return f"{self.part} from {self.asked_for or 'a file'}{address}, {described(self.licence)}"


def described(licence: str) -> str:
    """A licence in words: "licence MIT"; one that is not free is said to be "not for every use"."""
    if not licence:
        return "licence not known"
    return f"licence {licence}" if is_free(licence) else f"licence {licence} ({NOT_FREE})"


def is_free(licence: str) -> bool:
    """Whether a licence is one of any use. One that nobody knows is not."""
    return _FREE.fullmatch(licence.strip().lower().replace(" ", "-")) is not None


def warnings_of(licence: str, pretrained: Iterable[Origin]) -> list[str]:
    """What who uses weights should know of their licences, in words: theirs, and those of others that are not free."""
    own = [f"licence of these weights: {described(licence).removeprefix('licence ')}"] if licence else []
    return [*own, *(f"they started from {one}" for one in pretrained if one.licence and not is_free(one.licence))]


def origins(records: Iterable[Mapping[str, Any]]) -> tuple[Origin, ...]:
    """What run.json notes of loaded weights, as the weights file says it: without paths of this machine.

    What the loaded files started from themselves (`started_from`) comes behind each.
    """
    found: dict[Origin, None] = {}
    for record in records:
        said = {name: str(record.get(name) or "") for name in (field.name for field in fields(Origin))}
        said["asked_for"] = _name(said["asked_for"] or str(record.get("file") or ""))
        said["address"] = _public(said["address"])
        found[Origin(**said)] = None
        found |= dict.fromkeys(origins(record.get("started_from") or ()))
    return tuple(found)


def _name(written: str) -> str:
    """A name, or an address that anybody may know; of a path its last part."""
    if "://" in written:
        return _public(written)
    return written.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _public(address: str) -> str:
    """An address without what only its user should know: names, passwords and signatures."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return address
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", parts.fragment))
