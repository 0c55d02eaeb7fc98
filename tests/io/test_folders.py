"""The one walk through folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from intarsia.io import folders
from intarsia.io.folders import folders_of, natural_order, walk_files


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_come_sorted_before_those_of_subfolders_and_hidden_ones_not_at_all(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/2.png", "a/10.png", "a.png", ".hidden.png", ".git/x.png", "a/.thumbs/y.png")
    touch(tmp_path, "__MACOSX/z.png", "a/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "Ä/ß.png")
    assert list(walk_files(tmp_path)) == ["a.png", "b.png", "a/10.png", "a/2.png", "Ä/ß.png"]
    assert list(walk_files(tmp_path, recursive=False)) == ["a.png", "b.png"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    touch(elsewhere, "one.png", "deeper/two.png")
    touch(root, "own.png")
    (root / "linked").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)  # a path is what its user calls it: both are there
    (root / "loop").symlink_to(".")
    (root / "up").symlink_to("..")
    (elsewhere / "deeper" / "back").symlink_to(root)
    (root / "itself.png").symlink_to("itself.png")
    (root / "nowhere.png").symlink_to("missing.png")
    found = list(walk_files(root))
    assert found[:3] == ["itself.png", "nowhere.png", "own.png"]  # reading them says what is the matter
    assert {"again/one.png", "again/deeper/two.png", "linked/one.png", "linked/deeper/two.png"} < set(found)
    assert not any("loop" in path or path.count("back") > 0 for path in found)
    assert "up/elsewhere/one.png" in found
    assert not any(path.startswith("up/root") for path in found)


def test_links_that_cross_are_refused_before_they_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "AGAIN", 50)
    names = "abcdefgh"
    for name in names:
        (tmp_path / name).mkdir()
        for other in names:
            (tmp_path / name / other).symlink_to(tmp_path / other)
    with pytest.raises(ValueError, match="symbolic links lead to this folder 50 times"):
        list(walk_files(tmp_path))


def test_a_deep_tree_is_no_recursion(tmp_path: Path) -> None:
    here, depth = tmp_path, 1200
    try:
        for _ in range(depth):
            here = here / "d"
            here.mkdir()
        (here / "end.png").touch()
        assert list(walk_files(tmp_path)) == ["d/" * depth + "end.png"]
    finally:
        (here / "end.png").unlink()
        os.removedirs(here)  # pytest's own tidying recurses


def test_a_folder_that_is_missing_or_closed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot list the folder .*missing: No such file"):
        list(walk_files(tmp_path / "missing"))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    if os.access(closed, os.R_OK):
        return  # for whom nothing is closed
    with pytest.raises(ValueError, match=r"cannot list the folder .*closed: Permission denied"):
        list(walk_files(tmp_path))


def test_natural_order_and_names_of_folders(tmp_path: Path) -> None:
    names = ["f10.png", "f2.png", "b/1.png", "a.png", "b.png"]
    assert sorted(names, key=natural_order) == ["a.png", "b/1.png", "b.png", "f2.png", "f10.png"]
    touch(tmp_path, "y/1", "x/1", ".z/1", "file")
    assert folders_of(tmp_path) == ["x", "y"]
    assert folders_of(tmp_path / "missing") == []
