"""The console scripts as processes that need not import torch and fairseq first, which takes 7 seconds of a core.

    subprocess.run([str(commands.folder() / "fairseq-train"), ...])

The folder has a script of the name of each real one, which hands its arguments, working directory, environment and
standard streams to a server. That has imported torch and fairseq, and forks; the fork runs the real script. Output and
exit status are its own, SIGTERM and SIGINT reach it, and it is killed with its caller. It imports `fairseq_cli` and
this package itself, and finds this folder beside its interpreter: commands that it starts go the same way.
"""

import array
import contextlib
import functools
import json
import os
import signal
import socket
import sys
import threading

IMPORTED = (
    *("torch", "fairseq", "safetensors.torch", "sklearn.linear_model", "sacrebleu", "torch.utils.tensorboard"),
    *("torch._dynamo", "torch.distributed.fsdp"),  # by each optimizer of torch, and by attention with padding
)
FOLDER = "FAIRSEQ_VAE_TEST_COMMANDS"
SIZE = 8  # bytes of a number on the connection
STREAMS = (0, 1, 2)


@functools.lru_cache(maxsize=None)
def folder():
    """The folder of the scripts; the first call starts the server, which ends with this process.

    Below a process that has named its own folder by FOLDER, it is that one's.
    """
    import atexit
    import shutil
    import subprocess
    import tempfile
    from pathlib import Path

    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    made, python = Path(tempfile.mkdtemp(prefix="commands-")), Path(sys.executable)
    write(made / python.name, str(python))
    for path in python.parent.glob("fairseq-*"):
        write(made / path.name, f"{python} -IS {os.path.abspath(__file__)} {made} {path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(made / "socket"))
        listener.listen(64)
        command = [str(python), os.path.abspath(__file__), str(made), "--serve", str(listener.fileno())]
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with open(made / "log", "wb") as log:
            streams = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log}
            server = subprocess.Popen(command, env=own, pass_fds=[listener.fileno()], **streams)

    def end():
        server.stdin.close()
        server.wait()
        shutil.rmtree(made)

    atexit.register(end)
    return made


def forked(script):
    """The start of a command that runs a Python script in the same way."""
    return [sys.executable, "-IS", os.path.abspath(__file__), str(folder()), str(script)]


def write(path, command):
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def call(made, *command):
    """Have the server run a command, and end as it ends."""
    said = json.dumps([command, os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"{made}/socket")
        ours = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", STREAMS))]
        server.sendmsg([len(said).to_bytes(SIZE, "big")], ours)
        server.sendall(said)
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda number, frame: server.send(bytes([number])))
        status = int.from_bytes(server.recv(SIZE, socket.MSG_WAITALL), "big")
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def serve(made, descriptor):
    """Fork for each connection, and in the fork for the command; here no thread has been started then."""
    import gc
    import importlib
    import select

    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # pages that no fork writes to are shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # leaves no zombies
    with socket.socket(fileno=int(descriptor)) as listener:
        while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
            connection, _ = listener.accept()
            if not os.fork():
                listener.detach()
                return attend(made, connection)
            connection.close()
    return None


def attend(made, connection):
    """Run one command, in a fork of its own that returns, and ends, as a process that has run its script."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start the tests with interrupts ignored
    size, [(*_, sent)], *_ = connection.recvmsg(SIZE, socket.CMSG_SPACE(array.array("i", STREAMS).itemsize * 3))
    command, cwd, variables = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    for given, stream in zip(array.array("i", sent), STREAMS):
        os.dup2(given, stream)
        os.close(given)
    process = os.fork()
    if process:
        threading.Thread(target=pass_on, args=(connection, process), daemon=True).start()
        _, status = os.waitpid(process, 0)
        connection.sendall(status.to_bytes(SIZE, "big"))
        os._exit(0)
    connection.close()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    become(made, *command)


def pass_on(connection, process):
    """Signals to a process, and its end at that of the connection."""
    while True:
        [number] = connection.recv(1) or [signal.SIGKILL]
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(process, number)
        if number == signal.SIGKILL:
            return


def become(made, script, *arguments):
    """Run a script as a new interpreter does."""
    import logging
    import runpy
    import warnings

    import numpy

    sys.argv = [script, *arguments]
    sys.executable = os.path.join(made, os.path.basename(sys.executable))
    sys.path[0:1] = [os.path.dirname(script), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    numpy.random.seed()
    if "PYTHONWARNINGS" in os.environ:  # whose form may be action:message:category, as joblib's is
        warnings._processoptions(os.environ["PYTHONWARNINGS"].split(","))
    if not script.endswith("fairseq-vae"):  # fairseq's scripts set up the log before they import fairseq
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    made, first, *rest = sys.argv[1:]
    serve(made, *rest) if first == "--serve" else call(made, first, *rest)
