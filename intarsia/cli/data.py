"""``intarsia data``: the data doctor."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from intarsia.cli import data_convert, data_pack, data_split, data_suspects

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription

app = typer.Typer(no_args_is_help=True, help="Look at data before training on them.")
app.command("convert")(data_convert.convert)
app.command("pack")(data_pack.pack)
app.command("index")(data_pack.index)
app.command("split")(data_split.split)
app.command("suspects")(data_suspects.suspects)

_KEYS, _WIDTH = 12, 120
"""Columns: of the keys of a list, and of the whole."""

Place = Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Folder of images and masks, or a data description.")]


@app.command("check")
def check(
    place: Place,
    write: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--write", metavar="FILE", help="Write the proposed description, for: train --data FILE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    multi_label: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(
            "--multi-label/--one-label",
            help="Of a folder: whether a pixel may have several classes; by default as its masks tell.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Read all images and labels, report what is in them and what is wrong, and propose a description.

    Exit code 2 if training on them would fail.
    """
    from intarsia.terminal import say
    from intarsia.workflows.names import inspect_data

    findings = inspect_data(place, multi_label=multi_label)
    if as_json:
        typer.echo(json.dumps(findings.to_dict(), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(findings.lines()))
    if write is not None:
        _write(findings.proposal(), write)
        say(f"description: {write}; train with: intarsia train RECIPE --data {write} --out RUN")
    elif findings.ok and not as_json and place.is_dir():
        say(f"keep what is proposed in a file to edit: intarsia data check {place} --write data.yaml")
    if findings.ok and not as_json:
        say(f"which recipes suit them, and how long they take on this machine: intarsia advise {write or place}")
    if not findings.ok:
        count = len(findings.problems)
        say(f"{count} problem{'s' if count > 1 else ''}: training would fail", style="bold red")
        raise typer.Exit(2)


def _write(description: DataDescription, file: Path) -> None:
    from intarsia.data.description.write import write_description

    if file.suffix not in (".yaml", ".yml"):
        raise ValueError(f"--write {file}: a description is YAML, so its name must end in .yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_description(description, file)


SHOWN = """
[bold]What training will see[/]:
intarsia data show DIR --augmented --augment strong -o sheet.png
intarsia data show my_config.py --augmented -o page.html
"""
_SEEN = "With --augmented"


@app.command("show", epilog=SHOWN)
def show(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE|CONFIG|RECIPE",
            help="Folder of images and masks, or a data description; with --augmented also a config, run or recipe.",
        ),
    ],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="Picture to write (.png, .jpg); by default samples.png, or augmented.png."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "train",
    count: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--count", min=1, max=200, help="How many samples; by default 12, or 6 with their draws."),
    ] = None,
    augmented: Annotated[
        bool,
        typer.Option("--augmented", help="Samples after the whole training pipeline, as training sees them."),
    ] = False,
    html: Annotated[
        bool,
        typer.Option("--html", help="A page instead of a picture; so does a name in .html.", rich_help_panel=_SEEN),
    ] = False,
    draws: Annotated[
        int,
        typer.Option("--draws", min=1, max=20, help="How often each is drawn: its epochs.", rich_help_panel=_SEEN),
    ] = 5,
    augment: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--augment", metavar="none|light|strong|FILE", help="As of: intarsia train.", rich_help_panel=_SEEN
        ),
    ] = None,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--data", help="The data for a recipe or a config.", rich_help_panel=_SEEN),
    ] = None,
    crop: Annotated[
        Optional[tuple[int, int]],  # noqa: UP045
        typer.Option("--crop", metavar="H W", help="Size of the training crops.", rich_help_panel=_SEEN),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--seed", min=0, help="That of the training.", rich_help_panel=_SEEN),
    ] = None,
) -> None:
    """Paint a contact sheet: samples with their labels over them, and a legend.

    With --augmented several draws of each, as they come out of the training pipeline, and what is in that.
    """
    if not augmented:
        given = {"--html": html, "--augment": augment, "--data": data, "--crop": crop, "--seed": seed}
        wrong = [name for name, value in given.items() if value]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: only with --augmented, which shows what training sees")
        _show_samples(place, out or Path("samples.png"), split, 12 if count is None else count)
        return
    from intarsia.terminal import say
    from intarsia.visual.files import PICTURE_SUFFIXES
    from intarsia.workflows.show_augmented import AugmentedRequest, show_augmented

    if split != "train":
        raise ValueError(f"--augmented shows what training sees, which is the train split, and not {split}")
    if out is not None and out.suffix.lower() not in (*PICTURE_SUFFIXES, ".html"):
        raise ValueError(f"{out}: expected {', '.join(PICTURE_SUFFIXES)} for a picture, or .html for a page")
    if out is not None and html and out.suffix != ".html":
        raise ValueError(f"--html writes a page; expected a name that ends in .html, found {out}")
    request = AugmentedRequest(
        place=str(place),
        out=out or Path("augmented.html" if html else "augmented.png"),
        data=data,
        count=6 if count is None else count,
        draws=draws,
        augment=augment,
        crop=crop,
        seed=seed,
    )
    say(show_augmented(request))


