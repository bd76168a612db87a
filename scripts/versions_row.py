"""A row of the table of scripts/versions.sh, by the Python that ran the tests; with --table the table of all rows."""

import datetime
import platform
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs/reliability.md"
BEGIN, END = "<!-- scripts/versions.sh -->\n", "<!-- end -->\n"
HEAD = "| Python | fairseq | torch | passed | failed | skipped | left out | pytest | on |\n" + "|---" * 9 + "|\n"


def version(*names):
    """The first of some distributions that is installed, with its version."""
    for name in names:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "none"


def row(report, left_out, arguments):
    """A row of the table.

    Args:
        report: the path of pytest's JUnit report
        left_out: pytest's arguments that left tests out
        arguments: other ones
    """
    suite = ElementTree.parse(report).getroot().find("testsuite")
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    chosen = f"`{shlex.join(arguments)}`" if arguments else "all"
    out = f"[{len(left_out)}](../scripts/versions_3.8.txt)" if left_out else "none"
    found = (platform.python_version(), version("ve-fairseq", "fairseq-fixed", "fairseq"), version("torch"))
    return (
        "| "
        + " | ".join(map(str, (*found, passed, failed, counts["skipped"], out, chosen, datetime.date.today())))
        + " |\n"
    )


def table(folder, write):
    """Print the table of a folder's rows and, if wanted, put it in its place in the documentation."""
    found = HEAD + "".join(path.read_text() for path in sorted(folder.glob("3.*.md"), key=lambda p: int(p.stem[2:])))
    print(found, end="")
    if write:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        _, after = rest.split(END)
        PAGE.write_text(before + BEGIN + found + END + after, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--table":
        table(Path(sys.argv[2]), "--write" in sys.argv)
    else:
        split = sys.argv.index("--")
        print(row(sys.argv[1], sys.argv[2:split], sys.argv[split + 1 :]), end="")
