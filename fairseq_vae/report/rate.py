"""The rate-distortion curve of a study as a table and as a picture.

Alemi et al. 2018, "Fixing a Broken ELBO", https://arxiv.org/abs/1711.00464: a model is a point of rate, the KL, and
distortion, the reconstruction; models of one -ELBO lie on a line of slope -1.
"""

import math
from types import MappingProxyType
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..measure.seeds import OverSeeds, Versus, bases, beside
from . import drawing
from .text import grid

__all__ = ["COLUMNS", "RESPONSES", "Mean", "caption", "curve", "means", "paired", "table"]

COLUMNS = (  # key, heading, digits
    ("kl", "rate", 2),
    ("rec", "distortion", 2),
    ("neg_elbo", "-ELBO", 2),
    ("nll_iw", "NLL, IW", 2),
    ("lm_gap", "less LM", 2),
    ("ppl_word", "PPL a word", 1),
    ("ppl_token", "PPL a piece", 2),
    ("bits_per_byte", "bits a byte", 3),
    ("mi", "MI", 2),
    ("nll_gap_shuffled", "z gap", 2),
    ("nll_gap_prior", "prior gap", 2),
    ("au", "AU", 1),
    ("bleu_greedy", "BLEU", 2),
    ("exact_match_greedy", "exact", 3),
    ("seconds", "s an update", 2),
)
RESPONSES = (  # to sources, of a study of pairs
    ("bleu_1_recall", "BLEU-1 recall", 3),
    ("bleu_1_recall_gap", "BLEU-1 less LM", 3),
    ("bleu_4_recall", "BLEU-4 recall", 3),
    ("bleu_4_recall_gap", "BLEU-4 less LM", 3),
    ("bleu_1_f1", "BLEU-1 F1", 3),
    ("bleu_4_f1", "BLEU-4 F1", 3),
    ("rouge_l", "ROUGE-L", 3),
    ("within_distinct_1", "distinct-1", 3),
    ("within_distinct_2", "distinct-2", 3),
    ("within_self_bleu", "self-BLEU", 1),
)
SAMPLES = (  # of the prior, of a study of sentences
    ("self_bleu", "self-BLEU", 1),
    ("distinct_1", "distinct-1", 3),
    ("distinct_2", "distinct-2", 3),
    ("length_distance", "length distance", 1),
    ("samples_nll", "nats a token (LM)", 2),
    ("samples_nll_data", "of the data", 2),
)
PAIRED = (  # figures that are told seed by seed, too
    *("kl", "rec", "neg_elbo", "nll_iw", "mi", "nll_gap_shuffled", "bleu_greedy"),
    *("bleu_1_recall", "bleu_4_recall", "rouge_l", "within_self_bleu"),
)
GAPS = (  # shown with an interval of one seed, too
    *("lm_gap", "nll_gap_shuffled", "nll_gap_prior", "bleu_1_recall_gap", "bleu_4_recall_gap"),
)
LINES = 8  # of one -ELBO, about
LARGE = 1e6  # from which a figure has two digits and its power of ten
MANY = 4  # points that are counted, not named
SAME = 0.01  # nats a sentence by which two evaluations of one model differ at most, in batches of other sizes
APART = 0.5  # nats between caps of MI that are of unlike numbers of sentences
FAINT: Dict[str, Any] = {"linestyle": ":", "color": "0.6", "linewidth": 0.9, "zorder": 1}
RATE = "rate: KL, nats per sentence"
PANELS = (
    ("rec", "distortion: reconstruction, nats per sentence", 1),
    ("neg_elbo", "−ELBO, nats per sentence", 1),
    ("mi", "mutual information of x and z, nats", 1),
    ("bleu_greedy", "BLEU of greedy reconstructions, 0 to 100", 1),
)
PANELS_OF_PAIRS = (
    PANELS[0],
    ("mi", "mutual information of y and z given x, nats", 1),
    ("bleu_4_recall", "best response to a source: BLEU-4, %", 100),
    ("within_self_bleu", "responses to a source: self-BLEU, 0 to 100", 1),
)


