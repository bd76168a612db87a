"""The page of `fairseq-vae explore`: its steps without it, its server, and the page in a real browser."""

import asyncio
import http.client
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import commands
import pytest
import torch
from browsing import browser, visit  # noqa: F401
from helpers import save_vae
from test_tools import LIST, Z, labelled

from fairseq_vae.base.errors import InputError
from fairseq_vae.cli.main import main
from fairseq_vae.edit.attributes import fit_label
from fairseq_vae.edit.ways import ways
from fairseq_vae.explore.explorer import Explorer, Shown
from fairseq_vae.explore.latest import SKIPPED, Latest
from fairseq_vae.explore.serve import listen
from fairseq_vae.hub import load
from fairseq_vae.latent.paths import PATHS

DECODING = {"beam": 1, "max_len": 9}
FLAGS = ("--beam=1", "--max-len=9")
EMPTY = ("", " ", "\t\n", "\ufeff")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("vae")
    save_vae(made, "--max-source-positions=16", "--max-target-positions=16")
    return made


@pytest.fixture(scope="module")
def vae(folder):
    return load(str(folder / "checkpoint_best.pt"), str(folder), None)


@pytest.fixture(scope="module")
def explorer(vae):
    z = torch.randn(60, Z, generator=torch.Generator().manual_seed(1))
    return Explorer(vae, {**DECODING, "seed": 3}, fit_label(z, ["good" if row[0] > 0 else "bad" for row in z]))


@pytest.mark.parametrize("path", PATHS)
def test_the_ends_of_the_slider_are_the_reconstructions_and_what_is_between_is_interpolates(vae, explorer, path):
    line = vae.interpolate(LIST[0], LIST[4], 5, path, **DECODING)
    found = [explorer.between(LIST[0], LIST[4], t / 4, path) for t in range(5)]
    assert found == [Shown([text]) for text in line]
    assert [line[0], line[-1]] == vae.reconstruct([LIST[0], LIST[4]], **DECODING) and len(set(line)) > 2


def test_a_walk_is_the_reconstruction_at_its_own_value_and_traverse_elsewhere(vae, explorer):
    own = explorer.own_value(LIST[0], 5)
    assert own == float(vae.encode(LIST[0]).mean[0, 5])
    assert explorer.walk(LIST[0], 5, own) == Shown(vae.reconstruct(LIST[0], **DECODING))
    for value in -9.0, 9.0:
        assert explorer.walk(LIST[0], 5.0, value) == Shown(vae.traverse(LIST[0], 5, [value], **DECODING))


@pytest.mark.parametrize("drawn", [{}, {"sampling": True, "sampling_topk": 4}], ids=["greedy", "sampling"])
def test_new_sentences_are_those_of_the_command_with_this_seed(vae, folder, capsys, drawn):
    found = Explorer(vae, {**DECODING, **drawn}).sample(6, 2)
    flags = ["--sampling", "--sampling-topk=4"] if drawn else []
    assert main(["sample", str(folder / "checkpoint_best.pt"), "-n", "6", "--seed=2", *FLAGS, *flags]) == 0
    assert capsys.readouterr().out.splitlines() == found.texts and not found.message
    assert Explorer(vae, {**DECODING, **drawn, "seed": 8}).sample(6, 2) == found, "the page's seed counts"
    assert Explorer(vae, {**DECODING, **drawn}).sample(6, 3) != found


@pytest.mark.parametrize("way", ways.names())
def test_an_edit_of_strength_0_is_the_reconstruction_and_labels_lead_apart(vae, explorer, way):
    unchanged = Shown(vae.reconstruct(LIST[4], **DECODING))
    assert explorer.edit(LIST[4], "good", way, 0.0) == unchanged == explorer.edit(LIST[4], "bad", way, 0.0)
    good, bad = ([explorer.edit(text, label, way, 8.0) for text in LIST] for label in ("good", "bad"))
    assert good != bad


@pytest.mark.parametrize("empty", EMPTY)
def test_an_empty_sentence_gives_a_line_that_asks_for_one(explorer, empty):
    for pair in (empty, LIST[0]), (LIST[0], empty), (empty, empty):
        assert explorer.between(*pair, 0.5, "lerp") == Shown([], "Type two sentences.")
    assert explorer.walk(empty, 0, 0.0) == Shown([], "Type a sentence.")
    assert explorer.edit(empty, "good", "vector", 1.0) == Shown([], "Type a sentence.")
    assert explorer.own_value(empty, 0) is None


