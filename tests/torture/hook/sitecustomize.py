"""Kills a run at its k-th change of files; on PYTHONPATH for tests only, never a part of the package.

TORTURE_FOLDER: only changes below it count. TORTURE_COUNT: a file, one byte for each change so far, of all processes of
the run. TORTURE_KILL: k; 0 counts only. A change is a rename, a removal, a new folder, or the opening of a file to
write, which is two: before it, and with the file empty. Files that C++ or Rust opens are not seen.
"""

import os
import signal
import sys

FOLDER, COUNT, KILL = (os.environ.get(f"TORTURE_{name}", "") for name in ("FOLDER", "COUNT", "KILL"))
os.environ.setdefault("TORTURE_ROOT", str(os.getpid()))  # the run's first process, which its children inherit
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def change(opened=None):
    """Count a change; at the k-th, empty the file that was opened, and kill the run and this process of it."""
    counter = os.open(COUNT, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(counter, b".")
        last = os.lseek(counter, 0, os.SEEK_CUR) == int(KILL)
    finally:
        os.close(counter)
    if last:
        if opened:
            os.close(os.open(opened, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        os.kill(int(os.environ["TORTURE_ROOT"]), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def hook(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if not (isinstance(flags, int) and flags & WRITING):
            return
    elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        path, flags = arguments[0], 0
    else:
        return
    if not isinstance(path, (str, bytes)) or not os.path.abspath(os.fsdecode(path)).startswith(FOLDER + os.sep):
        return
    change()
    if event == "open" and flags & os.O_TRUNC:
        change(path)


if FOLDER:
    sys.addaudithook(hook)
