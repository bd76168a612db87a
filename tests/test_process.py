"""Commands as processes: what is shown, what a failure says, and what a kill leaves behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fairseq_vae.base.errors import InputError
from fairseq_vae.finetune.process import call, environment, failure, mend, run, running, train

SHELL = ["sh", "-c"]  # starts in a millisecond


def test_settings_of_ones_own_win_and_scripts_beside_the_interpreter_come_first(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    found = environment()
    assert (found["OMP_WAIT_POLICY"], found["MALLOC_MMAP_MAX_"]) == ("ACTIVE", "0")
    assert found["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    "output, reason",
    [
        ("Traceback\n2026 | ERROR | the reason\nValueError: other\n\n", "2026 | ERROR | the reason"),
        ("first\n\nlast\n", "last"),
        ("\n", "it said nothing"),
    ],
)
def test_a_failure_says_the_error_line_or_else_the_last(output, reason):
    assert str(failure(["fairseq-train", "data"], output)) == f"fairseq-train failed: {reason}"
    logged = failure(["fairseq-train"], output, Path("phase1.log"))
    assert str(logged) == f"fairseq-train failed: {reason} (all of it: phase1.log)"


def test_a_command_is_shown_and_its_output_returned(capfd):
    assert call([*SHELL, "echo 'a dog'; echo loud >&2"]) == "a dog\n"
    assert capfd.readouterr() == ("  $ sh -c 'echo '\"'\"'a dog'\"'\"'; echo loud >&2'\n", "")
    assert call([*SHELL, "echo loud >&2"], progress=True) == ""
    assert capfd.readouterr().err == "loud\n"
    with pytest.raises(InputError, match="^sh failed: ERROR: no data$"):
        call([*SHELL, "echo ERROR: no data >&2; echo more; exit 3"])
    with pytest.raises(InputError, match="^sh failed: it said nothing$"):
        call([*SHELL, "exit 3"], progress=True)
    capfd.readouterr()
    with pytest.raises(InputError, match="^sh failed: the reason$"):  # shown, and told again where it is looked for
        call([*SHELL, "echo out; printf ' 10 %%\\r 20 %%\\r' >&2; echo the reason >&2; exit 3"], progress=True)
    assert capfd.readouterr().err == " 10 %\r 20 %\rthe reason\n"


def test_a_command_with_its_own_progress_says_its_status(capfd):
    run([*SHELL, "echo shown"])
    assert capfd.readouterr().out.endswith("shown\n")
    with pytest.raises(InputError, match="^sh ended with status 3, see above$"):
        run([*SHELL, "exit 3"])


def test_a_process_is_stopped_with_its_block():
    started = time.time()
    with pytest.raises(KeyboardInterrupt), running(["sleep", "60"]) as process:
        raise KeyboardInterrupt
    assert process.returncode and time.time() - started < 30


def lives(pid):
    """Whether a process is there and no zombie (orphans of a container may wait long for a parent that reaps them)."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def ended(pids):
    """Wait for the end of processes, at most a minute."""
    deadline = time.time() + 60
    while any(map(lives, pids)) and time.time() < deadline:
        time.sleep(0.05)
    return not any(map(lives, pids))


