import hashlib
from pathlib import Path

import pytest

from fairseq_vae.base.errors import InputError, NotWritten
from fairseq_vae.base.files import complete, fingerprint, write, write_text
from fairseq_vae.base.lines import read_lines


def test_unicodes_line_ends_end_no_line(tmp_path):
    (tmp_path / "text.txt").write_text("a\u2028b\n\x85\nlast", encoding="utf-8")
    assert read_lines(tmp_path / "text.txt") == ["a\u2028b", "\x85", "last"]
    (tmp_path / "text.txt").write_text("")
    assert read_lines(tmp_path / "text.txt") == []


def test_text_that_is_not_utf8_is_refused_by_its_byte(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match="text.txt, line 1: not UTF-8 at byte 3"):
        read_lines(tmp_path / "text.txt")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "text.txt"
    write(path, "first\n")
    write(str(path), "ü\n")
    assert path.read_bytes() == "ü\n".encode()
    write(tmp_path / "data.bin", b"\r\n\xff")
    assert (tmp_path / "data.bin").read_bytes() == b"\r\n\xff"
    with pytest.raises(UnicodeEncodeError):
        write(path, "no text: \ud800")
    assert path.read_bytes() == "ü\n".encode()


def test_several_files_are_written_all_or_none(tmp_path):
    folder = tmp_path / "new/folder"
    with pytest.raises(RuntimeError), complete(str(folder), "last") as new:
        (tmp_path / new("a")).write_text("a")
        raise RuntimeError
    assert not folder.exists()
    with complete(str(folder), "last") as new:
        for name in ("last", "a"):
            (tmp_path / new(name)).write_text(name)
        assert not (folder / "last").exists()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"last": "last", "a": "a"}
    with pytest.raises(InputError, match="a is there already"), complete(str(folder), "last") as new:
        (tmp_path / new("b")).write_text("b")
        new("a")
    assert sorted(path.name for path in folder.iterdir()) == ["a", "last"]


def full(path):
    """Make every write to a file fail as on a full disk."""
    path.symlink_to("/dev/full")


def test_a_full_disk_is_one_line_and_the_older_file_is_kept(tmp_path):
    path = tmp_path / "numbers.json"
    write(path, "old")
    for content in "new" * 10000, b"new":
        full(tmp_path / "numbers.json.part")
        with pytest.raises(
            InputError, match=f"^{path} cannot be written .No space left on device.*or write elsewhere$"
        ):
            write(path, content)
        assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["numbers.json"]


def test_a_folder_that_is_gone_or_none_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for path, reason in (
        (tmp_path / "gone/numbers.json", "No such file or directory"),
        (tmp_path / "file/numbers.json", "Not a directory"),
        (Path("/proc/numbers.json"), "No such file or directory"),
    ):
        with pytest.raises(InputError, match=f"{path} cannot be written .{reason}"):
            write(path, "new")
    with pytest.raises(InputError, match="file/folder cannot be written .Not a directory"), complete(
        str(tmp_path / "file/folder"), "last"
    ):
        pass


def made(folder, **files):
    with complete(str(folder), "last") as new:
        for name, content in files.items():
            with open(new(name), "w") as file:
                file.write(content)


FILES = {"a": "1", "b": "2", "last": "3"}


def test_of_several_files_on_a_full_disk_none_is_left(tmp_path):
    full(tmp_path / ".b.part")
    with pytest.raises(InputError, match=f"{tmp_path} cannot be written .No space left on device"):
        made(tmp_path, **FILES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_several_files_that_a_kill_left_half_renamed_are_made_whole(tmp_path, renamed):
    for number, (name, content) in enumerate(FILES.items()):
        (tmp_path / (name if number < renamed else f".{name}.part")).write_text(content)
    made(tmp_path, **FILES)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == FILES
    with pytest.raises(InputError, match="a is there already"):
        made(tmp_path, **FILES)


def test_a_file_of_ones_own_is_never_taken_for_a_killed_runs(tmp_path):
    (tmp_path / "a").write_text("mine")
    (tmp_path / ".last.part").write_text("3")
    with pytest.raises(InputError, match="a is there already"):
        made(tmp_path, **FILES)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "mine"}


def test_a_fingerprint_is_the_sha256_of_the_contents(tmp_path):
    content = bytes(range(256)) * 10000
    (tmp_path / "data.bin").write_bytes(content)
    assert fingerprint(tmp_path / "data.bin") == hashlib.sha256(content).hexdigest()


def test_a_full_disk_after_a_kill_does_not_hide_the_kill(tmp_path):
    """Killed between two renames, then the disk is full, then there is room: the third run still completes."""
    (tmp_path / "a").write_text("1")
    (tmp_path / ".last.part").write_text("2")
    with pytest.raises(NotWritten):
        with complete(str(tmp_path), "last") as new:
            write_text(new("a"), "1")
            raise OSError(28, "No space left on device")
    with complete(str(tmp_path), "last") as new:
        write_text(new("a"), "1")
        write_text(new("last"), "2")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "1", "last": "2"}
