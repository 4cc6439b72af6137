"""Orders, triggers, funding and liquidation on a market that moves only when told to."""

from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest
from still_market import FUNDING_MS, StillMarket

from engine.venue.exchange import Exchange
from engine.venue.faults import FaultOrder, Faults
from engine.venue.generated import LISTINGS, GeneratedMarket
from engine.venue.news import News
from engine.venue.orders import Order, Refusal, Request
from engine.venue.reports import bodies

S = "ASTERUSDT"
D = Decimal


class Desk:
    """An exchange over one still market, and all that it told."""

    def __init__(self, wallet: str = "1000") -> None:
        self.market, self.told, self.faults = StillMarket(), [], Faults()  # type: ignore[var-annotated]
        self.exchange = Exchange({S: self.market}, D(wallet), lambda *frame: None, self.tell, self.faults, 1_000)
        self.now_ms = 1_000
        self.step()

    def tell(self, news: News) -> None:
        self.told.extend(bodies(news))

    def step(self, ms: int = 5) -> None:
        self.now_ms += ms
        self.exchange.advance(self.now_ms)

    def order(self, side: str = "BUY", quantity: str = "100", price: str = "", tif: str = "", **more: Any) -> Order:
        kind = "LIMIT" if price else "MARKET"
        fields = {"time_in_force": tif or ("GTC" if price else ""), **more}
        return self.exchange.place(Request(S, side, kind, quantity=quantity, price=price, **fields))

    def stop(self, trigger: str, side: str = "SELL", quantity: str = "100", kind: str = "STOP_MARKET", **more: Any) -> Any:
        more.setdefault("reduce_only", True)
        return self.exchange.conditionals.place(Request(S, side, kind, quantity=quantity, trigger=trigger, **more))

    def refused(self, **order: Any) -> int:
        with pytest.raises(Refusal) as refusal:
            self.order(**order)
        return refusal.value.code

    def events(self) -> list[str]:
        """What was told, in short: type and status."""
        brief = []
        for event in self.told:
            status = event["o"]["X"] if "o" in event else event["a"]["m"] if "a" in event else ""
            brief.append(f"{event['e']} {status}".strip())
        self.told.clear()
        return brief

    @property
    def position(self) -> Decimal:
        return self.exchange.account.position(S).quantity


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_market_order_fills_through_levels_and_is_reported_in_the_venues_order(desk: Desk) -> None:
    order = desk.order(quantity="1500")
    assert order.status == "FILLED" and desk.position == 1500
    assert desk.exchange.account.position(S).cost == 1000 * D("1.0001") + 500 * D("1.0002")
    assert desk.events() == [
        "ORDER_TRADE_UPDATE NEW",
        "TRADE_LITE", "ORDER_TRADE_UPDATE PARTIALLY_FILLED",
        "TRADE_LITE", "ORDER_TRADE_UPDATE FILLED",
        "ACCOUNT_UPDATE ORDER",
    ]  # fmt: skip


def test_fees_are_taken_by_role(desk: Desk) -> None:
    desk.order(quantity="100", price="0.9990")
    desk.market.move(9_980, 9_985)
    desk.step()
    assert desk.position == 100
    assert desk.exchange.account.fees_paid == D("0.01998")  # 99.9 x 0.0002
    desk.order(side="SELL", quantity="100", reduce_only=True)
    assert desk.exchange.account.fees_paid == D("0.01998") + D("0.0499")  # 99.8 x 0.0005


def test_a_market_order_that_empties_the_book_expires_with_its_rest(desk: Desk) -> None:
    desk.market.asks = {10_001: 40}
    order = desk.order(quantity="100")
    assert (order.status, order.filled) == ("EXPIRED", 40)


def test_post_only_that_would_cross_is_refused(desk: Desk) -> None:
    assert desk.refused(price="1.0001", tif="GTX") == -5022
    assert desk.order(price="1.0000", tif="GTX").status == "NEW"


