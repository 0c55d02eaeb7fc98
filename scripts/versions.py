"""Runs a sample of the quick tests on another Python, with the oldest or the newest versions that are admitted.

    python scripts/versions.py lowest 3.10      # or the path of an interpreter instead of its version
    python scripts/versions.py newest 3.13

Every test is run with one in SAMPLE of its cases, and with at least one: what another version breaks, it breaks for
more than one network or value. `--sample 1` runs all.

uv resolves and installs, for pip cannot ask for the lowest versions. Where the interpreter is not found, nothing is
tried, and the output says so: this is no failure.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
SAMPLE = 16
APART = ("tensorrt", "executorch", "litert", "coreml")
"""Extras that want an environment or a machine of their own: a GPU, or one version of torch for each of theirs."""
SHOWN = ("torch", "torchvision", "numpy", "opencv-python-headless", "scipy", "matplotlib", "pillow", "typer")
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def candidates(version: str) -> Iterator[Path]:
    """Where an interpreter of this version may lie: on PATH, and where pyenv and uv keep theirs."""
    found = shutil.which(f"python{version}")
    if found:
        yield Path(found)
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    yield from sorted(pyenv.glob(f"{version}.*/bin/python"))
    yield from sorted((home / ".local/share/uv/python").glob(f"cpython-{version}.*/bin/python"))


def find_python(version: str) -> Path | None:
    """The first candidate that runs and is of this version; a shim of pyenv may stand for one that is not chosen."""
    for candidate in candidates(version):
        done = subprocess.run([candidate, "-c", VERSION], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return None


def find_uv() -> str:
    """The uv of this environment, or that on PATH."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise SystemExit(f'uv was not found beside {sys.executable} nor on PATH; fix: pip install -e ".[dev]"')
    return found


def install(which: str, interpreter: Path) -> Path:
    """The interpreter of an environment of its own, with Intarsia and what all its extras name, but those `APART`."""
    uv, folder = find_uv(), REPOSITORY / f".venv-{which}"
    python = folder / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", interpreter, folder], check=True)
    command = [uv, "pip", "install", "--quiet", "--python", python, "--resolution", RESOLUTIONS[which]]
    named = [word for name in extras() for word in ("--extra", name)]
    subprocess.run([*command, "--requirement", "pyproject.toml", *named, "--editable", "."], check=True)
    return python


def extras() -> list[str]:
    """The extras of pyproject.toml, but those `APART`. Read as text: Python 3.10 parses no TOML."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    _, _, stated = text.partition("[project.optional-dependencies]\n")
    found = re.findall(r"(?m)^(\w+) = \[", stated.partition("\n[")[0])
    return [name for name in found if name not in APART]


def shown(python: Path) -> str:
    """Some of the versions that are installed there."""
    listed = subprocess.check_output([find_uv(), "pip", "freeze", "--quiet", "--python", python], text=True)
    versions = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    return ", ".join(f"{name} {versions[name]}" for name in SHOWN)


def main() -> int:
    """The exit status of the tests; 0 without an interpreter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=RESOLUTIONS)
    parser.add_argument("python", help="a version (3.10), or the path of an interpreter")
    parser.add_argument("--sample", type=int, default=SAMPLE, metavar="N", help=f"one in N cases; {SAMPLE} by default")
    parser.add_argument("--minutes", metavar="N", help="no test begins later than this after the start of the tests")
    parser.add_argument("tests", nargs="*", help="what pytest gets, instead of all quick tests")
    given = parser.parse_args()
    os.chdir(REPOSITORY)
    interpreter = Path(given.python) if os.sep in given.python else find_python(given.python)
    if interpreter is None:
        print(
            f"== {given.which} versions: NOT TRIED, for no Python {given.python} was found on PATH or among those of "
            f"pyenv and uv. To say where one is: make {given.which} PYTHON_{given.which.upper()}=/path/to/python",
            flush=True,
        )
        return 0
    start = time.monotonic()
    python = install(given.which, interpreter)
    seconds = time.monotonic() - start
    print(f"== {given.which} versions on {interpreter}, installed in {seconds:.0f} s: {shown(python)}", flush=True)
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as `make unit`
    environment = os.environ | threads | {"INTARSIA_VERSIONS": given.which}
    tests = given.tests or ["-n", "2", "--dist", "worksteal", "-m", "not slow", "--sample", str(given.sample)]
    if given.minutes is not None:
        tests += ["--minutes", given.minutes]
    return subprocess.run([python, "-m", "pytest", "-q", *tests], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
