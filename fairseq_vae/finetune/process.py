"""Commands of fairseq as processes: shown, watched, and stopped with their caller. No fairseq here."""

import codecs
import collections
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any, Deque, Dict, Iterator, List, Optional

from tqdm import tqdm

from ..base.errors import InputError, NotWritten

__all__ = ["VALUES", "call", "clear", "environment", "failure", "mend", "run", "running", "train"]

WATCHDOG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "watchdog.py")
INTERVAL = re.compile(r"checkpoint_\d+_\d+\.pt$")  # of --save-interval-updates
MENDED = ".mended"
MOST_SAID = 500  # parts of an output, or lines of it, in which a failure's reason is looked for
GRACE = 20  # seconds between the request to end and the end
VALUES = re.compile(r"\| (train_inner|valid) \| (\{.*\})$")  # a line of fairseq-train's log with values, as JSON
WARNING = re.compile(r"\| WARNING \| fairseq_vae\.validation \| (.*)$")  # of a collapse that lasts


def environment() -> Dict[str, str]:
    """The variables of a process, with settings that pay on a CPU for those that are not set.

    Threads sleep while they wait, and large buffers are kept for the next update: some 12 % of an update's time goes
    into getting them back from the kernel. Scripts beside the interpreter come first in PATH.
    """
    scripts = os.path.dirname(sys.executable)
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
        "MALLOC_TOP_PAD_": "300000000",
        "PYTHONWARNINGS": "ignore",
        **os.environ,
        "PATH": os.pathsep.join((scripts, os.environ.get("PATH", ""))),
    }


def show(command: List[str]) -> None:
    """Print a command as a line that a shell takes."""
    print(f"  $ {shlex.join(command)}", flush=True)


