"""Kills runs, lets them run again, and holds the end against that of a run that nobody killed.

    bash scripts/torture.sh kills --folder DIR [--moments N] [--only NAME ...] [--writes N]

Each command is killed by SIGKILL, SIGTERM and Ctrl-C at N moments each, seeded and uniform over an uninterrupted run's
time, and by SIGKILL at each change of files that hook/sitecustomize.py sees. Then it runs again, to its end. A kill is
survived if that run succeeds, its results are the uninterrupted one's to the bit with no file more or less, and no
process is left. What was done before is not done again: DIR/results.json holds it.
"""

import argparse
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Dict, List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cases import CASES, ROOT, results  # noqa: E402

from fairseq_vae.base.files import write  # noqa: E402
from fairseq_vae.cli import main as main_of_fairseq_vae  # noqa: E402

HOOK = Path(__file__).resolve().with_name("hook")

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
GONE = 30  # seconds that processes have to be gone
LONGEST = 1800  # seconds of a run: none may hang


class Torture:
    """One command's runs.

    Args:
        name: of the case
        folder: for its input, output and results
        moments: whether it will be killed at moments, which takes the time of a process of its own
    """

    def __init__(self, name: str, folder: Path, moments: bool = True):
        self.case, self.folder = CASES[name], folder
        self.given, self.out = folder / "input", folder / "out"
        self.path = folder / "results.json"
        self.done: Dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        if "seconds" not in self.done:
            shutil.rmtree(folder, ignore_errors=True)
            self.given.mkdir(parents=True)
            self.case.make(self.given)
            started = time.monotonic()
            status = self.start().wait(LONGEST) if moments else self.ended()
            assert status == 0, f"{name}: see {self.folder / 'log'}"
            self.done = {"seconds": time.monotonic() - started, "kills": {}}
            self.done["results"] = results(self.out)
            shutil.rmtree(self.out)
            assert self.ended(kill=0) == 0 and not self.differing(), "a run is not the same again"
            self.done["writes"] = self.count()
            self.keep()

    def differing(self) -> List[str]:
        """The files of the output that are not the uninterrupted run's."""
        found, expected = results(self.out), self.done["results"]
        return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))

    def keep(self) -> None:
        write(self.path, json.dumps(self.done, indent=1) + "\n")

    def variables(self, kill: Optional[int]) -> Dict[str, str]:
        """The environment of a run: a mark by which its processes are found, and what the hook reads."""
        self.mark = uuid.uuid4().hex
        variables = {**os.environ, "TORTURE_MARK": self.mark, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        if kill is not None:
            (self.folder / "count").write_bytes(b"")
            variables.update(TORTURE_FOLDER=str(self.out), TORTURE_COUNT=str(self.folder / "count"))
            variables.update(TORTURE_KILL=str(kill), PYTHONPATH=os.pathsep.join((str(HOOK), str(ROOT))))
        return variables

    def start(self, kill: Optional[int] = None) -> "subprocess.Popen[bytes]":
        """Start the command in a session of its own.

        Args:
            kill: the change of files to kill it at, 0 to count them; None: without the hook
        """
        command = [str(part) for part in self.case.command(self.given, self.out)]
        with open(self.folder / "log", "wb") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.variables(kill),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def forked(self, kill: Optional[int] = None) -> int:
        """Run one of fairseq-vae's commands in a fork of this process, which has imported everything: much faster.

        Returns:
            its exit status, or the negative number of the signal that ended it
        """
        variables = self.variables(kill)
        command = [str(part) for part in self.case.command(self.given, self.out)]

        def child() -> None:
            log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ.update(variables)
            if kill is not None:
                runpy.run_path(str(HOOK / "sitecustomize.py"))
            os._exit(main_of_fairseq_vae(command[1:]))

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(LONGEST)
        assert process.exitcode is not None
        return process.exitcode

    def ended(self, kill: Optional[int] = None) -> int:
        """Run the command to its end in the way that suits it; returns its status."""
        return self.forked(kill) if self.case.forks else self.start(kill).wait(LONGEST)

    def count(self) -> int:
        return (self.folder / "count").stat().st_size

    def left(self) -> List[int]:
        """The processes of the last run that live, by the mark in their environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if f"TORTURE_MARK={self.mark}".encode() in (path / "environ").read_bytes():
                    found.append(int(path.name))
            except OSError:  # ended meanwhile
                continue
        return found

    def orphans(self) -> int:
        """Wait until all processes are gone; end and count those that are not."""
        deadline = time.monotonic() + GONE
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.1)
        left = self.left()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return len(left)

    def at_moment(self, number: str, after: float) -> bool:
        """Send a signal after so many seconds; Ctrl-C goes to the whole group, as a terminal sends it."""
        process = self.start()
        try:
            process.wait(after)
            return False
        except subprocess.TimeoutExpired:
            pass
        (os.killpg if number == "SIGINT" else os.kill)(process.pid, signal.Signals[number])
        process.wait(LONGEST)
        return True

    def kill(self, key: str, how: str, where: float) -> None:
        """Kill a run, run it again, and note what came of it.

        Args:
            key: of the kill in the results
            how: a signal's name, or "write"
            where: seconds, or the number of the change
        """
        if key in self.done["kills"]:
            return
        shutil.rmtree(self.out, ignore_errors=True)
        if how == "write":
            killed = self.ended(int(where)) == -signal.SIGKILL
        else:
            killed = self.at_moment(how, where)
        noisy = how in ("SIGTERM", "SIGINT") and b"Traceback" in (self.folder / "log").read_bytes()
        orphans = self.orphans()
        whole = self.out.exists() and not self.differing()  # killed after its end
        status = self.ended() if how == "write" else self.start().wait(LONGEST)
        lost = self.differing()
        told = "" if status == 0 else (self.folder / "log").read_text(errors="replace")[-400:]
        self.done["kills"][key] = {
            **{"how": how, "where": where, "killed": killed, "orphans": orphans + self.orphans(), "noisy": noisy},
            **{"status": 0 if whole else status, "lost": lost, "told": told},
        }
        self.keep()
        if lost or orphans or (status and not whole):
            print(f"  {key}: status {status}, {orphans} orphans, lost {lost} {told}", flush=True)

    def run(self, moments: int, writes: int) -> None:
        for how in SIGNALS:
            draws = random.Random(how)
            for number in range(moments):
                self.kill(f"{how} {number}", how, draws.uniform(0, self.done["seconds"]))
        numbers = list(range(1, self.done["writes"] + 1))
        for number in random.Random(1).sample(numbers, min(len(numbers), writes)):
            self.kill(f"write {number}", "write", number)


def table(folder: Path) -> str:
    """The figures of all cases so far, as Markdown."""
    rows = ["| command | " + " | ".join([*SIGNALS, "at a change", "survived", "lost", "processes left"]) + " |"]
    rows.append("|---|" + "--:|" * 7)
    for name in CASES:
        path = folder / name.replace(" ", "") / "results.json"
        if path.exists():
            kills = [kill for kill in json.loads(path.read_text())["kills"].values() if kill["killed"]]
            lost = sum(bool(kill["lost"] or kill["status"]) for kill in kills)
            counts = [sum(kill["how"] == how for kill in kills) for how in (*SIGNALS, "write")]
            cells = [*counts, len(kills) - lost, lost, sum(kill["orphans"] for kill in kills)]
            rows.append(f"| `{name}` | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for inputs, outputs and results")
    parser.add_argument("--moments", type=int, default=20, help="random moments of each signal (default: 20)")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), help="cases (default: all)")
    parser.add_argument("--writes", type=int, default=10**6, help="changes of files to kill at (default: each)")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the background ignores it, and so would children
    for name in args.only:
        torture = Torture(name, args.folder.resolve() / name.replace(" ", ""))
        print(f"{name}: {torture.done['seconds']:.0f} s, {torture.done['writes']} changes of files", flush=True)
        torture.run(args.moments, args.writes)
    print(table(args.folder))


if __name__ == "__main__":
    main()
