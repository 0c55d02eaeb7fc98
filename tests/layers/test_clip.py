"""CLIP's words as numbers, against the tokenizer of transformers made of the same table; and its sentences."""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import random
from importlib import resources
from typing import Any

import pytest

from intarsia.layers.clip import tokens
from intarsia.layers.clip.templates import TEMPLATES, templates_of

LETTERS = "abcXYZ 0123456789'.,!?-_/\\\t\n&()\"éüßñΩ猫犬½²Ⅷ😀"
ENDINGS = ("'s", "'T", "don't", "we'll", " we're ", "I'VE", "'d ", "I'm", "''s", "!'s", " 's")


def test_the_table_is_the_one_that_the_licence_beside_it_names() -> None:
    folder = resources.files("intarsia.layers.clip")
    text = gzip.decompress(folder.joinpath("merges.txt.gz").read_bytes())
    assert hashlib.sha256(text).hexdigest() in folder.joinpath("LICENSE").read_text()
    assert len(text.splitlines()) == tokens.MERGES
    assert tokens.SIZE == 49408


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello world!", [3306, 1002, 256]),
        ("a photo of a cat.", [320, 1125, 539, 320, 2368, 269]),
        ("A  Photo\tof a\nCAT .", [320, 1125, 539, 320, 2368, 269]),
        ("", []),
        ("   ", []),
    ],
)
def test_known_numbers(text: str, expected: list[int]) -> None:
    assert tokens.encode(text) == expected


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizer of transformers; no file is fetched."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tokenizer")
    numbers = {**tokens._pieces(), "<|startoftext|>": tokens.START, "<|endoftext|>": tokens.END}
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    merges = ["#version: 0.2", *(" ".join(pair) for pair in tokens._ranks())]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    return transformers.CLIPTokenizerFast.from_pretrained(folder)


def test_words_and_sentences_have_the_numbers_that_transformers_gives(other: Any) -> None:
    from intarsia.data.datasets.class_names import _NAMES

    names = sorted({name for benchmark in _NAMES.values() for name in benchmark})
    texts = [template.format(name) for name in names for template in TEMPLATES["vild"][:2]]
    texts += [template.format("cat") for template in TEMPLATES["imagenet"]]
    for text in texts:
        assert [tokens.START, *tokens.encode(text), tokens.END] == other(text)["input_ids"], text


def test_any_text_has_the_numbers_that_transformers_gives(other: Any) -> None:
    drawn = random.Random(0)
    pieces = [*LETTERS, *ENDINGS]
    for _ in range(1500):
        text = "".join(drawn.choice(pieces) for _ in range(drawn.randint(1, 30)))
        if html.unescape(text) == text:  # which transformers leaves as it is
            assert [tokens.START, *tokens.encode(text), tokens.END] == other(text)["input_ids"], text


def test_what_else_is_cleaned() -> None:
    assert tokens.encode("black &amp;amp; white") == tokens.encode("black & white")
    assert tokens.encode("cafe\u0301") == tokens.encode("caf\u00e9"), "composed and decomposed letters are the same"
    assert tokens.encode("<|endoftext|>") != [tokens.END], "a name cannot end a text"


def test_texts_are_marked_filled_up_and_cut() -> None:
    short, long = tokens.tokenize(["cat", "a photo of a cat."], 6)
    assert short == [tokens.START, 2368, tokens.END, 0, 0, 0]
    assert long == [tokens.START, 320, 1125, 539, 320, tokens.END]
    with pytest.raises(ValueError, match="got a length of 2"):
        tokens.tokenize(["cat"], 2)


def test_templates_by_name_or_given() -> None:
    assert {name: len(of_name) for name, of_name in TEMPLATES.items()} == {"imagenet": 80, "vild": 14}
    for of_name in TEMPLATES.values():
        assert len(set(of_name)) == len(of_name)
        assert templates_of(of_name) == of_name
    assert templates_of("vild")[0] == "a photo of a {}."
    assert templates_of(["{} from above"]) == ("{} from above",)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ("vlid", "unknown templates 'vlid'; known are 'imagenet', 'vild'"),
        ([], "empty list"),
        (["a photo"], "one place {} for the class name, and no other braces; got 'a photo'"),
        (["{} and {}"], "one place"),
        (["{0}"], "one place"),
        (["{name} {}"], "one place"),
    ],
)
def test_templates_without_a_place_for_the_name(templates: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        templates_of(templates)
