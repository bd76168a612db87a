"""Evaluations as text: one as lines, several as a table, and beside a paper's rows. No model, no files."""

import math
import os
from typing import Any, List, Optional, Sequence, Tuple

from ..measure.papers import PAPERS, Numbers, Paper

__all__ = [
    "COLUMNS",
    "beside_paper",
    "best",
    "comparison",
    "figure",
    "figures",
    "grid",
    "interval",
    "names",
    "plain",
    "table",
]

COLUMNS: Sequence[Tuple[str, str, int, Optional[str]]] = (  # key, heading, digits, the better of two values
    ("rec", "rec", 2, None),
    ("kl", "KL", 2, None),
    ("neg_elbo", "-ELBO", 2, "lower"),
    ("nll_iw", "NLL IW", 2, "lower"),
    ("ppl_token", "PPL/token", 2, "lower"),
    ("ppl_word", "PPL/word", 2, "lower"),
    ("bits_per_byte", "bits/byte", 3, "lower"),
    ("mi", "MI", 2, None),
    ("marginal_kl", "marg. KL", 2, None),
    ("au", "AU", 0, None),
    ("nll_gap_shuffled", "z gap", 2, "higher"),
    ("bleu", "BLEU", 2, None),
    ("exact_match", "exact", 3, None),
    ("self_bleu", "self-BLEU", 2, None),
)

SMOOTHNESS = (  # as COLUMNS, where a result has them
    ("aubleu", "AuBLEU", 2, None),
    ("smoothness_lerp", "paths", 3, None),
)


KINDS = ("precision", "recall")


def figure(value: Optional[float], digits: int) -> str:
    """A number as text, without a negative zero; a dash for None.

    >>> figure(-0.001, 2), figure(None, 2)
    ('0.00', '-')
    """
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def interval(numbers: Numbers, key: str, digits: int = 2) -> str:
    """A figure's 95 % interval as text.

    >>> interval({"intervals": {"kl": [1.5, 2.25]}}, "kl")
    '95 % in [1.50, 2.25]'
    """
    low, high = numbers["intervals"][key]
    return f"95 % in [{low:.{digits}f}, {high:.{digits}f}]"


def table(numbers: Numbers) -> str:
    """One evaluation as lines: name, figure, and its unit, denominator and interval."""
    lines = [f"{name:<20}{value:>10}  {unit}" for name, value, unit in figures(numbers)]
    return "\n".join([*lines, f"{numbers['sentences']:,} sentences; {numbers['signature']}"])


