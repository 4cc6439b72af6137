"""The order ticket and the order line: keys in, the line that they amount to, what the engine says of it, and one command out."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Static

from console.app import Console, Parting
from console.link import memory_link
from console.orderline import Facts, LineError, read
from console.panes.ticket import FormPane, PreviewPane, funding, limit
from console.screens.order import OrderScreen
from console.screens.ticket import TicketScreen
from console.ticket import FIELDS, KINDS, Form, again
from engine.events import Action, OrderKind, Side, Ticket, TimeInForce
from engine.server import Consoles
from engine.views import AccountView, Ask, Estimate, LadderView, OrdersView, Room, StatusView, TicketView, Watch
from tests import pictures
from tests.console.conftest import FakeLink, Time, frames_of, program
from tests.screens import Film
from tests.test_engine import desk, engine_on, venue

B, S, K, T = Side.BUY, Side.SELL, OrderKind, TimeInForce
ASTER = Facts("ASTER", "USDT", Decimal("0.0001"), Decimal(1), 12_040, 12_041, 800, "", B, Decimal(10_000), Decimal(27_000))
ROOMS = (Room("order", 602.0, 2000.0, "USDT", 0.301), Room("leverage", 0.06, 3.0, "x", 0.02))
ESTIMATE = Estimate(
    *(500, 300, 1.2041, 0.8, "602.0500", "0.30102500", 0.06, 0.4321, "0.0602", 5400.0, 11_920, 12_281, "", "6.62", "11.38", 1660),
    ROOMS,
)


def pressed(form: Form, *keys: str, cursor: str = "") -> Form:
    """As the screen's bindings would."""
    moves: dict[str, Callable[[], None]] = {
        "tab": lambda: form.go(1),
        "up": lambda: form.go(-1),
        "right": lambda: form.step(1, ASTER),
        "left": lambda: form.step(-1, ASTER),
        "+": lambda: form.nudge(1, ASTER),
        "-": lambda: form.nudge(-1, ASTER),
        "erase": form.erase,
        "clear": lambda: form.erase(all=True),
    }
    for key in keys:
        if key in moves:
            moves[key]()
        else:
            for letter in key:
                form.type(letter, cursor)
    return form


# --- the form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "line", "ticket"),
    [
        (("500",), "buy 500 @ join", Ticket(B, K.LIMIT, 500, 12_040)),
        (("500", "up", "m"), "buy 500", Ticket(B, K.MARKET, 500)),
        (("500", "up", "right"), "buy 500 @ join post", Ticket(B, K.LIMIT, 500, 12_040, 0, T.GTX)),
        (("500", "up", "i", "up", "s"), "sell 500 @ join ioc", Ticket(S, K.LIMIT, 500, 12_041, 0, T.IOC)),
        (("500", "up", "f", "up", " "), "sell 500 @ join fok", Ticket(S, K.LIMIT, 500, 12_041, 0, T.FOK)),
        (("500", "tab", "1.2"), "buy 500 @ 1.2", Ticket(B, K.LIMIT, 500, 12_000)),
        (("500", "tab", "a", "right"), "buy 500 @ 1.2042", Ticket(B, K.LIMIT, 500, 12_042)),
        (("500", "tab", "c"), "buy 500 @ 1.2033", Ticket(B, K.LIMIT, 500, 12_033)),
        (("500", "+", "+", "-"), "buy 600 @ join", Ticket(B, K.LIMIT, 600, 12_040)),
        (("1000", "-"), "buy 900 @ join", Ticket(B, K.LIMIT, 900, 12_040)),
        (("right", "right"), "buy 2% @ join", Ticket(B, K.LIMIT, 448, 12_040)),
        (("left",), "buy risk 1% @ join", None),
        (("left", "tab", "tab", *["right"] * 3), "buy risk 1% @ join stop 1%", Ticket(B, K.LIMIT, 8333, 12_040, stop=11_920)),
        (("500", "tab", "tab", "1.19", "-", "tab", "2%"), "buy 500 @ join stop 1.1899 target 2%",
            Ticket(B, K.LIMIT, 500, 12_040, stop=11_899, target=12_281)),
        (("500", *["tab"] * 4, "right", "right"), "buy 500 @ join trail 0.5", Ticket(B, K.LIMIT, 500, 12_040, trail_bps=50)),
        (("5007", "erase", "erase", "0", "clear", "50"), "buy 50 @ join", Ticket(B, K.LIMIT, 50, 12_040)),
        (("up", "m", "up", "s", "up", "y", *["tab"] * 3, "right"), "sell 25% reduce", Ticket(S, K.MARKET, 200, reduce_only=True)),
        (("up", "s", "tab", "1.19"), "stop 1.19", Ticket(S, K.STOP, 0, trigger=11_900, reduce_only=True)),
        (("up", "t", "tab", "right", "right", "right"), "target 1%", Ticket(S, K.TARGET, 0, trigger=12_160, reduce_only=True)),
        (("up", "t", "t", "tab", "1"), "trail 1", Ticket(S, K.TRAILING, 0, reduce_only=True, trail_bps=100)),
        (("up", "s", "l", "tab", "tab", "500"), None, None),
    ],
)  # fmt: skip
def test_keys_write_a_line_that_means_the_ticket(keys: tuple[str, ...], line: str | None, ticket: Ticket | None) -> None:
    form = pressed(Form(), *keys, cursor="1.2033")
    assert line is None or form.line() == line
    if ticket is not None:
        assert read(form.line(), ASTER).ticket == ticket


