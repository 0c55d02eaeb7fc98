"""The results as tables for benchmarks/README.md, and the curves as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from peer_parts.checks import lines
from peer_parts.running import Results
from peer_parts.works import OURS, TITLES, Work

QUIET = 0.1
"""How far rounds may lie apart on a quiet machine, as a share of the faster."""

COLOURS = {OURS: "#1f5fbf", "mmseg": "#d1495b", "transformers": "#e0a030", "smp": "#3f8f5f", "torchvision": "#7a5fa0"}


def markdown(results: Results, todo: Sequence[Work]) -> str:
    """Machine and versions, whether it was the same work, the table, the curves in numbers."""
    facts = results.facts
    parts = [f"{facts['machine']}; {facts.get('date', '')}; one thread each. {_loads(results)}"]
    if facts["quick"]:
        parts.append("**Toy sizes: whether the script works. These figures mean nothing.**")
    parts.append("\n".join(_versions(facts)))
    if results.checks:
        parts += ["### Whether it is the same work", "\n".join(lines(results.checks))]
    if rows := [row for work in todo if not work.curve and (row := _row(results, work))]:
        parts += ["### Seconds and memory", _explained(), "\n".join([*_head(), *rows])]
    if curves := _curves(results, todo):
        parts += ["### Growth", *(_curve(results, points) for points in curves)]
    if results.errors:
        parts += ["### What could not be measured", "\n".join(_errors(results, todo))]
    return "\n\n".join(parts) + "\n"


def _explained() -> str:
    return (
        "Seconds of the processor and MB of memory, and in brackets both of ours as shares of theirs. Drift is how far "
        f"rounds of one figure lie apart, at most; above {QUIET:.0%} (*) the machine was not quiet, and the "
        "figures are no more than orders of magnitude."
    )


def _versions(facts: dict[str, Any]) -> Iterator[str]:
    for who, found in facts["versions"].items():
        yield f"- {TITLES[who]}: " + ", ".join(f"{name} {version}" for name, version in found.items())
    for who, reason in facts["absent"].items():
        yield f"- {TITLES[who]}: **absent**: {reason}"


def _loads(results: Results) -> str:
    loads = [one["load"] for rounds in results.figures.values() for one in rounds]
    return f"Load of the machine {min(loads):.1f} to {max(loads):.1f}." if loads else ""


def best(results: Results, work: Work, who: str) -> tuple[float, float] | None:
    """Seconds by the work's clock, divided by what it is per, and MB: the least of all rounds."""
    rounds = results.figures.get(work.key(who))
    if not rounds:
        return None
    return min(one[work.clock] for one in rounds) / work.per, min(one["memory"] for one in rounds)


def drift(results: Results, work: Work) -> float | None:
    """How far the rounds of one figure of a row lie apart, at most; None of a single round."""
    times = [[one[work.clock] for one in results.figures.get(work.key(who), [])] for who in work.who]
    return max((max(found) / min(found) - 1 for found in times if len(found) > 1), default=None)


def _head() -> list[str]:
    return [f"| work | {' | '.join(TITLES.values())} | drift |", "|" + " --- |" * (len(TITLES) + 2)]


def _row(results: Results, work: Work) -> str:
    found = {who: best(results, work, who) for who in work.who}
    if not any(found.values()):
        return ""
    ours = found.get(OURS)
    cells = []
    for who in TITLES:
        figures = found.get(who)
        if figures is None:
            cells.append("")
            continue
        text = f"{seconds(figures[0])}, {figures[1]:.0f} MB"
        if who != OURS and ours:
            text += f" ({share(ours[0], figures[0])}, {share(ours[1], figures[1])})"
        cells.append(text)
    return f"| {work.name} | {' | '.join(cells)} | {_drift(results, work)} |"


def _drift(results: Results, work: Work) -> str:
    apart = drift(results, work)
    return "one round" if apart is None else f"{apart:.0%}{'*' if apart > QUIET else ''}"


def seconds(value: float) -> str:
    """In three digits, small ones as milliseconds."""
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def share(ours: float, theirs: float) -> str:
    """A ratio in two digits; nothing of figures within what cannot be measured."""
    return f"{ours / theirs:.2f}" if theirs >= 1e-9 and ours >= 0 else "-"


def _curves(results: Results, todo: Sequence[Work]) -> list[list[Work]]:
    """The points of each curve that are known; a single one is no curve."""
    names = dict.fromkeys(work.curve for work in todo if work.curve)
    all_of = [[work for work in todo if work.curve == name] for name in names]
    known = [[work for work in points if any(best(results, work, who) for who in work.who)] for points in all_of]
    return [points for points in known if len(points) > 1]


def _curve(results: Results, points: Sequence[Work]) -> str:
    """A table: a row for each library, a column for each point."""
    rows = []
    for who in points[0].who:
        found = [best(results, work, who) for work in points]
        if any(found):
            cells = [f"{seconds(one[0])}, {one[1]:.0f} MB" if one else "" for one in found]
            rows.append(f"| {TITLES[who]} | {' | '.join(cells)} |")
    head = f"| {points[0].curve} | {' | '.join(f'{work.x:.3g}' for work in points)} |"
    apart = [f"{work.x:.3g}: {_drift(results, work)}" for work in points]
    return "\n".join([head, "|" + " --- |" * (len(points) + 1), *rows]) + f"\n\nDrift: {', '.join(apart)}."


def _errors(results: Results, todo: Sequence[Work]) -> Iterator[str]:
    names = {work.key(who): (work, who) for work in reversed(todo) for who in work.who}
    for key, error in results.errors.items():
        work, who = names[key]
        yield f"- {work.name or f'{work.curve}: {work.x:.3g}'}, {TITLES[who]}: {error}"


def pictures(results: Results, todo: Sequence[Work], file: Path) -> bool:
    """Time and memory of each curve side by side; whether there was anything to draw, and something to draw it with."""
    shown = _curves(results, todo)
    if not shown:
        return False
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 0.6 + 2.6 * len(shown)), layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.subplots(len(shown), 2, squeeze=False)
        for points, (left, right) in zip(shown, rows, strict=True):
            _draw(results, points, left, right)
        handles = {handle.get_label(): handle for row in rows for handle in row[0].get_lines()}
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), frameon=False)
        figure.savefig(file, dpi=150)
    return True


def _draw(results: Results, points: Sequence[Work], left: Any, right: Any) -> None:
    for who in points[0].who:
        known = [(work.x, one) for work in points if (one := best(results, work, who))]
        for axes, which in ((left, 0), (right, 1)):
            values = [one[which] for _, one in known]
            wide = 2.4 if who == OURS else 1.4
            axes.plot([x for x, _ in known], values, "o-", color=COLOURS[who], lw=wide, ms=4, label=TITLES[who])
    alone = points[0].clock == "seconds"
    units = ("seconds", "MB") if alone else ("seconds on the clock", "MB without the workers")
    for axes, unit in zip((left, right), units, strict=True):
        axes.set_xlabel(points[0].curve)
        axes.set_ylabel(unit)
        axes.set_ylim(0, 1.08 * max(axes.get_ylim()[1], 1e-9))
        axes.grid(alpha=0.25)
