"""Hooks of mkdocs: the repository's other pages join those of docs/, links are set right, tables come from the code.

A page of the repository outside docs/ (PAGES) becomes a page of the site. Links in all pages are those of the
repository, so that they work where the files are read as well: here they are turned into the site's. A linked file that
is no page is copied. A line `::: NAME` is replaced by a table of docs_tables.py.
"""

import logging
import os
import posixpath
import re
from pathlib import Path
from typing import Dict
from urllib.parse import urlsplit

from docs_tables import TABLES
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES: Dict[str, str] = {  # of the repository, to those of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    **{
        f"examples/{path.parent.name}/README.md": f"examples/{path.parent.name}.md"
        for path in ROOT.glob("examples/*/*.md")
    },
}
SOURCES = {site: source for source, site in PAGES.items()}
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
logging.getLogger("MARKDOWN").setLevel(logging.WARNING)  # fairseq opens the root logger to all that is said
MARK = re.compile(r"^::: (.+)$", re.MULTILINE)


def source_of(site: str) -> str:
    """The repository's path of a page of the site."""
    return SOURCES.get(site, f"docs/{site}")


def linked(link: str, source: str) -> str:
    """The repository's path that a page's link leads to; empty for one to outside or within the page."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or not parts.path:
        return ""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), parts.path))


def site_path(path: str) -> str:
    """The site's path of a file of the repository; itself where the site has none."""
    return PAGES.get(path, path[len("docs/") :] if path.startswith("docs/") else path)


def on_files(files, config):
    for source, site in PAGES.items():
        files.append(File.generated(config, site, abs_src_path=str(ROOT / source)))
    for page in list(files.documentation_pages()):
        source = source_of(page.src_uri)
        for _, link, _ in LINK.findall((ROOT / source).read_text(encoding="utf-8")):
            path = linked(link, source)
            there = files.get_file_from_path(site_path(path)) if path else True
            if not there and (ROOT / path).is_file() and not path.endswith(".md"):
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    source = source_of(page.file.src_uri)

    def relink(match):
        before, link, after = match.groups()
        path = linked(link, source)
        if not path:
            return match.group(0)
        here = posixpath.dirname(page.file.src_uri)
        fragment = urlsplit(link).fragment
        target = os.path.relpath(site_path(path), here or ".").replace(os.sep, "/")
        return f"{before}{target}{f'#{fragment}' if fragment else ''}{after}"

    return MARK.sub(lambda match: TABLES[match.group(1)](), LINK.sub(relink, markdown))