def test_a_field_that_means_nothing_is_left_out() -> None:
    assert Form().fields == tuple(FIELDS)
    assert Form(kind="market").fields == ("side", "kind", "size", "stop", "target", "trail", "reduce")
    assert Form(reduce="yes").fields == ("side", "kind", "size", "price", "reduce")
    assert Form(kind="stop").fields == ("kind", "price") and Form(kind="trailing").fields == ("kind", "trail")


def test_a_ticket_opened_again_has_no_price_of_then_and_takes_the_cursors() -> None:
    before = Form(size="500", price="1.1", stop="1%", here="stop")
    assert again(before, ASTER, None) == Form(size="500", stop="1%")
    assert again(before, ASTER, 12_040).line() == "buy 500 @ 1.2040 stop 1%"
    assert again(Form("buy", "market", "500"), ASTER, 12_050).line() == "sell 500 @ 1.2050"
    assert again(Form(kind="stop", price="1.1"), ASTER, None) == Form(kind="stop", price="", here="price")


@given(
    st.lists(st.sampled_from(["tab", "up", "right", "left", "+", "-", "erase", "clear", *"bsmlpiftyn 0123456789.,%jcax?é"])),
    st.sampled_from(list(KINDS)),
)
def test_no_keys_break_it_and_what_they_write_is_an_order_or_a_reason(keys: list[str], kind: str) -> None:
    form = pressed(Form(kind=kind, price="" if kind in ("stop", "take-profit") else "join"), *keys)
    try:
        assert read(form.line(), ASTER).words
    except LineError as problem:
        assert str(problem)


# --- on the screen -------------------------------------------------------------------------------------------------------


def drawn(app: Console) -> str:
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


async def until(pilot: Pilot[Parting], holds: Callable[[], object]) -> None:
    """Waits as long as a busy machine needs."""
    for _ in range(1_500):
        if holds():
            return
        await pilot.pause(0.02)
    raise AssertionError(f"it did not happen:\n{drawn(pilot.app)}")  # type: ignore[arg-type]


class Bench:
    """The program on a fake link, and a clock that only moves before each key."""

    def __init__(self, app: Console, link: FakeLink, clock: Time, pilot: Pilot[Parting]) -> None:
        self.app, self.link, self.clock, self.pilot = app, link, clock, pilot

    async def press(self, *keys: str, after_s: float = 0.5) -> None:
        for key in keys:
            self.clock.at += after_s
            self.link.show()  # the engine is there
            await self.until(lambda: self.app._heard_at == self.clock.at)
            await self.pilot.press(key)

    async def until(self, holds: Callable[[], object]) -> None:
        await until(self.pilot, holds)

    @property
    def watched(self) -> Watch:
        return next(one for one in reversed(self.link.sent) if isinstance(one, Watch))

    @property
    def sent(self) -> list[Ask]:
        return [one for one in self.link.sent if isinstance(one, Ask)]

    def said(self) -> str:
        return str(self.app.screen.query_one("#question", Static).render())

    async def engine_says(self, refusal: str = "", **more: object) -> None:
        """Of the order that is being written now."""
        await self.until(lambda: self.watched.ticket is not None)
        watched = self.watched
        assert watched.ticket is not None
        view = TicketView(pictures.MARKET, watched.ticket, watched.amends, refusal, ESTIMATE, **more)  # type: ignore[arg-type]
        self.link.show(view)
        await self.until(lambda: self.app.screen.query_one(PreviewPane).view() == view)


