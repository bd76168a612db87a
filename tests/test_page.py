"""The page of a run: what it shows, what it escapes, what it lacks, and how it is in a browser."""

import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import runs
import torch
from browsing import browser, visit  # noqa: F401

from fairseq_vae.base.text import read_dictionary
from fairseq_vae.cli.main import main
from fairseq_vae.hub import load
from fairseq_vae.report import drawing, edits
from fairseq_vae.report.contents import Contents, Line, find_split, gather
from fairseq_vae.report.curves import Part, bars, curves
from fairseq_vae.report.page import MOST_BYTES, PhaseShown, Shown, page
from fairseq_vae.report.scatter import draw, shortened

SECTIONS = ["training", "dimensions", "map", "evaluation", "reconstructions", "samples", "interpolations", "edits"]
ROW = {"way": "a", "strength": 1, "seed": 1, "accuracy": 1, "self_bleu": 1, "fluency": None, "words": 1, "empty": 0}
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Parsed(HTMLParser):
    """Elements of a page, with the attributes of each, and that each is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.figures = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "figure":
            self.figures.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag == "li":  # matplotlib and the template close all of theirs
            assert "li" in self.open
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "figcaption" in self.open:
            self.figures[-1] += text


DRAWN = {}  # pictures of this module's pages, by what they show


@pytest.fixture(autouse=True)
def drawn_once(monkeypatch):
    """A picture of the same numbers is drawn once, which takes most of a page's time."""
    inline = drawing.inline

    def later(draw):
        return lambda *shown: (draw, shown)

    def once(figure, name, title):
        draw, shown = figure
        key = repr((shown, name, title))
        if key not in DRAWN:
            DRAWN[key] = inline(draw(*shown), name, title)
        return DRAWN[key]

    monkeypatch.setattr("fairseq_vae.report.page.curves", later(curves))
    monkeypatch.setattr("fairseq_vae.report.page.bars", later(bars))
    monkeypatch.setattr(edits, "sweep", later(edits.sweep))
    monkeypatch.setattr(drawing, "inline", once)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole run with its page."""
    folder = runs.make(tmp_path_factory.mktemp("runs") / "a run & <more>")
    labels = folder.parent / "labels"
    labels.write_text("".join(f"{runs.HOSTILE if i % 3 else '_x'}\n" for i in range(40)))
    assert main(["report", str(folder), "--labels", str(labels), "--samples", "6"]) == 0
    return folder


@pytest.fixture(scope="module")
def html(whole):
    return (whole / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def run(whole, tmp_path):
    """A copy of the run, to spoil, without its page."""
    copied = shutil.copytree(whole, tmp_path / "run")
    (copied / "report.html").unlink()
    return copied


def report(run, *flags):
    assert main(["report", str(run), *map(str, flags)]) == 0
    return (run / "report.html").read_text(encoding="utf-8")


def refused(capsys, run, *flags):
    capsys.readouterr()
    assert main(["report", str(run), *map(str, flags)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    return line


def section(html, name):
    return html.split(f'<section id="{name}">')[1].split("</section>")[0]


def test_a_whole_run_has_every_part_and_no_list_of_what_is_missing(html):
    page = Parsed(html)
    assert [found["id"] for tag, found in page.elements if tag == "section"] == SECTIONS
    assert "What is missing" not in html and "There is no" not in html and "There are no" not in html
    charts = [found["aria-label"] for tag, found in page.elements if tag == "svg"]
    assert len(charts) == 4 and all(charts)
    assert len(page.figures) == 5 and all(
        text.startswith("How to read it.") and len(text) > 150 for text in page.figures
    )
    assert sum(tag == "circle" for tag, _ in page.elements) == 40
    assert section(html, "samples").count("<li") == 6 and section(html, "reconstructions").count("<tr>") == 7
    assert section(html, "interpolations").count("<li") == 3 * 7


def test_the_page_asks_for_nothing_and_runs_nothing(html):
    page = Parsed(html)
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    for tag, found in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "img", "form")
        assert "src" not in found and not any(name.startswith("on") for name in found)
        for name in ("href", "xlink:href"):
            assert name not in found or found[name] == "data:," or found[name][1:] in ids, found
    assert not re.search(r"url\((?!#)|@import|https?:", html)
    assert "default-src 'none'" in html


def test_what_users_wrote_is_escaped(html):
    assert "<script" not in html and "a run &amp; &lt;more&gt;" in html
    escaped = "&lt;/title&gt;&lt;script&gt;"
    for name in ("map", "evaluation", "reconstructions", "edits"):
        assert escaped in section(html, name), name
    assert "_gradient" in section(html, "edits") and "_x" in section(html, "map")  # matplotlib hides such a name


def test_whatever_is_shown_is_escaped():
    word = runs.HOSTILE
    contents = Contents(
        2, 0, [word] * 2, [1, 2], [word] * 2, np.eye(2), [(word, word)], [word], [Line(word, word, [word])]
    )
    part = Part(word, {10: {"rec": 1.0}}, {})
    flags = dict.fromkeys(("free-bits", "kl-warmup-updates"), word)
    shown = Shown(
        **{"name": word, "version": word, "lacks": [word], "phases": [PhaseShown(word, 10, flags, part)]},
        **{"kl_dims": [0.5], "kl_source": word, "free_bits": None, "evaluation": None, "model": word, "source": word},
        **{"contents": contents, "map": draw(contents.mu, contents.texts, contents.lengths, contents.labels)},
        **{"points": [], "samples": 2, "seed": 1},
    )
    html = page(shown)
    Parsed(html)
    assert "<script" not in html and html.count("&lt;script&gt;") > 20 and html == page(shown)
    damaged = shown._replace(evaluation={"rec": 1}, lacks=[])
    assert page(damaged) == page(damaged) and len(damaged.lacks) == 1
    for name in ("training", "dimensions", "map", "reconstructions", "samples", "interpolations"):
        assert "&lt;script&gt;" in section(html, name), name


def test_labels_colour_their_own_sentences(whole, html):
    words = read_dictionary(str(whole / "dict.txt"))
    split = find_split(str(whole), str(whole / "phase2/checkpoint_best.pt"))
    assert split.name == "test" and len(split.sentences) == 40
    texts = [shortened(words.string(sentence)) for sentence in split.sentences]
    wanted = sorted((text, "c1" if i % 3 == 0 else "c0") for i, text in enumerate(texts))
    found = re.findall(r'<circle class="(c\d)"[^>]*><title>(.*?)</title>', html, re.DOTALL)
    assert sorted((unescape(text), color) for color, text in found) == wanted


@pytest.mark.slow
def test_the_same_run_has_the_same_bytes(run, html):
    labels = run.parent / "labels"
    labels.write_text("".join(f"{runs.HOSTILE if i % 3 else '_x'}\n" for i in range(40)))
    once = report(run, "--labels", labels, "--samples", 6)
    DRAWN.clear()
    assert once == report(run, "--labels", labels, "--samples", 6)
    assert once == html.replace("a run &amp; &lt;more&gt;", "run")
    assert once != report(run, "--labels", labels, "--samples", 6, "--seed", 2)


def test_contents_are_the_hubs(whole):
    checkpoint = str(whole / "phase2/checkpoint_best.pt")
    vae, split = load(checkpoint, str(whole)), find_split(str(whole), checkpoint)
    found = gather(vae, split.sentences, None, points=12, samples=4, seed=3)
    own = {vae.join(sentence): vae.encode([sentence]).mean[0] for sentence in split.sentences}
    assert found.total == 40 and len(found.texts) == 12 and found.mu.shape == (12, runs.DIMENSIONS)
    for text, mu, length in zip(found.texts, found.mu, found.lengths):
        torch.testing.assert_close(torch.tensor(mu), own[text])
        assert length == len(text.split())
    most = 2 * max(length + 1 for length in found.lengths)
    assert found.reconstructions == [(a, vae.decode(own[a][None], max_len=most)[0]) for a, _ in found.reconstructions]
    assert found.samples == vae.sample(4, seed=3, max_len=most)
    [first, second] = found.lines
    assert [first.start, first.end, second.start, second.end] == [given for given, _ in found.reconstructions]
    back = dict(found.reconstructions)
    for line in found.lines:
        assert [line.points[0], line.points[-1]] == [back[line.start], back[line.end]] and len(line.points) == 7
    order = [vae.join(sentence) for sentence in split.sentences]
    assert sorted(map(order.index, back)) == list(map(order.index, back))
    more = gather(vae, split.sentences, None, points=20, samples=4, seed=3)
    assert more.texts[:12] == found.texts  # a choice without replacement, whose beginning stays
    assert len(set(more.texts)) == len(more.texts)


def test_text_of_ones_own_with_lines_that_the_model_cannot_take(run):
    text, labels = run / "mine.txt", run / "mine.labels"
    text.write_text("the dog barks .\n\na cat sleeps .\n" + "dog " * 5000 + "\n")
    labels.write_text("good\nnone\nbad\nlong\n")
    html = report(run, "--text", text, "--labels", labels, "--samples", 0)
    assert html.count("<circle") == 2 and "2 sentences of 4 of mine.txt" in html
    assert "2 sentences that the model cannot take, empty or beyond its\npositions, passed over." in html
    assert re.findall(r"</i>(\w+) ", html) == ["bad", "good"]
    for name in "samples", "reconstructions":
        assert "There are none: --samples is 0." in section(html, name)
    for samples in 0, 1:
        html = report(run, "--text", text, "--samples", samples)
        assert "There are none: they need --samples 2 or more." in section(html, "interpolations")
    text.write_text("a cat sleeps .\n")
    html = report(run, "--text", text, "--samples", 2)
    assert "There are none: they need a model and two sentences or more." in section(html, "interpolations")


def test_t_sne_on_request_says_that_distances_mean_nothing(run):
    html = report(run, "--map", "tsne", "--points", 30, "--samples", 0)
    assert "t-SNE" in section(html, "map") and "PCA" not in section(html, "map") and html.count("<circle") == 30


@pytest.mark.parametrize(
    "removed, gone, said",
    [
        (["evaluation.json"], ["evaluation"], "no evaluation.json"),
        (["edits.json"], ["edits"], None),
        (["data-bin/test.bin"], [], "no test split: the sentences are of the validation split"),
        (["data-bin/test.bin", "data-bin/valid.bin"], ["map", "samples"], "binarised text is not where it was"),
        (["dict.txt", "data-bin/dict.txt"], ["map", "samples"], "There is no map and no sentence: "),
        (
            ["phase1.done", "phase2.log", "phase2.done", "phase2/checkpoint_best.pt", "evaluation.json", "edits.json"],
            ["evaluation", "edits"],
            "phase2 has logged nothing yet",
        ),
        (
            ["phase1.log", "phase2.log", "phase1/checkpoint_best.pt", "phase2/checkpoint_best.pt", "evaluation.json"],
            ["training", "dimensions", "map", "evaluation", "reconstructions", "samples", "interpolations"],
            "No phase has a checkpoint",
        ),
    ],
)
def test_what_a_run_lacks_is_said_and_the_rest_is_shown(run, removed, gone, said):
    for name in removed:
        (run / name).unlink()
    html = report(run, "--samples", 2)
    missing = html.split("<nav")[1].split('<section id="training">')[0]
    assert (said or "fairseq-vae") in (missing if said else html) and ("What is missing" in html) == bool(said)
    for name in SECTIONS:
        empty = re.search(r"<p>There (is|are) no|<p>The KL of single dimensions is not known", section(html, name))
        if name in gone or name in ("training", "dimensions", "edits"):
            assert bool(empty) == (name in gone), name
    Parsed(html)


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("evaluation.json", '{"rec": 1}', "evaluation.json is damaged or of another version"),
        ("evaluation.json", "{", "evaluation.json is damaged"),
        ("edits.json", json.dumps([{**ROW, "strength": "x"}]), "is not what `fairseq-vae evaluate-edit --json` writes"),
        ("edits.json", '[{"way": 1}]', "is not what `fairseq-vae evaluate-edit --json` writes"),
        ("edits.json", "[]", "it has no rows"),
        ("edits.json", json.dumps([{**ROW, "accuracy": None}]), "(accuracy None: expected a finite number)"),
        ("edits.json", json.dumps([{**ROW, "self_bleu": float("nan")}]), "(self_bleu nan: expected a finite number)"),
        ("edits.json", json.dumps([{**ROW, "words": "9"}]), "(words &#39;9&#39;: expected a finite number)"),
        (
            "edits.json",
            json.dumps([{**ROW, "fluency": 10**400}]),
            "is not what `fairseq-vae evaluate-edit --json` writes",
        ),
        ("edits.json", json.dumps([{**ROW, "way": 1}]), "(way 1: expected a name)"),
        ("phase2/checkpoint_best.pt", "no checkpoint", "There is no map and no sentence"),
        ("phase1.log", "\0\xff", "phase1 has logged nothing yet"),
    ],
)
def test_damaged_parts_are_named(run, name, content, said):
    (run / name).write_bytes(content.encode("latin-1"))
    html = report(run, "--samples", 2)
    assert said in html.split('<section id="training">')[0]


@pytest.mark.slow
def test_kl_of_dimensions_is_the_evaluations_or_else_the_last_validations(run):
    html = report(run, "--samples", 0)
    assert "over the split test" in section(html, "dimensions") and "2.72" in section(html, "dimensions")
    assert "free bits, 0.25 nats" in section(html, "dimensions")
    (run / "evaluation.json").unlink()
    html = report(run, "--samples", 0)
    assert "at the last validation of phase2" in section(html, "dimensions") and "3.6" in section(html, "dimensions")
    (run / "phase2.log").unlink()
    html = report(run, "--samples", 0)
    assert "at the last validation of phase1" in section(html, "dimensions") and "free bits" not in section(
        html, "dimensions"
    )


def test_an_evaluation_without_its_signature_is_named_in_the_page_and_on_the_console(run, capsys):
    numbers = json.loads((run / "evaluation.json").read_text())
    numbers.pop("signature")
    (run / "evaluation.json").write_text(json.dumps(numbers))
    said = "evaluation.json is damaged or of another version"
    assert report(run, "--samples", 0).count(said) == capsys.readouterr().out.count(said) == 1


def test_an_evaluation_from_before_smoothness_has_its_table(run):
    numbers = json.loads((run / "evaluation.json").read_text())
    older = {
        key: value for key, value in numbers.items() if not key.startswith(("aubleu", "noise", "smooth", "largest"))
    }
    assert len(older) < len(numbers)
    (run / "evaluation.json").write_text(json.dumps(older))
    html = report(run, "--samples", 0)
    assert "What is missing" not in html
    assert "importance-weighted" in section(html, "evaluation") and "AuBLEU" not in section(html, "evaluation")


def test_the_sweep_has_the_unchanged_sentences_as_a_dotted_line_that_is_named(run, html):
    rows = json.loads((run / "edits.json").read_text())
    edits = section(html, "edits")
    assert edits.count(">the inputs</text>") == 1 and "a dotted line there is at" in edits
    assert "The row <code>input</code> is of the unchanged" in edits and "<td>input</td>" in edits
    for row in rows:
        if row["way"] == "input":
            row["fluency"] = None  # beside ways that have one
    (run / "edits.json").write_text(json.dumps(rows))
    assert "the inputs</text>" not in report(run, "--samples", 0)
    (run / "edits.json").write_text(json.dumps([row for row in rows if row["way"] != "input"]))
    assert "The row <code>input</code>" not in report(run, "--samples", 0)


def test_a_posterior_without_a_kl_of_each_dimension_has_no_bars(run):
    numbers = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps({**numbers, "kl_dims": [3.0]}))
    html = report(run, "--samples", 0)
    assert "is no sum over dimensions" in html and "is not known" in section(html, "dimensions")


def test_bad_input_is_one_line(run, tmp_path, capsys):
    labels, edits = tmp_path / "labels", tmp_path / "edits.json"
    labels.write_text("a\n")
    edits.write_text("{}")
    assert "has no settings.json" in refused(capsys, tmp_path)
    assert "none has no settings.json" in refused(capsys, tmp_path / "none")
    assert "--labels: 1 lines; expected 40" in refused(capsys, run, "--labels", labels)
    assert "--edits " in refused(capsys, run, "--edits", edits)
    assert "No such file" in refused(capsys, run, "--edits", tmp_path / "none")
    assert "No such file" in refused(capsys, run, "--text", tmp_path / "none")
    assert "--points 0: expected 1 or more" in refused(capsys, run, "--points", 0)
    assert "--samples -1: expected 0 or more" in refused(capsys, run, "--samples", -1)
    assert "does not exist" in refused(capsys, run, "--output", tmp_path / "none/page.html")
    labels.write_text("\n")
    assert "can take no sentence" in refused(capsys, run, "--text", labels)
    assert not (run / "report.html").exists() and not list(run.glob("*.part"))


def test_the_page_goes_elsewhere_on_request_and_what_was_there_stays_when_it_fails(run, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["report", str(run), "--output", str(page), "--samples", "0"]) == 0
    before = page.read_bytes()
    refused(capsys, run, "--output", page, "--points", 0)
    assert page.read_bytes() == before and not (run / "report.html").exists()


@pytest.mark.slow
def test_a_page_stays_below_its_limit(run, tmp_path, capsys, monkeypatch):
    text = tmp_path / "long.txt"
    text.write_text("the dog barks at a cat . ?\nthe cat sleeps at a dog . ?\n" * 6000)  # ? is unknown
    html = report(run, "--text", text, "--points", 10000, "--samples", 0)
    assert html.count("<circle") == 10000 and len(html.encode()) < MOST_BYTES == 5_000_000
    monkeypatch.setattr("fairseq_vae.report.page.MOST_BYTES", 100_000)
    assert "above 0: lower --points or --samples" in refused(capsys, run, "--samples", 0)


def visited(visit, page, **options):  # noqa: F811
    seen = visit(page.as_uri(), **options)
    assert seen.complaints == [] and seen.elsewhere(page.as_uri()) == [], (seen.complaints, seen.requests)
    return seen.page


def color(page, selector, what="background-color"):
    return page.evaluate(
        "([s, w]) => getComputedStyle(document.querySelector(s)).getPropertyValue(w)", [selector, what]
    )


def test_in_a_browser_the_pictures_are_there(whole, visit):  # noqa: F811
    page = visited(visit, whole / "report.html")
    assert page.title().startswith("a run & <more>")
    pictures = page.locator("figure svg")
    assert pictures.count() == 4
    for i in range(4):
        box = pictures.nth(i).bounding_box()
        assert box["width"] > 300 and box["height"] > 150
        drawn = pictures.nth(i).evaluate("svg => { const b = svg.getBBox(); return [b.width, b.height] }")
        assert min(drawn) > 100
    assert page.locator("circle").first.bounding_box()["width"] > 1
    assert page.evaluate("document.querySelectorAll('script').length") == 0
    # nothing lies beside a picture, a line of a curve too
    outside = """() => [...document.querySelectorAll('figure svg')].map(svg => {
        const box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].filter(text => {
            const t = text.getBoundingClientRect();
            return t.left < box.left - 1 || t.right > box.right + 1 || t.top < box.top - 1 || t.bottom > box.bottom + 1;
        }).map(text => text.textContent)
    })"""
    assert page.evaluate(outside)[:2] == [[], []]
    page.click("nav a[href='#edits']")
    assert page.url.endswith("#edits")


def test_in_a_browser_dark_is_dark(whole, visit):  # noqa: F811
    light, dark = (visited(visit, whole / "report.html", color_scheme=scheme) for scheme in ("light", "dark"))
    for seen, paper, ink in ((light, 255, 0), (dark, 0, 255)):
        for selector in ("body", ".plane svg"):
            shade = [int(part) for part in re.findall(r"\d+", color(seen, selector))[:3]]
            assert all(abs(part - paper) < 50 for part in shade), (selector, shade)
        for selector in ("body", "svg.chart text"):
            what = "color" if selector == "body" else "fill"
            shade = [int(part) for part in re.findall(r"\d+", color(seen, selector, what))[:3]]
            assert all(abs(part - ink) < 60 for part in shade), (selector, shade)
    assert color(light, "circle", "fill") != color(dark, "circle", "fill")


def test_in_a_browser_it_prints_in_light_without_its_menu(whole, visit):  # noqa: F811
    page = visited(visit, whole / "report.html", color_scheme="dark")
    assert page.is_visible("nav")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.is_visible("nav") and color(page, "body") == "rgb(255, 255, 255)"
    assert page.locator("figure svg").count() == 4 and page.is_visible("svg.chart")
    assert len(page.pdf(format="A4")) > 20_000


def test_in_a_browser_it_fits_a_telephone(whole, visit):  # noqa: F811
    page = visited(visit, whole / "report.html", viewport={"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_in_a_browser_a_run_that_was_stopped_is_whole_too(run, visit):  # noqa: F811
    for name in ("phase2.log", "phase2.done", "phase2/checkpoint_best.pt", "evaluation.json", "edits.json"):
        (run / name).unlink()
    report(run, "--samples", 2)
    page = visited(visit, run / "report.html")
    assert page.locator(".lacks li").count() == 3 and page.locator("figure svg").count() == 3
