"""The page of `fairseq-vae explore`, by NiceGUI: what it draws comes from the program, never from another host."""

from typing import Any, Callable, List

from nicegui import ui

from ..edit.ways import ways
from ..evaluate_edit import DEFAULT_STRENGTHS
from ..latent.paths import PATHS
from .explorer import Explorer, Shown
from .latest import SKIPPED, Latest

__all__ = ["Page"]

WIDEST, STRONGEST = 4.0, 4.0  # of a dimension's value, and of a strength of a way without default strengths
STOPS = 40  # of a slider
CSS = """
body { color-scheme: light; --quiet: #5b6470; --edge: #d5dae1; --paper: #ffffff; --ground: #f3f5f8 }
body.body--dark { color-scheme: dark; --quiet: #a7b0bb; --edge: #3a424d; --paper: #1b2027; --ground: #12161b }
body.body--dark :is(.q-field, .q-radio, input) { --q-primary: #7ab0ea }
body { background: var(--ground) }
.nicegui-content { padding: 0 }
.page { width: 100%; max-width: 70rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; box-sizing: border-box }
h1 { font-size: 1.35rem; line-height: 1.3; font-weight: 600 }
h2 { font-size: 1.05rem; line-height: 1.3; font-weight: 600 }
.quiet { color: var(--quiet); font-size: 0.875rem; overflow-wrap: anywhere }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)) }
.part { background: var(--paper); border: 1px solid var(--edge); border-radius: 0.5rem; padding: 1rem; min-width: 0;
  display: flex; flex-direction: column; gap: 0.5rem }
.found { min-height: 3.5rem; max-height: 24rem; overflow-y: auto; transition: opacity 0.2s }
.found p { margin: 0 0 0.35rem; overflow-wrap: anywhere; font-size: 1.05rem; line-height: 1.4 }
.busy { opacity: 0.5; transition: opacity 0.2s 0.4s }
.none { color: var(--quiet); font-style: italic }
.named { display: flex; justify-content: space-between; gap: 1rem }
.value { white-space: nowrap; font-variant-numeric: tabular-nums }
input[type=range] { width: 100%; margin: 0; height: 1.5rem; accent-color: var(--q-primary) }
.q-field--outlined .q-field__control { background: var(--paper) }
"""


class Found:
    """Where a step's sentences and message stand; read out by a screen reader when they change.

    Args:
        name: of the region
    """

    def __init__(self, name: str):
        self.message = ui.label().classes("quiet message").props("role=status")
        self.texts = ui.element("div").classes("found").props(f'role=region aria-live=polite aria-label="{name}"')
        self.texts.props("tabindex=0")  # a long one scrolls by keyboard too

    def show(self, found: Shown) -> None:
        self.texts.clear()
        with self.texts:
            for text in found.texts:
                with ui.element("p").classes("" if text else "none"):
                    ui.label(text or "an empty sentence")
        self.message.set_text(found.message)


class Slider:
    """The browser's own slider, below its name and value; it has every key that a slider has.

    Args:
        name: what it is called
        least: at its left end
        most: at its right end
        value: at first

    Attributes:
        value: where it is
    """

    def __init__(self, name: str, least: float, most: float, value: float):
        self.value = value
        self.handlers: List[Callable[[], Any]] = []
        with ui.element("div").classes("quiet named"):
            ui.label(name)
            self.shown = ui.label().classes("value")
        self.range = ui.element("input").props(f'type=range aria-label="{name}" min={least}')
        self.range.on("input", self.moved, js_handler="event => emit(event.target.valueAsNumber)", throttle=0.05)
        self.reach(most)
        self.move(value)

    def on_value_change(self, handler: Callable[[], Any]) -> None:
        self.handlers.append(handler)

    def reach(self, most: float) -> None:
        """Set the right end."""
        self.range.props.update(max=most, step=(most - float(self.range.props["min"])) / STOPS)

    def move(self, value: float) -> None:
        """Move it by the program."""
        self.keep(value)
        # a property would be set anew whenever the page changes, and pull the slider back while it is moved by hand
        ui.run_javascript(f"getHtmlElement({self.range.id}).value = {value!r}")

    def keep(self, value: float) -> None:
        self.value = value
        self.shown.set_text(f"{value:.2f}")

    async def moved(self, event: Any) -> None:
        """It was moved by hand."""
        self.keep(float(event.args))
        for handler in self.handlers:
            await handler()


