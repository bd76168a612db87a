"""Takes the disk away from runs: full, read-only, or the output folder deleted under them. For root, on Linux.

    bash scripts/torture.sh disk --folder DIR [--times N] [--only NAME ...]

Each command runs N times on a small tmpfs whose size grows to what the results need, once on one that is read-only, and
N times in a folder that is deleted at a seeded moment. It has to end in one line, without a traceback. Then it gets its
room and runs again: its results must be the undisturbed run's to the bit.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cases import CASES  # noqa: E402
from kills import LONGEST, Torture  # noqa: E402


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)


def said(torture: Torture) -> List[str]:
    """What the last run told: the lines without progress bars, the command's own at the end."""
    text = (torture.folder / "log").read_text(errors="replace").replace("\r", "\n")
    return [line for line in text.splitlines() if line.strip() and "it/s]" not in line and "update/s]" not in line]


def noted(torture: Torture, status: int, again: int) -> Dict[str, Any]:
    """What came of a disturbed run and the run after it."""
    return {"status": status, "told": torture.told[-1:], "again": again, "lost": torture.differing()}


def fill(torture: Torture, share: float, readonly: bool = False) -> Dict[str, Any]:
    """Run on a file system of a share of the room that the results take, then with room."""
    shutil.rmtree(torture.out, ignore_errors=True)
    torture.out.mkdir()
    size = max(4096, int(share * torture.done["bytes"]))
    mount(torture.out, f"size={size}" + ",ro" * readonly)
    try:
        status = torture.start().wait(LONGEST)
        torture.told = said(torture)
        mount(torture.out, f"remount,rw,size={20 * torture.done['bytes'] + 2**24}")
        return noted(torture, status, torture.start().wait(LONGEST))
    finally:
        subprocess.run(["umount", "-l", str(torture.out)], check=True)


def vanish(torture: Torture, after: float) -> Dict[str, Any]:
    """Delete the output folder at a moment of the run; then run again."""
    shutil.rmtree(torture.out, ignore_errors=True)
    process = torture.start()
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        if torture.out.exists():
            torture.out.rename(torture.folder / "gone")  # at once, where rmtree would race with the run
            shutil.rmtree(torture.folder / "gone")
    status = process.wait(LONGEST)
    torture.told = said(torture)
    shutil.rmtree(torture.out, ignore_errors=True)
    return noted(torture, status, torture.start().wait(LONGEST))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="that of the kills, or another")
    parser.add_argument("--times", type=int, default=5, help="sizes, and moments (default: 5)")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), help="cases (default: all)")
    args = parser.parse_args()
    for name in args.only:
        folder = args.folder.resolve() / name.replace(" ", "")
        torture = Torture(name, folder)
        if "bytes" not in torture.done:
            shutil.rmtree(torture.out, ignore_errors=True)
            assert torture.start().wait(LONGEST) == 0
            torture.done["bytes"] = sum(path.stat().st_size for path in torture.out.rglob("*") if path.is_file())
            torture.keep()
        disk = torture.done.setdefault("disk", {})
        draws = random.Random(1)
        moments = [draws.uniform(0, torture.done["seconds"]) for _ in range(args.times)]
        for number in range(args.times):
            disk[f"full {number}"] = fill(torture, (number + 0.5) / args.times * 0.9)
            disk[f"vanished {number}"] = vanish(torture, moments[number])
            torture.keep()
        disk["read-only"] = fill(torture, 2, readonly=True)
        torture.keep()
        for key, found in disk.items():
            bad = found["again"] or found["lost"] or any("Traceback" in line for line in found["told"])
            print(f"{name}, {key}: {'LOST ' if bad else ''}{json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
