"""What an interrupted run leaves behind and a later one goes on from: a folder of finished strips beside the output.

The folder of ``out.tif`` is ``out.tif.parts``. In it are ``run.json``, which says of what run the strips are, and one
file for each strip of a panel, written aside and renamed, so that a file that exists is whole. The files that the user
wants are put together there, too, and get their names when they are complete; then the folder goes.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.io.whole_files import write_bytes, write_text

_RUN = "run.json"


class FinishedStrips:
    """The finished strips of one run. described: everything that the values in them depend on.

    Raises ValueError if there are strips of another run, naming what differs, unless `restart`, which removes them.
    """

    def __init__(self, out: Path, described: Mapping[str, str], *, restart: bool = False) -> None:
        self.folder = _folder(out)
        if restart and self.folder.exists():
            shutil.rmtree(self.folder)
        before = self.described(out)
        if before is not None and before != described:
            names = sorted(name for name in {*before, *described} if before.get(name) != described.get(name))
            lines = (f"  {name}: {before.get(name, 'none')} then, {described.get(name, 'none')} now" for name in names)
            raise ValueError(
                f"{self.folder} holds strips of an interrupted run that was another one:\n"
                + "\n".join(lines)
                + "\nGive the same files and options to go on with it, or --restart to begin anew"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if before is None:
            write_text(self.folder / _RUN, json.dumps(dict(described), indent=1))

    @staticmethod
    def described(out: Path) -> dict[str, str] | None:
        """What the strips that are there depend on; None if there are none. Raises ValueError for another folder."""
        folder = _folder(out)
        if not folder.exists():
            return None
        try:
            found: dict[str, str] = json.loads((folder / _RUN).read_text("utf-8"))
        except FileNotFoundError:
            if any(folder.iterdir()):
                raise ValueError(f"{folder} is in the way: it was not left by an interrupted run") from None
            return None
        except ValueError as error:
            raise ValueError(f"{folder / _RUN} is damaged ({error}): begin anew with --restart") from None
        return found

    def has(self, panel: int, row: int) -> bool:
        """Whether a strip is finished."""
        return self._file(panel, row).exists()

    def put(self, panel: int, row: int, layers: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep a strip: its layers by name; none at all where there is no data."""
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, values in layers.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
        write_bytes(self._file(panel, row), data.getvalue())

    def get(self, panel: int, row: int, layer: str) -> npt.NDArray[Any] | None:
        """A layer of a finished strip, None where there is no data. Raises ValueError if the file is damaged."""
        path = self._file(panel, row)
        try:
            with np.load(path, allow_pickle=False) as strip:
                return strip[layer] if layer in strip.files else None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it, and run the same command again") from None

    def remove(self) -> None:
        """The run is over."""
        shutil.rmtree(self.folder)

    def _file(self, panel: int, row: int) -> Path:
        return self.folder / f"strip_{panel:03d}_{row:05d}.npz"


def _folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")
