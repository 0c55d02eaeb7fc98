"""``intarsia data pack`` and ``intarsia data index``: data in few large files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def pack(
    place: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="Folder of images and masks or of tars, or a data description.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.pack", help="The file to write.")],
    shard_size: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--shard-size",
            metavar="2GB",
            help="Several files of this size, FILE-00000.pack and so on, of which FILE.pack is the index. Finished "
            "ones are kept when the command is broken off, and it goes on behind them.",
        ),
    ] = None,
    compression: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--compression",
            metavar="none|lz4|zstd|zlib",
            help="By default lz4, which is read fastest, if it is installed; else zstd; else zlib, which needs nothing "
            "but is read several times more slowly. none: largest, and read fastest of all.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--processes", min=1, help="How many processes [default: cores, 8 at most]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how large it would be.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write decoded images and labels into one file, of which training reads only the rows of its crops.

    The samples are those of the files, bit by bit. Then: intarsia train RECIPE --data FILE.pack
    """
    from intarsia.data.cache_place import in_words
    from intarsia.terminal import say
    from intarsia.workflows.pack_data import PackRequest, pack_data, parse_size

    try:
        size = None if shard_size is None else parse_size(shard_size)
    except ValueError as error:
        raise ValueError(f"--shard-size: {error}") from None
    request = PackRequest(
        data=place, out=out, shard_size=size, compression=compression, processes=processes, dry_run=dry_run,
        overwrite=overwrite,
    )  # fmt: skip
    done = pack_data(request)
    counts = ", ".join(f"{count:,} {split}" for split, count in done.estimate.samples.items())
    if done.packed is None:
        typer.echo(f"samples      {counts}")
        typer.echo(f"decoded      {in_words(done.estimate.raw)}")
        typer.echo(f"packed       {in_words(done.estimate.size)}, about, with compression {done.codec}")
        typer.echo(f"free there   {in_words(done.free)}")
        return
    packed = done.packed
    shards = f" and {len(packed.shards)} shards" if packed.shards else ""
    kept = f", of which {packed.kept:,} were there" if packed.kept else ""
    say(f"{packed.file}{shards}: {counts} samples{kept}, {in_words(packed.size)} with compression {done.codec}")
    say(f"train with: intarsia train RECIPE --data {packed.file} --out RUN")


def index(
    places: Annotated[list[Path], typer.Argument(metavar="DIR|TAR...", help="Tars, or folders of them.")],
) -> None:
    """Write down where the members of tars lie (TAR.index), so that any is read at once. Training does it by itself."""
    from intarsia.terminal import say
    from intarsia.workflows.pack_data import index_tars

    done = index_tars(places)
    say(f"{done.members:,} members of {done.tars:,} {'tar' if done.tars == 1 else 'tars'} indexed")
