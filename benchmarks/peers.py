"""The same work beside what a user would otherwise take, each library in an environment of its own that is made here.

    make peers                                     or: python benchmarks/peers.py [--out peers_results]
    python benchmarks/peers.py --quick             toy sizes: whether all works; figures mean nothing
    python benchmarks/peers.py --only step labels  some of: check start step labels folder evaluation pipeline curves
    python benchmarks/peers.py --only labels --named windows fcn      of these, what has all of the words in its name

Beside MMSegmentation 1.2.2 (its base package without operations, a stub for the compiled module), transformers,
segmentation_models.pytorch and torchvision. First it is checked that it is the same work: with equal weights the same
loss and the same labels. Then each figure is measured in a process of its own, with one thread, one library after the
other, in --rounds (curves in one less); the fastest counts, and how far the rounds lie apart is in the table ("drift";
above 10 % the machine was not quiet). Seconds are those of the processor, of all threads, but for loaders with workers.
Memory is the peak of the resident set, less what it was before, but for "start", where all counts. Files are drawn,
weights random.

With --turns N both processes stay and do their passes in turn, and the median of the ratios is told (`turns.json`,
`turns.md`): for machines whose speed changes all the time. Start-up, curves and memory are left out.

`results.json` in --out is written after each figure; started again, the script goes on where it was. `report.md` has
the tables for benchmarks/README.md, `curves.png` the curves. An environment takes up to 6 GB (with uv, those that
share files take them once); one that cannot be made is named, and the others go on. The exit code is 1 where the work
was not the same, or something failed, 2 where nothing was measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from peer_parts import checks
from peer_parts.environments import make, usual_place
from peer_parts.report import markdown, pictures
from peer_parts.running import Results, Run, free_gigabytes, measure, run_worker
from peer_parts.turns import Start, Turns, Worker
from peer_parts.works import AREAS, FULL, JOB, OURS, QUICK, SEGFORMER, TITLES, Sizes, Work, works

ROUNDS = 2


def main(arguments: Sequence[str] | None = None, *, run: Run | None = None, start: Start | None = None) -> int:
    """run, start: what does the jobs, in place of workers in environments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("check", *AREAS))
    parser.add_argument(
        "--named", nargs="+", default=(), metavar="WORD", help="works whose names have all of the words"
    )
    parser.add_argument("--peers", nargs="+", choices=[name for name in TITLES if name != OURS], help="these alone")
    parser.add_argument("--envs", type=Path, default=usual_place(), help="folder of environments (%(default)s)")
    parser.add_argument(
        "--photos", type=Path, metavar="DIR", help="the training pipeline with these images/*.jpg, labels/*.png, too"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--turns", type=int, metavar="N", help="libraries side by side, N passes each in turn")
    parser.add_argument("--out", type=Path, default=Path("peers_results"))
    options = parser.parse_args(arguments)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    log = out / "log.txt"
    peers = options.peers or [name for name in TITLES if name != OURS]
    absent: dict[str, str] = {}
    if run is None:
        absent = _environments(peers, options.envs.resolve(), log)
        run = partial(run_worker, place=options.envs.resolve(), log=log)
    versions = _versions([OURS, *(peer for peer in peers if peer not in absent)], run, absent)
    if OURS in absent:
        return 2
    sizes, only = (QUICK if options.quick else FULL), options.only
    photos = None if options.photos is None else options.photos.resolve()
    facts = {"quick": options.quick, "machine": _machine(), "versions": versions, "absent": absent}
    facts["date"] = time.strftime("%Y-%m-%d")
    if options.turns:
        todo = _chosen(only, sizes, photos, options.named)
        with log.open("a", encoding="utf-8") as said:
            begin = start or partial(Worker, place=options.envs.resolve(), log=said)
            return _take_turns(todo, Turns.opened(out / "turns.json", facts), options.turns, sizes, out, begin)
    try:
        results = Results.opened(out / "results.json", facts)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if only is None or "check" in only:
        _check(run, results, sizes, out)
    if only != ["check"]:
        todo = _chosen(only, sizes, photos, options.named)
        _measure(todo, run, results, options.rounds, sizes, out)
    results.save()
    text = markdown(results, works(None, sizes, photos))
    (out / "report.md").write_text(text, encoding="utf-8")
    drawn = pictures(results, works(None, sizes), out / "curves.png")
    print(f"{text}\nwritten: {results.file}, {out / 'report.md'}" + (f", {out / 'curves.png'}" if drawn else ""))
    return int(bool(results.errors or absent) or not all(found["holds"] for found in results.checks.values()))


def _chosen(only: Sequence[str] | None, sizes: Sizes, photos: Path | None, named: Sequence[str]) -> list[Work]:
    """The works of some areas that have some words in their names."""
    areas = None if only is None else [name for name in only if name != "check"]
    return [
        work for work in works(areas, sizes, photos) if all(word in (work.name or work.curve) for word in named)
    ]  # fmt: skip


def _environments(peers: Sequence[str], place: Path, log: Path) -> dict[str, str]:
    """Those that could not be made, and why."""
    absent = {}
    for name in peers:
        print(f"environment {place / name}", file=sys.stderr, flush=True)
        try:
            make(name, place, log)
        except (OSError, subprocess.CalledProcessError) as error:
            absent[name] = f"its environment could not be made ({error}); see {log}"
            print(f"{TITLES[name]}: {absent[name]}", file=sys.stderr, flush=True)
    return absent


def _versions(names: Sequence[str], run: Run, absent: dict[str, str]) -> dict[str, dict[str, str]]:
    """Of who answers; who does not is absent."""
    found = {}
    for name in names:
        answer = run(name, {**JOB, "work": "versions"}, {})
        if "error" in answer:
            absent[name] = answer["error"]
            print(f"{TITLES[name]}: {answer['error']}", file=sys.stderr, flush=True)
        else:
            found[name] = answer["versions"]
    return found


def _machine() -> str:
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    return f"{os.cpu_count()} cores of {model or platform.processor() or platform.machine()}, {platform.system()}"


def _check(run: Run, results: Results, sizes: Sizes, out: Path) -> None:
    folder = out / "work"
    folder.mkdir(exist_ok=True)
    job = {**JOB, "out": str(folder)}
    even = tuple(side - side % 32 for side in sizes.photo)  # nothing is resized, and nobody has to pad
    job |= {"photo": _files(("png", even), sizes, out)["photo"], "input": even}
    named: dict[str, Any] = {}
    for who, network in checks.pairs():
        if who in results.facts["versions"]:
            named[f"{TITLES[who]}, {network}"] = partial(checks.same_network, who, network, run, sizes, job, folder)
    if "mmseg" in results.facts["versions"]:
        drawn = {**job, **_files(("jpg", sizes.photo), sizes, out)}
        named["MMSegmentation, training samples"] = partial(checks.same_samples, run, drawn, folder)
        state = str(folder / f"mmseg_{SEGFORMER}_state.pt")
        named["MMSegmentation, mIoU"] = partial(checks.same_scores, run, sizes, drawn, state)
        larger = {**job, **_files(("jpg", sizes.photos[1]), sizes, out)}
        named["MMSegmentation, a larger image"] = partial(checks.same_labels, run, sizes, larger, state, folder)
    results.checks = {name: found for name, found in results.checks.items() if name in named}
    for name, check in named.items():
        if not results.checks.get(name, {}).get("holds"):
            print(f"the same work? {name}", file=sys.stderr, flush=True)
            results.checks[name] = check()
            results.save()


def _measure(todo: Sequence[Work], run: Run, results: Results, rounds: int, sizes: Sizes, out: Path) -> None:
    began = time.monotonic()
    for number, work in enumerate(todo):
        who = [name for name in work.who if name in results.facts["versions"]]
        wanted = max(1, rounds - 1) if work.curve else rounds
        if all(len(results.figures.get(work.key(name), [])) >= wanted for name in who):
            continue
        print(f"[{number + 1}/{len(todo)}, {(time.monotonic() - began) / 60:.0f} min]", file=sys.stderr, flush=True)
        needed = 1 if sizes is QUICK else work.gigabytes
        if (free := free_gigabytes()) < needed:
            reason = f"left out: it wants {needed:.0f} GB of free memory, and there are {free:.1f}"
            results.errors |= {work.key(name): reason for name in who}
            print(f"  {work.name or work.curve}: {reason}", file=sys.stderr, flush=True)
            continue
        files = {"data": work.folder} if work.folder else _files(work.files, sizes, out)
        with tempfile.TemporaryDirectory(dir=out, prefix="work_") as folder:
            job = {**JOB, **files, "out": folder, **work.job}
            measure(work, run, results, rounds=wanted, job=job, who=who)


def _take_turns(todo: Sequence[Work], found: Turns, count: int, sizes: Sizes, out: Path, start: Start) -> int:
    """Those works of which there are passes, and the exit code."""
    todo = [work for work in todo if not work.curve and work.area != "start"]
    for number, work in enumerate(todo):
        print(f"[{number + 1}/{len(todo)}]", file=sys.stderr, flush=True)
        files = {"data": work.folder} if work.folder else _files(work.files, sizes, out)
        with tempfile.TemporaryDirectory(dir=out, prefix="work_") as folder:
            job = {**JOB, **files, "out": folder, **work.job}
            found.measure(work, job, [name for name in work.who if name in found.facts["versions"]], count, start)
    text = found.markdown()
    (out / "turns.md").write_text(text, encoding="utf-8")
    print(f"{text}\nwritten: {found.file}, {out / 'turns.md'}")
    return 2 if not found.passes else int(bool(found.errors))


def _files(wanted: tuple[str, Sequence[int]] | None, sizes: Sizes, out: Path) -> Mapping[str, str]:
    """The folder of such files, and the first of them; drawn where they are missing."""
    if wanted is None:
        return {}
    suffix, size = wanted
    folder = out / "files" / f"{suffix}_{size[0]}x{size[1]}"
    if not folder.exists():
        from data_pipeline import draw

        print(f"drawing {folder}", file=sys.stderr, flush=True)
        street, photo = tuple(size) == sizes.street, tuple(size) == sizes.photo
        count = max(sizes.images[-1], 6) if photo else 6 if street else 1
        aside = folder.with_name(f"{folder.name}.part{os.getpid()}")
        draw(aside, tuple(size), f".{suffix}", min(19, sizes.classes) if street else sizes.classes, count)
        aside.rename(folder)
    return {"data": str(folder), "photo": str(folder / "images" / f"0.{suffix}")}


if __name__ == "__main__":
    sys.exit(main())