@pytest.mark.parametrize(
    "step, message",
    [
        (lambda e: e.walk("a cat", 32, 0.0), "dimension 32: expected 0 to 31"),
        (lambda e: e.walk("a cat", None, 0.0), "dimension is empty: expected 0 to 31"),
        (lambda e: e.walk("a cat", 1.5, 0.0), "dimension 1.5: expected 0 to 31"),
        (lambda e: e.walk("dog " * 17, 1, 0.0), "17 tokens; expected 1 to 14, the model's positions"),
        (lambda e: e.between("a cat", "dog " * 400, 0.5, "lerp"), "400 tokens; expected 1 to 14"),
        (lambda e: e.between("a cat", "half \ud800", 0.5, "lerp"), "half of a surrogate pair"),
        (lambda e: e.between("a </s> cat", "dog", 0.5, "lerp"), "</s> stands in the text"),
        (lambda e: e.between("a cat", "dog", 0.5, "spline"), "path spline: expected one of lerp, slerp, typical"),
        (lambda e: e.sample(0, 1), "number of sentences 0: expected 1 to 100"),
        (lambda e: e.sample(float("inf"), 1), "number of sentences inf: expected 1 to 100"),
        (lambda e: e.sample(3, -1), "seed -1: expected 0 to"),
        (lambda e: e.edit("a cat", "fine", "vector", 1.0), "label 'fine': expected one of bad, good"),
        (lambda e: Explorer(e.vae, DECODING).edit("a cat", "good", "vector", 1.0), "no attribute was learned"),
    ],
)
def test_what_cannot_be_is_one_line_and_no_text(explorer, step, message):
    found = step(explorer)
    assert found.texts == [] and message in found.message and "\n" not in found.message


def test_tokens_that_the_dictionary_lacks_are_counted_and_the_rest_goes_on(vae, explorer):
    found = explorer.walk("a purple \u72ac barks", 0, 1.0)
    assert found.texts == vae.traverse("a purple \u72ac barks", 0, [1.0], **DECODING)
    assert found.message == "2 of the 4 tokens of 'a purple \u72ac barks' are not in the model's dictionary."
    both = explorer.between("purple", "a cat green", 0.5, "lerp").message
    assert "1 of the 1 tokens of 'purple'" in both and "1 of the 3 tokens of 'a cat green'" in both


def test_a_memory_that_is_full_does_not_end_the_page(explorer, monkeypatch):
    def full(*arguments, **options):
        raise RuntimeError("out of memory\nallocated: all")

    monkeypatch.setattr(explorer.vae, "said", full)  # all that decodes
    assert explorer.sample(2, 1) == Shown([], "out of memory allocated: all")
    monkeypatch.setattr(explorer.vae, "encode", full)
    assert explorer.own_value("a cat", 0) is None
    assert explorer.walk("a cat", 0, 1.0) == Shown([], "out of memory allocated: all")


