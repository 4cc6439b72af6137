"""The venue of a what-if, by hand: what it answers a core's requests, and when."""

from decimal import Decimal

import msgspec

from engine.events import (
    AccountSnapshot,
    Action,
    BalanceChange,
    Connected,
    Difference,
    Disconnected,
    Event,
    Filled,
    FundingPaid,
    Mark,
    OrderAccepted,
    OrderChanged,
    OrderFact,
    OrderRefused,
    OrderState,
    PositionFact,
    Purpose,
    Side,
)
from engine.portfolio import Portfolio
from engine.replay.refill import Refill
from tests.factory import MARKET, MS, SECOND, TAKER, Desk, of, sent, settings

DELAY_MS = 30
TICK = Decimal("0.0001")


class Traded(Desk):
    """A desk whose orders the venue of a what-if answers."""

    def __init__(self, opening: AccountSnapshot | None = None, **sections: dict[str, object]) -> None:
        self.venue = Refill(DELAY_MS * MS, opening)
        self.answers: list[Event] = []
        super().__init__(settings(**sections))

    def feed(self, event: Event) -> list[Event]:
        out: list[Event] = []
        for answer in self.venue.until(event.at, self.core):
            self.answers.append(answer)
            out += self._ask(super().feed(answer))
        out += self._ask(super().feed(event))
        for answer in self.venue.seen(event, self.core):
            self.answers.append(answer)
            out += self._ask(super().feed(answer))
        return out

    def _ask(self, out: list[Event]) -> list[Event]:
        for output in out:
            self.venue.asked(output)
        return out

    def begun(self) -> "Traded":
        """As `open`, with the account as this venue tells it."""
        for event in Desk().open().inputs[2:]:
            if not isinstance(event, AccountSnapshot):
                self.feed(msgspec.structs.replace(event, at=self.at))
        self.update = 1010
        self.pass_ms(200)
        return self

    def marked(self, price: str, rate: str = "0", next_ms: int = 0) -> list[Event]:
        self.at += MS
        return self.feed(Mark(self.at, MARKET, Decimal(price), Decimal(price), Decimal(rate), next_ms, self.at // MS))

    @property
    def portfolio(self) -> Portfolio:
        return self.core.state.portfolio

    @property
    def quantity(self) -> int:
        return self.portfolio.position(MARKET).quantity

    def lose_the_book(self) -> list[Event]:
        return self.feed(Disconnected(self.at, "binance", "public", "the test"))

    def have_it_back(self, bid: int, ask: int) -> list[Event]:
        self.feed(Connected(self.at, "binance", "public"))
        self.touch()
        other = Desk().open(bid, ask)
        picture = next(event for event in other.inputs if type(event).__name__ == "BookSnapshot")
        out = self.feed(msgspec.structs.replace(picture, at=self.at, last_id=self.update))
        return out + self.touch()


def entered() -> tuple[Traded, list[Event]]:
    desk = Traded().begun()
    desk.arm()
    return desk, desk.trend(80, 2)


def test_an_entry_takes_the_book_when_it_arrives_and_is_protected() -> None:
    desk, out = entered()
    entry, fill = sent(out)[0], of(out, Filled)[0]
    accepted = next(one for one in desk.answers if isinstance(one, OrderAccepted))
    assert isinstance(fill, Filled) and accepted.at == entry.at + DELAY_MS * MS
    assert fill.quantity == entry.quantity == desk.quantity and desk.core.state.markets[MARKET].plan is not None
    assert fill.fee == (fill.price * TICK * fill.quantity * TAKER).quantize(Decimal("1e-8"))
    assert [order.purpose for order in desk.core.state.open_orders(MARKET)] == [Purpose.STOP, Purpose.TARGET]
    assert not of(desk.out, Difference)


def test_what_the_ledger_says_is_what_its_fills_come_to() -> None:
    desk, out = entered()
    out += desk.trend(30, -4, 6360)
    cash, quantity, fees = Decimal(0), 0, Decimal(0)
    fills = [one for one in out if isinstance(one, Filled)]
    for fill in fills:
        cash -= fill.side * fill.quantity * fill.price * TICK
        quantity += fill.side * fill.quantity
        fees += fill.fee
    worth = quantity * (desk.core.state.markets[MARKET].mark_price() or Decimal(0))
    state = desk.core.state
    realised, unrealised = state.portfolio.realised, state.portfolio.unrealised(state.instruments(), state.marks())
    assert len(fills) >= 2 and fees == state.portfolio.fees
    assert cash + worth == realised + unrealised
    assert state.portfolio.wallet == Decimal(10_000) + realised - fees


def test_a_stop_rests_until_the_mark_reaches_it_and_takes_its_target_with_it() -> None:
    desk, _ = entered()
    stop = next(order for order in desk.core.state.open_orders(MARKET) if order.purpose is Purpose.STOP)
    desk.marked(str((stop.trigger + 1) * TICK))
    assert desk.quantity
    out = desk.marked(str(stop.trigger * TICK))
    assert not desk.quantity and of(out, Filled)
    desk.pass_ms(1000)
    assert not desk.core.state.open_orders(MARKET)


def test_an_order_that_finds_no_book_to_trust_waits_for_it_and_takes_the_price_of_then() -> None:
    desk, _ = entered()
    stop = next(order for order in desk.core.state.open_orders(MARKET) if order.purpose is Purpose.STOP)
    desk.lose_the_book()
    assert not of(desk.marked(str(stop.trigger * TICK)), Filled) and desk.quantity
    out = desk.have_it_back(6100, 6101)
    fills = [one for one in out if isinstance(one, Filled)]
    assert not desk.quantity and {fill.price for fill in fills} == {6100}
    assert not [one for one in desk.out if isinstance(one, OrderChanged) and one.after is OrderState.EXPIRED]


def test_a_stop_that_the_mark_has_passed_already_is_refused_and_the_position_closed() -> None:
    desk = Traded(risk={"max_collar_bps": 10_000.0}).begun()
    desk.arm()
    desk.marked("0.5")  # far below where the book is
    out = desk.trend(80, 2) + desk.pass_ms(1000)
    refused = [one for one in desk.answers if isinstance(one, OrderRefused)]
    assert refused and refused[0].code == -2021
    assert sum(one.side * one.quantity for one in out if isinstance(one, Filled)) == 0


def opening(trigger: str) -> AccountSnapshot:
    fact = PositionFact(MARKET, 700, Decimal("0.62"), Decimal("0.62"), Decimal(0), Decimal(1))
    order = OrderFact(MARKET, "btolder0001", "55", Side.SELL, 700, 0, True, True, Decimal(trigger))
    return AccountSnapshot(1, "binance", Decimal(9_000), Decimal(9_000), (fact,), (order,), 1)


def test_a_stop_that_an_earlier_session_left_still_protects() -> None:
    desk = Traded(opening("0.6100")).begun()
    desk.pass_ms(8_000)
    stops = [order for order in desk.core.state.open_orders(MARKET) if order.purpose is Purpose.STOP]
    assert [stop.client_id for stop in stops] == ["btolder0001"] and desk.quantity == 700
    assert desk.portfolio.wallet == Decimal(9_000)
    assert [order.purpose for order in sent(desk.out)] == [Purpose.TARGET]
    desk.marked("0.6100")
    assert not desk.quantity and not of(desk.out, Difference)


def test_a_transfer_is_in_the_venues_wallet_too() -> None:
    desk = Traded().begun()
    desk.at += SECOND
    desk.feed(BalanceChange(desk.at, "binance", "DEPOSIT", "USDT", Decimal(10_500), Decimal(500)))
    desk.pass_ms(70_000)
    assert sum(isinstance(one, AccountSnapshot) for one in desk.answers) >= 3
    assert desk.portfolio.wallet == Decimal(10_500) and not of(desk.out, Difference)


def test_funding_is_paid_on_what_is_held_when_it_is_due() -> None:
    desk, _ = entered()
    due = desk.at // MS + 5
    desk.marked("0.6250", "0.001", due)
    quantity = desk.quantity
    out = desk.marked("0.6255", "0.001", due + 3_600_000)
    (paid,) = [one for one in out if isinstance(one, FundingPaid)]
    assert paid.amount == -(quantity * Decimal("0.6255") * Decimal("0.001"))
    desk.pass_ms(40_000)
    assert not of(desk.out, Difference)


def test_a_halt_keeps_the_stop_and_a_flatten_closes() -> None:
    desk, _ = entered()
    desk.command(Action.HALT)
    desk.pass_ms(2_000)
    assert desk.quantity and Purpose.STOP in {order.purpose for order in desk.core.state.open_orders(MARKET)}
    desk.command(Action.FLATTEN)
    desk.pass_ms(2_000)
    assert not desk.quantity and not desk.core.state.open_orders(MARKET)


def test_the_same_inputs_get_the_same_answers() -> None:
    (one, _), (two, _) = entered(), entered()
    assert one.answers == two.answers and one.core.digest() == two.core.digest()
