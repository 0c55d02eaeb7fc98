"""``intarsia weights``: look into files of weights, make our file of anyone's, share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional, cast

import typer

from intarsia.cli import options

if TYPE_CHECKING:
    from intarsia.weights.about import About, Sketch

app = typer.Typer(
    no_args_is_help=True,
    help="Show what is in a file of weights, convert others' files, share them on the Hugging Face Hub. No code in a "
    "file is ever run.",
)
EXAMPLES = """
[bold]A checkpoint that carries its config[/]:  intarsia weights convert iter_80000.pth -o model.safetensors

[bold]One that does not[/]:  intarsia weights convert old.pth --config my_config.py -o model.safetensors

[bold]A published one, by name[/]:  intarsia weights convert fast_scnn_8xb4-160k_cityscapes-512x1024 -o m.safetensors

[bold]To publish a run[/]:  intarsia weights convert runs/first -o street-scenes.safetensors --name-with-hash

[bold]One that lacks its backbone[/]:  intarsia weights convert FILE --base timm://NAME -o model.safetensors

[bold]For transformers[/]:  intarsia weights convert runs/first --to transformers -o FOLDER

Then:  intarsia eval model.safetensors --data DIR    intarsia predict model.safetensors IMAGES -o OUT
"""

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE|RUN|NAME",
        help="Weights of any origin: .safetensors, .pth, a folder of the HF Hub or hf://OWNER/NAME there; or a "
        "published checkpoint, by name.",
    ),
]


@app.command("show", no_args_is_help=True)
def show(
    file: File,
    names: Annotated[int, typer.Option("--names", min=0, help="How many tensors to list.")] = 8,
    key: options.Key = None,
    prefix: options.Prefix = None,
) -> None:
    """Print what a file says about itself: origin, classes, scores, tensors. Builds no model and reads no tensor."""
    from intarsia.terminal import out, table
    from intarsia.workflows.names import find_weights

    found = find_weights(file, key=key, prefix=prefix)
    console = out()
    console.print(table("", ("file", str(found.path)), _facts(found), left=2))
    console.print(table("", ("part", "tensors", "values", "types"), _parts(found.tensors)))
    if names:
        first = list(found.tensors.items())[:names]
        rows = [(name, "x".join(map(str, one.shape)) or "scalar", one.dtype) for name, one in first]
        console.print(table("", ("first tensors", "shape", "type"), rows))


def _facts(found: About) -> Iterator[tuple[str, str]]:
    from intarsia.weights.about import model_parts
    from intarsia.weights.origins import described

    meta = found.meta
    yield "written by", found.origin
    if found.recipe:
        yield "published as", found.recipe
    if meta.config:
        yield "model", " + ".join(model_parts(meta.config)) or "a config"
    elif found.config_text:
        yield "model", f"a config of {len(found.config_text.splitlines())} lines; intarsia weights convert reads it"
    else:
        yield "model", "not said; name it with --config FILE"
    yield "classes", f"{len(meta.classes)}: {', '.join(meta.classes)}" if meta.classes else "not said"
    if meta.step is not None:
        yield "step", str(meta.step)
    if meta.threshold is not None:
        yield "threshold", f"{meta.threshold:.4f}, chosen on validation images"
    if meta.config and (meta.config.get("intarsia") or {}).get("multi_label"):
        yield "a pixel has", "any number of the classes, each by a sigmoid of its own"
    if meta.regions:
        yield "regions", f"{meta.regions.get('values')}, written as {meta.regions.get('order')}"
    if meta.thresholds:
        each = ", ".join(f"{name} {value:.4f}" for name, value in zip(meta.classes, meta.thresholds, strict=False))
        yield "thresholds", f"{each}, chosen on validation images"
    if meta.scores:
        yield "scores", "  ".join(f"{name} {value:.4f}" for name, value in meta.scores.items())
    if meta.config:
        yield "licence", described(meta.licence).removeprefix("licence ") if meta.licence else "not said"
    for origin in meta.pretrained:
        yield "started from", str(origin)
    yield from found.details.items()
    if len(found.entries) > 1 and any(not _is_tensor_name(entry, found) for entry in found.entries):
        yield "entries", ", ".join(found.entries)
    for note in found.notes:
        yield "note", note
    if found.left_out:
        yield "not rebuilt", ", ".join(found.left_out)


def _is_tensor_name(entry: str, found: About) -> bool:
    return entry in found.tensors or entry.removeprefix("module.") in found.tensors


def _parts(tensors: Mapping[str, Sketch]) -> Iterator[tuple[str, str, str, str]]:
    """One line for each top-level part, and one for all."""
    parts: dict[str, list[Sketch]] = {}
    for name, one in tensors.items():
        parts.setdefault(name.partition(".")[0], []).append(one)
    if len(parts) > 20:
        parts = {}
    for name, sketches in [*parts.items(), ("all", list(tensors.values()))]:
        types = ", ".join(sorted({one.dtype for one in sketches}))
        yield name, str(len(sketches)), f"{sum(one.count for one in sketches):,}", types


@app.command("convert", no_args_is_help=True, epilog=EXAMPLES)
def convert(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; ends in .safetensors.")],
    config: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--config", help="Config or recipe of the model, where the file does not say it."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    name_with_hash: Annotated[
        bool,
        typer.Option(
            "--name-with-hash",
            help="Put the first digits of the file's SHA-256 behind its name, as published checkpoints have them.",
        ),
    ] = False,
    base: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--base",
            metavar="FILE",
            help="The backbone that a published file lacks or holds differences to; 'none' if it is whole.",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="FORM", help="'intarsia', or 'transformers' for a folder of it (EoMT).")
    ] = "intarsia",
    key: options.Key = None,
    prefix: options.Prefix = None,
    trust: options.Trust = None,
) -> None:
    """Make our weights file: tensors, config, classes and colours in one. It needs nothing else to be used."""
    from intarsia.workflows.convert_weights import convert_weights

    if to not in ("intarsia", "transformers"):
        raise ValueError(f"--to is intarsia or transformers, found {to!r}")
    convert_weights(
        file, out, config=config, overwrite=overwrite, key=key, prefix=prefix, name_with_hash=name_with_hash,
        base=base, to=cast("Literal['intarsia', 'transformers']", to),
    )  # fmt: skip


SHARING = """
[bold]See what would be sent[/]:  intarsia weights push runs/first hf://me/street-scenes --licence MIT --dry-run out

