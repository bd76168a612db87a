"""The documentation: it builds, no link is dead, what it names exists, and it says nothing twice."""

import ast
import importlib
import re
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import docs_tables  # noqa: E402  as mkdocs' hook imports it

PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
        *ROOT.glob("examples/*/README.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
)
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
SCRIPTS = ("scripts", "examples", "benchmarks", "tests/torture")
OTHERS = {"--config-dir", "--config-name", "--gpt2"}  # hydra's, and those that bart_base.py makes in a loop
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*(?![\w*-])")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`|(?:^ {4}.*\n)+", re.MULTILINE | re.DOTALL)


def expanded(path):
    """A page with its tables."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^::: (.+)$", lambda match: docs_tables.TABLES[match.group(1)](), text, flags=re.MULTILINE)


def slugs(text):
    """Anchors of a page: its headings as GitHub and the site name them, and those set by hand."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    names = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return {*names, *re.findall(r'id="([^"]+)"', text)}


def test_the_readme_is_short_and_begins_with_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 170
    commands = [line.split("#")[0].strip() for line in text.splitlines() if line.startswith("    ")]
    assert commands[:2] == ["bash scripts/quickstart.sh", "bash scripts/test.sh"]


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", path.read_text(encoding="utf-8"))):
        parts = urlsplit(link)
        if parts.scheme:  # of other hosts only the form is checked: tests need no network
            assert parts.scheme in ("http", "https") and "." in parts.netloc, link
            continue
        target = (path.parent / parts.path).resolve() if parts.path else path
        assert target.is_file() and ROOT in target.parents, link
        if parts.fragment:
            assert parts.fragment in slugs(expanded(target)), link


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.loaded.append(found["href"])
        elif found.get("src"):
            self.loaded.append(found["src"])


def test_the_site_builds_without_a_dead_link_or_a_request_to_another_host(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)  # strict: a warning ends it
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in tmp_path.glob("**/*.html")}
    pages.pop(tmp_path / "404.html")  # its links are of the root of a host
    assert len(pages) == len(PAGES)
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme:
                assert link not in page.loaded, f"{path}: {link}"
                continue
            target = (path.parent / parts.path).resolve() if parts.path else path
            assert target.exists(), f"{path}: {link}"
            if parts.fragment and target in pages:
                assert parts.fragment in pages[target].ids, f"{path}: {link}"


def existing_flags():
    """Flags of fairseq's commands with this plug-in, of fairseq-vae, and of the clone's scripts."""
    from fairseq import options
    from fairseq.criterions.sentence_prediction import SentencePredictionConfig as CriterionConfig
    from fairseq.dataclass.utils import gen_parser_from_dataclass
    from fairseq.registry import REGISTRIES
    from fairseq.tasks.sentence_prediction import SentencePredictionConfig

    parsers = [
        options.get_training_parser(),
        options.get_generation_parser(interactive=True),
        options.get_validation_parser(),
        options.get_preprocessing_parser(),
        *(command for _, _, command in docs_tables.subcommands()),
    ]
    docs_tables.BARTVAEModel.add_args(parsers[0])
    for config in (SentencePredictionConfig, CriterionConfig):
        gen_parser_from_dataclass(parsers[1], config())
    for config in (docs_tables.task_config(), docs_tables.VAETranslationFlags, docs_tables.criterion_config()):
        gen_parser_from_dataclass(parsers[1], config())
    gen_parser_from_dataclass(parsers[2], docs_tables.latent_config(conditional=True)())
    for registry in REGISTRIES.values():
        for config in registry["dataclass_registry"].values():
            if config is not None:
                gen_parser_from_dataclass(parsers[2], config())
    known = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    scripts = (path for folder in SCRIPTS for path in ROOT.glob(f"{folder}/**/*.py"))
    for source in ROOT.glob("examples/*/*/*.py"):
        known.update(
            f"--{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): .* = field\(", source.read_text(), re.M)
        )
    for script in scripts:
        known.update(re.findall(r'"(--[a-z0-9-]+)"', script.read_text(encoding="utf-8")))
    return known


def test_flags_that_are_named_exist():
    known = existing_flags() | OTHERS
    for path in PAGES:
        unknown = set(FLAG.findall(path.read_text(encoding="utf-8"))) - known
        assert not unknown, f"{path}: {unknown}"


def test_every_flag_and_command_is_documented():
    page = expanded(ROOT / "docs/reference/flags.md")
    configs = (docs_tables.latent_config(), docs_tables.task_config(), docs_tables.criterion_config())
    pairs = (docs_tables.VAETranslationFlags, docs_tables.TranslationConfig)
    for config, *others in (*((config,) for config in configs), pairs):
        for field in docs_tables.documented(config, *others):
            name = field.name.replace("_", "-")
            assert f'| <a id="{name}"></a>`{"" if name == "data" else "--"}{name}` |' in page
    for name, _, _ in docs_tables.subcommands():
        assert f"\n### {name}\n" in page


def test_every_table_stands_on_one_page_and_every_recipe_in_the_overview():
    marks = re.findall(r"^::: (.+)$", "\n".join(path.read_text(encoding="utf-8") for path in PAGES), re.MULTILINE)
    assert sorted(marks) == sorted(docs_tables.TABLES)
    overview = (ROOT / "docs/reference/recipes.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", overview, re.MULTILINE)) == set(docs_tables.recipe.names())


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_snippets_of_python_parse_and_their_names_exist(path):
    for code in re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("fairseq_vae"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), code
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vae":
                assert hasattr(docs_tables.BARTVAEHubInterface, node.attr), node.attr


def test_no_sentence_stands_in_two_places():
    """Sentences of eight words or more, outside code and tables of figures."""
    places = defaultdict(list)
    for path in PAGES:
        text = CODE.sub(lambda match: "code" if match.group()[0] == "`" else "", expanded(path))
        text = re.sub(r"\]\([^)]*\)", "]", text)
        text = re.sub(r"^\s*([-*#|]|\d+\.) ?", ". ", text, flags=re.MULTILINE)  # items and rows end a sentence
        for sentence in re.split(r"[.:;?!|](?=\s)", " ".join(text.split())):
            words = re.findall(r"[a-z0-9βμ]+", sentence.lower())
            if len(words) >= 8:
                places[" ".join(words)].append(path.name)
    twice = {sentence: names for sentence, names in places.items() if len(names) > 1}
    assert not twice