def in_a_loop(task):
    """What a coroutine returns, run in a thread of its own: playwright keeps a loop in the tests' one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, task).result()


def test_of_steps_that_wait_the_newest_of_each_kind_is_taken_and_never_two_at_a_time():
    taken, running, started, go = [], [], threading.Event(), threading.Event()

    def step(name):
        def run():
            running.append(name)
            assert len(running) == 1
            started.set()
            assert go.wait(60)
            taken.append(name)
            return running.pop()

        return run

    async def take_all():
        latest = Latest()
        names = ["a1", "a2", "b1", "a3", "b2", "a4"]
        first = asyncio.ensure_future(latest.take("a", step("a0")))
        assert await asyncio.get_running_loop().run_in_executor(None, started.wait, 60)  # it runs
        tasks = [asyncio.ensure_future(latest.take(name[0], step(name))) for name in names]
        await asyncio.sleep(0)  # the event loop is free while a step runs: each of these asks for its turn
        assert running == ["a0"] and not taken
        go.set()
        return await asyncio.gather(first, *tasks)

    assert in_a_loop(take_all()) == ["a0", SKIPPED, SKIPPED, SKIPPED, SKIPPED, "b2", "a4"]
    assert taken == ["a0", "b2", "a4"]


def test_a_step_that_fails_leaves_the_next_ones_their_turn():
    async def take_both():
        latest = Latest()
        with pytest.raises(ZeroDivisionError):
            await latest.take("a", lambda: 1 / 0)
        return await latest.take("a", lambda: 1)

    assert in_a_loop(take_both()) == 1


def test_a_port_in_use_is_one_line_and_the_model_is_not_waited_for(capsys):
    with listen(0) as found:
        assert found.getsockname()[0] == "127.0.0.1"
        port = found.getsockname()[1]
        assert main(["explore", "none.pt", f"--port={port}"]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"fairseq-vae explore: --port {port}: Address already in use; give another, or 0")
        assert error.count("\n") == 1
    for port in -1, 65536:
        with pytest.raises(InputError, match=f"--port {port}: expected 1 to 65535, or 0 for a free one"):
            listen(port)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["none.pt"], "checkpoint none.pt does not exist"),
        (["none.pt", "--text=a"], "labelled sentences are two files: give both --text FILE and --labels FILE"),
        (["none.pt", "--labels=a"], "labelled sentences are two files"),
        (["{model}", "--text=no", "--labels=no"], "No such file or directory"),
    ],
)
def test_bad_arguments_are_one_line(capsys, tmp_path, monkeypatch, folder, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [argument.format(model=folder / "checkpoint_best.pt") for argument in arguments]
    assert main(["explore", *given, "--port=0"]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_without_the_library_a_line_tells_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    assert main(["explore", "none.pt"]) == 1
    wanted = "fairseq-vae explore: explore needs nicegui: pip install 'fairseq-vae[explore]'\n"
    assert capsys.readouterr().err == wanted


@pytest.mark.slow
def test_only_the_page_loads_the_library(tmp_path):
    """Each module of the package that is imported, but for the page itself."""
    code = """
import importlib, pkgutil, sys
import fairseq_vae
for module in pkgutil.walk_packages(fairseq_vae.__path__, "fairseq_vae."):
    if module.name != "fairseq_vae.explore.page":
        importlib.import_module(module.name)
