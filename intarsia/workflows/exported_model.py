"""Exported files as models like any other: what is needed to predict with one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Task
from intarsia.export.formats.pt2 import PT2Runtime
from intarsia.export.runtime import Runtime, open_file
from intarsia.export.task import ExportedTask, inference_of
from intarsia.spec import RunSpec
from intarsia.weights.file import WeightsMeta
from intarsia.workflows.thresholds import as_kept


@dataclass(frozen=True)
class OpenExported:
    """What a file holds. spec: of the model that it was made of, with the inference that the file leaves open."""

    spec: RunSpec
    meta: WeightsMeta
    config: Config
    task: Task


def open_exported(path: Path, *, device: str = "cpu", threads: int | None = None, own: bool = False) -> OpenExported:
    """The model of an exported file.

    threads: of the runtime; by default what it chooses. own: this process wrote the file, which is consent enough.

    Raises ValueError for files that are damaged, not of Intarsia or whose runtime is missing, and for archives of torch
    that nobody has agreed to open.
    """
    is_own_archive = own and path.suffix == ".pt2"
    runtime: Runtime = PT2Runtime(path, device) if is_own_archive else open_file(path, device=device, threads=threads)
    meta, contract = runtime.meta.weights, runtime.meta.contract
    config = Config.from_values(meta.config, file=str(path))
    spec = as_kept(lower(config), meta)
    spec = replace(spec, inference=inference_of(spec.inference, contract))
    task = ExportedTask(
        runtime, num_classes=len(meta.classes), ignore_index=meta.ignore_index, filling=spec.preprocess.mean,
        thresholds=spec.inference.thresholds,
    )  # fmt: skip
    return OpenExported(spec, meta, config, cast("Task", task.eval()))
