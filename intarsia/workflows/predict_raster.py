"""Rasters for ``intarsia predict``: scenes of any size in, GeoTIFFs of labels out, here or on several devices."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.distributed.device_processes import DeviceProcesses, Lost
from intarsia.distributed.work_queue import WorkQueue, rounds
from intarsia.inference.outputs.parts import Part
from intarsia.inference.outputs.remote_folder import RemoteFolder
from intarsia.inference.raster.files import with_names
from intarsia.inference.raster.predict import RasterResult
from intarsia.io.stores import public
from intarsia.terminal import Notice, err, notices_shown, say
from intarsia.workflows.predict_devices import quietly
from intarsia.workflows.raster_job import DERIVED, RasterJob, RasterSource, beside, check_input, predict_into

if TYPE_CHECKING:
    from intarsia.distributed.device_processes import Link

LISTED = 20
"""Failures that are named; of the rest the number is."""


@dataclass(frozen=True)
class SceneDevices:
    """names: as `named_devices` gives them. opened: gives the job on "cuda" or "cpu"; it can be pickled."""

    names: tuple[str, ...]
    opened: Callable[[str], RasterJob]


@dataclass(frozen=True, slots=True)
class _SceneOutcome:
    """What became of a scene. failure: why it could not be predicted, or "". incomplete: something beside it is not
    there.
    """

    name: str
    failure: str = ""
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class _Windows:
    """How many windows a process has done of how many that are its own."""

    done: int
    total: int


def predict_raster(job: RasterJob, location: str, out: Path, *, devices: SceneDevices | None = None) -> bool:
    """Predict the label map of a scene into the GeoTIFF `out`, and what else is wanted into files beside it.

    Gives whether all of them could be made: polygons, say, that fail are named, and leave the label map alone.
    devices: each takes a part of the scene's strips, in place of this process.

    Raises ValueError for what cannot be done.
    """
    began = time.monotonic()
    with _progress() as progress:
        if devices is None:
            done, failed = predict_into(job, location, out, progress, talk=True)
        else:
            done, failed = _predict_together(devices, location, out, progress)
    seconds = time.monotonic() - began
    if done.resumed:
        say(f"went on with an interrupted run: {done.resumed} of {done.windows} windows were done")
    skipped = done.windows - done.resumed - done.seen
    empty = f", {skipped} without data" if skipped > 0 else ""
    rate = f"{done.seen / seconds:.1f} per second"
    say(f"{done.windows} windows{empty}; {done.seen} predicted in {seconds:.1f} s, {rate}")
    made = [beside(out, kind) for kind in DERIVED if kind in job.kinds and kind not in failed]
    say(", ".join(map(str, [*done.files.values(), *made])))
    return not failed


def _predict_together(
    devices: SceneDevices, location: str, out: Path, progress: Callable[[int, int], None]
) -> tuple[RasterResult, list[str]]:
    """What the first process has to say when the strips of all are there, and it has put them together."""
    result: tuple[RasterResult, list[str]] | None = None
    windows: dict[int, _Windows] = {}
    with DeviceProcesses(devices.names, partial(_predict_strips, devices.opened, location, out)) as processes:
        for rank, message in processes.events():
            if isinstance(message, Lost):
                raise ValueError(f"{message}; finished strips are kept, and the same command goes on from there")
            if isinstance(message, _Windows):
                windows[rank] = message
                progress(sum(each.done for each in windows.values()), sum(each.total for each in windows.values()))
            else:
                result = message
    assert result is not None
    return result


def _predict_strips(opened: Callable[[str], RasterJob], location: str, out: Path, link: Link) -> None:
    """What a process does for one scene."""
    job = quietly(opened, link.device)
    with contextlib.ExitStack() as around:
        if link.rank:  # what there is to be said of the scene, the first one says
            around.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", Notice)
        else:
            around.enter_context(notices_shown())
        found = predict_into(
            job, location, out, lambda done, total: link.tell(_Windows(done, total)), talk=True, together=link
        )
    if link.rank == 0:
        link.tell(found)


def predict_rasters(
    job: RasterJob,
    rasters: Sequence[RasterSource],
    folder: Path,
    *,
    skip_existing: bool,
    part: Part | None = None,
    devices: SceneDevices | None = None,
    remote: RemoteFolder | None = None,
) -> bool:
    """Predict many rasters, each into a GeoTIFF of its name in a folder; whether all could be.

    One that cannot be read or written is named at the end, and the others are done all the same. part: of the rasters.
    devices: each takes one raster at a time, in place of this process. remote: of an object store, in whose place the
    folder is.

    Raises ValueError before anything is done if two would be written into one file, or one over itself.
    """
    outs = {raster: folder / f"{raster.name}.tif" for raster in rasters}
    _check_outs(outs)
    if part is not None:
        rasters = [raster for raster in rasters if part.has(raster.name)]
        say(f"{part}: {len(rasters)} of {len(outs)} rasters")
        if not rasters:
            return True
    where = str(folder) if remote is None else remote.address
    todo = [raster for raster in rasters if not (skip_existing and _is_done(job, outs[raster], remote))]
    if not todo:
        say(f"all {len(rasters)} rasters were done before: {where}")
        return True
    began, outcomes = time.monotonic(), list[_SceneOutcome]()
    with _progress("rasters") as progress:

        def note(outcome: _SceneOutcome) -> None:
            outcomes.append(outcome)
            progress(len(outcomes), len(todo))

        if devices is None:
            for raster in todo:
                note(_one_of_many(job, raster, outs[raster], remote))
        else:
            _share_out(devices, todo, outs, remote, note)
    failures = [f"{public(outcome.name)}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    incomplete = any(outcome.incomplete for outcome in outcomes)
    seconds = time.monotonic() - began
    before = f" ({len(rasters) - len(todo)} were done before)" if len(todo) < len(rasters) else ""
    names = ", ".join(file.name for file in job.files(Path("NAME.tif")))
    done = len(todo) - len(failures)
    say(f"{done} of {len(rasters)} rasters{before}, {done / seconds:.1f} per second: {where}/{names}")
    for failure in failures[:LISTED]:
        say(f"failed: {failure}", style="red")
    if len(failures) > LISTED:
        say(f"failed: {len(failures) - LISTED} more", style="red")
    return not failures and not incomplete


def _is_done(job: RasterJob, out: Path, remote: RemoteFolder | None) -> bool:
    return job.is_done(out) if remote is None else all(map(remote.has, job.files(out)))


def _one_of_many(job: RasterJob, raster: RasterSource, out: Path, remote: RemoteFolder | None) -> _SceneOutcome:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _, failed = predict_into(job, raster.location, out, lambda done, total: None, talk=False)
        if remote is not None:
            for file in (with_names(out), *job.files(out)):
                if file.is_file():
                    remote.send(file)
    except ValueError as error:
        return _SceneOutcome(raster.location, str(error).removeprefix(f"{raster.location}: "))
    return _SceneOutcome(raster.location, incomplete=bool(failed))


def _share_out(
    devices: SceneDevices,
    rasters: Sequence[RasterSource],
    outs: Mapping[RasterSource, Path],
    remote: RemoteFolder | None,
    note: Callable[[_SceneOutcome], None],
) -> None:
    """Whole rasters for each device."""
    number = {raster.location: index for index, raster in enumerate(rasters)}
    WorkQueue(
        rasters,
        named=lambda raster: raster.location,
        finished=lambda outcome: number[outcome.name],
        tell=note,
        set_aside=lambda raster, reason: note(_SceneOutcome(raster.location, reason)),
    ).go(devices.names, partial(_predict_scenes, devices.opened, dict(outs), remote))


def _predict_scenes(
    opened: Callable[[str], RasterJob], outs: Mapping[RasterSource, Path], remote: RemoteFolder | None, link: Link
) -> None:
    """What a process does for many scenes."""
    job = quietly(opened, link.device)
    with notices_shown():
        for rasters in rounds(link):
            for raster in rasters:
                link.tell(_one_of_many(job, raster, outs[raster], remote))


def _check_outs(outs: Mapping[RasterSource, Path]) -> None:
    taken: dict[Path, str] = {}
    for raster, out in outs.items():
        check_input(raster.location, out)
        if out in taken:
            raise ValueError(f"{taken[out]} and {raster.location} would both be written as {out}; use two folders")
        taken[out] = raster.location


@contextmanager
def _progress(unit: str = "windows") -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, with windows and their rate since the first that was not done before."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err()
    columns = (
        TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TextColumn(unit + " {task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, rate="")

        def show(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate="" if speed is None else f"{speed:.1f}/s")

        yield show