assert "fairseq_vae.explore.serve" in sys.modules
assert not {"nicegui", "fastapi", "starlette", "uvicorn"} & set(sys.modules)
"""
    (tmp_path / "walk.py").write_text(code)
    done = subprocess.run(commands.forked(tmp_path / "walk.py"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Served:
    """The command in a process of its own, started in an empty folder."""

    def __init__(self, folder, *flags):
        program = str(commands.folder() / "fairseq-vae")
        self.folder = folder
        folder.mkdir()
        self.process = subprocess.Popen(
            [program, "explore", str(folder.parent / "checkpoint_best.pt"), "--port=0", *FLAGS, *flags],
            stdout=subprocess.PIPE,
            stderr=open(folder.with_suffix(".err"), "w"),  # noqa: SIM115
            text=True,
            cwd=folder,
            # a shell that runs the tests in the background would have it ignore interrupts
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.line = self.process.stdout.readline()
        self.address = self.line.split()[0] if self.line else ""

    def answer(self, **headers):
        """The status that the server gives to a request for the page."""
        connection = http.client.HTTPConnection(self.address.split("/")[2], timeout=30)
        connection.putrequest("GET", "/", skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status

    def end(self, signal_number):
        self.process.send_signal(signal_number)
        out, _ = self.process.communicate(timeout=120)
        return self.process.returncode, out, self.folder.with_suffix(".err").read_text()


@pytest.fixture(scope="module")
def served(folder):
    found = Served(folder / "started", *labelled(folder))
    yield found
    found.process.kill()
    found.process.wait()


@pytest.mark.slow
def test_the_address_is_loopback_and_other_hosts_and_origins_are_refused(served):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/  \(Ctrl-C ends it\)\n", served.line), served.line
    port = served.address.split(":")[2].strip("/")
    assert served.answer() == 200 == served.answer(Host=f"localhost:{port}")
    for host in f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "0.0.0.0", "":
        assert served.answer(Host=host) == 400, "a name that leads here by DNS rebinding"
    for origin in "http://evil.example", "null", "http://127.0.0.1:1", f"http://localhost:{port}":
        assert served.answer(Origin=origin) == 403, "a page of another origin"
    assert served.answer(Origin=f"http://127.0.0.1:{port}") == 200
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    assert served.answer(Origin="http://evil.example", **upgrade, **key) == 403, "a socket, which browsers let through"
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", int(port)), timeout=5):
        pass


class Hand:
    """What a person does on the page."""

    def __init__(self, seen):
        self.seen, self.page = seen, seen.page
        self.page.set_default_timeout(60_000)  # a busy machine is no failure

    def type(self, name, text):
        self.page.get_by_label(name, exact=True).fill(text)

    def part(self, name):
        return self.page.get_by_role("region", name=name, exact=True)

    def texts(self, name):
        return self.part(name).locator("p").all_inner_texts()

    def wait(self, name, texts):
        """Wait until a part shows these texts."""
        wanted = [text or "an empty sentence" for text in texts]
        script = """([name, wanted]) => {
            const found = document.querySelector(`[role=region][aria-label="${name}"]`);
            const texts = Array.from(found.querySelectorAll("p"), p => p.innerText.trim());
            return JSON.stringify(texts) == JSON.stringify(wanted);
        }"""
        try:
            self.page.wait_for_function(script, arg=[name, wanted])
        except Exception as error:
            raise AssertionError(f"{name}: {self.texts(name)}, expected {wanted}") from error

    def message(self, name, text):
        self.part(name).get_by_role("status").get_by_text(text).wait_for()

    def press(self, slider, *keys):
        found = self.page.get_by_role("slider", name=slider, exact=True)
        for key in keys:
            found.press(key)


@pytest.fixture
def hand(visit, served):  # noqa: F811
    home = served.address
    seen = visit(home, home=home)
    yield Hand(seen)
    assert not seen.complaints
    assert seen.elsewhere(home) == [a for a in seen.requests if a.startswith(home.replace("http", "ws"))]
    assert any(a.startswith("ws://127.0.0.1:") for a in seen.requests), "sockets are seen, too"


SLIDE, VALUE = "From the first sentence, 0, to the second, 1", "Value of the dimension"


@pytest.mark.slow
def test_a_slide_from_one_sentence_to_another(hand, vae):
    hand.message("Between the sentences", "Type two sentences.")
    a, b = LIST[0], LIST[4]
    hand.type("First sentence", a)
    hand.type("Second sentence", b)
    hand.wait("Sentence between", vae.between(a, b, [0.5], **DECODING))
    for keys, t in ((["Home"], 0.0), (["ArrowRight"] * 10, 0.25), (["End"], 1.0)):
        hand.press(SLIDE, *keys)
        hand.wait("Sentence between", vae.between(a, b, [t], **DECODING))
    assert hand.texts("Sentence between") == vae.reconstruct(b, **DECODING) != vae.reconstruct(a, **DECODING)
    hand.press(SLIDE, *["ArrowLeft"] * 20)
    hand.page.get_by_role("radio", name="slerp").click()
    hand.wait("Sentence between", vae.between(a, b, [0.5], "slerp", **DECODING))


@pytest.mark.slow
def test_a_walk_starts_at_the_reconstruction(hand, vae):
    hand.type("First sentence", LIST[2])
    hand.wait("Sentence of the walk", vae.reconstruct(LIST[2], **DECODING))
    own = float(vae.encode(LIST[2]).mean[0, 0])
    hand.part("One dimension of the first sentence").get_by_text(f"{own:.2f}", exact=True).wait_for()
    hand.press(VALUE, "End")
    hand.wait("Sentence of the walk", vae.traverse(LIST[2], 0, [4.0], **DECODING))
    hand.type("Dimension of z", "7")
    hand.wait("Sentence of the walk", vae.reconstruct(LIST[2], **DECODING))
    hand.press(VALUE, "Home")
    hand.wait("Sentence of the walk", vae.traverse(LIST[2], 7, [-4.0], **DECODING))
    hand.type("Dimension of z", "")
    hand.message("One dimension of the first sentence", "dimension is empty: expected 0 to 31")


@pytest.mark.slow
def test_new_sentences_are_drawn_and_drawn_again(hand, vae):
    hand.wait("New sentences drawn", vae.sample(5, seed=1, **DECODING))
    hand.page.get_by_role("button", name="Draw again").press("Enter")
    hand.wait("New sentences drawn", vae.sample(5, seed=2, **DECODING))
    hand.type("Number of sentences", "3")
    hand.wait("New sentences drawn", vae.sample(3, seed=2, **DECODING))


@pytest.mark.slow
def test_an_edit_by_strength_label_and_way(hand, vae, folder):
    text, labels = ((folder / name).read_text().splitlines() for name in ("text", "labels"))
    explorer = Explorer(vae, DECODING, fit_label(vae.encode(text).mean, labels))
    hand.type("First sentence", LIST[0])
    hand.wait("Edited sentence", vae.reconstruct(LIST[0], **DECODING))
    hand.press("Strength; 0 is no edit", "End")
    hand.wait("Edited sentence", explorer.edit(LIST[0], "dog", "vector", 6.0).texts)
    hand.page.get_by_role("combobox", name="Label to move towards").click()
    hand.page.get_by_role("option", name="cat").click()
    hand.wait("Edited sentence", explorer.edit(LIST[0], "cat", "vector", 6.0).texts)
    hand.page.get_by_role("radio", name="gradient").click()
    hand.press("Strength; 0 is no edit", "End")
    hand.wait("Edited sentence", explorer.edit(LIST[0], "cat", "gradient", 8.0).texts)


@pytest.mark.slow
def test_what_cannot_be_read_is_a_line_and_the_page_goes_on(hand, vae):
    hand.type("First sentence", "dog " * 17)
    hand.message("The first sentence edited", "17 tokens; expected 1 to 14, the model's positions")
    hand.type("First sentence", "")
    hand.message("The first sentence edited", "Type a sentence.")
    assert not hand.texts("Edited sentence")
    hand.type("First sentence", "<b>purple</b> cat")
    hand.message(
        "The first sentence edited", "1 of the 2 tokens of '<b>purple</b> cat' are not in the model's dictionary"
    )
    hand.type("First sentence", LIST[1])
    hand.wait("Edited sentence", vae.reconstruct(LIST[1], **DECODING))
    for name in "Between the sentences", "One dimension of the first sentence", "New sentences":
        assert hand.part(name).is_visible()


@pytest.mark.slow
def test_a_slider_that_is_dragged_ends_where_it_is_left(hand, vae):
    hand.type("First sentence", LIST[0])
    hand.type("Second sentence", LIST[4])
    box = hand.page.get_by_role("slider", name=SLIDE, exact=True).bounding_box()
    hand.page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2)
    hand.page.mouse.down()
    for i in range(60):
        hand.page.mouse.move(box["x"] + box["width"] * i / 59, box["y"] + box["height"] / 2)
    hand.page.mouse.up()
    hand.wait("Sentence between", vae.reconstruct(LIST[4], **DECODING))


@pytest.mark.slow
@pytest.mark.parametrize("scheme, dark", [("light", False), ("dark", True)])
def test_the_page_is_as_dark_as_the_system_and_fits_a_narrow_window(visit, served, scheme, dark):  # noqa: F811
    seen = visit(served.address, home=served.address, color_scheme=scheme, viewport={"width": 360, "height": 800})
    ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == dark, ground
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
    controls = re.findall(
        r"^ *- (textbox|slider|spinbutton|combobox|radiogroup|radio|button|region|heading)( \".+\")?",
        seen.page.locator("body").aria_snapshot(),
        re.MULTILINE,
    )
    assert len(controls) > 20 and all(name for _, name in controls), controls
    assert not seen.complaints


@pytest.mark.slow
def test_an_interrupt_ends_it_cleanly_with_a_page_open(folder, visit):  # noqa: F811
    found = Served(folder / "ended")
    visit(found.address, home=found.address)
    status, out, error = found.end(signal.SIGINT)
    assert (status, out) == (130, "")
    assert error.splitlines()[-1] == "fairseq-vae explore: interrupted; run it again" and "Traceback" not in error
    assert not list(found.folder.iterdir()), "it writes nothing"
