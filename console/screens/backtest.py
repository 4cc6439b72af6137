"""A form in; out, a backtest in the background, its curves, figures, trades, bars and the run before beside it; and sweeps.

Nothing here touches trading: the engine runs in a process of its own, and the kill key works as it does everywhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

import msgspec
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, Label, ProgressBar, Static, TabbedContent, TabPane

from console import keys
from console.desk import Desk
from console.panes.backtest import NS_PER_MS, TradeChartPane, TradesPane
from console.panes.lines import LinePane
from console.panes.profit import ProfitPane
from console.panes.sweep import RunsPane
from console.screens.sweep import SweepTab
from engine.backtest import BacktestConfig, Backtester, Costs, Result
from engine.backtest.cache import Cache
from engine.backtest.metrics import FIGURES, shown
from engine.backtest.spans import end_of, length_of, start_of
from engine.backtest.thin import thin
from engine.config import Settings, changed, create_aster_config, declaration, state_dir
from engine.errors import BarterError, ConfigError
from engine.strategy import assignments, find, parameters, parameters_of
from engine.views import StatusView

if TYPE_CHECKING:
    from console.app import Console

RUNS_KEPT = 4
NAMES = 4  # of kept bars that are told
POINTS = 2_000  # of a curve that is drawn
LOOK_S = 0.2
SECTION = 38  # cells of a section of figures
OF_SETTINGS = (
    "strategy.sizing",
    "strategy.capital_fraction",
    "strategy.stop_atr",
    "strategy.target_atr",
    "risk.max_drawdown",
    "risk.max_daily_loss",
)

COSTS = msgspec.structs.fields(Costs)


class Field(NamedTuple):
    """`check` raises BarterError for a text that cannot be."""

    name: str
    help: str
    text: str
    check: Callable[[str], object]


def _file(text: str) -> None:
    if text not in ("", "synthetic") and not Path(text).expanduser().is_file():
        raise ConfigError("data", text, "there is no such file", "a file of bars, synthetic, or nothing for what is kept")


def _above_0(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e15:
        raise ConfigError("capital", text, "this is no capital", "a number above 0")
    return value


def _whole(least: int, most: int) -> Callable[[str], object]:
    def check(text: str) -> object:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ConfigError("number", text, "it is out of range", f"a whole number from {least} to {most:,}")
        return int(text)

    return check


def _latency(text: str) -> object:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 3600.0:
        raise ConfigError("latency", text, "this is no delay", "seconds from 0 to 3600, or nothing")
    return seconds * 1000


def kept(base: Settings) -> str:
    """What can be run without a file, for people."""
    try:
        held = Cache.in_state(state_dir(base)).held()
    except BarterError as problem:
        return str(problem)
    names = [f"{one.symbol} of {one.venue}" for one in held]
    if not names:
        return "of the bars; `barter-tui data download` keeps some for a run without a file"
    return f"of the bars; kept: {', '.join(names[:NAMES])}{f' and {len(names) - NAMES} more' if len(names) > NAMES else ''}"


def _cost(name: str) -> Callable[[str], object]:
    def check(text: str) -> object:
        try:
            return msgspec.convert({name: text} if text else {}, Costs, strict=False)
        except msgspec.ValidationError:
            raise ConfigError("costs", name, f"{text!r} is out of range", "a number of at least 0") from None

    return check


def fields(base: Settings) -> list[Field]:
    """Those that every backtest has."""

    def setting(name: str) -> Field:
        section, _, key = name.partition(".")
        value = getattr(getattr(base, section), key)
        declared = next(one for one in msgspec.structs.fields(type(getattr(base, section))) if one.name == key)
        _, said, expected = declaration(declared.type)
        text = f"{value:g}" if isinstance(value, float) else str(value)
        return Field(name, f"{said}: {expected}", text, lambda given: changed(base, {name: given}))

    def cost(one: msgspec.structs.FieldInfo) -> Field:
        read = msgspec.inspect.type_info(one.type)
        said = str((read.extra_json_schema or {})["description"]) if isinstance(read, msgspec.inspect.Metadata) else ""
        return Field(one.name, said, "" if one.default is None else f"{one.default:g}", _cost(one.name))

    return [
        Field("data", "a file of bars, synthetic, or empty: what `data` has kept", "synthetic", _file),
        Field("session", "in place of data: a recorded session's books and trades, `latest`", "", lambda text: None),
        Field("symbol", kept(base), base.engine.symbols[0], lambda text: None),
        Field("venue", "of what was kept", base.engine.venues[0], lambda text: None),
        Field("start", "first day, UTC; empty: from the first bar on", "2025-10-01", lambda text: text and start_of(text)),
        Field("end", "last day, included", "2025-12-31", lambda text: text and end_of(text)),
        Field("timeframe", "1m, 15m, 1h; empty: as the data are", "", lambda text: text and length_of(text)),
        Field("judge", "rules, nobody, model, or a recorded session", "rules", lambda text: None),
        Field("ask_every", "minutes between questions to the model", "30", _whole(1, 100_000)),
        Field("latency", "seconds of judgments after their bars, or of a session's orders; empty: as it was", "", _latency),
        Field("seed", "of made-up bars", "1", _whole(0, 2**31)),
        Field("capital", "USDT at the start", "10000", _above_0),
        *(setting(name) for name in OF_SETTINGS),
        *(cost(one) for one in COSTS),
        Field("strategy", "stance, reversion, breakout, or module:name", base.strategy.name, find),
    ]


class BacktestScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="backtest")]
    DEFAULT_CSS = """
    BacktestScreen { background: $background; overflow: hidden; }
    BacktestScreen TabbedContent { height: 1fr; }
    BacktestScreen ContentSwitcher, BacktestScreen TabPane { height: 1fr; }
    BacktestScreen #state { height: 1; background: $panel; color: $foreground; padding: 0 1; }
    BacktestScreen #hint { height: 1; background: $panel; color: $muted; padding: 0 1; }
    BacktestScreen .row { height: auto; }
    BacktestScreen .row Label { width: 22; color: $muted; text-align: right; padding-right: 1; }
    BacktestScreen .row Input { width: 34; max-width: 30%; border: none; height: 1; background: $surface; padding: 0 1; }
    BacktestScreen .help { width: 1fr; color: $muted; padding-left: 1; }
    BacktestScreen .row.-wrong .help { color: $halt; }
    BacktestScreen TabPane { padding: 0 1; }
    BacktestScreen #equity { height: 2fr; }
    BacktestScreen #drawdown { height: 1fr; }
    BacktestScreen #label { height: 1; color: $halt; text-style: bold; }
    BacktestScreen ProgressBar { width: 1fr; height: 1; display: none; }
    BacktestScreen.-busy ProgressBar { display: block; }
    """

    def __init__(self, desk: Desk, base: Settings | None = None) -> None:
        super().__init__()
        self.desk, self.base = desk, base or create_aster_config()
        self.fields = {field.name: field for field in fields(self.base)}
        self.own: dict[str, Field] = {}  # the strategy's parameters, by name
        self.kept: deque[Result] = deque(maxlen=RUNS_KEPT)
        self.trades, self.chart = TradesPane(desk, id="trades"), TradeChartPane(desk, id="trade_chart")
        self.equity, self.drawdown = ProfitPane(desk, id="equity"), ProfitPane(desk, id="drawdown")
        self.sweeping = SweepTab(desk, self.config, id="sweeping")
        self._tester: Backtester | None = None
        self._work: asyncio.Task[None] | None = None
        self._said = ""

    def compose(self) -> ComposeResult:
        yield Static("", id="state", markup=False)
        yield ProgressBar(id="progress", show_eta=False, total=1.0)
        with TabbedContent(id="tabs_of_it"):
            with TabPane("form", id="form"), VerticalScroll(id="rows"):
                for field in self.fields.values():
                    yield self._row(field, f"field-{field.name.replace('.', '-')}")
                yield Vertical(id="own")
            with TabPane("curves", id="curves"):
                yield Static("", id="label", markup=False)
                yield self.equity
                yield self.drawdown
            for name in ("figures", "months"):
                with TabPane(name, id=name), VerticalScroll():
                    yield Static("No backtest was run yet.", id=f"{name}-text")
            with TabPane("trades", id="trades-tab"):
                yield self.trades
            with TabPane("chart", id="chart-tab"):
                yield self.chart
            for name in ("compare", "notes"):
                with TabPane(name, id=name), VerticalScroll():
                    yield Static("No backtest was run yet.", id=f"{name}-text")
            with TabPane("sweep", id="sweep-tab"):
                yield self.sweeping
        mine = getattr(self.app, "user_keys", {})
        here = [key for key in keys.BACKTEST if key.pane == "backtest"]
        yield Static("  ".join(f"{keys.name_of(key.id, mine)} {key.label}" for key in here), id="hint")

    def _row(self, field: Field, id: str) -> Horizontal:
        help = Static(field.help, markup=False, classes="help")
        return Horizontal(Label(field.name.rpartition(".")[2]), Input(field.text, id=id, compact=True), help, classes="row")

    async def on_mount(self) -> None:
        await self._parameters()
        self.query_one("#field-data", Input).focus()
        self.set_interval(LOOK_S, self._look)
        self._look()

    async def on_unmount(self) -> None:
        if self._tester is not None:
            self._tester.progress.cancel()
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)

    # --- the form ------------------------------------------------------------------------------------------------------

    def _field_of(self, input: Input) -> Field | None:
        id = input.id or ""
        if id.startswith("own-"):
            return self.own.get(id.removeprefix("own-"))
        return next((one for one in self.fields.values() if f"field-{one.name.replace('.', '-')}" == id), None)

    async def on_input_changed(self, event: Input.Changed) -> None:
        field = self._field_of(event.input)
        if field is None:
            return
        problem = self._problem(field, event.value)
        row = event.input.parent
        if row is not None:
            row.set_class(bool(problem), "-wrong")
            row.query_one(".help", Static).update(problem or field.help)
        if field.name == "strategy" and not problem:
            await self._parameters()

    def _problem(self, field: Field, text: str) -> str:
        try:
            field.check(text.strip())
        except ConfigError as problem:
            return f"{problem.problem}. Expected {problem.expected}." if problem.expected else f"{problem.problem}."
        except BarterError as problem:
            return str(problem)
        return ""

    async def _parameters(self) -> None:
        """The parameters of the strategy that is named, in place of those of another."""
        name = self.query_one("#field-strategy", Input).value.strip()
        strategy = find(name)
        declared = parameters_of(strategy)
        if tuple(self.own) == tuple(one.name for one in declared):
            return

        def check(parameter: str) -> Callable[[str], object]:
            return lambda text: parameters(strategy, {parameter: text})

        self.own = {}
        chosen = assignments(self.base.strategy.parameters) if name == self.base.strategy.name else {}
        for one in declared:
            said = f"{one.description}: {one.expected}"
            self.own[one.name] = Field(one.name, said, chosen.get(one.name, f"{one.default:g}"), check(one.name))
        place = self.query_one("#own", Vertical)
        await place.remove_children()
        await place.mount(*(self._row(field, f"own-{field.name}") for field in self.own.values()))

    def values(self) -> Iterator[tuple[Field, str]]:
        for input in self.query(Input):
            field = self._field_of(input)
            if field is not None:
                yield field, input.value.strip()

    def config(self) -> BacktestConfig:
        """What the form describes. Raises BarterError for what cannot be."""
        given: dict[str, str] = {}
        own = {name: field.text for name, field in self.own.items()}  # a strategy's that was just named has no inputs yet
        for field, text in self.values():
            field.check(text)
            (own if field is self.own.get(field.name) else given)[field.name] = text
        costs = {one.name: given[one.name] for one in COSTS if given[one.name]}
        return BacktestConfig(
            initial_capital=_above_0(given["capital"]),
            start_date=given["start"],
            end_date=given["end"],
            symbol=given["symbol"],
            data=given["data"],
            session=given["session"],
            venue=given["venue"],
            ask_every_min=int(given["ask_every"]),
            latency_ms=None if not given["latency"] else float(given["latency"]) * 1000,
            seed=int(given["seed"]),
            timeframe=given["timeframe"],
            strategy=given["strategy"],
            parameters=own,
            settings=changed(self.base, {name: given[name] for name in OF_SETTINGS}),
            costs=msgspec.convert(costs, Costs, strict=False),
            judge=given["judge"],
        )

    # --- running -------------------------------------------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        return (self._work is not None and not self._work.done()) or self.sweeping.busy

    async def action_run(self) -> None:
        if self._busy:
            self._say("A backtest or a sweep runs already; Esc ends it.")
            return
        try:
            config = self.config()
        except BarterError as problem:
            self._say(str(problem))
            return
        self._tester = Backtester(config)
        self._work = asyncio.create_task(self._run(self._tester))

    def action_sweep(self) -> None:
        self._go("sweep-tab")
        if self._busy:
            self._say("A backtest or a sweep runs already; Esc ends it.")
            return
        try:
            self.sweeping.start()
        except BarterError as problem:
            self._say(str(problem))
        else:
            self.add_class("-busy")

    def on_sweep_tab_said(self, message: SweepTab.Said) -> None:
        self.set_class(self._busy, "-busy")
        for bar in self.query("#progress").results(ProgressBar):
            bar.update(progress=message.done or 0.0)
        self._say(message.sentence)

    async def on_runs_pane_chosen(self, event: RunsPane.Chosen) -> None:
        """The run of a sweep, as one that can be looked at."""
        left = [name for name, value in event.values.items() if not self._fill(name, value)]
        if left:
            self._say(f"The form has no field for {', '.join(left)}: `barter-tui backtest --set` runs it.")
        else:
            await self.action_run()

    def _fill(self, name: str, value: str) -> bool:
        """Whether there is a field for it."""
        own = "own" if name in self.own else "field"
        id = f"{own}-{name.removeprefix('costs.').replace('.', '-')}"
        found = self.query(f"#{id}").first(Input) if self.query(f"#{id}") else None
        if found is not None:
            found.value = value
        return found is not None

    async def _run(self, tester: Backtester) -> None:
        self.add_class("-busy")
        self._say("The backtest runs. The first one of a strategy compiles it, for some seconds.")
        bar = self.query_one("#progress", ProgressBar)
        try:
            result = await tester.run(lambda done: bar.update(progress=done))
        except BarterError as problem:
            self._say(str(problem))
        else:
            if result is None:
                self._say("The backtest was ended; nothing of it is kept.")
            else:
                self._say("")
                self._take(result)
        finally:
            self.remove_class("-busy")
            bar.update(progress=0.0)

    def _say(self, sentence: str) -> None:
        self._said = sentence
        self._look()

    def _look(self) -> None:
        """The engine's state, so that nobody forgets that it trades on; and what is said here."""
        status = self.desk.get(StatusView, "")
        engine = f"{status.mode.value.upper()} {status.trading.value}" if status is not None else "no engine"
        said = self._said
        if self._tester is not None and self._tester.stage:
            said = self._tester.stage
        shown_run = self.kept[-1] if self.kept else None
        swept = self.sweeping.found is not None and self.sweeping.found.synthetic
        label = "   SYNTHETIC" if swept or (shown_run is not None and shown_run.series.synthetic) else ""
        for line in self.query("#state").results(Static):  # none while the program ends
            line.update(f"BACKTEST{label}   the engine: {engine}   {said}")

    # --- what came of it -----------------------------------------------------------------------------------------------

    def _take(self, result: Result) -> None:
        self.kept.append(result)
        label = "SYNTHETIC: made-up prices" if result.series.synthetic else result.series.source
        self.query_one("#label", Static).update(label)
        equity, drawdown = curves(result)
        beside = {"run before": curves(self.kept[-2])[0]} if len(self.kept) > 1 and _same_time(self.kept[-2], result) else {}
        self.equity.draw({**beside, "profit": equity})
        self.drawdown.draw({"below the peak": drawdown})
        self.query_one("#figures-text", Static).update(figures(result, self.size.width))
        self.query_one("#months-text", Static).update(months(result, self.app.theme_variables))
        self.query_one("#compare-text", Static).update(comparison(list(self.kept)))
        self.query_one("#notes-text", Static).update(notes(result))
        self.trades.show(result)
        self.chart.show(result, 0)
        self._go("curves")

    def on_trades_pane_chosen(self, event: TradesPane.Chosen) -> None:
        if self.trades.result is not None:
            self.chart.show(self.trades.result, event.place)
            self._go("chart-tab")

    def action_tab(self, step: int) -> None:
        tabs = self.query_one(TabbedContent)
        ids = [pane.id or "" for pane in self.query(TabPane)]
        self._go(ids[(ids.index(tabs.active) + step) % len(ids)])

    def _go(self, tab: str) -> None:
        tabs = self.query_one(TabbedContent)
        self.set_focus(None)  # else the focus moves on within the tab that is left, and brings it back
        tabs.active = tab
        self.call_after_refresh(self._focus, tab)

    def _focus(self, tab: str) -> None:
        wanted = self.query(f"#{tab} Input, #{tab} VerticalScroll, #{tab} LinePane")
        target = next((one for one in wanted if one.focusable and not (tab == "form" and not isinstance(one, Input))), None)
        if target is not None:
            target.focus()
        for pane in self.query(f"#{tab} LinePane"):
            if isinstance(pane, LinePane):
                pane.repaint()

    def action_help(self) -> None:
        cast("Console", self.app).open_help()

    def action_leave(self) -> None:
        if self._tester is not None and self._work is not None and not self._work.done():
            self._tester.progress.cancel()
            self._say("The backtest is being ended.")
            return
        if self.sweeping.cancel():
            self._say("The sweep is being ended; the runs that are done are kept.")
            return
        self.app.pop_screen()


