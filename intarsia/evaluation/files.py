"""A report as JSON and CSV. Fractions of 1; what is not a number is null in JSON and empty in CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from intarsia.contracts import Report
from intarsia.io.whole_files import write_text


def report_as_dict(report: Report) -> dict[str, Any]:
    """The content of eval.json: means by name, "classes" by name, "absent", "images"; "threshold",
    "thresholds" by name, "losses" if any.

    "parts" has the same of each of several data sets.
    """
    summary = {name: _number(value) for name, value in report.summary.items()}
    return {
        **({"mIoU": summary["mIoU"]} if "mIoU" in summary else {}),
        **summary,
        "classes": {c.name: {name: _number(value) for name, value in c.values.items()} for c in report.classes},
        "absent": list(report.absent),
        "images": report.images,
        **({"threshold": report.threshold} if report.threshold is not None else {}),
        **({"thresholds": dict(report.thresholds)} if report.thresholds else {}),
        **({"losses": {name: _number(value) for name, value in report.losses.items()}} if report.losses else {}),
        **({"parts": {name: report_as_dict(part) for name, part in report.parts.items()}} if report.parts else {}),
    }


def write_report(report: Report, folder: Path) -> None:
    """Write eval.json and eval.csv into a folder."""
    write_text(folder / "eval.json", json.dumps(report_as_dict(report), indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "eval.csv", _as_csv(report))


def _as_csv(report: Report) -> str:
    scores = list(report.classes[0].values) if report.classes else []
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    own = ["threshold"] if report.thresholds else []
    table.writerow(["class", *scores, "pixels", *own])
    for entry in report.classes:
        row = [entry.name, *(_number(entry.values[score]) for score in scores), entry.pixels]
        table.writerow([*row, *(report.thresholds.get(entry.name) for _ in own)])
    means = (_number(report.summary.get(f"m{score}", math.nan)) for score in scores)
    table.writerow(["mean", *means, "", *("" for _ in own)])
    return text.getvalue()


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
