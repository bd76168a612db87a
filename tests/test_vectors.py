"""Files of text to files of vectors and back."""

import io
import json
import os
import sys

import numpy as np
import pytest
import torch
from helpers import abreast, save_vae

from fairseq_vae import vectors
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.tables import read_vectors, table
from fairseq_vae.cli.main import main
from fairseq_vae.hub import BARTVAEHubInterface, load
from fairseq_vae.vectors import decode_file, encode_file

LIST = ["the dog barks .", "a cat", "the cat sleeps .", "dog", "a dog sleeps the cat barks a cat ."]
Z = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    save_vae(folder, "--max-source-positions=16", "--max-target-positions=16")
    return str(folder / "checkpoint_best.pt")


@pytest.fixture(scope="module")
def vae(checkpoint):
    return load(checkpoint, checkpoint.rpartition("/")[0], None, batch_size=2)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of four sentences, so that a few lines make several."""
    monkeypatch.setattr(BARTVAEHubInterface, "window", property(lambda self: 2 * self.batch_size))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LIST * 3) + "\n")
    return str(path)


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
def test_vectors_of_a_file_are_those_of_the_hub_bit_for_bit(vae, checkpoint, text, tmp_path, ending):
    output = str(tmp_path / f"z{ending}")
    assert encode_file(vae, checkpoint, text, output) == 15
    posterior = vae.encode(LIST * 3)
    assert np.array_equal(np.concatenate(list(read_vectors(output, Z))), posterior.mu.numpy())
    if ending == ".npy":
        found = np.load(output)
        assert found.dtype == np.float32 and np.array_equal(found, posterior.mu.numpy())
    if ending == ".jsonl":
        rows = [json.loads(line) for line in open(output)]
        assert [row["text"] for row in rows] == LIST * 3
        assert np.array_equal(np.array([row["logvar"] for row in rows], np.float32), posterior.logvar.numpy())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"z{ending}", "text.txt"]), (
        "nothing else is left"
    )


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
@pytest.mark.parametrize("sampling", [{}, {"sampling": True, "sampling_topk": 3, "seed": 7}], ids=["beam", "top-k"])
def test_decoding_encoded_lines_is_reconstruct(vae, checkpoint, text, tmp_path, ending, sampling):
    z, output = str(tmp_path / f"z{ending}"), tmp_path / "back.txt"
    encode_file(vae, checkpoint, text, z)
    assert decode_file(vae, checkpoint, z, str(output), max_len=9, **sampling) == 15
    assert output.read_text().splitlines() == vae.reconstruct(LIST * 3, max_len=9, **sampling)


@pytest.mark.parametrize("ending, batch_size", abreast([".npy", ".jsonl", ".parquet"], [1, 2, 3, 64]))
def test_the_commands_encode_and_decode_are_the_command_reconstruct(checkpoint, tmp_path, capsys, ending, batch_size):
    """And encode has the hub's numbers with the same batch size, bit for bit."""
    text, z = tmp_path / "text.txt", f"{tmp_path}/z{ending}"
    text.write_text("\n".join(LIST * 2))
    flags = [f"--batch-size={batch_size}"]
    assert main(["encode", checkpoint, f"--input={text}", f"--output={z}", *flags]) == 0
    own = load(checkpoint, checkpoint.rpartition("/")[0], None, batch_size=batch_size).encode(LIST * 2)
    assert np.array_equal(np.concatenate(list(read_vectors(z, Z))), own.mu.numpy())
    capsys.readouterr()
    assert main(["decode", checkpoint, f"--input={z}", "--max-len=9", *flags]) == 0
    back = capsys.readouterr().out
    assert main(["reconstruct", checkpoint, f"--input={text}", "--max-len=9", *flags]) == 0
    assert capsys.readouterr().out == back and back.count("\n") == 10