def figures(numbers: Numbers) -> List[Tuple[str, str, str]]:
    """One evaluation's names, figures, and their units, denominators and intervals; a name of two blanks more belongs
    to the one above it."""
    n = numbers
    nats = "nats per sentence"
    ends = f"{n['sentences']:,} ends counted"
    estimated = f", estimated by the K = {n['samples']} samples" if n.get("kl_sampled") else ""
    least = "" if n["agg_gaussian_kl"] is None else f"; at least {figure(n['agg_gaussian_kl'], 2)}"
    saturated = "; SATURATED: may be far higher" if n["mi_saturated"] else ""
    given = "" if n["mi_source"] is None else f"; of target and z, the source given ({n['mi_source']:.2f} more with it)"
    found = [
        ("reconstruction", figure(n["rec"], 2), f"{nats}, {interval(n, 'rec')}, K = {n['samples']}"),
        ("KL", figure(n["kl"], 2), f"{nats}, {interval(n, 'kl')}{estimated}"),
        ("negative ELBO", figure(n["neg_elbo"], 2), f"{nats}, {interval(n, 'neg_elbo')}"),
        (
            "importance-weighted",
            figure(n["nll_iw"], 2),
            f"{nats}, {interval(n, 'nll_iw')}, K = {n['samples']} ({n['iw_effective']:.1f} effective)",
        ),
    ]
    if n["nll_iw_fitted"] is not None:
        unit = f"{nats}, {interval(n, 'nll_iw_fitted')}; {n['fitted_prior']}"
        found.append(("  fitted prior", figure(n["nll_iw_fitted"], 2), unit))
    for name, key, unit, digits in (
        ("PPL per token", "ppl_token", f"{n['tokens']:,} tokens, {ends}", 2),
        ("PPL per word", "ppl_word", f"{n['words']:,} words, {ends}", 2),
        ("bits per byte", "bits_per_byte", f"{n['bytes'] or 0:,} bytes of the {n['bytes_of']} text", 3),
    ):
        if n[key] is not None:
            found.append((name, figure(n[key], digits), f"of the ELBO; {figure(n[f'{key}_iw'], digits)} IW; {unit}"))
    found += [
        ("active units", str(n["au"]), f"of {n['latent_dim']}, Var(mu) > 0.01"),
        (
            "mutual information",
            figure(n["mi"], 2),
            f"nats +- {n['mi_stderr']:.2f}, at most {n['mi_cap']:.2f}{saturated}{given}",
        ),
    ]
    if n["mi_batch"] is not None:
        unit = f"nats, in batches of {n['mi_batch_size']}: at most {math.log(n['mi_batch_size']):.2f}"
        found.append(("MI within batches", figure(n["mi_batch"], 2), unit))
    found += [
        ("marginal KL", figure(n["marginal_kl"], 2), f"nats, KL - MI{least}"),
        ("own-z gap", figure(n["nll_gap_shuffled"], 2), f"{nats} to another's z, {interval(n, 'nll_gap_shuffled')}"),
        ("  to z = 0", figure(n["nll_gap_zero"], 2), f"{nats}, {interval(n, 'nll_gap_zero')}"),
        ("  to the prior's z", figure(n["nll_gap_prior"], 2), f"{nats}, {interval(n, 'nll_gap_prior')}"),
    ]
    if n["lm_nll"] is not None:
        found.append(("language model", figure(n["lm_nll"], 2), f"{nats}; its backbone without z"))
        found.append(("-ELBO less it", figure(n["lm_gap"], 2), f"{nats}, {interval(n, 'lm_gap')}"))
    found += text_rows(n) + smooth_rows(n) + response_rows(n)
    if "probe" in n:
        bag = "" if n["probe_bag_of_words"] is None else f", bag of words {n['probe_bag_of_words']:.3f}"
        unit = f"accuracy on mu, {n['probe_classes']} classes; majority {n['probe_majority']:.3f}{bag}"
        found.append(("probe", figure(n["probe"], 3), unit))
    found.append(("diagnosis", n["diagnosis"], n["diagnosis_message"]))
    return found


def fluency_rows(n: Numbers) -> List[Tuple[str, str, str]]:
    """The row of `table` on what a language model thinks of samples; none without one."""
    if n.get("samples_nll") is None:
        return []
    there = n.get("samples_nll_fitted")
    fitted = "" if there is None else f"; fitted prior {figure(there, 2)}"
    unit = f"nats per token under the language model; data {figure(n['samples_nll_data'], 2)}{fitted}"
    return [("fluency", figure(n["samples_nll"], 2), unit)]


def text_rows(n: Numbers) -> List[Tuple[str, str, str]]:
    """The rows of `table` on generated text; none if the evaluation has generated none."""
    if n["bleu"] is None:
        return []
    fitted = []
    if "self_bleu_fitted" in n:
        there = n["prior_length_fitted"]
        lengths = f"{there['mean']:.1f}, sd {there['sd']:.1f}, distance {n['length_distance_fitted']:.1f}"
        unit = f"distinct-2 {n['distinct_2_fitted']:.3f}; words a sample {lengths}"
        fitted = [("  fitted prior", figure(n["self_bleu_fitted"], 2), unit)]
    copied = "no training text" if n["training_copies"] is None else f"{n['training_copies']:.1%} are training text"
    ours, data = n["prior_length"], n["data_length"]
    return [
        (
            "BLEU",
            figure(n["bleu"], 2),
            f"from mu, beam 5; greedy {figure(n['bleu_greedy'], 2)}; first {n['text_sentences']:,}",
        ),
        ("chrF", figure(n["chrf"], 2), f"from mu, beam 5; greedy {figure(n['chrf_greedy'], 2)}"),
        ("exact match", f"{n['exact_match']:.1%}", f"from mu, beam 5; greedy {n['exact_match_greedy']:.1%}"),
        (
            "self-BLEU",
            figure(n["self_bleu"], 2),
            f"of {n['prior_samples']:,} samples of the prior; data {figure(n['self_bleu_data'], 2)}; {copied}",
        ),
        *fitted,
        *fluency_rows(n),
        (
            "distinct-2",
            figure(n["distinct_2"], 3),
            f"data {n['distinct_2_data']:.3f}; distinct-1 {n['distinct_1']:.3f}, -3 {n['distinct_3']:.3f}",
        ),
        (
            "words a sample",
            figure(ours["mean"], 1),
            f"sd {ours['sd']:.1f}; data {data['mean']:.1f}, sd {data['sd']:.1f}; distance {n['length_distance']:.1f}",
        ),
    ]


