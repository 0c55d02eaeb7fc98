"""docs/from-mmsegmentation.md: complete, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from intarsia.cli.main import app
from intarsia.data.prepare.table import BENCHMARKS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-mmsegmentation.md"
TEXT = PAGE.read_text(encoding="utf-8")

SCRIPTS = {
    "": "train.py test.py dist_train.sh dist_test.sh slurm_train.sh slurm_test.sh",
    "analysis_tools/": "analyze_logs.py benchmark.py browse_dataset.py confusion_matrix.py get_flops.py "
    "visualization_cam.py",
    "dataset_converters/": "chase_db1.py cityscapes.py coco_stuff10k.py coco_stuff164k.py drive.py hrf.py isaid.py "
    "levircd.py loveda.py nyu.py pascal_context.py potsdam.py refuge.py stare.py synapse.py vaihingen.py voc_aug.py",
    "deployment/": "pytorch2torchscript.py",
    "misc/": "browse_dataset.py print_config.py publish_model.py",
    "model_converters/": "beit2mmseg.py clip2mmseg.py mit2mmseg.py san2mmseg.py stdc2mmseg.py swin2mmseg.py "
    "twins2mmseg.py vit2mmseg.py vitjax2mmseg.py",
    "torchserve/": "mmseg2torchserve.py mmseg_handler.py test_torchserve.py",
}
"""What there is in tools/ of MMSegmentation 1.2.2."""


def listed() -> set[str]:
    """Scripts in the first column of the table, with the folder that stands before them."""
    found = set()
    for line in TEXT.splitlines():
        folder = ""
        for word in re.findall(r"`([^`]+)`", line.split("|")[1]) if line.startswith("| `") else ():
            name = word.split()[0]
            if name.endswith("/"):
                folder = name
            elif name.endswith((".py", ".sh")):
                found.add(name if "/" in name else folder + name)
    return found


def test_every_script_has_a_successor() -> None:
    expected = {folder + name for folder, names in SCRIPTS.items() for name in names.split()}
    assert len([name for name in expected if name.endswith(".py")]) == 41
    assert listed() == expected


def test_the_benchmarks_have_the_names_of_their_scripts() -> None:
    scripts = {name.removesuffix(".py") for name in SCRIPTS["dataset_converters/"].split()}
    assert set(BENCHMARKS) == scripts


COMMANDS = sorted(set(re.findall(r"(?:^\$ |`)(?:srun )?(intarsia [a-z][^`\n]*)", TEXT, re.MULTILINE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_page_exist(command: str) -> None:
    """Each word behind `intarsia` is a command, up to the first that is none; each option is one that it has."""
    here = typer.main.get_command(app)
    for word in command.split()[1:]:
        if not hasattr(here, "commands"):
            break
        if here.name == "export" and word not in here.commands:  # a model, whose command may be left out
            here = here.commands["model"]
            break
        assert word in here.commands, f"{word} is no command of {here.name}"
        here = here.commands[word]
    known = {option for parameter in here.params for option in parameter.opts}
    unknown = set(re.findall(r"(?<!\S)(--?[a-z][\w-]*)", command)) - known
    assert not unknown
