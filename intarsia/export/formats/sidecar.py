"""What a file says about itself where its format has no room for that: NAME.json beside it."""

from __future__ import annotations

from pathlib import Path

from intarsia.export.contract import ExportMeta
from intarsia.io.whole_files import write_text


def describe(path: Path, meta: ExportMeta) -> None:
    """Write it, or write it anew."""
    write_text(_beside(path), meta.to_json() + "\n")


def read_meta(path: Path) -> ExportMeta:
    """See `runtime.read_meta`."""
    beside = _beside(path)
    if not beside.is_file():
        raise ValueError(f"{path} does not say what it takes and gives: expected {beside.name} beside it")
    try:
        return ExportMeta.from_json(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{beside}: {error}") from error


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