def smooth_rows(n: Numbers) -> List[Tuple[str, str, str]]:
    """The rows of `table` on the smoothness of the space; none if the evaluation has not looked at it."""
    if n.get("aubleu") is None:  # an older evaluation lacks the key
        return []
    size = f"first {n['smoothness_sentences']:,}"
    own = f"against their reconstructions {figure(n['aubleu_own'], 2)}, {interval(n, 'aubleu_own')}"
    rows = [
        (
            "AuBLEU",
            figure(n["aubleu"], 2),
            f"mean BLEU under noise, s = 0 to 1, {interval(n, 'aubleu')}; {own}; {size}",
        )
    ]
    left_out = f"{n['smoothness_same_ends']:,} more have ends at distance 0"
    if n["smoothness_lerp"] is None:
        return [*rows, ("path smoothness", "-", f"no pair has it: {left_out}")]
    others, largest = (
        ", ".join(f"{kind} {figure(n[f'{name}_{kind}'], 3)}" for kind in ("slerp", "typical"))
        for name in ("smoothness", "largest_step")
    )
    counted = f"{n['smoothness_pairs']:,} pairs; {left_out}"
    return [
        *rows,
        (
            "path smoothness",
            figure(n["smoothness_lerp"], 3),
            f"of lerp, {interval(n, 'smoothness_lerp', 3)}; {others}; at best 1; {counted}",
        ),
        (
            "  slerp - lerp",
            figure(n["smoothness_slerp_gain"], 3),
            f"pair by pair, {interval(n, 'smoothness_slerp_gain', 3)}",
        ),
        (
            "  largest step",
            figure(n["largest_step_lerp"], 3),
            f"of lerp, as a share of its path; {largest}; even steps have 0.1",
        ),
    ]


def response_rows(n: Numbers) -> List[Tuple[str, str, str]]:
    """The rows of `table` on responses to sources; none if the evaluation has none."""
    r = n.get("responses")  # an older evaluation lacks the key
    if not r:
        return []

    def score(name: str, key: str) -> Tuple[str, str, str]:
        f1, parts = figure(r[f"{key}_f1"], 3), [f"{kind} {figure(r[f'{key}_{kind}'], 3)}" for kind in KINDS]
        return name, f1, f"F1; {', '.join(parts)}, {interval(r, f'{key}_recall', 3)}"

    rows = [score(f"BLEU-{order}", f"bleu_{order}") for order in (1, 4)]
    if r["a_bow_f1"] is not None:
        rows.append(score("bags of words", "a_bow"))
    way = r["responses_signature"].split("|")[0]
    of = f"{r['responses']} responses, {way}, to each of {r['contexts']:,} sources; {r['references']:.1f} references"
    alike = "" if r["within_self_bleu"] is None else f"; self-BLEU {figure(r['within_self_bleu'], 2)}"
    return [
        ("responses", f"{r['within_unique']:.1%}", f"different ones; {of}"),
        *rows,
        (
            "  distinct-2",
            figure(r["within_distinct_2"], 3),
            f"of a source's, all {figure(r['across_distinct_2'], 3)}{alike}",
        ),
        ("ROUGE-L", figure(r["rouge_l"], 3), f"F1 of the first response; ROUGE-1 {figure(r['rouge_1'], 3)}"),
    ]


def names(paths: Sequence[str]) -> List[str]:
    """Checkpoints' paths without the folders that they share.

    >>> names(["/run/one/last.pt", "/run/two/last.pt"]), names(["/run/one/last.pt"])
    (['one/last.pt', 'two/last.pt'], ['/run/one/last.pt'])
    """
    if len(paths) < 2:
        return list(paths)
    common = os.path.commonpath([os.path.abspath(path) for path in paths])
    return [os.path.relpath(os.path.abspath(path), common) for path in paths]


