"""Tables of the documentation, made from the code: Markdown for each line `::: NAME` of a page, NAME one of TABLES."""

import argparse
import dataclasses
import enum
import os
import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import yaml
from fairseq.tasks.translation import TranslationConfig

from fairseq_vae.cli.arguments import SHARED
from fairseq_vae.cli.main import parser
from fairseq_vae.evaluate import SCHEMA
from fairseq_vae.finetune import recipe
from fairseq_vae.flags.criterion import criterion_config
from fairseq_vae.flags.model import latent_config
from fairseq_vae.flags.task import SentenceFlags, VAETranslationFlags, task_config
from fairseq_vae.hub import BARTVAEHubInterface  # noqa: F401  for the tests
from fairseq_vae.measure.definitions import DIMENSIONS, LOGGED, REPRESENTED, RESPONSES, SECTIONS, STORIES, Definition
from fairseq_vae.measure.papers import PAPERS
from fairseq_vae.model import MODELS, SIZES, BARTVAEModel  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r"(`[^`]*`|--[a-z][a-z0-9-]*(?: [A-Z]+\b)?|\b(?:phase1\.)?GROUP\.KEY=VALUE|</?[a-z]+>)")
WIDTH = 110  # of usage lines


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def prose(text: str) -> str:
    """A help text or comment as Markdown: flags and tokens as code, and nothing else taken for markup."""
    parts = CODE.split(text)  # every second one is code
    plain = [re.sub(r"([|*_\[\]])", r"\\\1", part) for part in parts[::2]]
    code = [part if part.startswith("`") else f"`{part}`" for part in parts[1::2]]
    return "".join(a + b for a, b in zip(plain, [*code, ""]))


def anchor(name: str) -> str:
    return f'<a id="{name}"></a>'


def number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def default(field: dataclasses.Field) -> str:
    if field.default in (dataclasses.MISSING, "???"):
        return "required"
    return "off" if field.default is False else number(field.default)


def choices(field: dataclasses.Field) -> List[str]:
    is_choice = isinstance(field.type, type) and issubclass(field.type, enum.Enum)
    return [member.value for member in field.type] if is_choice else []


def documented(config: Any, *others: Any) -> Iterator[dataclasses.Field]:
    """The fields that are the configuration's own, not of others; what it only reads of fairseq's has no help."""
    known = {field.name for other in others for field in dataclasses.fields(other)}
    return (field for field in dataclasses.fields(config) if field.metadata.get("help") and field.name not in known)


def flags(config: Any, *others: Any) -> str:
    rows = []
    for field in documented(config, *others):
        required = default(field) == "required"
        name = field.name if required else f"--{field.name.replace('_', '-')}"
        meaning = prose(re.sub(r" \(default: [^()]*\)$", "", field.metadata["help"]))
        if choices(field):
            meaning += f". Choices: {', '.join(f'`{choice}`' for choice in choices(field))}"
        rows.append([f"{anchor(field.name.replace('_', '-'))}`{name}`", default(field), meaning])
    return table(["flag", "default", "meaning"], rows)


def sizes() -> str:
    rows = [
        [", ".join(f"`{model}_{name}`" for model in MODELS), f"{layers} + {layers}", width, 4 * width, heads]
        for name, (layers, width, heads) in SIZES.items()
    ]
    return table(["`--arch`", "layers", "width", "feed-forward width", "heads"], rows)


def subcommands() -> Iterator[Tuple[str, str, argparse.ArgumentParser]]:
    """Name, line of help and parser of each subcommand of fairseq-vae."""
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            yield from ((name, helps[name], command) for name, command in action.choices.items())


def commands() -> str:
    parts, shared = [], {}
    for name, line, command in subcommands():
        command.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=WIDTH)
        usage = command.format_usage().replace("usage: ", "").replace("[-h] ", "").replace(" [-h]", "").strip()
        parts += [f"### {name}", f"{prose(command.description or f'{line[0].upper()}{line[1:]}.')}"]
        parts.append(f"```text\n{usage}\n```")
        groups = {group.title: group._group_actions for group in command._action_groups}
        own = [action for title, actions in groups.items() if title not in SHARED for action in actions]
        for title in SHARED:
            shared.setdefault(title, {}).update({action.dest: action for action in groups.get(title, ())})
        if len(own) > 1:  # one is --help
            parts.append(arguments(own))
        also = [f"[{title}](#{title.replace(' ', '-')}_1)" for title in SHARED if title in groups]
        if also:
            parts.append(f"Beside these: {' and '.join(filter(None, (', '.join(also[:-1]), also[-1])))}.")
    for title, actions in shared.items():
        parts += [f"### {title} {{#{title.replace(' ', '-')}_1}}", arguments(list(actions.values()))]
    return "\n\n".join(parts)


