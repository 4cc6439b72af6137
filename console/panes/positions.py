"""Open positions in, a line each out: which side, how much, what it makes, and what protects it."""

from typing import ClassVar

from console import format as show
from console.desk import Desk
from console.panes.lines import Row, Run
from console.panes.rows import RowsPane
from console.panes.table import Column, table
from engine.events import Trust
from engine.views import LadderView, Picture, PositionRow, PositionsView, StatusView

COLUMNS = (
    Column("market", 2, right=False, least=5),
    Column("side", 1, right=False),
    Column("size", 3),
    Column("entry", 6),
    Column("mark", 7),
    Column("uPnL", 4),
    Column("%", 5),
    Column("stop", 8),
    Column("target", 9),
    Column("lev", 10),
    Column("notional", 11),
    Column("realised", 12),
    Column("fees", 13),
    Column("funding", 14),
)
SIDES = {1: ("LONG", "bid bold"), 0: ("FLAT", "muted"), -1: ("SHORT", "ask bold")}


class PositionsPane(RowsPane):
    title: ClassVar[str] = "Positions"
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ((PositionsView, ""), (LadderView, None))

    def versions(self) -> tuple[object, ...]:
        desk = self.desk
        status = desk.get(StatusView, "")
        waits = status.waits_for if status else ()
        seen = (desk.market, desk.connected, desk.version(PositionsView, ""), waits)
        return (*seen, self._old(desk.market), self.cursor, self.has_focus)

    def _old(self, market: str) -> bool:
        ladder = self.desk.get(LadderView, market)
        return not self.desk.connected or ladder is None or ladder.trust is not Trust.TRUSTED

    def keys_of_rows(self) -> list[str]:
        view = self.desk.get(PositionsView, "")
        return [row.market for row in view.rows] if view else []

    def selected(self) -> PositionRow | None:
        """The one under the cursor."""
        view = self.desk.get(PositionsView, "")
        return next((row for row in view.rows if row.market == self.at_cursor()), None) if view else None

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        view = desk.get(PositionsView, "")
        if view is None or not view.rows:
            return self.nothing("no open position", view is not None, width)
        return self.framed(table(COLUMNS, [self._cells(row) for row in view.rows], width - 2), height)

    def _price(self, row: PositionRow, text: str) -> str:
        """An average or a mark: one decimal more than the tick has (six where the tick is not known)."""
        ladder = self.desk.get(LadderView, row.market)
        return show.money(text, show.decimals(ladder.tick) + 1 if ladder else 6)

    def _cells(self, row: PositionRow) -> list[Run]:
        side, look = SIDES[show.trend(row.quantity)]
        old = self._old(row.market)
        gain = ("down", "text", "up")[show.trend(row.unrealised) + 1]
        return [
            (show.market_name(row.market, short=True), "text bold"),
            (side, look),
            (row.quantity.lstrip("-+"), "text"),
            (self._price(row, row.entry), "entry"),
            (("!" if old else "") + self._price(row, row.mark), "stale" if old else "text"),
            (show.money(row.unrealised, sign=True), "stale" if old else f"{gain} bold"),
            (show.percent(row.unrealised_percent), "stale" if old else gain),
            (row.stop, "stop") if row.stop else (show.NONE, "muted") if side == "FLAT" else ("NONE", "halt bold"),
            (row.target or show.NONE, "text"),
            (f"{row.leverage}x", "text"),
            (show.money(row.notional), "text"),
            (show.money(row.realised, sign=True), "text"),
            (show.money(row.fees), "muted"),
            (show.money(row.funding, sign=True), "muted"),
        ]
