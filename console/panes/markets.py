"""All collected markets in, a line each out: both venues' prices, basis, funding, position, trust, and a small curve."""

import math
from typing import ClassVar

from textual.binding import BindingType

from console import format as show
from console import keys
from console.desk import Desk
from console.panes.lines import RISING, Row, Run
from console.panes.rows import RowsPane
from console.panes.table import Column, table
from engine.events import Trust
from engine.views import MarketRow, MarketsView, Picture, StatusView

MINUTE_NS = 60_000_000_000
COLUMNS = (
    Column("", 4, right=False),  # the one that is shown
    Column("market", 1, right=False, least=4),
    Column("venue", 2, right=False, least=3),
    Column("last", 3),
    Column("change", 5),
    Column("curve", 6, right=False),
    Column("elsewhere", 11),
    Column("basis", 7),
    Column("funding", 9),
    Column("position", 8),
    Column("uPnL", 10),
    Column("book", 12, right=False),
)
CURVES = ((100, 30), (80, 20), (0, 10))  # at so many columns, so many of the newest points


class MarketsPane(RowsPane):
    title: ClassVar[str] = "Markets"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="markets")]
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ((MarketsView, ""),)

    def versions(self) -> tuple[object, ...]:
        desk, status = self.desk, self.desk.get(StatusView, "")
        minute = status.at // MINUTE_NS if status else 0
        return (desk.market, desk.connected, desk.version(MarketsView, ""), minute, self.cursor, self.has_focus)

    def keys_of_rows(self) -> list[str]:
        view = self.desk.get(MarketsView, "")
        return [row.market for row in view.rows] if view else []

    def at_cursor(self) -> str:
        """The cursor begins at the market that is shown."""
        known = self.keys_of_rows()
        return self.desk.market if self.cursor not in known and self.desk.market in known else super().at_cursor()

    async def action_show(self) -> None:
        if market := self.at_cursor():
            self.cursor = market
            await self.screen.program.look(market=market)  # type: ignore[attr-defined]

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        view = desk.get(MarketsView, "")
        if view is None or not view.rows:
            return [(("no market is listed yet", "muted"),)]
        points = next(points for columns, points in CURVES if width >= columns)
        return self.framed(table(COLUMNS, [self._cells(row, view, points) for row in view.rows], width - 2), height)

    def _cells(self, row: MarketRow, view: MarketsView, points: int) -> list[Run]:
        desk, symbol = self.desk, row.market.partition(":")[2]
        old = not desk.connected or row.trust is not Trust.TRUSTED
        other = next((one for one in view.rows if one.market != row.market and one.market.endswith(f":{symbol}")), None)
        status, here = desk.get(StatusView, ""), row.market == desk.market
        held = show.trend(row.position)
        return [
            ("*" if here else " ", "text bold"),
            (show.market_name(row.market, short=True), "text bold" if here else "text"),
            (row.market.partition(":")[0], "muted"),
            priced(row, old),
            changed(row, old),
            (curve(row, points), "stale" if old else "slow"),
            priced(other, not desk.connected or other.trust is not Trust.TRUSTED) if other else (show.NONE, "muted"),
            (f"{row.basis_bps:+.2f} bps" if math.isfinite(row.basis_bps) else show.NONE, "text"),
            (funding(row, status), "text"),
            (f"{'+' * (held > 0)}{row.position}" if held else show.NONE, ("ask bold", "muted", "bid bold")[held + 1]),
            money(row, old) if held else (show.NONE, "muted"),
            (str(row.trust), "muted") if row.trust is Trust.TRUSTED else (f"! {row.trust}", "stale bold"),
        ]


def priced(row: MarketRow, old: bool) -> Run:
    """The newest trade's price, with an arrow for the side that took; grey and with `!` where it may not be believed."""
    price = show.ticks(row.last, row.tick) if row.last else show.NONE
    return (f"!{price} ", "stale") if old else (price + "▼ ▲"[row.last_side + 1], ("down", "text", "up")[row.last_side + 1])


def changed(row: MarketRow, old: bool) -> Run:
    """Over the last hour, or since when it is: `+0.42% 8m`."""
    if not math.isfinite(row.change):
        return show.NONE, "muted"
    since = show.duration(row.span_ms).removesuffix("00")
    side = (row.change > 0) - (row.change < 0)
    return f"{show.percent(row.change * 100)} {since}", "stale" if old else ("down", "text", "up")[side + 1]


def funding(row: MarketRow, status: StatusView | None) -> str:
    """The next settlement's rate, and how far off it is."""
    if not row.funding_rate:
        return show.NONE
    rate = show.percent(float(row.funding_rate) * 100, 4)
    due_ms = row.next_funding_ms - status.at // 1_000_000 if status and row.next_funding_ms else -1
    return f"{rate} in {show.duration(due_ms)}" if due_ms >= 0 else rate


def money(row: MarketRow, old: bool) -> Run:
    text = show.money(row.unrealised, sign=True)
    return (f"!{text}", "stale") if old else (text, ("down bold", "text", "up bold")[show.trend(row.unrealised) + 1])


def curve(row: MarketRow, points: int) -> str:
    """The newest closes and the last price, between their lowest and highest, the newest at the right."""
    values = [*row.closes, row.last][-points:] if row.last else list(row.closes[-points:])
    low, span = min(values, default=0), max(values, default=0) - min(values, default=0)
    return "".join(RISING[1 + (value - low) * 7 // span if span else 1] for value in values).rjust(points)