class Page:
    """A visitor's page.

    Args:
        explorer: gives what is shown
        latest: takes the steps of all visitors
        title: what is explored
        prior: where new sentences come from
    """

    def __init__(self, explorer: Explorer, latest: Latest, title: str, prior: str):
        self.explorer, self.latest = explorer, latest
        ui.add_css(CSS)
        ui.colors(primary="#2d6db3")
        with ui.element("div").classes("page"):
            with ui.element("h1"):
                ui.label("Explore z")
            ui.label(title).classes("quiet")
            with ui.element("div").classes("cards").style("margin: 1rem 0"):
                self.first = sentence("First sentence")
                self.second = sentence("Second sentence")
            with ui.element("div").classes("cards"):
                self.add_between()
                self.add_walk()
                self.add_edit()
                self.add_sample(prior)

    def add_between(self) -> None:
        with part("Between the sentences"):
            kind = ui.radio(list(PATHS), value="lerp").props('inline dense aria-label="Path"')
            place = Slider("From the first sentence, 0, to the second, 1", 0, 1, 0.5)
            found = Found("Sentence between")

        async def step(*_: Any) -> None:
            a, b, t, path = self.first.value, self.second.value, place.value, kind.value
            await self.take(found, lambda: self.explorer.between(a, b, t, path))

        for element in (self.first, self.second, kind, place):
            element.on_value_change(step)
        ui.timer(0, step, once=True)

    def add_walk(self) -> None:
        with part("One dimension of the first sentence"):
            dimension = number("Dimension of z", 0, 0, self.explorer.dimensions - 1)
            value = Slider("Value of the dimension", -WIDEST, WIDEST, 0)
            found = Found("Sentence of the walk")

        async def step(*_: Any) -> None:
            a, place, to = self.first.value, dimension.value, value.value
            await self.take(found, lambda: self.explorer.walk(a, place, to))

        async def start(*_: Any) -> None:
            a, place = self.first.value, dimension.value
            own = await self.latest.take((id(value), "own"), lambda: self.explorer.own_value(a, place))
            if own is SKIPPED:
                return
            if own is not None:
                value.move(own)
            await step()

        self.first.on_value_change(start)
        dimension.on_value_change(start)
        value.on_value_change(step)
        ui.timer(0, start, once=True)

    def add_edit(self) -> None:
        attribute = self.explorer.attribute
        with part("The first sentence edited"):
            if attribute is None:
                ui.label(
                    "To edit, start the command with labelled sentences: --text FILE --labels FILE, one a line."
                ).classes("quiet")
                return
            label = ui.select(attribute.labels, value=attribute.labels[-1], label="Label to move towards")
            label.props("outlined dense").classes("w-full")
            way = ui.radio(ways.names(), value=ways.names()[0]).props('inline dense aria-label="Way"')
            strength = Slider("Strength; 0 is no edit", 0, STRONGEST, 0)
            found = Found("Edited sentence")

        def fit() -> None:
            strongest = DEFAULT_STRENGTHS.get(way.value, [STRONGEST])[-1]
            strength.reach(strongest)
            strength.move(min(strength.value, strongest))

        async def step(*_: Any) -> None:
            a, to, by, much = self.first.value, label.value, way.value, strength.value
            await self.take(found, lambda: self.explorer.edit(a, to, by, much))

        way.on_value_change(fit)
        for element in (self.first, label, way, strength):
            element.on_value_change(step)
        fit()
        ui.timer(0, step, once=True)

    def add_sample(self, prior: str) -> None:
        with part("New sentences"):
            ui.label(f"From {prior}").classes("quiet")
            with ui.row().classes("items-center"):
                count = number("Number of sentences", 5, 1, 100)
                seed = number("Seed", self.explorer.seed, 0, 2**32 - 1)
                more = ui.button("Draw again").props("no-caps unelevated")
            found = Found("New sentences drawn")

        async def step(*_: Any) -> None:
            many, given = count.value, seed.value
            await self.take(found, lambda: self.explorer.sample(many, given))

        def again() -> None:
            seed.value = (seed.value or 0) + 1  # which takes a step

        more.on_click(again)
        for element in (count, seed):
            element.on_value_change(step)
        ui.timer(0, step, once=True)

    async def take(self, found: Found, step: Callable[[], Shown]) -> None:
        """Show the outcome of a step, if no newer one of its part came before its turn."""
        found.texts.classes(add="busy")
        shown = await self.latest.take(id(found), step)
        if shown is not SKIPPED:
            found.texts.classes(remove="busy")
            found.show(shown)


def part(name: str) -> Any:
    """A part of the page, with its heading."""
    section = ui.element("section").classes("part").props(f'aria-label="{name}"')
    with section, ui.element("h2"):
        ui.label(name)
    return section


def sentence(name: str) -> Any:
    """A line to type a sentence in; a step follows a pause in typing."""
    return ui.input(name).props("outlined debounce=250 autocomplete=off spellcheck=false").classes("w-full")


def number(name: str, value: float, least: float, most: float) -> Any:
    """A whole number to type."""
    found = ui.number(name, value=value, min=least, max=most, step=1, format="%d")
    return found.props("outlined dense debounce=250").classes("w-40")