def test_fill_or_kill_fills_all_or_is_refused(desk: Desk) -> None:
    assert desk.refused(price="1.0001", quantity="1001", tif="FOK") == -5021
    assert desk.order(price="1.0001", quantity="1000", tif="FOK").status == "FILLED"


def test_immediate_or_cancel_drops_what_does_not_fill(desk: Desk) -> None:
    order = desk.order(price="1.0001", quantity="1200", tif="IOC")
    assert (order.status, order.filled) == ("EXPIRED", 1000)


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"quantity": "1.5"}, -1111),
        ({"price": "1.00005"}, -1111),
        ({"quantity": "0"}, -4003),
        ({"quantity": "-5"}, -4003),
        ({"quantity": "4"}, -4164),
        ({"quantity": "260000"}, -4005),
        ({"quantity": ""}, -1102),
        ({"quantity": "1e15"}, -4005),
        ({"quantity": "1e999999999"}, -1100),
        ({"price": "1e9", "side": "SELL"}, -4002),
        ({"quantity": "nan"}, -1100),
        ({"price": "1.2"}, -4016),
        ({"price": "0.8", "side": "SELL"}, -4024),
        ({"price": "1.0", "tif": "XYZ"}, -1115),
        ({"side": "HOLD"}, -1117),
        ({"client_id": "not allowed!"}, -4015),
        ({"quantity": "100000"}, -2019),
        ({"reduce_only": True}, -2022),
    ],
)
def test_the_venues_filters_refuse_with_its_codes(desk: Desk, order: dict[str, Any], code: int) -> None:
    assert desk.refused(**order) == code
    assert desk.told == [] and not desk.exchange.orders


def test_a_market_order_into_a_book_far_from_the_mark_is_refused(desk: Desk) -> None:
    desk.market.set_mark("0.5")
    desk.step()
    assert desk.refused() == -4131


def test_unknown_symbols_and_conditional_types_are_refused(desk: Desk) -> None:
    with pytest.raises(Refusal) as unknown:
        desk.exchange.place(Request("NOPEUSDT", "BUY", "MARKET", quantity="10"))
    with pytest.raises(Refusal) as conditional:
        desk.exchange.place(Request(S, "SELL", "STOP_MARKET", quantity="10", trigger="0.9"))
    assert (unknown.value.code, conditional.value.code) == (-1121, -4120)


def test_a_client_id_is_unique_among_open_orders_only(desk: Desk) -> None:
    desk.order(price="0.9", client_id="mine")
    assert desk.refused(price="0.9", client_id="mine") == -4116
    desk.exchange.cancel(S, None, "mine")
    first = desk.order(client_id="mine")
    second = desk.order(client_id="mine")
    assert first.id != second.id and desk.position == 200
    assert desk.exchange.look_up(S, None, "mine").id == second.id


def test_reduce_only_is_clipped_to_the_position_and_never_flips_it(desk: Desk) -> None:
    desk.order(quantity="100")
    order = desk.order(side="SELL", quantity="250", reduce_only=True)
    assert (order.quantity, order.status, desk.position) == (100, "FILLED", 0)


def test_reduce_only_needs_no_minimum_notional(desk: Desk) -> None:
    desk.order(quantity="100")
    assert desk.order(side="SELL", quantity="1", reduce_only=True).status == "FILLED"


def test_a_market_exit_passes_a_resting_reduce_only_target_which_then_expires(desk: Desk) -> None:
    desk.order(quantity="100")
    target = desk.order(side="SELL", quantity="100", price="1.05", reduce_only=True)
    desk.order(side="SELL", quantity="100", reduce_only=True)
    assert desk.position == 0 and target.status == "EXPIRED" and not desk.market.resting


