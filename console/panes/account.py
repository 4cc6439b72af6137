"""The account's and the engine's figures in, a list of names and values out: money first, then health."""

from decimal import Decimal
from typing import ClassVar

from console import format as show
from console.desk import Desk
from console.format import fit, number
from console.panes.lines import LinePane, Row, Run
from console.panes.status import pnl
from engine.events import Trust
from engine.views import AccountView, LadderView, Picture, StatusView


class AccountPane(LinePane):
    title: ClassVar[str] = "Account"
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ((AccountView, ""), (StatusView, ""), (LadderView, None))

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        account, status = desk.get(AccountView, ""), desk.get(StatusView, "")
        ladder = desk.get(LadderView)
        old = not desk.connected or (ladder is not None and ladder.trust is not Trust.TRUSTED)
        facts: list[tuple[str, Run]] = []
        if account is not None:
            facts += [
                ("equity", marked(show.money(account.equity), "text bold", old)),
                ("session PnL", pnl(account, old)),
                ("day's loss", day_loss(account)),
                ("unrealised", marked(*signed(account.unrealised), old)),
                ("realised", signed(account.realised)),
                ("fees", (show.money(account.fees), "text")),
                ("funding", signed(account.funding)),
                ("wallet", (show.money(account.wallet), "text")),
                *((f"by {judge}", signed(net)) for judge, net in account.judges),
            ]
        if status is not None:
            facts += [(f"route {name}", route(up, desk.connected)) for name, up in status.routes]
            facts += [
                *([("event lag", (f"{status.lag_ms} ms", "text"))] if status.lag_ms is not None else []),
                ("loop lag p99", (show.micros(status.loop_lag_p99_us), "text")),
                ("alerts", (str(status.alerts), "stop bold" if status.alerts else "text")),
                *([("link troubles", (str(status.link_troubles), "stop bold"))] if status.link_troubles else []),
                ("speed", (f"{status.speed:g}x", "text")),
                ("session", (status.session, "muted")),
            ]
        if not facts:
            return [(("waiting for the account", "muted"),)]
        rows = columns(facts, width, height)
        if status is not None and status.refusal and len(rows) < height:
            rows.append((("refused  ", "muted"), (fit(status.refusal, max(0, width - 9)), "stop")))
        return rows


def columns(facts: list[tuple[str, Run]], width: int, height: int) -> list[Row]:
    """Side by side in as many columns as the height asks for and the width allows."""
    cell = 26
    across = max(1, min((width + 3) // (cell + 3), -(-len(facts) // max(1, height - 1))))
    cell = min((width - 3 * (across - 1)) // across, 34)
    down = -(-len(facts) // across)
    rows: list[Row] = []
    for y in range(down):
        runs: list[Run] = []
        for name, (value, look) in facts[y::down]:
            if runs:
                runs.append(("   ", "text"))
            room = max(cell - len(name) - 1, 0)
            words = value[:1].isalpha() and len(value) > room
            tail = fit(value, room) if words else number(value, room)
            runs += [(fit(f"{name} ", min(cell, len(name) + 1)), "muted"), (tail, look)]
        rows.append(tuple(runs))
    return rows


def marked(text: str, look: str, old: bool) -> Run:
    """What was reckoned with the mark: grey, with `!`, when that is old."""
    return (f"!{text}", "stale bold") if old else (text, look)


def route(up: bool, connected: bool) -> Run:
    return ("! unknown", "stale bold") if not connected else ("open", "up") if up else ("! closed", "stale bold")


def signed(text: str) -> Run:
    return (show.money(text, sign=True), ("down", "text", "up")[show.trend(text) + 1])


def day_loss(account: AccountView) -> Run:
    """How much of the day's loss limit is used: `0.4% of 3.0%`; entries stop at the limit."""
    opening = Decimal(account.day_equity)
    lost = float(max(Decimal(0), opening - Decimal(account.equity)) / opening) if opening > 0 else 0.0
    limit = account.max_daily_loss
    look = "halt bold" if limit and lost >= limit else "stop" if limit and lost >= limit / 2 else "text"
    return (f"{lost:.1%} of {limit:.1%}", look)