class Mean(NamedTuple):
    """A point's figures over seeds.

    Attributes:
        arm: its name
        setting: the swept flag and its value
        zero_latent: whether it is a language model
        updates: since the study's start
        seeds: that are done
        failed: seeds that failed
        figures: mean and half of the 95 % interval (0 with one seed) of each figure that all those seeds have
        base: of a difference, the name of the arm that it is less than
        intervals: with one seed, 95 % intervals over the split's sentences: of GAPS, or of differences between arms
    """

    arm: str
    setting: str
    zero_latent: bool
    updates: int
    seeds: int
    failed: int
    figures: Dict[str, OverSeeds]
    intervals: Mapping[str, Sequence[float]] = MappingProxyType({})
    base: str = ""


def means(rows: Sequence[Mapping[str, Any]]) -> List[Mean]:
    """Figures over seeds, point by point; points that are not there yet are left out.

    `lm_gap` is -ELBO less the language model's of the same seed, or less its mean where that seed has none; the first
    arm without z is taken. Where an evaluation was held to the same, `lm_gap` is that evaluation's, with its interval;
    of pairs it is that in `less_lm`.

    >>> row = {"arm": "plain", "seed": 1, "setting": "kl-weight=1", "zero_latent": False, "updates": 9, "state": "done"}
    >>> model = {**row, "arm": "lm", "zero_latent": True, "figures": {"neg_elbo": 50.0}}
    >>> means([model, {**row, "figures": {"neg_elbo": 52.0}}])[1].figures["lm_gap"]
    OverSeeds(mean=2.0, half=0.0)

    Args:
        rows: of finetune.gather
    """
    without_z = [row for row in rows if row["zero_latent"] and finite(row["figures"].get("neg_elbo"))]
    models = {row["seed"]: row["figures"]["neg_elbo"] for row in without_z if row["arm"] == without_z[0]["arm"]}
    average = sum(models.values()) / len(models) if models else None
    found = []
    for arm, setting in dict.fromkeys((row["arm"], row["setting"]) for row in rows if row["state"] != "missing"):
        same = [row for row in rows if (row["arm"], row["setting"]) == (arm, setting)]
        done = [flat(row["figures"]) for row in same if row["state"] == "done"]
        for row, figures in zip((row for row in same if row["state"] == "done"), done):
            held = row["figures"].get("less_lm") or held_to(figures.get("lm_nll"), models.values())
            if average is not None and finite(figures["neg_elbo"]) and not held:
                figures["intervals"] = {k: ends for k, ends in figures["intervals"].items() if k != "lm_gap"}
                figures["lm_gap"] = figures["neg_elbo"] - models.get(row["seed"], average)
        figures = {key: OverSeeds.of([row[key] for row in done]) for key in shared(done)}
        failed = sum(row["state"] == "failed" for row in same)
        given = done[0].get("intervals") or {} if len(done) == 1 else {}
        limits = {key: given[key] for key in GAPS if key in given and key in figures}
        found.append(Mean(arm, setting, same[0]["zero_latent"], same[0]["updates"], len(done), failed, figures, limits))
    return found


def held_to(nats: Any, models: Iterable[float]) -> bool:
    """Whether an evaluation was held to one of the language models that are there, by the nats that it had of it."""
    return finite(nats) and any(abs(nats - model) < SAME for model in models)


def paired(rows: Sequence[Mapping[str, Any]], versus: Versus) -> List[Mean]:
    """How much more each figure of an arm is than another arm's, seed by seed: means and intervals of the differences.

    >>> row = {"seed": 1, "setting": "kl-weight=1", "zero_latent": False, "updates": 9, "state": "done"}
    >>> found = [{**row, "arm": arm, "seed": seed, "figures": {"neg_elbo": 50.0 + gap * seed}}
    ...          for arm, gap in (("plain", 2.0), ("other", 1.5)) for seed in (1, 2, 3)]
    >>> [point] = paired(found[:-1], {"other": "plain"})
    >>> point.arm, point.seeds, point.figures["neg_elbo"].mean  # of -0.5 and -1.0
    ('other less plain', 2, -0.75)

    Args:
        rows: of finetune.gather
        versus: arms to those that they are held to, see beside; seeds that one of both lacks are left out, and so are
            points without a seed in common. With one seed the intervals are over sentences, where there are such, and
            of the first arm that one is held to
    """
    found = []
    pairs = list(beside(rows, versus))
    for arm, other, setting in dict.fromkeys((row["arm"], base["arm"], row["setting"]) for row, base in pairs):
        same = [
            (row, base) for row, base in pairs if (row["arm"], base["arm"], row["setting"]) == (arm, other, setting)
        ]
        both = [(flat(row["figures"]), flat(base["figures"])) for row, base in same]
        figures = {
            key: OverSeeds.of([mine[key] - theirs[key] for mine, theirs in both])
            for key in PAIRED
            if all(finite(part.get(key)) for pair in both for part in pair)
        }
        first, name = same[0][0], f"{arm} less {other}"
        alone = len(same) == 1 and other == bases(versus, arm)[0]
        less = first["figures"].get("less_versus") or {} if alone else {}
        ends = {key: less[key][1:] for key in less if key in figures}
        found.append(Mean(name, setting, first["zero_latent"], first["updates"], len(same), 0, figures, ends, other))
    return found