def test_a_resting_reduce_only_order_shrinks_with_the_position(desk: Desk) -> None:
    desk.order(quantity="100")
    target = desk.order(side="SELL", quantity="100", price="1.05", reduce_only=True)
    desk.order(side="SELL", quantity="70", reduce_only=True)
    assert (target.status, target.quantity) == ("NEW", 30)
    assert desk.market.resting[target.id].quantity == 30


def test_cancel_and_look_up_know_what_is_gone(desk: Desk) -> None:
    order = desk.order(price="0.9")
    assert desk.exchange.cancel(S, order.id, "").status == "CANCELED"
    for call, code in ((desk.exchange.cancel, -2011), (desk.exchange.look_up, -2013)):
        with pytest.raises(Refusal) as refusal:
            call(S, 5 if code == -2013 else order.id, "")
        assert refusal.value.code == code


def test_an_amended_order_keeps_its_id_at_its_new_price(desk: Desk) -> None:
    order = desk.order(price="0.9")
    desk.exchange.amend(S, order.id, "", "120", "0.95")
    assert (order.quantity, order.price, desk.market.resting[order.id].limit) == (120, 9_500, 9_500)
    assert desk.told[-1]["o"]["x"] == "AMENDMENT"


def test_own_orders_never_trade_with_each_other(desk: Desk) -> None:
    maker = desk.order(side="SELL", quantity="100", price="1.0001")
    taker = desk.order(quantity="1500")
    assert maker.status == "EXPIRED_IN_MATCH" and maker.filled == 0 and taker.status == "FILLED"


def test_a_stop_triggers_and_is_told_in_full(desk: Desk) -> None:
    desk.order(quantity="100")
    stop = desk.stop("0.9900", client_id="guard")
    desk.events()
    desk.market.move(9_895, 9_897)
    desk.step()
    ids = [event["o"].get("ai") for event in desk.told if event["e"] == "ALGO_UPDATE"]
    placed = desk.exchange.orders[stop.order_id]
    trade = next(event for event in desk.told if event["e"] == "ORDER_TRADE_UPDATE")
    assert (trade["o"]["c"], trade["o"]["i"], trade["o"]["ot"], trade["o"]["R"]) == ("guard", placed.id, "STOP_MARKET", True)
    assert ids == ["", str(placed.id), str(placed.id)]
    assert desk.events() == [
        "ALGO_UPDATE TRIGGERING", "ORDER_TRADE_UPDATE NEW", "ALGO_UPDATE TRIGGERED",
        "TRADE_LITE", "ORDER_TRADE_UPDATE FILLED", "ALGO_UPDATE FINISHED", "ACCOUNT_UPDATE ORDER",
    ]  # fmt: skip
    assert desk.position == 0 and not desk.exchange.conditionals.open()


def test_a_target_triggers_on_the_other_side(desk: Desk) -> None:
    desk.order(side="SELL", quantity="100")
    target = desk.stop("0.9900", side="BUY", kind="TAKE_PROFIT_MARKET")
    desk.market.move(9_895, 9_897)
    desk.step()
    assert target.status == "FINISHED" and desk.position == 0


def test_a_stop_on_the_mark_ignores_trades(desk: Desk) -> None:
    desk.order(quantity="100")
    stop = desk.stop("0.9900", working_type="MARK_PRICE")
    desk.market.move(9_800, 9_802)
    desk.step()
    assert stop.status == "FINISHED"  # the still market's mark follows its book
    desk.order(quantity="100")
    calm = desk.stop("0.9500", working_type="MARK_PRICE")
    desk.market._sink().trade(9_000, desk.now_ms)
    desk.step()
    assert calm.status == "NEW"


