"""The command ``intarsia``: the list of its commands, and how errors look.

Nothing here or in the modules of the commands imports torch, numpy or rich before a command runs: ``intarsia --help``
must be instant. Errors of the user are one message and exit code 2; an interruption is 130; anything else is a bug,
exit code 1.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from intarsia.cli import (
    advise,
    bench,
    config,
    cv,
    data,
    demo,
    doctor,
    evaluate,
    models,
    plot,
    predict,
    train,
    view,
    weights,
)
from intarsia.cli import explain as explanations
from intarsia.cli import export as exports
from intarsia.cli.arguments import prepare, refuse_addresses
from intarsia.distributed.launchers import is_secondary_error

USER_ERROR, BUG, INTERRUPTED = 2, 1, 130


class _Program(TyperGroup):
    """Turns exceptions of a command into one message and an exit code; with --debug it lets them through."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command; before it runs, its words are looked at."""
        refuse_addresses(args)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.Exit:  # a RuntimeError to Python
            raise
        except BrokenPipeError:  # `intarsia ... | head`: the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (KeyboardInterrupt, ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
            if ctx.params.get("debug"):
                raise
            message, code = explain(error)
            _print_error(message)
            raise typer.Exit(code) from error


def explain(error: BaseException) -> tuple[str, int]:
    """The message for an exception and the exit code. ValueError carries its own text; the rest gets one here."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted", INTERRUPTED
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" for {error.filename}" if error.filename else ""
        return f"no space left on the disk{where}; free some, or choose another place with --out", USER_ERROR
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part), USER_ERROR
    if isinstance(error, ValueError):
        return str(error), USER_ERROR
    if isinstance(error, ImportError):
        return f"{error}; `intarsia doctor` shows what is installed and how to get what is missing", USER_ERROR
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return f"out of memory ({error}); use a smaller --batch or --crop", USER_ERROR
    if is_secondary_error(error):
        return (
            "another process of this run has ended, and with it this one; it has said why, unless it was killed",
            USER_ERROR,
        )
    return (
        f"{type(error).__name__}: {error}\n"
        "This should not happen. Run it again with --debug, and report what it prints with `intarsia doctor --report`",
        BUG,
    )


def _print_error(message: str) -> None:
    from rich.text import Text

    from intarsia.terminal import err, printable

    err().print(Text("error: ", style="bold red") + Text(printable(message), style="not bold default"))


app = typer.Typer(
    name="intarsia",
    cls=_Program,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Semantic segmentation: train, evaluate and use models. Reads MMSegmentation's configs and checkpoints.",
    epilog="First steps:  [bold]intarsia demo[/]   or, with your own images and masks:  "
    "[bold]intarsia data check DIR[/]   [bold]intarsia train segformer_mit-b0 --data DIR --out RUN[/]",
)


def _version(wanted: bool) -> None:
    if wanted:
        from intarsia import __version__

        typer.echo(f"intarsia {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


_WORK, _LOOK = "Train and use", "Look and check"
app.command("advise", rich_help_panel=_WORK, epilog=advise.EXAMPLES, no_args_is_help=True)(advise.advise)
app.command("train", rich_help_panel=_WORK, epilog=train.EXAMPLES, no_args_is_help=True)(train.train)
app.command("cv", rich_help_panel=_WORK, epilog=cv.EXAMPLES, no_args_is_help=True)(cv.cv)
app.command("eval", rich_help_panel=_WORK, epilog=evaluate.EXAMPLES, no_args_is_help=True)(evaluate.evaluate)
app.command("predict", rich_help_panel=_WORK, epilog=predict.EXAMPLES, no_args_is_help=True)(predict.predict)
app.add_typer(exports.app, name="export", rich_help_panel=_WORK, help="Export a model as one file, with a proof.")
app.command("demo", rich_help_panel=_WORK)(demo.demo)
app.add_typer(models.app, name="models", rich_help_panel=_LOOK)
app.add_typer(config.app, name="config", rich_help_panel=_LOOK)
app.add_typer(data.app, name="data", rich_help_panel=_LOOK)
app.command("view", rich_help_panel=_LOOK, epilog=view.EXAMPLES, no_args_is_help=True)(view.view)
app.command("bench", rich_help_panel=_LOOK, epilog=bench.EXAMPLES, no_args_is_help=True)(bench.bench)
app.command("plot", rich_help_panel=_LOOK, epilog=plot.EXAMPLES, no_args_is_help=True)(plot.plot)
app.command("explain", rich_help_panel=_LOOK, epilog=explanations.EXAMPLES, no_args_is_help=True)(explanations.explain)
app.add_typer(weights.app, name="weights", rich_help_panel=_LOOK)
app.command("doctor", rich_help_panel=_LOOK)(doctor.doctor)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    from intarsia.terminal import notices_shown, take_any_letter

    take_any_letter()
    try:
        with notices_shown():
            app(args=prepare(sys.argv[1:] if words is None else words), prog_name="intarsia", obj=main)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
