"""Files are written whole or not at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from intarsia.io import whole_files
from intarsia.io.whole_files import (
    DiskFullError,
    aside_name,
    folder_aside,
    put_in_place,
    sweep,
    whole_file,
    write_bytes,
    write_text,
    write_whole,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_appears_when_it_is_complete_and_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    assert write_text(path, "straße\n") == path
    assert path.read_bytes() == "straße\n".encode()

    def half(file: object) -> None:
        assert path.read_bytes() == "straße\n".encode()
        file.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, half)
    assert path.read_bytes() == "straße\n".encode()
    assert names(path.parent) == {"file.txt"}


def test_names_that_are_no_text_are_written_as_text(tmp_path: Path) -> None:
    write_text(tmp_path / "list", os.fsdecode(b"stra\xdfe") + "日")
    assert (tmp_path / "list").read_bytes() == "straße日".encode()


def test_permissions_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    path, link = tmp_path / "real" / "file", tmp_path / "link"
    write_bytes(path, b"1")
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    path.chmod(0o640)
    link.symlink_to(path)
    write_bytes(link, b"2")
    assert link.is_symlink()
    assert path.read_bytes() == b"2"
    assert path.stat().st_mode & 0o777 == 0o640
    write_bytes(Path(os.devnull), b"3")
    assert not Path(os.devnull).is_file()
    with pytest.raises(ValueError, match="real is a folder; give the name of a file"):
        write_bytes(path.parent, b"4")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_libraries_fill_files_of_the_same_suffix(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with whole_file(path) as aside:
        assert aside.suffix == ".mp4"
        aside.write_bytes(b"film")
        assert not path.exists()
    assert path.read_bytes() == b"film"

    def interrupted(content: bytes, *, keep: bool) -> None:
        with whole_file(path, keep_on=(KeyboardInterrupt,) if keep else ()) as aside:
            aside.write_bytes(content)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted(b"other", keep=False)
    assert path.read_bytes() == b"film"
    with pytest.raises(KeyboardInterrupt):
        interrupted(b"begun", keep=True)
    assert path.read_bytes() == b"begun"
    put_in_place(write_bytes(tmp_path / "done", b"done"), path)
    assert path.read_bytes() == b"done"
    assert names(tmp_path) == {"film.mp4"}


def test_threads_write_one_file_without_mixing(tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=write_bytes, args=(tmp_path / "file", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() in contents
    assert names(tmp_path) == {"file"}


def test_a_file_without_room_is_said_and_leaves_the_old_one(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from intarsia.io.whole_files import DiskFullError, write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(Path(sys.argv[1]), b'x' * 10_000)\n"
        "except DiskFullError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "file"], capture_output=True, text=True, check=True
    )
    assert f"files of this disk may not be as large as {tmp_path / 'file'}, " in done.stdout
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == {"file"}
    assert issubclass(DiskFullError, ValueError)


def test_errors_name_the_file_that_was_wanted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_bytes(tmp_path / "file" / "below", b"")
    with pytest.raises(OSError, match="File name too long"):
        write_bytes(tmp_path / ("n" * 300), b"")
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(PermissionError, match="wanted"):
            write_bytes(tmp_path / "closed" / "wanted", b"")


KILLED_WITH_A_FOLDER = """
import os, sys
from pathlib import Path
from intarsia.io.whole_files import folder_aside
with folder_aside(Path(sys.argv[1])) as aside:
    (aside / "half.onnx").touch()
    os.kill(os.getpid(), 9)
"""


def test_a_folder_aside_goes_with_what_is_in_it(tmp_path: Path) -> None:
    with folder_aside(tmp_path / "out") as aside:
        (aside / "half.onnx").touch()
        assert sweep(tmp_path) == 0  # its process lives
    assert not aside.exists()
    with pytest.raises(KeyError), folder_aside(tmp_path / "out"):
        raise KeyError
    assert list((tmp_path / "out").iterdir()) == []


def test_leftovers_of_killed_processes_are_swept_and_no_others(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom intarsia.io.whole_files import aside_name, whole_file\n"
        "inner = Path(sys.argv[1], 'inner'); inner.mkdir(); (inner / aside_name()).write_bytes(b'half')\n"
        "with whole_file(Path(sys.argv[1], 'film.mp4')) as aside:\n"
        "    aside.write_bytes(b'half')\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    begun = subprocess.run([sys.executable, "-c", KILLED_WITH_A_FOLDER, tmp_path], check=False)
    assert begun.returncode == -9
    assert len(list(tmp_path.rglob("half.onnx"))) == 1
    ours = tmp_path / aside_name()
    others = [tmp_path / "inner" / ".intarsia-elsewhere-999999999-0.part", tmp_path / "half.part"]
    for path in (ours, *others):
        path.touch()
    assert sweep(tmp_path) == 3
    assert not list(tmp_path.rglob("half.onnx"))
    assert all(path.exists() for path in (ours, *others))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say it")
@pytest.mark.parametrize("other", ["boot_id", "namespace"])
def test_machines_and_containers_of_one_name_leave_each_other_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Until nobody can still be at it: the numbers of their processes say nothing here."""
    here = re.sub(r"-\d+-", "-999999999-", aside_name())
    read, link = Path.read_text, os.readlink
    if other == "boot_id":
        monkeypatch.setattr(
            Path, "read_text", lambda path, **said: "other" if path.name == "boot_id" else read(path, **said)
        )
    else:
        monkeypatch.setattr(os, "readlink", lambda path: "pid:[1]" if path == "/proc/self/ns/pid" else link(path))
    whole_files._machine.cache_clear()
    there, folder = (re.sub(r"-\d+-", "-999999999-", aside_name()) for _ in range(2))
    monkeypatch.undo()
    whole_files._machine.cache_clear()
    assert here.rpartition("-999")[0] != there.rpartition("-999")[0]
    for name in (here, there):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / folder).mkdir()
    assert sweep(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([there, folder])
    week_ago = time.time() - whole_files.ABANDONED - 60
    for name in (there, folder):
        os.utime(tmp_path / name, (week_ago, week_ago))
    assert sweep(tmp_path) == 2
    assert list(tmp_path.iterdir()) == []