@pytest.mark.parametrize("side", ["SELL", "BUY"])
def test_a_trailing_stop_follows_the_best_price_and_triggers_at_its_turn(desk: Desk, side: str) -> None:
    gain = 1 if side == "SELL" else -1
    desk.order(side="BUY" if side == "SELL" else "SELL", quantity="100")
    trailing = desk.stop("", side=side, kind="TRAILING_STOP_MARKET", working_type="MARK_PRICE", callback="1")
    for ticks in (-50, 200, 150, 300):  # from 10,000; the turn of 150 is more than 1 % only after the 300
        desk.market.move(9_999 + ticks * gain, 10_001 + ticks * gain)
        desk.step()
        assert trailing.status == "NEW"
    desk.market.move(9_999 + 190 * gain, 10_001 + 190 * gain)
    desk.step()
    assert trailing.status == "FINISHED" and desk.position == 0


def test_a_trailing_stop_begins_at_its_activation(desk: Desk) -> None:
    desk.order(quantity="100")
    fields = {"kind": "TRAILING_STOP_MARKET", "working_type": "MARK_PRICE", "callback": "0.5"}
    waits = desk.stop("", activation="1.0100", **fields)
    desk.market.move(9_900, 9_902)
    desk.step()
    assert waits.status == "NEW"
    desk.market.move(10_100, 10_102)
    desk.step()
    desk.market.move(10_040, 10_042)
    desk.step()
    assert waits.status == "FINISHED"
    rates = [({"callback": "0.05"}, -2007), ({"callback": "21"}, -2007)]
    wrongs = [*rates, ({"callback": ""}, -1102), ({"activation": "0.9"}, -2021)]
    for wrong, code in wrongs:
        with pytest.raises(Refusal) as refusal:
            desk.stop("", **{**fields, **wrong})
        assert refusal.value.code == code, wrong


def test_a_stop_that_would_trigger_at_once_is_refused(desk: Desk) -> None:
    desk.order(quantity="100")
    for trigger, kind in (("1.0100", "STOP_MARKET"), ("0.9900", "TAKE_PROFIT_MARKET")):
        with pytest.raises(Refusal) as refusal:
            desk.stop(trigger, kind=kind)
        assert refusal.value.code == -2021


def test_a_reduce_only_stop_without_a_position_is_rejected_when_it_triggers(desk: Desk) -> None:
    stop = desk.stop("0.9900")
    desk.market.move(9_895, 9_897)
    desk.step()
    assert stop.status == "REJECTED" and desk.told[-1]["o"]["rm"] == "Reduce Only reject" and desk.position == 0


def test_close_position_closes_what_there_is_when_it_triggers(desk: Desk) -> None:
    desk.order(quantity="100")
    stop = desk.stop("0.9900", quantity="", close_position=True, reduce_only=False)
    desk.order(quantity="50")
    desk.market.move(9_895, 9_897)
    desk.step()
    assert stop.status == "FINISHED" and desk.position == 0


def test_conditionals_are_invisible_to_ordinary_cancels_and_the_countdown(desk: Desk) -> None:
    desk.order(quantity="100")
    resting, stop = desk.order(price="0.9"), desk.stop("0.9800")
    desk.exchange.cancel_all(S)
    assert resting.status == "CANCELED" and stop.open
    again = desk.order(price="0.9")
    desk.exchange.countdowns[S] = desk.now_ms + 1_000
    desk.step(999)
    assert again.open
    desk.step(1)
    assert again.status == "CANCELED" and stop.open


def test_funding_is_settled_with_the_rate_that_was_announced(desk: Desk) -> None:
    desk.order(quantity="1000")
    desk.events()
    before = desk.exchange.account.wallet
    desk.market.set_mark("1.02", rate="0.0009", next_funding_ms=2 * FUNDING_MS)
    desk.exchange.advance(FUNDING_MS)
    assert desk.exchange.account.wallet - before == D("-0.102")  # 1000 x 1.02 x 0.0001
    balance = {"a": "USDT", "wb": "999.39795000", "cw": "999.39795000", "bc": "-0.10200000"}
    assert desk.told[-1]["a"] == {"m": "FUNDING_FEE", "B": [balance], "P": []}
    assert [(row.kind, row.amount) for row in desk.exchange.income if row.kind == "FUNDING_FEE"] == [("FUNDING_FEE", D("-0.102"))]
    desk.exchange.advance(FUNDING_MS + 5)
    assert len([row for row in desk.exchange.income if row.kind == "FUNDING_FEE"]) == 1


