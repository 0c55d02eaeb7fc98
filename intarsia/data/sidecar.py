"""NAME.SUFFIX.aux.xml: where GDAL writes what it knows of a file and the file has no place for.

Of it the names of bands count here, and colours that a band's values stand for. The format is that of GDAL's
GDALPamDataset.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.bands import PALETTE, FileBands, looked_up
from intarsia.data.tiff import role_of

_BAND = re.compile(r'<PAMRasterBand band="(\d{1,5})"[^<>]*>(.*?)</PAMRasterBand>', re.DOTALL)
_FIELD = re.compile(r"<(ColorInterp|Description)>([^<]*)</")
_ENTRY = re.compile(r'<Entry c1="(\d{1,3})" c2="(\d{1,3})" c3="(\d{1,3})" c4="(\d{1,3})" ?/>')
_LONGEST = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Sidecar:
    """roles, descriptions: of bands, counted from 0. table: colours (256, 3) that the values of the first stand for."""

    roles: Mapping[int, str]
    descriptions: Mapping[int, str]
    table: npt.NDArray[np.uint8] | None

    def applied(
        self, samples: npt.NDArray[Any], file: FileBands, *, is_tiff: bool
    ) -> tuple[npt.NDArray[Any], FileBands]:
        """Samples (H, W, B) and what they are, with what the sidecar says.

        Of a TIFF it says what the bands mean; in other formats that is fixed, for GDAL too.
        """
        descriptions = tuple(self.descriptions.get(band, old) for band, old in enumerate(file.descriptions))
        file = replace(file, descriptions=descriptions)
        if not is_tiff:
            return samples, file
        if (
            self.roles.get(0) == PALETTE
            and self.table is not None
            and samples.dtype == np.uint8
            and file.bits in (0, 8)
        ):
            return looked_up(samples, replace(file, roles=(PALETTE, *file.roles[1:])), self.table)
        words = (self.roles.get(band, old) for band, old in enumerate(file.roles))
        return samples, replace(
            file, roles=tuple(old if word == PALETTE else word for word, old in zip(words, file.roles, strict=True))
        )


def sidecar_path(path: str | Path) -> str:
    """Where the sidecar of a file is, if it has one."""
    return f"{path}.aux.xml"


def read_sidecar(path: str | Path) -> Sidecar | None:
    """The sidecar of a file; None if there is none, or one that says nothing about bands."""
    try:
        with open(sidecar_path(path), "rb") as file:
            text = file.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return None
    roles, descriptions, table = {}, {}, None
    for number, content in _BAND.findall(text):
        band = int(number) - 1
        for name, value in _FIELD.findall(content):
            if name == "Description":
                descriptions[band] = html.unescape(value).strip()
            else:
                roles[band] = role_of(value.strip())
        entries = _ENTRY.findall(content)[:256]
        if band == 0 and entries:
            table = np.zeros((256, 3), np.uint8)
            table[: len(entries)] = np.array(entries, np.int64)[:, :3].clip(0, 255)
    return Sidecar(roles, descriptions, table) if roles or descriptions else None
