"""Evaluations as whole documents: one function a format, `as_FORMAT(results, …)`, of one or several evaluations."""

import json
from typing import Optional, Sequence

from ..measure.papers import Numbers
from .text import beside_paper, comparison, plain, table

__all__ = ["as_json", "as_markdown", "as_text"]


def as_text(results: Sequence[Numbers], paper: Optional[str] = None) -> str:
    """Evaluations for a terminal: each as lines, and several as a table as well.

    Args:
        results: of evaluate
        paper: one of PAPERS, whose rows stand beside the results
    """
    several = len(results) > 1
    parts = ["\n".join((f"{numbers['checkpoint']}\n" if several else "") + table(numbers) for numbers in results)]
    parts += [comparison(results)] if several else []
    parts += [beside_paper(results, paper)] if paper else []
    return "\n\n".join(parts) + "\n"


def as_markdown(results: Sequence[Numbers], paper: Optional[str] = None) -> str:
    """The table of all evaluations in Markdown; arguments as for as_text."""
    parts = [comparison(results, markdown=True)]
    parts += [beside_paper(results, paper, markdown=True)] if paper else []
    return "\n\n".join(parts) + "\n"


def as_json(results: Sequence[Numbers]) -> str:
    """All figures as JSON: an object for one evaluation, a list for several; null for numbers that are not finite."""
    return json.dumps(plain(results[0] if len(results) == 1 else list(results)), indent=2) + "\n"