def test_batch_sizes_differ_by_rounding_and_decode_to_the_same_text(checkpoint, text, tmp_path):
    found, texts = [], []
    for batch_size in 1, 2, 7, 64:
        own = load(checkpoint, checkpoint.rpartition("/")[0], None, batch_size=batch_size)
        output = str(tmp_path / f"{batch_size}.npy")
        encode_file(own, checkpoint, text, output)
        decode_file(own, checkpoint, output, f"{output}.txt", max_len=9)
        found.append(np.load(output))
        texts.append((tmp_path / f"{batch_size}.npy.txt").read_text())
    assert len(set(texts)) == 1 and texts[0].count("\n") == 15
    assert max(np.abs(one - found[0]).max() for one in found) < 1e-5 < found[0].std()


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
def test_an_interrupted_run_goes_on_and_ends_the_same(vae, checkpoint, text, tmp_path, ending, monkeypatch):
    whole, output = tmp_path / f"whole{ending}", tmp_path / f"z{ending}"
    encode_file(vae, checkpoint, text, str(whole))
    encode, calls = vae.encode, []

    def interrupted(rows):
        calls.append(len(rows))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(rows)

    monkeypatch.setattr(vae, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encode_file(vae, checkpoint, text, str(output))
    assert not output.exists()
    with open(f"{output}.part", "ab") as file:
        file.write(b"what a kill left of a step")
    assert encode_file(vae, checkpoint, text, str(output)) == 15
    assert calls == [4, 4, 4, 4, 3], "the lines that were done are not encoded again"
    assert output.read_bytes() == whole.read_bytes()


def test_an_interrupted_run_goes_on_with_the_same_input_and_settings_only(vae, checkpoint, text, tmp_path, monkeypatch):
    output = str(tmp_path / "z.npy")
    monkeypatch.setattr(vectors, "spread", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        encode_file(vae, checkpoint, text, output)
    monkeypatch.undo()
    other = load(checkpoint, checkpoint.rpartition("/")[0], None, batch_size=3)
    with pytest.raises(InputError, match=r"z\.npy\.part\.json is of another run.*delete it"):
        encode_file(other, checkpoint, text, output)


def test_other_input_after_an_interruption_is_refused(vae, checkpoint, text, tmp_path, monkeypatch):
    output, encode = str(tmp_path / "z.npy"), vae.encode
    monkeypatch.setattr(vae, "encode", lambda rows: encode(rows) if len(rows) == 4 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        encode_file(vae, checkpoint, text, output)
    monkeypatch.undo()
    with open(text, "r+") as file:
        file.write("a")
    with pytest.raises(InputError, match=r"text\.txt: its first 12 items are not those of the interrupted run"):
        encode_file(vae, checkpoint, text, output)


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
def test_a_bad_line_is_named_or_left_blank_and_shifts_nothing(vae, checkpoint, tmp_path, ending):
    path, output, back = tmp_path / "text.txt", str(tmp_path / f"z{ending}"), tmp_path / "back.txt"
    path.write_text("a cat\n\ndog\n" + "dog " * 99 + "\nthe dog barks .\n")
    with pytest.raises(InputError, match=r"text\.txt, line 2: .*--skip-invalid"):
        encode_file(vae, checkpoint, str(path), output)
    (tmp_path / f"z{ending}.part.json").unlink(missing_ok=True)
    told = []
    assert encode_file(vae, checkpoint, str(path), output, told.append) == 5
    assert len(told) == 2 and "line 2: " in told[0] and "line 4: " in told[1]
    found = np.concatenate(list(read_vectors(output, Z)))
    assert np.isnan(found).all(1).tolist() == [False, True, False, True, False]
    assert np.allclose(found[[0, 2, 4]], vae.encode(["a cat", "dog", "the dog barks ."]).mu, atol=1e-5)
    with pytest.raises(InputError, match=r"row 2: 32 of 32 numbers are not finite.*--skip-invalid"):
        decode_file(vae, checkpoint, output, str(back), max_len=5)
    (tmp_path / "back.txt.part.json").unlink(missing_ok=True)
    decode_file(vae, checkpoint, output, str(back), told.append, max_len=5)
    lines = back.read_text().split("\n")
    assert [bool(line) for line in lines] == [True, False, True, False, True, False]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("z.npy", np.zeros((2, 5), np.float32), r"shape \(2, 5\); expected float32 rows of 32"),
        ("z.npy", np.zeros((2, 32), np.int64), "an array of int64 numbers"),
        ("z.npy", np.zeros(32, np.float32), r"shape \(32,\)"),
        ("z.npy", b"\x93NUMPY\x01\x00\x05\x00hello", "no .npy file"),
        ("z.jsonl", b'{"mu": [1, 2]}\n', "line 1: 2 numbers"),
        ("z.jsonl", b'{"a": 1}\n', "line 1: expected an object with `z` or `mu`"),
        ("z.jsonl", b"\xff\xfe\n", "line 1: expected"),
        ("z.parquet", b"hello", "no Parquet file"),
    ],
)
def test_files_of_another_kind_or_width_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(InputError, match=message) as raised:
        list(read_vectors(str(path), Z))
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_an_empty_text_a_missing_file_and_a_diverged_model_are_one_line_and_leave_nothing(vae, checkpoint, tmp_path):
    given, output = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    output.mkdir()
    (given / "empty.txt").write_text("")
    with pytest.raises(InputError, match="empty.txt has no lines"):
        encode_file(vae, checkpoint, str(given / "empty.txt"), str(output / "z.npy"))
    with pytest.raises(FileNotFoundError):
        decode_file(vae, checkpoint, str(given / "none.npy"), str(output / "back.txt"))
    (given / "one.txt").write_text("a dog")  # its line does not end
    diverged = load(checkpoint, checkpoint.rpartition("/")[0], None)
    with torch.no_grad():
        diverged.model.encoder.posterior.mu.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="one.txt, line 1 or behind it: z is not finite"):
        encode_file(diverged, checkpoint, str(given / "one.txt"), str(tmp_path / "z.npy"))
    assert encode_file(vae, checkpoint, str(given / "one.txt"), str(output / "z.npy")) == 1
    assert [path.name for path in output.iterdir()] == ["z.npy"]


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    path = tmp_path / "z.npy"
    np.save(path, np.zeros((3, Z), np.float32))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="ends before its row 3"):
        list(read_vectors(str(path), Z))