[bold]Send it[/]:  intarsia weights push runs/first hf://me/street-scenes --licence MIT

[bold]Use it, anywhere[/]:  intarsia predict hf://me/street-scenes photo.jpg -o out
"""
HubAddress = Annotated[str, typer.Argument(metavar="hf://OWNER/NAME", help="A repository of the hub.")]


@app.command("push", no_args_is_help=True, epilog=SHARING)
def push(
    weights: Annotated[str, typer.Argument(metavar="RUN|FILE", help="A run, or a file that Intarsia has written.")],
    address: HubAddress,
    licence: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--licence", "--license", metavar="ID", help="What others may do with it: MIT, CC-BY-4.0 ..."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Nobody else sees it.")] = False,
    revision: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--revision", metavar="BRANCH", help="Another branch than main; it is made."),
    ] = None,
    dry_run: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--dry-run", metavar="DIR", help="Write what would be sent there, and ask no server."),
    ] = None,
    message: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--message", "-m", help="Of the commit."),
    ] = None,
    strip_paths: Annotated[
        bool, typer.Option("--strip-paths", help="Send only the last parts of folders that the config names.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a README.md of somebody else, or the files of --dry-run.")
    ] = False,
) -> None:
    """Send weights and a true model card to the Hugging Face Hub: one file that needs nothing else to be used."""
    from intarsia.workflows.share_weights import PushRequest, push_weights

    push_weights(
        PushRequest(
            weights=weights, address=address, licence=licence, private=private, revision=revision, dry_run=dry_run,
            message=message, strip_paths=strip_paths, overwrite=overwrite,
        )
    )  # fmt: skip


@app.command("pull", no_args_is_help=True)
def pull(
    address: HubAddress,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", metavar="FILE|DIR", help="A copy; by default they stay in the hub's own cache."),
    ] = None,
    revision: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--revision", metavar="REVISION", help="A branch, a tag or a commit."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Fetch weights from the Hugging Face Hub, see that they can be read, and print where they are."""
    from intarsia.workflows.share_weights import pull_weights

    typer.echo(str(pull_weights(address, out=out, revision=revision, overwrite=overwrite)))
