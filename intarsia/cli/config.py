"""``intarsia config``: look at configs, check them, compare them, write them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from intarsia.cli import options

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config

app = typer.Typer(no_args_is_help=True, help="Show, check, compare and write configs. No config is ever executed.")

File = Annotated[
    str, typer.Argument(metavar="FILE|RECIPE|RUN", help="A config file, a published recipe, a run's folder.")
]


@app.command("show")
def show(
    file: File,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    origins: Annotated[
        bool, typer.Option("--origins", help="Print one value a line, with the file and line it is from.")
    ] = False,
    settings: options.Set = None,
    trust_config: options.TrustConfig = False,
) -> None:
    """Print the resolved config: inheritance, variables and overrides applied."""
    from intarsia.workflows.names import find_config

    config = find_config(file, settings=settings or (), trust=trust_config)
    if as_json:
        typer.echo(config.to_json())
    elif origins:
        for path, value in _leaves("", config.values):
            typer.echo(f"{path} = {value!r}  # {config.origin(path)}")
    else:
        typer.echo(_text(config), nl=False)


@app.command("check")
def check(
    file: File,
    settings: options.Set = None,
    trust: options.Trust = None,
    trust_config: options.TrustConfig = False,
) -> None:
    """Check a config against the parts it names, and print all problems at once."""
    from intarsia.config.checking.check import check as find_problems
    from intarsia.config.errors import ConfigError
    from intarsia.config.lowering.lower import lower_all
    from intarsia.terminal import printable
    from intarsia.workflows.names import find_config

    config = find_config(file, settings=settings or (), trust=trust_config)
    problems = find_problems(config, shapes=True)
    for note in lower_all(config).notes:
        typer.echo(f"note: {printable(note)}")
    if problems:
        typer.echo(str(ConfigError(problems)))
        typer.echo(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}", err=True)
        raise typer.Exit(2)
    typer.echo("no problems")


@app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A config file, recipe or run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
) -> None:
    """Print every value that differs between two resolved configs, with both origins."""
    from intarsia.config.diff import diff as differences
    from intarsia.workflows.names import find_config

    found = differences(find_config(a), find_config(b))
    for difference in found:
        typer.echo(str(difference))
    if not found:
        typer.echo("no differences")


@app.command("dump")
def dump(
    file: File,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="File to write; by default standard output."),
    ] = None,
    settings: options.Set = None,
    trust_config: options.TrustConfig = False,
) -> None:
    """Write the resolved config as one file that reads to the same values."""
    from intarsia.io.whole_files import write_text
    from intarsia.workflows.names import find_config

    text = _text(find_config(file, settings=settings or (), trust=trust_config))
    if out is None:
        typer.echo(text, nl=False)
        return
    if out.suffix != ".py":
        raise ValueError(f"--out {out}: a config is written in Python syntax, so its name must end in .py")
    write_text(out, text)


@app.command("list")
def list_recipes(
    filter_: Annotated[str, typer.Argument(metavar="[TEXT]", help="Only names that contain this.")] = "",
) -> None:
    """List all recipes: the short ones for your own data, and the published ones."""
    from intarsia import recipes

    short = [name for name in recipes.own_names() if filter_ in name]
    published = [name for name in [*recipes.names(), *recipes.later_names()] if filter_ in name]
    if not short and not published:
        raise ValueError(f"no recipe has {filter_!r} in its name; `intarsia config list` shows all")
    if short:
        typer.echo("For your own data (intarsia train NAME --data DIR --out RUN):")
        typer.echo("\n".join(f"  {name}" for name in short))
    if published:
        typer.echo("As published (intarsia train NAME --out RUN; with --data DIR on your own data):")
        typer.echo("\n".join(f"  {name}" for name in published))


def _text(config: Config) -> str:
    from intarsia.config.dump import dump as as_text

    return as_text(config.values, header=config.file)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of everything that is no container, and of empty containers."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(f"{path}.{index}", item)
    else:
        yield path, value
