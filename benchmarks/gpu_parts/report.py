"""The results as tables for benchmarks/README.md, and as an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def verdict(results: Mapping[str, Any]) -> int:
    """2 where nothing could be checked, 1 where something is wrong, else 0.

    Wrong is a check of correctness (or a self-test) that did not pass, and any comparison that does not hold.
    """
    if not results["checks"] or "nothing" in results:
        return 2
    judged = [check for check in results["checks"] if check["kind"] != "figures"]
    wrong = any(check["result"] not in ("passed", "not reached") for check in judged)
    return int(wrong or any(not one["holds"] for check in results["checks"] for one in check["comparisons"]))


def markdown(results: Mapping[str, Any]) -> str:
    """Machine, checks, figures."""
    if "nothing" in results:
        return str(results["nothing"])
    machine = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    parts = [f"{machine}; {results.get('seconds', 0)} s in all.", _checks(results["checks"])]
    for title, names in _groups(results["checks"]).items():
        if table := _figures([check for check in results["checks"] if check["name"] in names]):
            parts += [f"### {title}", table]
    return "\n\n".join(parts) + "\n"


def _groups(checks: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Checks of one thing make one table: what stands before the colon, and what it is about."""
    groups: dict[str, list[str]] = {}
    for check in checks:
        groups.setdefault(f"{check['name'].partition(':')[0]}: {check['about']}", []).append(check["name"])
    return groups


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| check | result | compared | nearest to its tolerance | seconds |", "| --- | --- | --- | --- | --- |"]
    for check in checks:
        result = check["result"]
        if check["broken"]:
            result += ": " + "; ".join(f"{one['what']}: {one['error']}" for one in check["broken"])[:200]
        found = check["comparisons"]
        missed = [one for one in found if not one["holds"]]
        shown = missed[:3] or sorted((one for one in found if one["tolerance"]), key=_share)[-1:]
        said = "; ".join(f"{one['what']}: {_number(one['error'])} of {_number(one['tolerance'])}" for one in shown)
        count = f"{len(found) - len(missed)} of {len(found)}" if found else ""
        lines.append(f"| {check['name']} | {_cell(result)} | {count} | {_cell(said)} | {check['seconds']} |")
    return "\n".join(lines)


def _share(comparison: Mapping[str, Any]) -> float:
    return float(comparison["error"]) / float(comparison["tolerance"])


def _figures(checks: Sequence[Mapping[str, Any]]) -> str:
    rows = [row for check in checks for row in check["figures"]]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not rows:
        return ""
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(_cell(_number(row.get(key, ''))) for key in columns)} |" for row in rows]
    return "\n".join(lines)


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