def arguments(actions: Sequence[argparse.Action]) -> str:
    rows = []
    for action in actions:
        if not isinstance(action, argparse._HelpAction):
            shown = " ".join(filter(None, (", ".join(action.option_strings), value_name(action))))
            rows.append([f"`{shown}`", prose(action.help or "")])
    return table(["argument", "meaning"], rows)


def value_name(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices:
        return "{" + ",".join(action.choices) + "}"
    return str(action.metavar or action.dest.upper())


def definitions(rows: Sequence[Definition]) -> str:
    shown = []
    for row in rows:
        names = ", ".join(f"{anchor(key)}`{key}`" for key in row.keys)
        shown.append([names, prose(row.meaning), row.unit, prose(row.when)])
    return table(["key", "definition", "unit", "given with"], shown)


def logged() -> str:
    return definitions(LOGGED)


def evaluated() -> str:
    parts = [f"Schema {SCHEMA}."]
    for title, rows in SECTIONS.items():
        parts += [f"## {title}", definitions(rows)]
    return "\n\n".join(parts)


def flat(settings: Dict[str, Any], prefix: str = "") -> Iterator[Tuple[str, Any]]:
    """GROUP.KEY and value of nested settings."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def shown_value(value: Any) -> str:
    if value is None:
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def comment(text: str) -> str:
    """The comment at the head of a YAML file, as Markdown."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line[1:].strip())
    joined = re.sub(r"(?<=\S)\n(?!- |\n)", " ", "\n".join(lines))  # one line a paragraph or item
    return prose(re.sub(r"^(?!- )(.+)\n- ", r"\1\n\n- ", joined, flags=re.MULTILINE))


def recipes() -> str:
    parts = []
    for name in recipe.names():
        parts.append(f"### {name}")
        for phase in recipe.PHASES:
            path = os.path.join(recipe.FOLDER, name, f"{phase}.yaml")
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                rows = [[f"`{key}`", shown_value(value)] for key, value in flat(yaml.safe_load(text))]
                parts += [comment(text), table([f"{phase}", "value"], rows)]
    return "\n\n".join(parts)


def shared() -> str:
    with open(os.path.join(recipe.CONFIG, "finetune.yaml"), encoding="utf-8") as file:
        settings = yaml.safe_load(file)
    settings.pop("defaults")
    return table(["setting", "value"], [[f"`{key}`", shown_value(value)] for key, value in flat(settings)])


def papers() -> str:
    parts = []
    for name, paper in PAPERS.items():
        parts += [f"## {name}", f"{prose(paper.title)}.", prose(paper.definition), f"Source: {prose(paper.source)}."]
        for data, rows in paper.tables.items():
            head = [data, *(column.heading for column in paper.columns)]
            parts.append(table(head, [["–" if value is None else value for value in row] for row in rows]))
    return "\n\n".join(parts)


def python(path: str) -> str:
    """A file of the repository as a block of code."""
    return f"```python\n{(ROOT / path).read_text(encoding='utf-8').rstrip()}\n```"


TABLES: Dict[str, Callable[[], str]] = {
    "sizes": sizes,
    "example prior": lambda: python("examples/own_prior/laplace_prior/__init__.py"),
    "flags of the model": lambda: flags(latent_config()),
    "flags of bart_cvae": lambda: flags(latent_config(conditional=True), latent_config()),
    "flags of the tasks": lambda: flags(SentenceFlags),
    "flags of vae_denoising": lambda: flags(task_config(), SentenceFlags),
    "flags of vae_translation": lambda: flags(VAETranslationFlags, SentenceFlags, TranslationConfig),
    "flags of the criterion": lambda: flags(criterion_config()),
    "commands": commands,
    "logged": logged,
    "evaluated": evaluated,
    "responses": lambda: definitions([*RESPONSES, *STORIES]),
    "represented": lambda: definitions(REPRESENTED),
    "dimensions": lambda: definitions(DIMENSIONS),
    "recipes": recipes,
    "settings of all recipes": shared,
    "papers": papers,
}