@asynccontextmanager
async def bench(size: tuple[int, int] = (120, 36)) -> AsyncIterator[Bench]:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=size) as pilot:
        made = Bench(app, link, clock, pilot)
        await made.until(lambda: app.desk.frames and app.desk.get(LadderView) is not None)
        yield made


@asynccontextmanager
async def a_ticket(size: tuple[int, int] = (120, 36)) -> AsyncIterator[Bench]:
    async with bench(size) as made:
        await made.press("o")
        await made.until(lambda: isinstance(made.app.screen, TicketScreen))
        yield made


async def test_a_ticket_is_written_previewed_confirmed_and_sent_once() -> None:
    async with a_ticket() as made:
        await made.until(lambda: "How much?" in made.said())
        await made.press("5", "0", "0")
        await made.engine_says()
        bid = made.app.desk.get(LadderView).bids[0][0]  # type: ignore[union-attr]
        assert made.watched.ticket == Ticket(B, K.LIMIT, 500, bid) and made.watched.market == pictures.MARKET
        await made.until(lambda: "it would be sent now" in drawn(made.app))
        for words in (
            *(":buy 500 @ join", "602.05", "fee 0.3010", "+0.8 bps, 300 at once", "0.06x", "liquidation 0.4321"),
            *("none this hour", "-6.62", "+11.38", "1.7 times the loss", "1660 ASTER", "602 of 2,000 USDT", "30 %"),
        ):
            assert words in drawn(made.app), words
        await made.press("enter")
        await made.until(lambda: "Press Enter again within 3 s: Buy 500 ASTER" in made.said())
        assert made.sent == []
        await made.press("enter", after_s=0.1)
        assert made.sent == [], "a bouncing key is one press"
        await made.press("enter")
        await made.until(lambda: made.app.screen is made.app.trading and made.sent)
        await made.press("enter", "enter", after_s=0.1)
        assert [(one.action, one.target, one.ticket) for one in made.sent] == [
            (Action.ORDER, pictures.MARKET, Ticket(B, K.LIMIT, 500, bid))
        ]
        await made.until(lambda: made.watched.ticket is None)
        assert made.app.screen is made.app.trading


async def test_what_is_refused_is_not_sent_and_says_why() -> None:
    async with a_ticket() as made:
        await made.press(*"9000")
        await made.engine_says("an order of 11000.00 is above the limit of 2000")
        await made.until(lambda: "! refused: an order of 11000.00" in drawn(made.app))
        await made.press("enter", "enter")
        assert "Not sent: an order of 11000.00 is above the limit of 2000." in made.said() and made.sent == []
        await made.press("backspace")
        await made.until(lambda: "Buy 900 ASTER" in made.said())
        await made.engine_says()
        await made.press("enter", "enter")
        await made.until(lambda: made.sent)


async def test_a_change_between_the_two_presses_asks_again_and_so_does_waiting() -> None:
    async with a_ticket() as made:
        await made.press(*"500", "enter", "+", "enter")
        assert "Press Enter again" in made.said() and made.sent == []
        await made.press("enter", after_s=3.5)
        assert made.sent == []
        await made.press("enter")
        await made.until(lambda: made.sent)
        assert made.sent[0].ticket is not None and made.sent[0].ticket.quantity == 600


async def test_what_means_nothing_is_not_sent() -> None:
    async with a_ticket() as made:
        await made.press("x", "enter", "enter")
        assert made.sent == [] and isinstance(made.app.screen, TicketScreen) and "is no number" in made.said()
        assert made.watched.ticket is None


async def test_the_kill_key_works_over_a_ticket_and_escape_sends_nothing() -> None:
    async with a_ticket((80, 24)) as made:
        await made.press(*"500", "f12")
        await made.until(lambda: made.link.asks() == [(Action.HALT, "")])
        await made.press("escape")
        await made.until(lambda: made.app.screen is made.app.trading and made.watched.ticket is None)
        assert made.link.asks() == [(Action.HALT, "")]
        await made.press("o")
        await made.until(lambda: isinstance(made.app.screen, TicketScreen) and "Buy 500 ASTER" in made.said())