def test_pickled_arrays_are_not_loaded(tmp_path):
    path = tmp_path / "z.npy"
    np.save(path, np.array([[object()] * Z], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="array of object"):
        list(read_vectors(str(path), Z))


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"z\.txt: expected a name that ends in \.npy, \.jsonl, \.parquet"):
        table(str(tmp_path / "z.txt"), {}, Z)


def test_the_commands_read_and_write_pipes(checkpoint, tmp_path, monkeypatch, capfdbinary):
    class Standard:
        def __init__(self, content):
            self.buffer = io.BytesIO(content)

    output = str(tmp_path / "z.npy")
    monkeypatch.setattr(sys, "stdin", Standard("\n".join(LIST).encode()))
    assert main(["encode", checkpoint, "--input=-", f"--output={output}", "--batch-size=2"]) == 0
    capfdbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", Standard(open(output, "rb").read()))
    assert main(["decode", checkpoint, "--input=-", "--batch-size=2", "--max-len=9"]) == 0
    vae = load(checkpoint, checkpoint.rpartition("/")[0], None, batch_size=2)
    assert capfdbinary.readouterr().out.decode().splitlines() == vae.reconstruct(LIST, max_len=9)


def test_a_pipe_with_a_name_is_read_once_and_whole(vae, checkpoint, tmp_path):
    """As of a shell's <(zcat text.gz)."""
    reading, writing = os.pipe()
    os.write(writing, "".join(f"{text}\n" for text in LIST).encode())
    os.close(writing)
    output = str(tmp_path / "z.npy")
    try:
        assert encode_file(vae, checkpoint, f"/dev/fd/{reading}", output) == len(LIST)
    finally:
        os.close(reading)
    assert np.array_equal(np.load(output), vae.encode(LIST).mu.numpy())


def test_a_checkpoint_without_its_dictionary_names_the_flag(checkpoint, tmp_path, capsys):
    moved = tmp_path / "deep" / "down" / "checkpoint.pt"
    moved.parent.mkdir(parents=True)
    state = torch.load(checkpoint, weights_only=False)
    state["cfg"]["task"]["data"] = "/nowhere"
    torch.save(state, moved)
    assert main(["encode", str(moved), "--input=-", f"--output={tmp_path}/z.npy"]) == 1
    assert "--data DIR" in capsys.readouterr().err


@pytest.mark.parametrize("posterior, columns", [("diagonal", ["text", "mu", "logvar"]), ("full", ["text", "mu"])])
def test_a_window_of_invalid_lines_alone_has_the_posteriors_columns(tmp_path, posterior, columns):
    save_vae(tmp_path, f"--latent-posterior={posterior}", "--latent-dim=4")
    vae = load(str(tmp_path / "checkpoint_best.pt"), str(tmp_path), None, batch_size=2)
    text, output = tmp_path / "text.txt", str(tmp_path / "z.jsonl")
    text.write_text("the dog barks .\n" * 4 + "\n")
    assert encode_file(vae, str(tmp_path / "checkpoint_best.pt"), str(text), output, skip=lambda told: None) == 5
    assert [list(json.loads(line)) for line in open(output)] == [columns] * 5