def flat(figures: Mapping[str, Any]) -> Dict[str, Any]:
    """A point's figures with those of its responses, and of what is less than the language model's, among them."""
    less = figures.get("less_lm") or {}
    names = {key: "lm_gap" if key == "neg_elbo" else f"{key}_gap" for key in less}
    return {
        **(figures.get("responses") or {}),
        **figures,
        **{names[key]: value for key, (value, _, _) in less.items()},
        "intervals": {**(figures.get("intervals") or {}), **{names[key]: ends for key, (_, *ends) in less.items()}},
    }


def shared(rows: Sequence[Mapping[str, Any]]) -> List[str]:
    """The columns' figures that every row has as a finite number."""
    return [key for key, _, _ in (*COLUMNS, *SAMPLES, *RESPONSES) if rows and all(finite(row.get(key)) for row in rows)]


def finite(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def table(rows: Sequence[Mapping[str, Any]], markdown: bool = False, versus: Optional[Versus] = None) -> str:
    """A line for each point, with means over seeds, and reasons of those that failed; a second table of the prior's
    samples, of pairs of the responses.

    Args:
        rows: of finetune.gather
        markdown: as Markdown, else as aligned columns
        versus: arms to those that they are held to in a table of its own, see paired
    """
    points = means(rows)
    pairs = any(row["figures"].get("responses") for row in rows)
    # of sentences there is one prior for all, and a z of it says no more than the gap to another's z does; the table of
    # pairs is wide
    others = ("ppl_token", "bits_per_byte") if pairs else ("nll_gap_prior",)
    columns = [column for column in COLUMNS if column[0] not in others]
    parts = [grid(cells(points, columns), markdown)]
    if pairs:
        parts.append(grid(cells(points, RESPONSES), markdown))
    elif sampled(rows):
        parts.append(grid(cells(points, SAMPLES), markdown))
    held = paired(rows, versus or {})
    if held:
        parts.append(grid(cells(held, [column for column in (*COLUMNS, *RESPONSES) if column[0] in PAIRED]), markdown))
    notes = [
        f"{row['arm']}, seed {row['seed']}, {row['setting'].replace('=', ' ')} failed: {row['reason']}"
        for row in rows
        if row["state"] == "failed"
    ]
    return "\n\n".join([*parts, *notes])


def sampled(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are figures of the prior's samples."""
    return any(finite(row["figures"].get("self_bleu")) for row in rows)


def cells(points: Sequence[Mean], columns: Sequence[Tuple[str, str, int]]) -> List[List[str]]:
    """The cells of a table, headings first.

    Args:
        points: a line each
        columns: key, heading and digits of the figures; one that no point has is left out
    """
    several = any(point.seeds + point.failed > 1 for point in points)
    columns = [column for column in columns if any(column[0] in p.figures for p in points)] or columns[:1]
    found = [["arm", "point", "updates", *(["seeds"] if several else []), *(heading for _, heading, _ in columns)]]
    for point in points:
        setting = point.setting.replace("=", " ") if "=" in point.setting else "-"
        row = [point.arm, setting, f"{point.updates:,}", *([str(point.seeds)] if several else [])]
        row += [cell(point.figures.get(k), digits, point.seeds, point.intervals.get(k)) for k, _, digits in columns]
        if point.failed:
            row[3 + several] = f"{row[3 + several]} ({point.failed} failed)" if point.seeds else "failed"
        found.append(row)
    return found


def cell(point: Optional[OverSeeds], digits: int, seeds: int, interval: Optional[Sequence[float]] = None) -> str:
    """A mean, with half of its interval where there are several seeds, or the interval given; a dash for None.

    >>> cell(OverSeeds(-0.001, 0.25), 2, 1), cell(OverSeeds(1.5, 0.25), 2, 3), cell(None, 2, 3)
    ('0.00', '1.50 ± 0.25', '-')
    >>> cell(OverSeeds(1.5, 0.0), 1, 1, (1.0, 2.0)), cell(OverSeeds(6.1e14, 0.0), 1, 1)
    ('1.5 [1.0, 2.0]', '6.1e+14')
    """
    if point is None:
        return "-"

    def shown(value: float) -> str:
        return f"{round(value, digits) + 0.0:.{digits}f}" if abs(value) < LARGE else f"{value:.1e}"

    if seeds > 1:
        return f"{shown(point.mean)} ± {point.half:.{digits}f}"
    return shown(point.mean) + (f" [{', '.join(map(shown, interval))}]" if interval else "")


def caption(rows: Sequence[Mapping[str, Any]], warm: bool, versus: Optional[Versus] = None) -> str:
    """How the points were trained and measured, to stand under table and picture.

    Args:
        rows: of finetune.gather
        warm: whether later points start from the one before
        versus: as of table
    """
    done = [row for row in rows if row["state"] == "done"]
    first = min(done, key=lambda row: row["zero_latent"])["figures"]  # without z there is one sample
    how = (
        "An arm's points were trained one after another, from the highest rate down, each from the one before (a warm "
        "start); updates are all since the study's start."
        if warm
        else anew(rows)
    )
    seeds = len({row["seed"] for row in done})
    spread = f" Means over {seeds} seeds, and half of their 95 % intervals." if seeds > 1 else ""
    missing = sum(row["state"] == "missing" for row in rows)
    lacking = f" {missing} of {len(rows)} points are not there yet." if missing else ""
    found = paired(rows, versus or {})
    alike = "; [intervals] are over sentences" if any(point.intervals for point in found) else ""
    held = f" The last table: differences between arms, seed by seed{alike}." if found else ""
    timed = any("seconds" in point.figures for point in means(rows))
    clock = " Seconds an update: by the clock, on a machine that may have done other work." if timed else ""
    code = {made for row in done for made in row.get("code", [])}
    versions = f" {len(code)} versions of the code made them, see curve.json." if len(code) > 1 else ""
    return (
        f"{how}{spread}{precision(done)} Nats per sentence; the split {first['split']}, "
        f"{first['sentences']:,} sentences, K = {first['samples']}; MI at most {cap(done)}; BLEU and exact (as a "
        f"share) of greedy reconstructions from mu.{estimates(done)}{responses(done) or samples(done)}{apart(done)}"
        f"{held}{clock}{lacking}{versions}"
    )


def cap(done: Sequence[Mapping[str, Any]]) -> str:
    """What MI is never above: from the lowest to the highest where rows differ a little, as with priors of a source,
    and arm by arm where one arm's is of fewer sentences, as a flow's is.

    >>> row = {"arm": "plain", "zero_latent": False, "figures": {"mi_cap": 8.5}}
    >>> cap([row, {**row, "arm": "flow", "figures": {"mi_cap": 6.93}}, row])
    '8.50 (flow: 6.93)'
    """
    rows = [row for row in done if not row["zero_latent"]] or done[:1]
    high = max(row["figures"]["mi_cap"] for row in rows)
    apart = [row for row in rows if row["figures"]["mi_cap"] < high - APART]

    def shown(some: Sequence[Mapping[str, Any]]) -> str:
        ends = [end(row["figures"]["mi_cap"] for row in some) for end in (min, max)]
        return " to ".join(dict.fromkeys(f"{each:.2f}" for each in ends))

    arms = dict.fromkeys(row["arm"] for row in apart)
    others = ", ".join(f"{arm}: {shown([row for row in apart if row['arm'] == arm])}" for arm in arms)
    return shown([row for row in rows if row not in apart]) + (f" ({others})" if apart else "")


def anew(rows: Sequence[Mapping[str, Any]]) -> str:
    """How points were trained that are no starts of one another."""
    before = ", behind its phase1 where its arm has one" if any(row["start"] == "phase1" for row in rows) else ""
    return f"Each point was trained anew from the study's start{before}."


def apart(done: Sequence[Mapping[str, Any]]) -> str:
    """Why points are not held to the language model, to stand in the caption; of many with one reason, how many.

    >>> row = {"arm": "plain", "seed": 1, "setting": "x=1", "reason": "too old"}
    >>> apart([row, {**row, "reason": ""}]), apart([row] * 4)
    (' plain, seed 1, x 1: too old.', ' 4 points: too old.')
    """
    found: Dict[str, List[str]] = {}
    for row in (row for row in done if row["reason"]):
        name = f"{row['arm']}, seed {row['seed']}, {row['setting'].replace('=', ' ')}"
        found.setdefault(row["reason"], []).append(name)
    names = {why: "; ".join(some) if len(some) < MANY else f"{len(some)} points" for why, some in found.items()}
    return "".join(f" {names[reason]}: {reason}." for reason in found)


def precision(done: Sequence[Mapping[str, Any]]) -> str:
    """What the trainings' products were in, to stand in the caption; of older tables it is not known.

    >>> row = {"arm": "one", "seed": 1, "figures": {"precision": "bfloat16"}}
    >>> precision([row]), precision([row, {**row, "arm": "two", "figures": {"precision": "float32"}}])
    (' Trained in bfloat16.', ' Trained in bfloat16: one, seed 1; in float32: two, seed 1.')
    >>> precision([row, {**row, "figures": {}}]), precision([{**row, "figures": {}}])
    (' Trained in bfloat16, as far as is known.', '')
    """
    found: Dict[str, List[str]] = {}
    for row in done:
        found.setdefault(row["figures"].get("precision") or "", []).append(f"{row['arm']}, seed {row['seed']}")
    unknown = found.pop("", None)
    if len(found) < 2:
        return "".join(f" Trained in {one}{', as far as is known' if unknown else ''}." for one in found)
    named = "; ".join(f"in {kind}: {', '.join(dict.fromkeys(some))}" for kind, some in found.items())
    return f" Trained {named}."


def estimates(done: Sequence[Mapping[str, Any]]) -> str:
    """Which arms' rates are no closed form, to stand in the caption.

    >>> estimates([{"arm": "flow", "figures": {"kl_sampled": True}}, {"arm": "plain", "figures": {}}])
    ' The rate of flow is an estimate by the K samples.'
    """
    arms = dict.fromkeys(row["arm"] for row in done if row["figures"].get("kl_sampled"))
    return f" The rate of {', '.join(arms)} is an estimate by the K samples." if arms else ""


def samples(done: Sequence[Mapping[str, Any]]) -> str:
    """What the second table of a study of sentences has, to stand in the caption."""
    told = any(finite(row["figures"].get("samples_nll")) for row in done)
    nats = "; their nats a token are the language model's, beside those of the data" if told else ""
    return f" The second table: samples of the prior, decoded greedily{nats}." if sampled(done) else ""


def responses(done: Sequence[Mapping[str, Any]]) -> str:
    """How the figures of responses were made, to stand in the caption; empty of sentences.

    Args:
        done: rows that are evaluated
    """
    found = [row["figures"] for row in done if row["figures"].get("responses")]
    if not found:
        return ""
    one = found[0]["responses"]
    less = any(figures.get("less_lm") for figures in found)
    return (
        f" The second table: {one['responses']} responses to each of {one['contexts']:,} sources, greedy from z's of "
        "p(z|x), nucleus samples (0.9) of a model without z; distinct and self-BLEU within a source's. Z gap: to "
        "another pair's z; prior gap: to one drawn from the source's own prior."
        f"{' Less LM: of the same seed or the first, source by source; [intervals] are over sources.' if less else ''}"
    )


def curve(rows: Sequence[Mapping[str, Any]], warm: bool) -> Any:
    """A figure of distortion, -ELBO, mutual information and BLEU, or of distortion, mutual information, and the quality
    and likeness of responses, against the rate, a line an arm.

    Drawn within drawing.style; small marks are single seeds where there are several.

    Args:
        rows: of finetune.gather
        warm: whether later points start from the one before
    """
    points = means(rows)
    with_z = [point for point in points if not point.zero_latent]
    kinds = PANELS_OF_PAIRS if any("bleu_4_recall" in point.figures for point in with_z) else PANELS
    panels = [panel for panel in kinds if any(panel[0] in point.figures for point in with_z)]
    count = -(-len(panels) // 2) if len(panels) > 2 else 1
    found = drawing.axes(count, min(2, len(panels)), 4.9 * min(2, len(panels)), 3.9 * count + 0.6)
    arms = list(dict.fromkeys(point.arm for point in points if not point.zero_latent))
    for axis, (key, unit, factor) in zip(found.flat, panels):
        for number, arm in enumerate(arms):
            some = [point for point in points if point.arm == arm and {"kl", key} <= set(point.figures)]
            color = drawing.SAFE[number % len(drawing.SAFE)]
            marker = drawing.MARKERS[number % len(drawing.MARKERS)]
            dashes = ("-", "--", "-.")[number // len(drawing.SAFE) % 3]
            x, y = [p.figures["kl"].mean for p in some], [factor * p.figures[key].mean for p in some]
            axis.plot(x, y, dashes, marker=marker, markersize=5, linewidth=1.4, label=arm, zorder=3, color=color)
            if any(point.seeds > 1 for point in some):
                own: List[Dict[str, Any]] = [flat(row["figures"]) for row in rows if row["arm"] == arm]
                pairs: List[Tuple[Any, Any]] = [(figures.get("kl"), figures.get(key)) for figures in own]
                single = [(kl, factor * value) for kl, value in pairs if finite(kl) and finite(value)]
                x, y = [kl for kl, _ in single], [value for _, value in single]
                axis.plot(x, y, marker, markersize=2.5, alpha=0.5, linestyle="none", zorder=2, color=color)
        for point in (point for point in points if point.zero_latent and key in point.figures and key != "mi"):
            height = factor * point.figures[key].mean
            label = point.arm if "no z" in point.arm else f"{point.arm} (no z)"
            axis.plot([0], [height], "*", color=drawing.INK, markersize=11, clip_on=False, label=label, zorder=4)
        axis.set_xlabel(RATE)
        axis.set_ylabel(unit)
        axis.set_xlim(left=-0.03 * axis.get_xlim()[1])
        if key == "rec":
            bounds(axis, [point.figures["rec"].mean for point in points if point.zero_latent and point.figures])
        elif key == "mi":
            limits(axis, rows)
        elif key != "neg_elbo":
            axis.set_ylim(0, 1.07 * axis.dataLim.y1 or 1)
    for axis in found.flat[len(panels) :]:
        axis.remove()
    figure = found[0, 0].figure
    handles = dict(zip(*reversed(found[0, 0].get_legend_handles_labels())))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)
    how = "Each point was trained from the one before, at a higher rate." if warm else anew(rows)
    lines = "Dotted: one -ELBO, rate + distortion (dashed: the language model's); MI = rate, and the cap of MI."
    figure.supxlabel(f"{lines}\n{how}", fontsize=8)
    return figure


def bounds(axis: Any, models: Sequence[float]) -> None:
    """Lines of one -ELBO = rate + distortion across a panel, each with its value where it leaves.

    Args:
        axis: of distortion against rate
        models: -ELBO of language models, nats per sentence
    """
    from matplotlib.ticker import MaxNLocator

    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    for bound in MaxNLocator(LINES).tick_values(left + low, right + high):
        if not left + low < bound < right + high:
            continue
        axis.plot([left, right], [bound - left, bound - right], **FAINT)
        x = min(right, bound - low)  # it leaves to the right or below
        axis.annotate(f"{bound:g}", (x, bound - x), (2, 2), textcoords="offset points", fontsize=7, color="0.4")
    for bound in models:
        axis.plot([left, right], [bound - left, bound - right], **{**FAINT, "linestyle": "--", "color": "0.3"})
    axis.set_xlim(left, right)
    axis.set_ylim(low, high)


def limits(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """What mutual information cannot exceed: the rate, and its cap."""
    right, high = max(axis.get_xlim()[1], 1.05 * axis.dataLim.x1), max(axis.get_ylim()[1], 1.05 * axis.dataLim.y1)
    tops = [row["figures"]["mi_cap"] for row in rows if row["figures"] and not row["zero_latent"]]
    axis.plot([0, right], [0, right], **FAINT)
    for each in (min(tops), max(tops)) if max(tops) - min(tops) > APART else (min(tops),):
        axis.axhline(each, **FAINT)
    top = max(tops)
    axis.set_xlim(right=right)
    axis.set_ylim(0, max(high, 1.08 * top) if high > top / 2 else high)