async def test_without_an_engine_nothing_old_is_shown_and_nothing_is_sent() -> None:
    async with a_ticket() as made:
        await made.press(*"500")
        await made.engine_says()
        made.clock.at += 5  # without a word from it
        await made.until(lambda: "! no engine is heard" in drawn(made.app))
        assert "602.05" not in drawn(made.app)


async def test_a_price_that_joins_follows_the_market() -> None:
    async with a_ticket() as made:
        await made.press(*"500")
        await made.until(lambda: made.watched.ticket is not None)
        view, before = made.app.desk.get(LadderView), made.watched.ticket
        assert view is not None and before is not None
        made.link.show(msgspec.structs.replace(view, bids=((view.bids[0][0] - 7, 100), *view.bids[8:])))
        await made.until(lambda: made.watched.ticket == msgspec.structs.replace(before, price=before.price - 7))


async def test_the_ladders_cursor_is_the_price_of_the_ticket() -> None:
    async with bench() as made:
        bid = made.app.desk.get(LadderView).bids[0][0]  # type: ignore[union-attr]
        await made.press("1", *["shift+down"] * 4)
        assert made.app.trading.ladder.cursor == bid - 3
        await made.until(lambda: f">  {(bid - 3) * pictures.TICK:.4f} <" in drawn(made.app))
        await made.press("enter")
        await made.until(lambda: isinstance(made.app.screen, TicketScreen))
        await made.press(*"500")
        await made.until(lambda: made.watched.ticket == Ticket(B, K.LIMIT, 500, bid - 3))
        await made.press("tab", "j", "c")
        assert f"@ {(bid - 3) * pictures.TICK:.4f}" in made.said()
        await made.press("escape")
        await made.until(lambda: made.app.screen is made.app.trading)
        await made.press("space")
        assert made.app.trading.ladder.cursor is None
        await made.press(*["shift+up"] * 20)
        cursor = made.app.trading.ladder.cursor
        assert cursor is not None and cursor > bid + 15
        await made.until(lambda: f"{cursor * pictures.TICK:.4f} <" in drawn(made.app))


async def test_the_order_line_shows_the_same_and_refuses_with_the_reason() -> None:
    async with bench((80, 24)) as made:
        await made.press("colon")
        await made.until(lambda: isinstance(made.app.screen, OrderScreen))
        await made.press(*"buy", "space", *"500")
        await made.engine_says("trading is off", notes=("The book shows 300 ASTER only.",))
        await made.until(lambda: "! refused: trading is off" in drawn(made.app) and "! The book shows" in drawn(made.app))
        assert "602 of 2,000 USDT" in drawn(made.app) and "Enter: send" in drawn(made.app)
        await made.press("enter")
        assert "Not sent: trading is off." in made.said() and made.sent == []
        await made.engine_says()
        await made.press("enter")
        await made.until(lambda: made.sent and made.watched.ticket is None)


async def test_an_amendment_is_previewed_of_its_order() -> None:
    async with bench() as made:
        view = made.app.desk.get(OrdersView, "")
        assert view is not None
        entry = msgspec.structs.replace(view.open[0], client_id="mine", kind="limit", market=pictures.MARKET)
        made.link.show(OrdersView("", (entry,), ()))
        await made.until(lambda: made.app.desk.get(OrdersView, "") != view)
        await made.press("colon")
        await made.until(lambda: isinstance(made.app.screen, OrderScreen))
        await made.press(*"amend", "space", *"400", "space", "at", "space", *"bid")
        await made.until(lambda: made.watched.amends == "mine" and made.watched.ticket is not None)


async def test_what_was_said_of_another_order_is_not_shown() -> None:
    async with a_ticket() as made:
        await made.press(*"500")
        await made.engine_says("trading is off")
        await made.press("+")
        await made.until(lambda: "The engine is asked" in drawn(made.app))
        assert "trading is off" not in drawn(made.app)


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (80, 24), (160, 50)])
async def test_it_is_drawn_at_each_size(size: tuple[int, int]) -> None:
    async with a_ticket(size) as made:
        await made.press(*"500", "tab", "tab", "right")
        await made.engine_says()
        await made.press("enter")
        await made.pilot.pause(0.2)
        assert made.app.is_running and len(drawn(made.app).splitlines()) == size[1]
        if size[0] >= 80:
            for words in ("Ticket for binance ASTER/USDT", "> stop", "30 %", "Press Enter again", "Esc: back"):
                assert words in drawn(made.app), words


