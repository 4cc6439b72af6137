"""The sweep's tab of the backtest screen: ranges in; a sweep in processes of its own, its heat map and its best runs, out."""

import asyncio
import logging
import time
from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Input, Label, Static

from console.desk import Desk
from console.panes.sweep import HeatPane, RunsPane
from engine.backtest import BacktestConfig
from engine.backtest.sweep import LEAST_TRADES, Axis, Sweep, axis, combinations, compared_by, sweep
from engine.errors import BarterError, ConfigError

log = logging.getLogger(__name__)
# What the ranges' field begins with: distances that every strategy has.
EXAMPLE = "strategy.stop_atr=1:3:0.5 strategy.target_atr=1:4:1"
FIELDS = (
    ("over", "what differs, with blanks between: bars=20,40 strategy.stop_atr=1:3:0.5 costs.taker=0,0.0005", EXAMPLE),
    ("by", "the figure that runs are compared by: sharpe, total_return, calmar ...", "sharpe"),
    ("least", "trades that a winner must have", str(LEAST_TRADES)),
    ("trials", "so many of them, chosen by an optimiser; 0: all", "0"),
)


class SweepTab(Vertical):
    """`config` gives what the form describes, or raises BarterError."""

    DEFAULT_CSS = """
    SweepTab #sweep-over { width: 1fr; min-width: 34; }
    SweepTab #sweep-said { height: auto; max-height: 5; color: $muted; }
    SweepTab #heat { height: 1fr; }
    SweepTab #runs { height: 1fr; }
    """

    class Said(Message):
        """A sentence for the screen's first line; `done` is the share of a sweep under way, None where none is."""

        def __init__(self, sentence: str, done: float | None = None) -> None:
            super().__init__()
            self.sentence, self.done = sentence, done

    def __init__(self, desk: Desk, config: Callable[[], BacktestConfig], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.config = config
        self.heat, self.runs = HeatPane(desk, id="heat"), RunsPane(desk, id="runs")
        self.found: Sweep | None = None
        self._work: asyncio.Task[None] | None = None
        self._cancelled = False
        self._heard = (0, 0, float("nan"))  # runs done, of how many, the best value

    def compose(self) -> ComposeResult:
        for name, help, text in FIELDS:
            field = Input(text, id=f"sweep-{name}", compact=True)
            yield Horizontal(Label(name), field, Static(help, markup=False, classes="help"), classes="row")
        with VerticalScroll(id="sweep-said"):
            yield Static("", id="sweep-notes", markup=False)
        yield self.heat
        yield self.runs

    async def on_unmount(self) -> None:
        self.cancel()
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)

    @property
    def busy(self) -> bool:
        return self._work is not None and not self._work.done()

    def cancel(self) -> bool:
        """Whether there was anything to end. What is done of it is kept."""
        self._cancelled = True
        return self.busy

    def start(self) -> None:
        """Raises BarterError for what cannot be."""
        config, axes = self.config(), [axis(text) for text in self._text("over").split()]
        if config.session:
            raise ConfigError("sweep", "session", "a sweep runs over bars", "no session in the form")
        by, least, trials = compared_by(self._text("by")), self._number("least"), self._number("trials")
        combinations(config, axes)
        self._cancelled, self._heard = False, (0, 0, float("nan"))
        self._work = asyncio.create_task(self._run(config, axes, by, least, trials))

    def _text(self, name: str) -> str:
        return self.query_one(f"#sweep-{name}", Input).value.strip()

    def _number(self, name: str) -> int:
        text = self._text(name)
        if not text.isdecimal() or len(text) > 6:
            raise ConfigError("sweep", name, f"{text!r} is no number", "a whole number of at least 0")
        return int(text)

    async def _run(self, config: BacktestConfig, axes: list[Axis], by: str, least: int, trials: int) -> None:
        def told(done: int, of: int, best: float | None) -> bool:  # in the thread
            self._heard = (done, of, float("nan") if best is None else best)
            return not self._cancelled

        work = asyncio.create_task(asyncio.to_thread(sweep, config, axes, by, least_trades=least, trials=trials, told=told))
        began = time.monotonic()
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=0.2)
                self._tell(by, time.monotonic() - began)
            found = work.result()
        except BarterError as problem:
            self.post_message(self.Said(str(problem)))
        except Exception as error:
            log.error("a sweep failed", exc_info=error)
            self.post_message(self.Said(f"The sweep failed ({type(error).__name__}: {error}); nothing of it is kept."))
        else:
            self.take(found)
            self.post_message(self.Said(f"The sweep is done: {len(found.trials):,} runs."))

    def _tell(self, by: str, passed_s: float) -> None:
        done, of, best = self._heard
        if not of:
            self.post_message(self.Said("The sweep begins; what was never compiled is compiled first.", 0.0))
            return
        shown = f", best {by} {best:.2f}" if best == best else ""
        self.post_message(self.Said(f"{done:,} of {of:,} runs, {done / passed_s:,.1f} a second{shown}. Esc ends it.", done / of))

    def take(self, found: Sweep) -> None:
        self.found = found
        label = "SYNTHETIC: made-up prices. " if found.synthetic else ""
        self.query_one("#sweep-notes", Static).update(label + "\n".join(found.notes))
        self.heat.show(found)
        self.runs.show(found)
