"""Files of a few kilobytes that ask for work without bound: each is one error, soon, in little memory and few words."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from type_places import changed
from whole_configs import FCN, pixels

from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.dump import dump
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config, read_file
from intarsia.config.lowering.lower import lower
from intarsia.data.description.read import read_description

SECONDS, MEGABYTES, LETTERS = 60, 150, 100_000
"""On a machine that does ten other things; alone, the slowest takes three seconds."""

MODULUS = 2**61 - 1
"""Numbers whose difference is a multiple of it have one hash."""

DOUBLED = "\n".join(["x = [x, x]"] * 60)
CONFIGS: dict[str, tuple[str, str]] = {
    "sets in sets of lists": ("py", f"x = [{{1}}]\n{DOUBLED}"),
    "ranges in lists": ("py", f"x = [range(3)]\n{DOUBLED}"),
    "ranges, added": ("py", "x = [range(3)]\n" + "x = x + x\n" * 16),
    "dicts in dicts": ("py", "x = dict(a={1})\n" + "x = dict(a=x, b=x)\n" * 60),
    "numbers of one hash": ("py", f"d = {{i * {MODULUS}: 1 for i in range(20000)}}"),
    "a set of one hash": ("py", f"s = len({{i * {MODULUS} for i in range(20000)}})"),
    "tuples of one hash": ("py", "t = [(a, b) for a in range(-2, 0) for b in range(300)]\nd = {a: 1 for a in t}"),
    "numbers of one hash, JSON": ("json", '{"a": {' + ",".join(f"{i * MODULUS}: 1" for i in range(9000)) + "}}"),
    "numbers of one hash, YAML": ("yaml", "a:\n" + "".join(f"  {i * MODULUS}: 1\n" for i in range(9000))),
    "lists copied by stars": ("py", "a = list(range(100000))\nfor i in range(50000):\n    b = [*a]\n"),
    "lists copied by +=": ("py", "a = list(range(100000))\nfor i in range(50000):\n    b = []\n    b += a\n"),
    "dicts copied by |=": ("py", "a = {i: i for i in range(20000)}\nfor i in range(50000):\n    b = {}\n    b |= a\n"),
    "strings joined": ("py", "l = ['a' * 999] * 1000\nm = [''.join(l) for i in range(20000)]"),
    "strings replaced": ("py", "s = 'a' * 999\nm = [s.replace('a', 'b' * 1000) for i in range(20000)]"),
    "items of a dict": ("py", "d = {i: i for i in range(20000)}\nm = [d.items() for i in range(20000)]"),
    "blanks in a reference": ("py", "x = '{{$A:" + " " * 300_000 + "'\n"),
    "references that do not end": ("py", "x = '" + "{{$A:" * 9_000 + " " * 100_000 + "'\n"),
    "our own mark": ("py", "x = '_reference" + "_" * 900_000 + "'\ny = '{{fileBasename}}'"),
    "names without end": ("py", "x = dict()\n" + "x['" + "k" * 100_000 + "'] = 1"),
    "aliases of aliases": (
        "yaml", "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    ),
    "an alias of itself": ("yaml", "a: &a [*a]\n"),
    "a mapping merged into itself": ("yaml", "a: &a\n  <<: *a\n"),
    "a number to the base of 60": ("yaml", "a: " + "1:" * 100_000 + "1\n"),
    "a fraction to the base of 60": ("yaml", "a: " + "1:" * 100_000 + "1.5\n"),
    "brackets, YAML": ("yaml", "a: " + "[" * 100_000),
    "brackets, JSON": ("json", '{"a": ' + "[" * 300_000),
}  # fmt: skip


def measured(work: Callable[[], Any], *, memory: bool = False) -> str:
    """What the error says that some work ends in. memory: look at that, too, which makes it much slower."""
    start = time.process_time()
    if memory:
        tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"\w") as caught:
            work()
        assert not memory or tracemalloc.get_traced_memory()[1] < MEGABYTES * 2**20
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < SECONDS
    assert len(str(caught.value)) < LETTERS
    return str(caught.value)


@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith(("our own", "blanks", "references"))])
def test_configs_that_compute_without_end(name: str, tmp_path: Path) -> None:
    suffix, text = CONFIGS[name]
    file = tmp_path / f"config.{suffix}"
    file.write_text(text)
    measured(lambda: read_file(file).values, memory=True)


@pytest.mark.parametrize("name", ["our own mark", "blanks in a reference", "references that do not end"])
def test_texts_that_are_read_in_time(name: str, tmp_path: Path) -> None:
    """Nothing is wrong with them; they are only long."""
    file = tmp_path / "config.py"
    file.write_text(CONFIGS[name][1])
    start = time.process_time()
    assert len(read_file(file).values["x"]) > 100_000
    assert time.process_time() - start < SECONDS


# --- Configs that are checked and built ---------------------------------------------------------------------------

MANY: dict[str, tuple[tuple[Any, ...], Any]] = {
    "transforms": (("val_dataloader", "dataset", "pipeline"), [{"type": "RandomFlip", "prob": 0.5}] * 20_000),
    "unknown transforms": (("val_dataloader", "dataset", "pipeline"), [{"type": f"Flip{i}"} for i in range(20_000)]),
    "hooks": (("custom_hooks",), [{"type": f"EmaHook{i}"} for i in range(20_000)]),
    "schedules": (("param_scheduler",), [{"type": f"PolyLR{i}"} for i in range(20_000)]),
    "losses": (("model", "decode_head", "loss_decode"), [{"type": "CrossEntropyLoss"}] * 20_000),
    "heads": (("model", "auxiliary_head"), [FCN] * 5_000),
    "lists of files": (("val_dataloader", "dataset", "ann_file"), [f"{i}.txt" for i in range(5_000)]),
    "arguments": (("model", "decode_head"), {**FCN, **{f"in_channel{i}": 1 for i in range(15_000)}}),
    "keys": (("optim_wrapper",), {"type": "OptimWrapper", **{f"optimizer{i}": 1 for i in range(15_000)}}),
    "a long name": (("model", "backbone", "type"), "a" * 3_000_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MANY)
def test_configs_with_more_than_any_run_has(name: str) -> None:
    path, value = MANY[name]
    values = changed(pixels(), path, value)

    def work() -> None:
        problems = check(Config.from_values(values, file="downloaded.py"))
        raise ConfigError(problems)

    assert measured(work)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "decode_head", "num_convs"), 10**9),
        (("model", "decode_head", "channels"), 10**8),
        (("model", "decode_head", "channels"), 10**30),
        (("model", "backbone", "base_channels"), 10**6),
        (("model", "neck", "num_outs"), 10**7),
    ],
)
def test_networks_that_no_machine_holds(path: tuple[Any, ...], value: int) -> None:
    """They are refused before their numbers are made, also where nothing is checked first."""
    config = Config.from_values(changed(pixels(), path, value), file="downloaded.py")
    for work in (lambda: build_task(lower(config)), lambda: _raise(check(config, shapes=True))):
        assert measured(work)


def _raise(problems: list[Any]) -> None:
    raise ConfigError(problems)


def test_a_config_that_is_large_and_right(tmp_path: Path) -> None:
    """The bounds are far from what people write: a thousand classes, a hundred transforms, ten thousand files."""
    values = changed(pixels(), ("val_dataloader", "dataset", "metainfo"), {"classes": ["a", "b", "c"]})
    values = changed(values, ("train_dataloader", "dataset", "dataset", "datasets", 0, "indices"), None)
    flips = [{"type": "RandomFlip", "prob": 0.5}] * 100
    pipeline = values["val_dataloader"]["dataset"]["pipeline"]
    values = changed(values, ("val_dataloader", "dataset", "pipeline"), [pipeline[0], *flips, *pipeline[2:]])
    values["notes"] = [f"file {index}" for index in range(10_000)]
    file = tmp_path / "config.py"
    file.write_text(dump(values))
    assert not [problem for problem in check(read_file(file)) if "indices" not in str(problem)]


# --- Data descriptions --------------------------------------------------------------------------------------------

DESCRIPTIONS = {
    "aliases of aliases": "a0: &a0 [x, x]\n"
    + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)) + "classes: *a59\n",
    "an alias of itself": "classes: &a [*a]\n",
    "a mapping in itself": "classes: &a {x: *a}\n",
    "a key that is itself": "&a {*a : 1}\n",
    "a tag that calls": "classes: !!python/object/apply:os.system ['true']\n",
    "a tag of one's own": "classes: !mine [a]\n",
    "a set": "classes: !!set {a, b}\n",
    "bytes": "classes: !!binary aGVsbG8=\n",
    "a merge key": "classes: {<<: {a: 1}}\n",
    "a key that is a list": "? [[1, 2], 3]\n: 4\n",
    "a key that is a mapping": "? {a: 1}\n: 2\n",
    "brackets": "classes: " + "[" * 3_000 + "]" * 3_000,
    "mappings": "".join("  " * i + "a:\n" for i in range(900)),
    "an enormous number": "ignore_index: " + "9" * 5_000,
    "a number to the base of 60": "ignore_index: " + "1:" * 50_000 + "1\n",
    "keys of one hash": "labels:\n" + "".join(f"  {i * MODULUS}: a\n" for i in range(9_000)),
    "a long name": "k" * 500_000 + ": 1\n",
    "colours that are not numbers": "classes: [a]\npalette: [[.inf, .nan, 0]]\nsplits: {train: {images: i}}\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "an alias of nothing": "classes: *nothing\n",
}  # fmt: skip


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions_that_are_none(name: str, tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(DESCRIPTIONS[name])
    assert measured(lambda: read_description(file)).startswith(str(file))