async def test_it_wears_every_theme() -> None:
    async with a_ticket() as made:
        await made.press(*"500")
        await made.engine_says()
        form, seen = made.app.screen.query_one(FormPane), set()
        for name in made.app.theme_names:
            made.app.theme = name
            await made.until(lambda name=name: made.app.current_theme.name == name)
            await made.pilot.pause()
            seen.add(str(form.look("bid").color))
        assert len(seen) > 1


def test_the_ticket_looks_as_it_did(snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    film = Film(pictures.busy, "light")

    async def write(pilot: Pilot[Parting]) -> None:
        await film.run(pilot)
        await pilot.press("o", *"500", "tab", "tab", "1", "percent_sign")
        screen = film.app.screen
        assert isinstance(screen, TicketScreen) and screen.understood is not None
        view = TicketView(pictures.MARKET, screen.understood.ticket, "", "trading is off", ESTIMATE)
        film.link.show(view)
        await until(pilot, lambda: screen.preview.view() == view)
        screen.frame()
        await pilot.pause()

    assert snap_compare(film.app, terminal_size=(80, 24), run_before=write)


def test_limits_and_funding_in_words() -> None:
    def text(room: Room, width: int = 60) -> str:
        return "".join(part for part, _ in limit(room, width))

    assert text(ROOMS[0]).startswith("order          602 of 2,000 USDT") and text(ROOMS[0]).endswith(" 30 %")
    assert "! 3,100 of 2,000 USDT" in text(Room("order", 3100.0, 2000.0, "USDT", 1.55))
    assert "9.50 of at least 10 %" in text(Room("to liquidation", 9.5, 10.0, "%", 1.05, least=True))
    assert text(Room("order", 0.0, 0.0, "", 1e18)).endswith("999 %") and len(text(ROOMS[0], 30)) <= 31
    assert "! no equity of 3 x" in text(Room("leverage", 1e18, 3.0, "x", 1e18))
    replace = msgspec.structs.replace
    assert funding(ESTIMATE) == ("pays 0.0602 in 1h30", "none this hour")
    assert funding(replace(ESTIMATE, funding="-0.5", funding_in_s=60.0)) == ("receives 0.5000 in 1m00", "")
    assert funding(replace(ESTIMATE, funding_in_s=float("inf"))) == ("not known", "")
    assert funding(replace(ESTIMATE, funding="0.0000", funding_in_s=60.0)) == ("none in 1m00", "")


@pytest.mark.slow
async def test_with_an_engine_the_ticket_becomes_the_position_that_it_said(tmp_path: Path) -> None:
    """The real engine, its link and the simulated venue behind the screen."""
    quiet = desk(tmp_path, judgment={"min_confidence": 1.0, "judge": "rules"})
    async with venue() as process, engine_on(process, quiet) as engine:
        consoles = Consoles(engine, engine.session, ("binance:ASTER/USDT:USDT",), Watch("binance:ASTER/USDT:USDT", 1000, 20))

        async def find() -> Consoles:
            return consoles

        app = Console(memory_link(find))
        async with app.run_test(size=(120, 36)) as pilot:

            def ready() -> bool:
                account, status = app.desk.get(AccountView, ""), app.desk.get(StatusView, "")
                book = app.desk.get(LadderView)
                return bool(
                    status and not status.waits_for and account and account.leverages and book and book.bids and book.asks
                )

            await until(pilot, ready)
            journalled, market = engine.state.counters.commands, app.desk.market
            await pilot.press("o")
            await until(pilot, lambda: isinstance(app.screen, TicketScreen))
            await pilot.press("5", "0", "0", "up", "m")
            preview = app.screen.query_one(PreviewPane)

            def estimate() -> Estimate | None:
                view = preview.view()
                return view.estimate if view is not None and not view.refusal else None

            await until(pilot, lambda: estimate() is not None)
            assert engine.state.counters.commands == journalled and not engine.state.orders
            await pilot.press("enter")
            await until(pilot, lambda: "Press Enter again" in drawn(app))
            await pilot.pause(0.4)  # a finger is slower than a bounce
            await pilot.press("enter")
            await until(pilot, lambda: engine.state.portfolio.quantity(market) == 500)
            assert engine.state.counters.commands == journalled + 1
        await engine.settle(Action.SHUTDOWN, "the test")