def test_a_position_beyond_its_margin_is_liquidated_with_the_fee() -> None:
    desk = Desk("100")
    desk.exchange.account.leverage[S] = 50
    desk.order(quantity="1000")
    desk.order(price="0.9", quantity="100")
    stop = desk.stop("0.95")
    desk.events()
    desk.market.move(9_080, 9_082)
    desk.step()
    # The stop triggers first, as on the venue; what it could not prevent is shown by the next, unprotected position.
    assert stop.status == "FINISHED" and desk.position == 0
    desk = Desk("100")
    desk.exchange.account.leverage[S] = 50
    desk.order(quantity="1000")
    resting = desk.order(price="0.9", quantity="100")
    desk.events()
    fees = desk.exchange.account.fees_paid
    desk.market.move(9_080, 9_082)
    desk.step()
    orders = [event["o"] for event in desk.told if event["e"] == "ORDER_TRADE_UPDATE"]
    closing = [order for order in orders if order["c"].startswith("autoclose-")]
    assert desk.position == 0 and resting.status == "CANCELED" and desk.exchange.liquidations == 1
    assert {order["x"] for order in closing} == {"CALCULATED"} and closing[-1]["X"] == "FILLED"
    assert D(closing[-1]["n"]) == desk.exchange.account.fees_paid - fees == D("0.454")
    assert desk.exchange.account.wallet == D(100) - D("0.50005") - D("92.1") - D("0.454")


def test_a_bankrupt_account_is_cleared_by_the_insurance_fund() -> None:
    desk = Desk("30")
    desk.exchange.account.leverage[S] = 50
    desk.order(quantity="1000")
    desk.market.move(9_000, 9_002)
    desk.step()
    assert desk.position == 0 and desk.exchange.account.wallet == 0
    assert desk.told[-1]["a"]["m"] == "INSURANCE_CLEAR"


def test_an_isolated_position_pays_its_funding_from_its_margin_and_is_named(desk: Desk) -> None:
    account = desk.exchange.account
    account.isolate(S, True)
    desk.order(quantity="1000")
    before, margin = account.wallet, account.position(S).margin
    desk.exchange.fund(S, D("1.02"), D("0.0001"))
    assert account.wallet - before == account.position(S).margin - margin == D("-0.102")
    told = desk.told[-1]["a"]
    assert (told["m"], told["B"][0]["bc"], [row["s"] for row in told["P"]]) == ("FUNDING_FEE", "-0.10200000", [S])


@pytest.mark.parametrize(("price", "cleared"), [(9_850, False), (9_000, True)])
def test_an_isolated_position_is_liquidated_alone_and_costs_its_margin_at_most(price: int, cleared: bool) -> None:
    desk = Desk()
    account = desk.exchange.account
    account.leverage[S] = 50
    account.isolate(S, True)
    desk.order(quantity="1000")
    before, margin = account.wallet, account.position(S).margin
    assert margin == D("20.002") and account.liquidation_price(S, desk.exchange.marks(), desk.exchange.rates()) > D("0.98")
    told = next(event for event in desk.told if event["e"] == "ACCOUNT_UPDATE")["a"]
    assert (told["P"][0]["mt"], told["P"][0]["iw"]) == ("isolated", "20.00200000")
    assert D(told["B"][0]["wb"]) - D(told["B"][0]["cw"]) == margin
    desk.told.clear()
    desk.market.move(price, price + 2)
    desk.step()
    assert desk.position == 0 and desk.exchange.liquidations == 1 and account.set_aside() == 0
    reasons = [event["a"]["m"] for event in desk.told if "a" in event]
    assert ("INSURANCE_CLEAR" in reasons) is cleared
    if cleared:
        assert account.wallet == before - margin
    else:
        assert before - margin < account.wallet < before


