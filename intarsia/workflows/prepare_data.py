"""From a benchmark's download to its training layout, with a bar, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from intarsia import recipes
from intarsia.data.prepare.benchmark import Benchmark, Options
from intarsia.data.prepare.run import Prepared, default_processes, prepare
from intarsia.data.prepare.table import BENCHMARKS, benchmark_named
from intarsia.terminal import progress

FACTS = "facts from"
"""The row that says where licence, files and gigabytes were read."""


def prepare_benchmark(
    name: str,
    sources: list[Path],
    out: Path | None = None,
    *,
    options: Options | None = None,
    processes: int | None = None,
) -> Prepared:
    """Convert the publisher's archives or folders of a benchmark; out: by default where the published configs look.

    Raises ValueError as `intarsia.data.prepare.run.prepare` does.
    """
    benchmark = benchmark_named(name)
    if not sources:
        raise ValueError(f"{name}: expected archives or folders: {', '.join(benchmark.downloads)}")
    with progress(f"preparing {name}") as tell:
        return prepare(
            benchmark,
            sources,
            benchmark.default_out() if out is None else out,
            options=options,
            processes=default_processes() if processes is None else processes,
            progress=tell,
        )


def next_command(name: str, out: Path) -> str | None:
    """The command that trains on what was prepared, or None if no published recipe is for this benchmark."""
    benchmark = benchmark_named(name)
    if benchmark.recipe is None:
        return None
    command = f"intarsia train {benchmark.recipe} --out runs/{name}"
    if out.resolve() == benchmark.default_out().resolve():
        return command
    config = recipes.get(benchmark.recipe)
    keys = [
        key for key in _roots(config, "") if key.startswith(("train_dataloader", "val_dataloader", "test_dataloader"))
    ]
    return " ".join([command, *(f"--set {key}={shlex.quote(str(out))}" for key in keys)])


def _roots(value: object, path: str) -> Iterator[str]:
    """Where a config says in which folder a data set lies."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        here = f"{path}.{key}" if path else str(key)
        if key == "data_root":
            yield here
        else:
            yield from _roots(inner, here)


def benchmark_rows(name: str | None = None) -> list[dict[str, str]]:
    """What there is to download for each benchmark, or for one, and what is made of it. Raises ValueError for a name
    that none has.
    """
    chosen = [benchmark_named(name)] if name is not None else [found for _, found in sorted(BENCHMARKS.items())]
    return [_row(benchmark) for benchmark in chosen]


def _row(benchmark: Benchmark) -> dict[str, str]:
    row = {
        "name": benchmark.name,
        "what": benchmark.title,
        "download": ", ".join(benchmark.downloads),
        "from": benchmark.address,
        "licence": benchmark.licence,
        "files": benchmark.files,
        "gigabytes": benchmark.gigabytes,
        "prepared in": benchmark.root,
    }
    if benchmark.counts:
        row["there"] = ", ".join(f"{folder} {count:,}" for folder, count in benchmark.counts.items())
    return {**row, FACTS: "; ".join(benchmark.sources)}
