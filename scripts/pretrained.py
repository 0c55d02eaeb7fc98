"""Write docs/pretrained.md: the table of pretrained backbones as a page. `python scripts/pretrained.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from intarsia.weights.pretrained.table import NOT_USABLE, PLACED, PRETRAINED, SHORT_NAMES, Pretrained
from intarsia.weights.pretrained.usual import USUAL

PAGE = Path(__file__).resolve().parent.parent / "docs" / "pretrained.md"

HEAD = """\
# Pretrained backbones

*Written by `scripts/pretrained.py` from the table in `intarsia/weights/pretrained/table.py`.*

Every name here is one that `intarsia train ... --pretrained NAME` takes, and so is every way in which configs of
MMSegmentation write it. Files that they expect under `pretrain/` are known by their names. `--pretrained auto`, the
default on own data, takes what stands in "usual for". How such a file gets into a network is in
[Fine-tuning](fine-tuning.md#pretrained-backbones). The digits are the first of the file's SHA-256, by which a download
is checked.
"""

NOT_CHECKED = """
## Not checked

The names of these files do not end in digits of their hash, and none are known from elsewhere: {names}.
What was downloaded is in `run.json` with its whole hash. The BEiT files are those of timm, as the address of the first
ones is gone. `pretrain/beit_*.pth` and `pretrain/mae_*.pth`, where they lie, are read instead.

## What does not resolve

Every other address of the 681 published configs is in the table. These configs name image classifiers for encoders of
image and text that are CLIP's; begin them with a whole model (`--weights`), or with `--pretrained none`:

{configs}

`encnet_r50s-d8_4xb4-80k_ade20k-512x512` has a stem of 128 channels and names a file with one of 64: the stem starts
from random weights, there as here. So do the stems of the `bisenetv1_*-in1k-pre_*` recipes, which have one 7 x 7
convolution and name files with three of 3 x 3.
"""


def render() -> str:
    """The page."""
    names = ", ".join(f"`{entry.name}`" for entry in PRETRAINED.values() if not entry.sha256)
    configs = "\n".join(f"* `{config}`: {why}" for config, why in NOT_USABLE.items())
    return "\n".join([HEAD, *_table(), NOT_CHECKED.format(names=names, configs=configs)])


def _table() -> Iterator[str]:
    yield "| name | configs write | usual for | file | SHA-256 | licence |"
    yield "| --- | --- | --- | --- | --- | --- |"
    written = _written()
    usual: dict[str, str] = {name: kind for kind, _, name in USUAL}
    for entry in PRETRAINED.values():
        names = ", ".join(f"`{name}`" for name in written.get(entry.name, []))
        cells = [f"`{entry.name}`", names, usual.get(entry.name, ""), _link(entry), entry.sha256, entry.licence]
        yield f"| {' | '.join(cells)} |"


def _written() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for scheme, names in SHORT_NAMES.items():
        for short, name in names.items():
            found.setdefault(name, []).append(f"{scheme}://{short}")
    for file, name in PLACED.items():
        found.setdefault(name, []).append(f"pretrain/{file}")
    return found


def _link(entry: Pretrained) -> str:
    return f"[{entry.address.rpartition('/')[2]}]({entry.address})"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