def best(results: Sequence[Numbers], key: str, better: Optional[str]) -> Optional[int]:
    """The index of the result whose 95 % interval lies beyond those of all others.

    Args:
        results: evaluations
        key: of a figure
        better: "lower" or "higher"; None: neither

    Returns:
        the index; None if intervals meet, or a result has none
    """
    if better is None or len(results) < 2 or any(key not in numbers["intervals"] for numbers in results):
        return None
    ends = [numbers["intervals"][key] for numbers in results]
    ends = [(-high, -low) for low, high in ends] if better == "higher" else ends
    first = min(range(len(ends)), key=lambda index: ends[index][1])
    return first if all(ends[first][1] < low for i, (low, _) in enumerate(ends) if i != first) else None


def comparison(results: Sequence[Numbers], markdown: bool = False) -> str:
    """Several evaluations as one table; a figure is marked best only if its 95 % interval meets no other's.

    Args:
        results: evaluations
        markdown: as Markdown, else as aligned columns
    """
    columns = [*COLUMNS, *(column for column in SMOOTHNESS if any(n.get(column[0]) is not None for n in results))]
    rows = [["checkpoint", *(heading for _, heading, _, _ in columns)]]
    rows += [[name] for name in names([numbers["checkpoint"] for numbers in results])]
    mark = "**{}**" if markdown else "{}*"
    for key, _, digits, better in columns:
        winner = best(results, key, better)
        for index, numbers in enumerate(results):
            cell = figure(numbers[key], digits) + ("!" if key == "mi" and numbers["mi_saturated"] else "")
            rows[index + 1].append(mark.format(cell) if index == winner else cell)
    first = results[0]
    notes = [
        f"Nats per sentence; {first['sentences']:,} sentences, {first['tokens']:,} tokens and {first['words']:,} words "
        f"(ends counted), {first['bytes'] or 0:,} bytes; MI at most {first['mi_cap']:.2f} (! saturated). "
        f"Best {'bold' if markdown else '*'} where 95 % intervals separate.",
        *(f"{row[0]}: {numbers['signature']}" for row, numbers in zip(rows[1:], results)),
    ]
    return grid(rows, markdown) + "\n\n" + ("\n\n" if markdown else "\n").join(notes)


def grid(rows: Sequence[Sequence[str]], markdown: bool = False) -> str:
    """Rows of cells as aligned columns or as Markdown; the first row holds the headings.

    >>> print(grid([["run", "KL"], ["a", "10.25"]]))
    run     KL
    a    10.25
    """
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([lines[0], f"|---|{'---:|' * (len(rows[0]) - 1)}", *lines[1:]])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    )


def beside_paper(results: Sequence[Numbers], name: str, markdown: bool = False, data: Optional[str] = None) -> str:
    """A paper's own rows, and ours under its definitions.

    Args:
        results: evaluations
        name: of PAPERS
        markdown: as Markdown, else as aligned columns
        data: the data set whose rows alone to show; None: all

    Raises:
        ValueError: the paper has no rows of it
    """
    paper: Paper = PAPERS[name]
    if data is not None and data not in paper.tables:
        raise ValueError(f"{name} has no rows of {data}: expected one of {', '.join(paper.tables)}")
    parts = [f"{paper.title}\n{paper.definition}\nSource: {paper.source}"]
    ours = [
        [f"here: {label}", *(figure(column.ours(numbers), column.digits) for column in paper.columns)]
        for label, numbers in zip(names([numbers["checkpoint"] for numbers in results]), results)
    ]
    for heading, table in paper.tables.items() if data is None else [(data, paper.tables[data])]:
        rows = [[heading, *(column.heading for column in paper.columns)]]
        for label, *values in table:
            cells = zip(values, paper.columns)
            rows.append([label, *(v if isinstance(v, str) else figure(v, column.digits) for v, column in cells)])
        parts.append(grid([*rows, *ours], markdown))
    parts.append("Comparable only on the paper's own data, split and tokenisation; ours are of the data given.")
    return "\n\n".join(parts)


def plain(value: Any) -> Any:
    """A value for JSON, with None in place of infinity and NaN, which JSON lacks.

    >>> plain({"ppl": [1.5, math.inf]})
    {'ppl': [1.5, None]}
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
