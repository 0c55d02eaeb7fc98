"""Writes the table of docs/export.md: what each method is as an exported file, in each format.

    python scripts/exports.py                    the page, of what was found until now
    python scripts/exports.py --measure          exports what was not tried yet, half a minute each, and writes the page
    python scripts/exports.py --measure NAME ... these again, by the names of results.json

What was found is in `scripts/exporting/results.json`; each network is kept when it is done, so that one may break off.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from exporting.measuring import CASES, FORMATS, LARGEST_DIFFERENCE, ROUNDINGS, Row, measure, read, versions
from exporting.networks import KINDS, NETWORKS, Network

TARGET = Path(__file__).resolve().parents[1] / "docs" / "export.md"
BEGIN = "<!-- made by scripts/exports.py: begin -->"
END = "<!-- made by scripts/exports.py: end -->"
TITLES = {"onnx": "ONNX", "openvino": "OpenVINO", "pt2": "pt2"}
CELLS = {"any": "any", "one": "one size", "no": "no"}
HEAD = (
    "Each method was exported in a small form, its files compared with torch: images of {sizes}, {batches} at once, "
    "larger ones where a network sees no smaller. *any* means that no logit differs by more than {difference:g} of the "
    "largest, or than {roundings} times what rounding does to it in torch. ONNX files were run by onnxruntime "
    "{onnxruntime}, with OpenVINO {openvino} and torch {torch} beside it. `python scripts/exports.py --measure` does "
    "it again."
)


def sections() -> Iterator[str]:
    """The tables by kind of method, and why what is not right at any size is not."""
    rows = read()
    for kind, networks in KINDS.items():
        yield from (f"### {kind[:1].upper()}{kind[1:]}", "")
        yield "| method | trunk | " + " | ".join(TITLES.values()) + " |"
        yield "| --- " * (2 + len(TITLES)) + "|"
        for network in networks:
            row = rows.get(network.source, {})
            cells = [_cell(row, name) for name in FORMATS]
            yield f"| {network.method} | {network.trunk} | " + " | ".join(cells) + " |"
        yield ""
        yield from _reasons(networks, rows)


def _cell(row: Row, name: str) -> str:
    return CELLS[row[name]["state"]] if name in row else "not tried"


def _reasons(networks: Sequence[Network], rows: dict[str, Row]) -> Iterator[str]:
    """A line for each reason, with all that it is for."""
    found: dict[str, list[str]] = {}
    for network in networks:
        for name in FORMATS:
            why = rows.get(network.source, {}).get(name, {}).get("why", "")
            if why:
                trunk = f" on {network.trunk}" if network.trunk else ""
                found.setdefault(_shortened(why), []).append(f"{network.method}{trunk} ({TITLES[name]})")
    for why, several in found.items():
        yield f"* {', '.join(several)}: {why}."
    if found:
        yield ""


def _shortened(why: str) -> str:
    """A reason without the file, and without formulas longer than a line."""
    if guard := re.search(r"Guard failed: (.*)", why):
        formula = guard[1]
        return f"torch asks for `{formula}`" if len(formula) < 80 else "torch asks for sizes of another kind"
    return why.rstrip(".")


def render() -> str:
    """What stands between the marks."""
    sizes = ", ".join(f"{width} x {height}" for (height, width), _ in CASES)
    batches = sorted({batch for _, batch in CASES})
    head = HEAD.format(
        sizes=sizes,
        batches=f"{batches[0]} to {batches[-1]}",
        difference=LARGEST_DIFFERENCE,
        roundings=ROUNDINGS,
        **versions(),
    )
    return textwrap.fill(head, 140) + "\n\n" + "\n".join(sections()).rstrip() + "\n"


def page(text: str) -> str:
    """The page with the table as it should be. Raises ValueError if the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{TARGET} has no marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{render()}{END}{after}"


def main() -> None:
    """Measure, if asked to, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="NAME", help="export networks: those named, or what is missing")
    words = parser.parse_args()
    if words.measure is not None:
        done = read()
        wanted = [one for one in NETWORKS if one.source in words.measure or one.source not in done]
        for network, row in measure([one for one in wanted if not words.measure or one.source in words.measure]):
            states = ", ".join(f"{name} {row[name]['state']}" for name in FORMATS)
            print(f"{network.source}: {states}", flush=True)
    TARGET.write_text(page(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