def call(command: List[str], progress: bool = False) -> str:
    """Show and run a command.

    Args:
        command: name and arguments
        progress: show its standard error as it comes, which says how far it is

    Returns:
        its standard output

    Raises:
        InputError: the command failed, with the reason that it gave
    """
    show(command)
    said: List[str] = []
    with running(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None, "they are pipes"
        reader = threading.Thread(target=listen, args=(process.stderr.fileno(), said, progress), daemon=True)
        reader.start()
        output = process.stdout.read()
        reader.join()
    if process.returncode:
        raise failure(command, output + "".join(said))
    return output


def listen(descriptor: int, said: List[str], show: bool) -> None:
    """Read a pipe to its end.

    Args:
        descriptor: of its reading end
        said: what is read goes there; of much, its end
        show: print it on standard error as it comes
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    while True:
        part = os.read(descriptor, 1 << 16)
        if not part:
            return
        said.append(decode(part))
        del said[:-MOST_SAID]
        if show:
            sys.stderr.write(said[-1])
            sys.stderr.flush()


def run(command: List[str]) -> None:
    """Show and run a command that prints its own progress.

    Raises:
        InputError: the command failed
    """
    show(command)
    with running(command) as process:
        process.wait()
    if process.returncode:
        raise InputError(f"{command[0]} ended with status {process.returncode}, see above")


@contextlib.contextmanager
def running(command: List[str], **options: Any) -> "Iterator[subprocess.Popen[str]]":
    """A process that ends with the block and with its caller, with all that it starts.

    An exception in the block stops it; when the caller is gone, by SIGKILL too, a watchdog beside it does. Both take
    its whole group: the command and its workers. It inherits the caller's open files, and with them the lock on the
    output folder.

    Args:
        command: name and arguments
        options: of subprocess.Popen
    """
    watched, held = os.pipe()  # the watchdog reads the one; nobody else has the other
    os.set_inheritable(watched, True)
    whole = [sys.executable, "-I", "-S", WATCHDOG, str(watched), *command]
    try:
        process = subprocess.Popen(whole, env=environment(), close_fds=False, start_new_session=True, **options)
    finally:
        os.close(watched)
    try:
        yield process
    except BaseException:
        stop(process)
        raise
    finally:
        process.wait()
        with contextlib.suppress(ProcessLookupError):  # of a watchdog that was killed itself
            os.killpg(process.pid, signal.SIGKILL)
        os.close(held)


def stop(process: "subprocess.Popen[str]") -> None:
    """Ask a process' group to end, and end it if it does not within GRACE seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def failure(command: List[str], output: str, log: Optional[Path] = None) -> InputError:
    """The exception for a command that failed, with the last ERROR line of its output, or else the last line.

    >>> print(failure(["fairseq-train"], "ERROR | no data\\n1 traceback"))
    fairseq-train failed: ERROR | no data

    Args:
        command: name and arguments
        output: all that the command printed, or its end
        log: a file with the whole output, to name
    """
    lines = [line for line in output.splitlines() if line.strip()] or ["it said nothing"]
    errors = (line for line in reversed(lines) if "ERROR" in line and not line.endswith("(most recent call last):"))
    reason = next(errors, lines[-1])
    kind = InputError
    if "[Errno" in reason:  # of the system: a full disk, a folder that is gone or cannot be written to
        reason += ": mend that and run it again, it goes on from its last whole file"
        kind = NotWritten
    return kind(f"{command[0]} failed: {reason}" + (f" (all of it: {log})" if log else ""))


def train(command: List[str], log: Path, updates: int) -> None:
    """Show and run fairseq-train under a progress bar, which warnings of the validation interrupt.

    Args:
        command: name and arguments, with --log-format json
        log: the file that the output is appended to
        updates: at which the training ends

    Raises:
        InputError: the training failed
    """
    show(command)
    interval = 0.5 if sys.stderr.isatty() else 15
    said: Deque[str] = collections.deque(maxlen=MOST_SAID)  # the log of a full disk cannot tell why
    unwritten = None
    # unbuffered, so that a write that fails is over
    with open(log, "ab", buffering=0) as file, tqdm(total=updates, unit="update", mininterval=interval) as bar:
        with running(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None, "it is a pipe"
            for line in process.stdout:
                said.append(line)
                try:
                    file.write(line.encode("utf-8", "replace"))
                except OSError as error:
                    unwritten = error
                found, warning = VALUES.search(line), WARNING.search(line)
                if warning:
                    tqdm.write(f"  {warning.group(1)}", file=sys.stderr)
                if found and found.group(1) == "train_inner":
                    values = {key: float(value) for key, value in json.loads(found.group(2)).items()}
                    bar.set_postfix_str(shown(values), refresh=False)
                    bar.update(int(values["num_updates"]) - bar.n)
    if process.returncode:
        raise failure(command, "".join(said), log)
    if unwritten:
        print(f"  {log} lacks lines: {unwritten.strerror}", file=sys.stderr)


def shown(values: Dict[str, float]) -> str:
    """The values of a training's log line for its progress bar: of a VAE's, or of a classifier's.

    >>> shown({"rec": 40, "kl": 12, "kl_weight": 1}), shown({"loss": 0.25, "accuracy": 90})
    ('rec 40.0 kl 12.0 β 1.00', 'loss 0.25 accuracy 90.0')
    """
    if "rec" in values:
        return f"rec {values['rec']:.1f} kl {values['kl']:.1f} β {values['kl_weight']:.2f}"
    return f"loss {values['loss']:.2f}" + (f" accuracy {values['accuracy']:.1f}" if "accuracy" in values else "")


def mend(folder: Path, keep: int = -1) -> None:
    """Replace last and best checkpoints that a kill cut off by the newest whole one, or delete them if there is none.

    fairseq writes one file, then copies it to the others byte by byte, then deletes old ones: its temporary files
    and the old ones go as well.

    Args:
        folder: of a phase's checkpoints
        keep: how many checkpoints of an interval fairseq keeps; below 1: all
    """
    clear(folder)
    whole = sorted(filter(zipfile.is_zipfile, folder.glob("checkpoint*.pt")), key=lambda path: path.stat().st_mtime)
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        path = folder / name
        if path.exists() and path not in whole:
            if whole:
                shutil.copyfile(whole[-1], folder / MENDED)
                (folder / MENDED).replace(path)
            else:
                path.unlink()
    if keep > 0:
        old = (path for path in whole if INTERVAL.match(path.name))
        for path in sorted(old, key=lambda path: int(path.stem.split("_")[2]))[:-keep]:
            path.unlink()


def clear(folder: Path) -> None:
    """Delete the temporary files that a training left, which fill a disk."""
    for path in (*folder.glob("*.pt.tmp"), folder / MENDED):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
