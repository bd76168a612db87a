"""The short form of the torture (tests/torture): kills at changes of files, and a run again to the same end."""

import subprocess
from pathlib import Path

import commands
import pytest

pytestmark = pytest.mark.slow

TORTURE = Path(__file__).parent / "torture"
CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from kills import Path, Torture
torture = Torture(sys.argv[2], Path(sys.argv[3]), moments=False)
torture.run(moments=0, writes=int(sys.argv[4]))
print(len(torture.done["kills"]), torture.done["writes"])
print([kill for kill in torture.done["kills"].values() if kill["lost"] or kill["status"] or kill["orphans"]])
print([kill for kill in torture.done["kills"].values() if not kill["killed"]])
"""


@pytest.mark.parametrize("case, writes", [("convert --from-hf", 99), ("convert --to-hf", 99), ("evaluate --keep", 8)])
def test_a_run_that_was_killed_at_a_change_of_files_ends_as_if_it_had_not_been(tmp_path, case, writes):
    (tmp_path / "code.py").write_text(CODE)
    command = [*commands.forked(tmp_path / "code.py"), str(TORTURE), case, str(tmp_path / "case"), str(writes)]
    done = subprocess.run(command, capture_output=True, text=True)  # where torch has no threads, so that it may fork
    assert done.returncode == 0, done.stderr[-3000:]
    *_, count, bad, missed = done.stdout.splitlines()
    kills, changes = map(int, count.split())
    assert (bad, missed) == ("[]", "[]") and kills == min(writes, changes) >= 8