def test_a_wrong_fee_rate_charges_what_the_venue_does_not_report(desk: Desk) -> None:
    desk.faults.switch(FaultOrder("fee_rate", rate="0.001"))
    desk.order(quantity="100")
    assert desk.exchange.account.fees_paid == D("0.10001") and desk.market.listing.taker_rate == D("0.0005")


def test_without_a_book_orders_are_refused_and_nothing_breaks(desk: Desk) -> None:
    desk.market.bids, desk.market.asks, desk.market.state = {}, {}, None
    desk.step()
    assert desk.refused() == -1008


# --- over living markets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_after_any_orders_on_living_markets_the_books_agree(seed: int) -> None:
    """Wallet, income, positions, trades and the private stream tell one story, and no order is lost between book and venue."""
    random, now_ms, told = Random(seed), 1_800_000_000_000, []  # type: ignore[var-annotated]
    markets = {}
    for symbol in ("ASTERUSDT", "BTCUSDT"):
        listing, price = LISTINGS[symbol]
        markets[symbol] = GeneratedMarket(msgspec.structs.replace(listing, funding_minutes=1), seed, price, now_ms)
    exchange = Exchange(markets, D(5_000), lambda *frame: None, lambda news: told.extend(bodies(news)), Faults(), now_ms)
    for _ in range(300):
        now_ms += random.randint(5, 600)
        exchange.advance(now_ms)
        symbol = random.choice(list(markets))
        try:
            act(exchange, symbol, random)
        except Refusal as refusal:
            assert refusal.code in (-2011, -2019, -2021, -2022, -4045, -4164, -5021, -5022), refusal
    assert exchange.account.wallet == D(5_000) + sum(row.amount for row in exchange.income)
    assert any(row.kind == "FUNDING_FEE" for row in exchange.income) and len(exchange.trades) > 50
    for symbol, market in markets.items():
        traded = sum(trade.side * trade.fill.quantity for trade in exchange.trades if trade.symbol == symbol)
        assert exchange.position_steps(symbol) == traded
        left = {order.id: order.unfilled for order in exchange.open.values() if order.symbol == symbol}
        assert {number: market.cancel(number) for number in left} == left
    balances = [event["a"]["B"][0]["wb"] for event in told if event["e"] == "ACCOUNT_UPDATE"]
    assert D(balances[-1]) == exchange.account.wallet
    assert sum(D(event["o"]["n"]) for event in told if event["e"] == "ORDER_TRADE_UPDATE") == exchange.account.fees_paid
    stamps = [event["E"] for event in told]
    assert stamps == sorted(stamps)


def act(exchange: Exchange, symbol: str, random: Random) -> None:
    """One thing that a trader might do."""
    contract = exchange.contracts[symbol]
    best = contract.market.best()
    assert best is not None
    side, listing = random.choice(("BUY", "SELL")), contract.listing
    ticks = best[0] + random.randint(-30, 30)
    price, lots = str(ticks * listing.tick), str(random.randint(1, 30) * (10 if symbol == "ASTERUSDT" else 1) * listing.step)
    reduces = random.random() < 0.3
    choice = random.randrange(7)
    if choice < 2:
        exchange.place(Request(symbol, side, "MARKET", quantity=lots, reduce_only=reduces))
    elif choice < 5:
        tif = random.choice(("GTC", "GTC", "GTX", "IOC", "FOK"))
        exchange.place(Request(symbol, side, "LIMIT", quantity=lots, price=price, time_in_force=tif, reduce_only=reduces))
    elif choice == 5:
        kind = random.choice(("STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP"))
        limit = price if kind == "STOP" else ""
        exchange.conditionals.place(Request(symbol, side, kind, lots, limit, trigger=price, reduce_only=True))
    elif exchange.open:
        order = random.choice(list(exchange.open.values()))
        exchange.cancel(order.symbol, order.id, "")
