"""Documentation is executed: every ``console`` and ``python`` block of README.md and docs/*.md, top to bottom.

One page is one scratch folder, so that a later block can use what an earlier one made. In a ``console`` block the lines
that start with ``$`` are commands. An HTML comment right before a block changes how the test treats it:

    <!-- test: replace "600 steps" with "4 steps" -->   run it shorter than a reader would
    <!-- test: skip, needs a GPU -->                    do not run it; the reason is obligatory
    <!-- test: needs lightning -->                      do not run it where this package is not installed

All pages but some (DRAW_ALL) take the scenes that `intarsia demo --only-data` would draw for each of them from one
folder, which holds fewer: what a page shows is no matter of how many there are.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?P<notes>(?:<!-- test: [^\n]* -->\n)*)```(?P<language>console|python)\n(?P<body>.*?)```", re.DOTALL
)
NOTE = re.compile(r"<!-- test: (.*?) -->")
NEEDS = re.compile(r"needs (\w+)")
REPLACE = re.compile(r'replace "([^"]+)" with "([^"]*)"')


@dataclass(frozen=True)
class Block:
    language: str
    body: str
    line: int

    def commands(self) -> list[str]:
        if self.language == "python":
            return [self.body]
        joined = re.sub(r"\\\n\s*>?\s*", "", self.body)  # continued lines
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        body, skipped = match["body"], False
        for note in NOTE.findall(match["notes"]):
            if note.startswith("skip"):
                assert len(note) > len("skip, "), f"{page}: say why the block is skipped"
                skipped = True
            elif needed := NEEDS.fullmatch(note):
                skipped = skipped or find_spec(needed[1]) is None
            elif replacement := REPLACE.fullmatch(note):
                assert replacement[1] in body, f"{page}: {replacement[1]!r} does not occur in the block"
                body = body.replace(replacement[1], replacement[2])
            else:
                raise AssertionError(f"{page}: test note not understood: {note!r}")
        if not skipped:
            found.append(Block(match["language"], body, text[: match.start()].count("\n") + 1))
    return found


def runnable() -> list[Path]:
    return [page for page in PAGES if blocks(page)]


def needed_packages() -> list[str]:
    notes = [note for page in PAGES for note in NOTE.findall(page.read_text(encoding="utf-8"))]
    return sorted({found[1] for note in notes if (found := NEEDS.fullmatch(note))})


@pytest.mark.parametrize("package", needed_packages())
def test_what_blocks_need_is_installed(package: str) -> None:
    """Where it is not, its blocks are left out, and this says so."""
    pytest.importorskip(package, reason=f"{package} is not installed: the blocks that need it are not run")


DRAWING = ["intarsia", "demo", "--only-data", "--out"]


DRAW_ALL = ("README.md", "video.md")
"""Pages that need all scenes, as the command draws them: the first shows it, the second makes films of them."""
KEPT = {"train": 20, "val": 5}


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `intarsia demo --only-data` leaves, with the first scenes of each split alone."""
    folder = tmp_path_factory.mktemp("pages") / "scenes"
    subprocess.run([sys.executable, "-m", "intarsia", *DRAWING[1:], str(folder)], check=True)
    for split, count in KEPT.items():
        for kind in ("images", "labels"):
            for file in sorted((folder / kind / split).iterdir())[count:]:
                file.unlink()
    return folder


def test_the_scenes_of_the_pages_are_some_of_the_commands(scenes: Path) -> None:
    assert (scenes / "data.yaml").is_file()
    for split, count in KEPT.items():
        images, labels = (
            sorted(file.stem for file in (scenes / kind / split).iterdir()) for kind in ("images", "labels")
        )
        assert images == labels
        assert len(images) == count
    assert (scenes / "images" / "val" / "street_112.jpg").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", runnable(), ids=lambda page: page.name)
def test_page_runs(page: Path, scenes: Path, tmp_path: Path) -> None:
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "INTARSIA_REPOSITORY": str(REPOSITORY),
        "COLUMNS": "120",
    }
    for block in blocks(page):
        for command in block.commands():
            words = shlex.split(command) if block.language == "console" and page.name not in DRAW_ALL else []
            if words[:-1] == DRAWING:
                shutil.copytree(scenes, tmp_path / words[-1])
                continue
            arguments = [sys.executable, "-c", command] if block.language == "python" else ["bash", "-euc", command]
            done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, (
                f"{page.name}:{block.line}: {command.strip()}\nexit {done.returncode}\n"
                f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )


LINK = re.compile(r"\[[^\]]*\]\((?!https?://|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")


OTHERS = [REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md"]


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"