NESTED = """
import sys
from fairseq_vae.finetune.process import running
level, file = int(sys.argv[1]), sys.argv[2]
command = [sys.executable, "-c", sys.argv[3], str(level - 1), file, sys.argv[3]]
if not level:  # as a training has workers: one of them in the background
    command = ["sh", "-c", f"sleep 600 & echo $! $$ >>{file}; echo done >>{file}; wait"]
with running(command) as process:
    with open(file, "a") as out:
        print(process.pid, file=out)
    process.wait()
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_its_caller_however_deep(tmp_path, ending):
    """quickstart -> finetune -> fairseq-train -> workers."""
    file = tmp_path / "pids"
    caller = subprocess.Popen([sys.executable, "-c", NESTED, "2", str(file), NESTED], start_new_session=True)
    deadline = time.time() + 120
    while not (file.exists() and "done" in file.read_text()):
        assert time.time() < deadline and caller.poll() is None
        time.sleep(0.05)
    pids = [int(word) for word in file.read_text().split() if word != "done"]
    assert len(pids) >= 4 and all(map(lives, pids))
    caller.send_signal(ending)  # to that one process only
    caller.wait()
    assert ended(pids)


def test_what_a_command_leaves_behind_ends_with_it():
    pid = int(call([*SHELL, "sleep 600 >/dev/null 2>&1 & echo $!"]))
    assert ended([pid])


def test_a_command_that_will_not_end_is_ended(monkeypatch):
    monkeypatch.setattr("fairseq_vae.finetune.process.GRACE", 0.1)
    deaf = [*SHELL, "trap '' TERM; echo ready; while true; do sleep 0.1; done"]
    with pytest.raises(KeyboardInterrupt), running(deaf, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGKILL


def test_a_command_that_is_missing_or_killed_says_so():
    with pytest.raises(InputError, match="^no-such-command failed: no-such-command: No such file or directory$"):
        call(["no-such-command"])
    with pytest.raises(InputError, match="^sh ended with status 137, see above$"):
        run([*SHELL, "kill -9 $$"])


def test_a_training_is_watched_and_logged(tmp_path, capfd):
    log, update = tmp_path / "phase1.log", '{"rec": "40.0", "kl": "2.5", "kl_weight": "0.5", "num_updates": "3"}'
    printed = f"2026 | INFO | train_inner | {update}\n2026 | WARNING | fairseq_vae.validation | z says nothing\n"
    (tmp_path / "printed").write_text(printed)
    train(["cat", str(tmp_path / "printed")], log, 6)
    shown = capfd.readouterr().err
    assert "  z says nothing\n" in shown and "3/6" in shown and "rec 40.0 kl 2.5 β 0.50" in shown
    train(["cat", str(tmp_path / "printed")], log, 6)
    assert log.read_text() == printed * 2
    with pytest.raises(InputError, match=f"^sh failed: ERROR: new .all of it: {log}.$"):
        train([*SHELL, "echo ERROR: new; exit 1"], log, 6)


def test_a_full_disk_is_named_with_the_remedy(tmp_path, capfd):
    log = tmp_path / "phase1.log"
    log.symlink_to("/dev/full")  # not even the log can be written
    said = "2026 | ERROR | fairseq | Traceback (most recent call last):\nOSError: [Errno 28] No space left on device"
    (tmp_path / "said").write_text(said)
    with pytest.raises(InputError, match=f"failed: OSError: .* device: mend that and run it again, .*{log}.$"):
        train([*SHELL, f"cat {tmp_path / 'said'}; exit 1"], log, 6)
    train([*SHELL, "echo a line"], log, 6)
    assert f"{log} lacks lines: No space left on device" in capfd.readouterr().err


def test_what_a_killed_training_left_goes(tmp_path):
    for update in 20, 40, 100:
        torch.save({"model": torch.zeros(update)}, tmp_path / f"checkpoint_1_{update}.pt")
    for name in "checkpoint_1_120.pt.tmp", ".mended":
        (tmp_path / name).write_bytes(b"half")
    mend(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3, "all are kept unless fairseq is told otherwise"
    mend(tmp_path, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_1_100.pt"]


def test_a_mending_that_is_cut_off_leaves_what_was_there(tmp_path, monkeypatch):
    torch.save({"model": torch.zeros(100)}, tmp_path / "checkpoint_1_60.pt")
    (tmp_path / "checkpoint_last.pt").write_bytes(b"half")
    (tmp_path / ".mended").symlink_to("/dev/full")
    monkeypatch.setattr("fairseq_vae.finetune.process.clear", lambda folder: None)
    with pytest.raises(OSError):
        mend(tmp_path)
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == b"half", "so that the next run mends it"


def test_checkpoints_that_a_kill_cut_off_are_mended(tmp_path):
    torch.save({"model": torch.zeros(100)}, tmp_path / "checkpoint_1_60.pt")
    whole = (tmp_path / "checkpoint_1_60.pt").read_bytes()
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        (tmp_path / name).write_bytes(whole[:50])
    mend(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        ["checkpoint_1_60.pt", "checkpoint_last.pt", "checkpoint_best.pt"], whole
    )
    (tmp_path / "checkpoint_1_60.pt").unlink()
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        (tmp_path / name).write_bytes(whole[:50])
    mend(tmp_path)
    assert not list(tmp_path.iterdir()), "without a whole one, training starts anew"