def curves(result: Result) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Profit and the fall from its height, quote units, thinned to what can be drawn."""
    import numpy as np

    profit = result.equity - result.initial
    fall = profit - np.maximum.accumulate(np.maximum(profit, 0.0))
    at_ns = (result.series.open_ms + result.series.timeframe_ms) * NS_PER_MS
    kept, low = thin(profit, POINTS), thin(fall, POINTS)
    first = list(zip(at_ns[kept].tolist(), profit[kept].tolist(), strict=True))
    return first, list(zip(at_ns[low].tolist(), fall[low].tolist(), strict=True))


def _same_time(one: Result, other: Result) -> bool:
    return all(int(one.series.open_ms[at]) == int(other.series.open_ms[at]) for at in (0, -1))


def figures(result: Result, width: int) -> Table:
    """As many sections beside each other as fit."""
    names = list(dict.fromkeys(one.section for one in FIGURES))
    beside = max(width // SECTION, 1)
    whole = Table.grid(padding=(0, 3, 1, 0))
    for at in range(0, len(names), beside):
        whole.add_row(*(_section(result, name) for name in names[at : at + beside]))
    return whole


def _section(result: Result, name: str) -> Table:
    table = Table(title=name, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 1, 0, 0))
    for figure in FIGURES:
        if figure.section == name:
            table.add_row(Text(figure.title), Text(shown(figure, getattr(result.statistics, figure.name)), justify="right"))
    return table


def months(result: Result, looks: Mapping[str, str]) -> Table:
    """A row a year; `looks` are the theme's colours by name."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    for head in ("", *names, "year"):
        table.add_column(head, justify="right")
    rows: dict[int, dict[int, float]] = {}
    for month in result.statistics.by_month:
        rows.setdefault(month.year, {})[month.month] = month.change
    for year, changes in rows.items():
        whole = 1.0
        for change in changes.values():
            whole *= 1.0 + change
        cells = [_signed(changes[month], looks) if month in changes else Text("") for month in range(1, 13)]
        table.add_row(str(year), *cells, _signed(whole - 1.0, looks))
    return table


def _signed(change: float, looks: Mapping[str, str]) -> Text:
    return Text(f"{change:+.1%}", looks["up"] if change > 0 else looks["down"] if change < 0 else "")


def comparison(runs: list[Result]) -> Table:
    """The kept runs side by side, the newest first; the difference is of the two newest."""
    newest = runs[::-1]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for number, _ in enumerate(newest):
        table.add_column("newest" if not number else f"{number} before", justify="right")
    table.add_column("difference", justify="right")
    for name in ("strategy", "bars", "fingerprint"):
        table.add_row(name, *(Text(run.labels[name], overflow="fold") for run in newest), "")
    for figure in FIGURES:
        values = [getattr(run.statistics, figure.name) for run in newest]
        apart = ""
        if len(values) > 1 and isinstance(values[0], float) and isinstance(values[1], float):
            apart = shown(figure, values[0] - values[1])
        table.add_row(figure.title, *(shown(figure, value) for value in values), apart)
    return table


def notes(result: Result) -> Text:
    return Text("\n".join(f"- {note}" for note in (*result.notes, *result.statistics.remarks)))