def _show_samples(place: Path, out: Path, split: str, count: int) -> None:
    from intarsia.data.description.read import read_description
    from intarsia.data.labels import shown_values
    from intarsia.terminal import say
    from intarsia.visual.contact_sheet import Tile, contact_sheet
    from intarsia.visual.files import save_picture
    from intarsia.visual.picture import as_picture
    from intarsia.workflows.names import inspect_data

    description = read_description(place) if place.is_file() else inspect_data(place).proposal()
    dataset = description.dataset(split)
    chosen = [index * len(dataset) // min(count, len(dataset)) for index in range(min(count, len(dataset)))]
    samples = [dataset.load(index) for index in chosen]
    classes, palette = shown_values(dataset)
    sheet = contact_sheet(
        [Tile(as_picture(sample.image), sample.label, sample.meta.name) for sample in samples],
        classes=classes,
        palette=palette,
        ignore_index=description.ignore_index,
    )
    save_picture(out, sheet)
    say(f"{len(samples)} of {len(dataset)} images of {split}: {out}")


@app.command("prepare")
def prepare(
    name: Annotated[Optional[str], typer.Argument(metavar="NAME", help="A benchmark: see --list.")] = None,  # noqa: UP045
    sources: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="SOURCE...", help="The publisher's archives, or folders of them or of what is in them."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", metavar="OUT", help="Folder to fill [default: where the published configs look]"),
    ] = None,
    as_list: Annotated[
        bool,
        typer.Option(
            "--list", help="What to download for each benchmark, or for NAME, from whom, under which licence, how much."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    processes: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--processes", "--nproc", min=1, help="How many processes [default: cores, 8 at most]"),
    ] = None,
    clip_size: Annotated[Optional[int], typer.Option("--clip-size", "--clip_size", min=1)] = None,  # noqa: UP045
    stride_size: Annotated[Optional[int], typer.Option("--stride-size", "--stride_size", min=1)] = None,  # noqa: UP045
    patch_width: Annotated[Optional[int], typer.Option("--patch-width", "--patch_width", min=1)] = None,  # noqa: UP045
    patch_height: Annotated[Optional[int], typer.Option("--patch-height", "--patch_height", min=1)] = None,  # noqa: UP045
    overlap_area: Annotated[Optional[int], typer.Option("--overlap-area", "--overlap_area", min=0)] = None,  # noqa: UP045
    gt_dir: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--gt-dir", metavar="NAME", help="Cityscapes: gtFine or gtCoarse."),
    ] = None,
) -> None:
    """Bring a benchmark from its publisher's archives into the folders that its configs expect.

    May be interrupted: the same command goes on where it stopped.
    """
    from intarsia.data.prepare.benchmark import Options
    from intarsia.terminal import say, warn
    from intarsia.workflows.prepare_data import FACTS, benchmark_rows, next_command, prepare_benchmark

    if as_list:
        rows = benchmark_rows(name)
        if as_json:
            typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        else:
            hidden = () if name is not None else (FACTS,)
            typer.echo("\n\n".join("\n".join(_wrapped(row, hidden)) for row in rows))
        return
    if name is None:
        raise ValueError("expected the name of a benchmark and its archives; see: intarsia data prepare --list")
    options = Options(
        clip_size=clip_size, stride_size=stride_size, patch_width=patch_width, patch_height=patch_height,
        overlap_area=overlap_area, gt_dir=gt_dir,
    )  # fmt: skip
    done = prepare_benchmark(name, sources or [], out, options=options, processes=processes)
    for warning in done.warnings:
        warn(warning)
    say(f"{done.out}: {done.written:,} files written, {done.kept:,} were there")
    command = next_command(name, done.out)
    say(
        f"next: {command}" if command else "no published config is for this benchmark; train a recipe of your own on it"
    )


def _wrapped(row: Mapping[str, str], hidden: Container[str]) -> Iterator[str]:
    """Lines of a row, its values below one another; addresses stay whole."""
    for key, value in row.items():
        if key not in hidden:
            yield from textwrap.wrap(
                f"{key:{_KEYS}}{value}", width=_WIDTH, subsequent_indent=" " * _KEYS, break_long_words=False,
                break_on_hyphens=False,
            )  # fmt: skip
