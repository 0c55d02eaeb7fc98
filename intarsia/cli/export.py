"""``intarsia export``: a model as one file for other programs, with the proof that it says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

from intarsia.cli import options

EXAMPLES = """
[bold]For onnxruntime, TensorRT and the browser[/]:  intarsia export runs/first --to onnx -o exported

[bold]Several formats, real images to compare with[/]:  intarsia export runs/first --to onnx,openvino -o exported --samples photos

[bold]For maps in QGIS[/]:  intarsia export runs/roofs --for qgis --tile 512 --resolution 20 -o exported

[bold]For TensorRT, and for Triton[/]:  intarsia export runs/first --to tensorrt --sizes 256x256 512x1024 1024x2048 --for triton -o models

[bold]A page that segments pictures in any browser[/]:  intarsia export runs/first --to web --single-file -o page

[bold]Use it like any model[/]:  intarsia predict exported/model.onnx photo.jpg -o out

[bold]Compare again, elsewhere[/]:  intarsia export verify exported/model.onnx --against runs/first --samples photos

The file takes images as they are stored and gives labels of their size: normalising, padding, resizing and the decision
are inside. After it was written it is compared with the original, at several sizes; if less than --at-least of all
pixels have the same label, the exit code is 3. certificate.json and the file's own metadata say what was compared.
"""  # noqa: E501

FAILED = 3
"""Exit code of a file that is not the same as the original."""

_FILE, _PROOF, _RECEIVER = "The file", "The proof", "For a program"

Count = Annotated[int, typer.Option("--count", min=1, help="Images to compare on, at most.", rich_help_panel=_PROOF)]
Samples = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--samples",
        help="Images to compare on: a file, a folder, or that of a labelled data set (with data.yaml). By default the "
        "run's validation images, else drawn ones.",
        rich_help_panel=_PROOF,
    ),
]
AtLeast = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--at-least",
        help="Share of pixels that must get the original's label; 0.999, of fp16 0.995, of int8 0.98.",
        rich_help_panel=_PROOF,
    ),
]
Threads = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--threads", min=1, help="Of the runtime.", rich_help_panel=_PROOF),
]
SingleFile = Annotated[
    bool,
    typer.Option(
        "--single-file",
        help="Of the web: everything in one page, which opens from the disk, too.",
        rich_help_panel=_FILE,
    ),
]
OnnxruntimeWeb = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--onnxruntime-web",
        metavar="DIR|TGZ",
        help="Of the web: where that package is; by default it is fetched from the npm registry, once.",
        rich_help_panel=_FILE,
    ),
]


class _ModelFirst(TyperGroup):
    """`export MODEL ...` is `export model MODEL ...`: only `verify` is a word of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["model", *args]
        elif args and args[0] in ("--help", "-h"):
            args = ["model", "--help"]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_ModelFirst, no_args_is_help=False, rich_markup_mode="rich")


@app.command("model", epilog=EXAMPLES, no_args_is_help=True)
def model(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS|RUN|NAME", help=options.TRAINED_MODEL)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMATS",
            help="onnx, openvino, pt2 (torch.export), aoti (compiled for C++ servers on machines of this kind), "
            "tensorrt, executorch, litert, coreml, web (a page for browsers), with commas.",
            rich_help_panel=_FILE,
        ),
    ] = "onnx",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            metavar="KIND",
            help="label; scores (label and its probability); probs; logits: of "
            "these two, windows and views can be averaged.",
            rich_help_panel=_FILE,
        ),
    ] = "label",
    layout: Annotated[
        str, typer.Option("--layout", help="Of the images that it takes: NHWC or NCHW.", rich_help_panel=_FILE)
    ] = "NHWC",
    size: Annotated[
        Optional[tuple[int, int]],  # noqa: UP045
        typer.Option(
            "--size",
            metavar="H W",
            help="Take images of this size alone. By default any, where the network allows it.",
            rich_help_panel=_FILE,
        ),
    ] = None,
    batch: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--batch", min=1, help="Take so many images at once; by default any number.", rich_help_panel=_FILE
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="fp32; fp16: half the size; int8: a quarter, ranges measured on the samples.",
            rich_help_panel=_FILE,
        ),
    ] = "fp32",
    receiver: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--for",
            metavar="PROGRAM",
            help="qgis: an ONNX file for its plugin Deepness, which decides output, layout and size. triton: a "
            "folder of a model repository.",
            rich_help_panel=_RECEIVER,
        ),
    ] = None,
    tile: Annotated[
        int, typer.Option("--tile", help="Side of the tiles that QGIS shows, in pixels.", rich_help_panel=_RECEIVER)
    ] = 512,
    resolution: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--resolution", metavar="CM", help="Centimetres per pixel of training images.", rich_help_panel=_RECEIVER
        ),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--name", help="Of the model in Triton; by default the run's.", rich_help_panel=_RECEIVER),
    ] = None,
    sizes: Annotated[
        Optional[tuple[str, str, str]],  # noqa: UP045
        typer.Option(
            "--sizes",
            metavar="MIN OPT MAX",
            help="HxW: what images an engine of TensorRT takes, and which it is fastest with.",
            rich_help_panel=_RECEIVER,
        ),
    ] = None,
    most: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--most", min=1, help="Images at once, at most, of an engine and in Triton.", rich_help_panel=_RECEIVER
        ),
    ] = None,
    single_file: SingleFile = False,
    onnxruntime_web: OnnxruntimeWeb = None,
    samples: Samples = None,
    count: Count = 16,
    at_least: AtLeast = None,
    threads: Threads = None,
    config: options.ConfigBeside = None,
    key: options.Key = None,
    prefix: options.Prefix = None,
    trust: options.Trust = None,
) -> None:
    """Export a model as one file from image to label, and prove that it says the same."""
    from intarsia.workflows.export_model import export_model
    from intarsia.workflows.export_request import ExportRequest

    done = export_model(
        ExportRequest(
            weights=weights, to=[word.strip() for word in to.split(",") if word.strip()], out=out, config=config,
            output=output, layout=layout.upper(), size=size, batch=batch, precision=precision, samples=samples,
            count=count, at_least=at_least, threads=threads, key=key, prefix=prefix,
            receiver=receiver, tile=tile, resolution=resolution, name=name, sizes=sizes, most=most,
            single_file=single_file, onnxruntime_web=onnxruntime_web,
        )
    )  # fmt: skip
    if any(found.differs for found in done):
        raise typer.Exit(FAILED)


@app.command("verify", no_args_is_help=True)
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An exported file.")],
    against: Annotated[str, typer.Option("--against", metavar="WEIGHTS|RUN|NAME", help="What it was exported from.")],
    samples: Samples = None,
    count: Count = 16,
    at_least: AtLeast = None,
    threads: Threads = None,
    config: options.ConfigBeside = None,
    trust: options.Trust = None,
) -> None:
    """Compare an exported file with its original again, on other images or another machine."""
    from intarsia.workflows.export_model import verify as compared

    found = compared(
        file, against=against, samples=samples, count=count, at_least=at_least, config=config, threads=threads
    )
    if not found.passed:
        raise typer.Exit(FAILED)
