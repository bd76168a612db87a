import hashlib

import pytest

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import complete, fingerprint, write
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


def test_a_fingerprint_is_the_sha256_of_the_contents(tmp_path):
    content = bytes(range(256)) * 10000
    (tmp_path / "data.bin").write_bytes(content)
    assert fingerprint(tmp_path / "data.bin") == hashlib.sha256(content).hexdigest()
