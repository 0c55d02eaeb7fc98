"""``intarsia weights``: look into files of weights, and make our file of anyone's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from intarsia.cli import options

if TYPE_CHECKING:
    from intarsia.weights.about import About, Sketch

app = typer.Typer(
    no_args_is_help=True,
    help="Show what is in a file of weights, and convert others' files. No code in a file is ever run.",
)
EXAMPLES = """
[bold]A checkpoint that carries its config[/]:  intarsia weights convert iter_80000.pth -o model.safetensors

[bold]One that does not[/]:  intarsia weights convert old.pth --config my_config.py -o model.safetensors

[bold]A published one, by name[/]:  intarsia weights convert fast_scnn_8xb4-160k_cityscapes-512x1024 -o m.safetensors

Then:  intarsia eval model.safetensors --data DIR    intarsia predict model.safetensors IMAGES -o OUT
"""

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE|RUN|NAME",
        help="Weights of any origin: .safetensors, .pth, a folder of the HF Hub; or a published checkpoint, by name.",
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
    from intarsia.weights.origins import described

    meta = found.meta
    yield "written by", found.origin
    if meta.config:
        yield "model", _model_name(meta.config)
    elif found.config_text:
        yield "model", f"a config of {len(found.config_text.splitlines())} lines; intarsia weights convert reads it"
    else:
        yield "model", "not said; name it with --config FILE"
    yield "classes", f"{len(meta.classes)}: {', '.join(meta.classes)}" if meta.classes else "not said"
    if meta.step is not None:
        yield "step", str(meta.step)
    if meta.scores:
        yield "scores", "  ".join(f"{name} {value:.4f}" for name, value in meta.scores.items())
    if meta.config:
        yield "licence", described(meta.licence).removeprefix("licence ")
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


_MAIN_PARTS = ("backbone", "image_encoder", "text_encoder", "neck", "decode_head")


def _model_name(config: Mapping[str, object]) -> str:
    """The types of the model's main parts."""
    model = config.get("model")
    parts = [model.get(key) for key in _MAIN_PARTS] if isinstance(model, Mapping) else []
    heads = [part[-1] if isinstance(part, (list, tuple)) else part for part in parts if part]
    return " + ".join(str(head["type"]) for head in heads if isinstance(head, Mapping)) or "a config"


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
    key: options.Key = None,
    prefix: options.Prefix = None,
    trust: options.Trust = None,
) -> None:
    """Make our weights file: tensors, config, classes and colours in one. It needs nothing else to be used."""
    from intarsia.workflows.convert_weights import convert_weights

    convert_weights(file, out, config=config, overwrite=overwrite, key=key, prefix=prefix)
