"""A command that does not outlive its caller, however that ends: `python watchdog.py DESCRIPTOR COMMAND ...`.

DESCRIPTOR is the reading end of a pipe that nobody writes to. Its other end is the caller's alone, and the kernel
closes that with the caller, even at SIGKILL; then this process ends its group: the command and all that it starts.
Run as a file, with the standard library alone, so that it starts in a few milliseconds.
"""

import os
import signal
import subprocess
import sys
import threading


def watch(descriptor: int) -> None:
    """Wait for the end of the caller, and end the group with it."""
    os.read(descriptor, 1)
    os.killpg(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Run the command.

    Returns:
        its exit status, 128 + the number of the signal that ended it, or 127 where there is no such command
    """
    descriptor, command = int(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGTERM, signal.SIGINT):  # they reach the command as well, and this waits for its end
        signal.signal(number, lambda *_: None)
    threading.Thread(target=watch, args=(descriptor,), daemon=True).start()
    try:
        status = subprocess.Popen(command, close_fds=False).wait()
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    os.killpg(os.getpid(), signal.SIGTERM)  # workers that the command left behind
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
