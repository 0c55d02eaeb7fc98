"""What a command says, and how often."""

from __future__ import annotations

import warnings

import pytest

from intarsia.terminal import Notice, notices_shown


def test_a_notice_is_said_once_wherever_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    with notices_shown():
        for level in (1, 2, 1):  # Python tells warnings apart by their lines, and prints one for each
            warnings.warn("the upper 8 bits are taken", Notice, stacklevel=level)
        warnings.warn("another", Notice, stacklevel=1)
    assert capsys.readouterr().err.splitlines() == ["note: the upper 8 bits are taken", "note: another"]
