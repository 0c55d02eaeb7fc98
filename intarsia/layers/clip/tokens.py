"""The byte-pair encoding of CLIP: words as numbers.

Byte-pair encoding: Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, arXiv:1508.07909; of
bytes: Radford et al., Language Models are Unsupervised Multitask Learners, 2019. The table of merges beside this file
is CLIP's (Radford et al., arXiv:2103.00020); LICENSE says where it is from.

A piece of text is a string of letters that stand for bytes, the last of a word marked with `</w>`. The pieces are
numbered: 256 bytes, 256 bytes at the end of a word, what each merge makes, and the two marks around a text.
"""

from __future__ import annotations

import gzip
import html
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import pairwise

END_OF_WORD = "</w>"
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
MERGES = 48_894
START, END = 512 + MERGES, 512 + MERGES + 1
"""Numbers of the marks before and behind a text; the one behind is the largest of all."""
SIZE = END + 1
"""How many numbers there are."""


def tokenize(texts: Sequence[str], length: int) -> list[list[int]]:
    """The numbers of each text between START and END, filled up with 0 to `length`; longer ones are cut before END.

    Raises ValueError for a length that has no room for a text.
    """
    if length < 3:
        raise ValueError(f"a text needs 3 numbers or more with the marks around it; got a length of {length}")
    rows = []
    for text in texts:
        numbers = [START, *encode(text)[: length - 2], END]
        rows.append(numbers + [0] * (length - len(numbers)))
    return rows


def encode(text: str) -> list[int]:
    """The numbers of a text, without the marks around it. Upper case is lower case, all white space is one space.

    Letters outside of ASCII are brought into composed form (NFC) and encoded by their bytes. CLIP's own code would also
    repair text whose encoding was mistaken before; here it is taken as it is.
    """
    cleaned = unicodedata.normalize("NFC", html.unescape(html.unescape(text))).lower()
    pieces, letters = _pieces(), _letters()
    return [
        pieces[piece]
        for word in _words(cleaned)
        for piece in _merged("".join(letters[byte] for byte in word.encode("utf-8")))
    ]


def _words(text: str) -> Iterator[str]:
    """What is encoded apart: endings like 's, letters that stand together, each digit, signs that stand together."""
    start = 0
    while start < len(text):
        kind, end = _kind(text[start]), start + 1
        ending = next((one for one in CONTRACTIONS if text.startswith(one, start)), None)
        if ending is not None:
            end = start + len(ending)
        elif kind != "number":
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != "space":
            yield text[start:end]
        start = end


def _kind(letter: str) -> str:
    if letter.isspace():
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(letter)[0], "sign")


@cache
def _merged(word: str) -> tuple[str, ...]:
    """The pieces of a word: whichever neighbours come first in the table of merges are joined, until none are in it."""
    ranks = _ranks()
    parts = [*word[:-1], word[-1] + END_OF_WORD]
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, MERGES))
        if best not in ranks:
            break
        joined, i = [], 0
        while i < len(parts):
            together = tuple(parts[i : i + 2]) == best
            joined.append("".join(best) if together else parts[i])
            i += 2 if together else 1
        parts = joined
    return tuple(parts)


@cache
def _letters() -> tuple[str, ...]:
    """For each byte the letter that stands for it in the table of merges: itself where that can be printed."""
    others = (chr(256 + i) for i in range(256))
    return tuple(chr(byte) if _is_printed(byte) else next(others) for byte in range(256))


def _is_printed(byte: int) -> bool:
    return 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE


@cache
def _ranks() -> dict[tuple[str, str], int]:
    """The place of each merge in the table."""
    packed = resources.files("intarsia.layers.clip").joinpath("merges.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").splitlines()
    assert len(lines) == MERGES
    return {(first, second): rank for rank, (first, second) in enumerate(line.split(" ") for line in lines)}


@cache
def _pieces() -> dict[str, int]:
    """The number of each piece; bytes that can be printed come first."""
    letters = _letters()
    order = sorted(range(256), key=lambda byte: (not _is_printed(byte), byte))
    bytes_ = [letters[byte] for byte in order]
    found = [*bytes_, *(letter + END_OF_WORD for letter in bytes_), *("".join(pair) for pair in _ranks())]
    return {piece: number for number, piece in enumerate(found)}
