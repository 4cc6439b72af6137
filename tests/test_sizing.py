"""From the sizing rules to an order: outcomes decide under kelly, and steps, contracts and base units stay apart."""

from decimal import Decimal

import msgspec
import pytest

from engine.core import trading
from engine.core.state import Paper
from engine.events import Bias, BookDelta, BookSnapshot, Fees, Instrument, LeverageSet, Purpose, Side, Stance, pack_levels
from engine.execution.live.okx import _contracts
from tests.factory import MARKET, MS, START, Desk, sent, settings
from tests.test_judging import Judging

# 0.0001 BTC a step, 0.01 BTC a contract: a hundred steps a contract.
BTC = Instrument(
    *(START, "binance:BTC/USDT:USDT", "BTC-USDT-SWAP", "BTC", "USDT", Decimal("0.1"), Decimal("0.0001")),
    *(1, 10**9, 10**9, Decimal(0), True, Decimal("0.01")),
)


def bitcoin(method: str) -> Desk:
    """A desk whose second market is bitcoin at 60,000 in contracts."""
    desk = Desk(settings(strategy={"sizing": method}, risk={"max_loss_per_trade": 0.5})).open().arm()
    desk.feed(BTC)
    desk.feed(Fees(desk.at, BTC.market, Decimal(0), Decimal(0)))
    desk.feed(LeverageSet(desk.at, BTC.market, 3))
    book = desk.core.state.markets[BTC.market].book
    book.connected(desk.at)
    book.delta(BookDelta(desk.at, BTC.market, 1, 2, 1, b"", b"", desk.at // MS))
    levels = pack_levels([599_999, 10_000]), pack_levels([600_001, 10_000])
    book.snapshot(BookSnapshot(desk.at, BTC.market, 2, *levels, desk.at // MS))
    return desk


@pytest.mark.parametrize(
    ("method", "steps", "contracts"),
    [
        ("fixed", 83, "0.83"),  # 500 / 60,000 is 0.00833 BTC
        ("percentage_of_capital", 166, "1.66"),  # 1,000 / 60,000 is 0.01666 BTC
        ("risk_parity", 333, "3.33"),  # the stop is 25 bps or 150 away, and 0.0333 BTC lose 5 USDT there ...
    ],
)
def test_base_units_steps_and_contracts_are_never_confused(method: str, steps: int, contracts: str) -> None:
    """... with a thousandth of the equity, so that no limit of notional comes first."""
    desk = bitcoin(method)
    if method == "risk_parity":
        strategy = msgspec.structs.replace(desk.core.settings.strategy, risk_per_trade=0.0005)
        desk.core.settings = msgspec.structs.replace(desk.core.settings, strategy=strategy)
    held = desk.core.state.markets[BTC.market]
    held.stance = Stance(BTC.market, desk.at, desk.at + 10**12, Bias.LONG, 0.8, 0.2, "why", "rules", 60_000.0)
    out = trading.Out()
    trading.enter(desk.core.state, desk.core.settings, held, Side.BUY, "a test", float("nan"), out)
    (order,) = sent(out)
    assert order.quantity == steps
    assert _contracts(order.quantity, BTC) == contracts
    assert Decimal(contracts) * BTC.contract == steps * BTC.step


def kelly(desk: Desk) -> None:
    strategy = msgspec.structs.replace(desk.core.settings.strategy, sizing="kelly", kelly_outcomes=20)
    desk.core.settings = msgspec.structs.replace(desk.core.settings, strategy=strategy)


def entries(desk: Desk, bars: int = 12) -> list[int]:
    return [order.quantity for order in sent(desk.trend(bars, 3, desk.held.last_price)) if order.purpose is Purpose.ENTRY]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("outcomes", "lean", "traded"),
    [(20, 0.9, True), (19, 0.9, False), (20, 0.0, False), (20, -0.9, False)],
    ids=["borne out", "too few", "no edge", "worse than chance"],
)
def test_kelly_follows_a_model_as_far_as_its_outcomes_bear_it_out(outcomes: int, lean: float, traded: bool) -> None:
    desk = Judging()
    kelly(desk)
    known = desk.judge().record
    known.independent, known.lean, known.leans = outcomes, lean, 1.0
    desk.answer(desk.asked(), chance_up=80, expires_min=30)
    found = entries(desk)
    assert bool(found) is traded
    if not traded:
        assert "kelly" in desk.held.outcome


def test_kelly_follows_rules_by_the_trades_that_they_closed_on_paper() -> None:
    """12 of 20 are won, 30 bps each, and 8 lost, 20 bps each: 0.6 - 0.4 / 1.5 is a third."""
    desk = Judging(model=False)
    kelly(desk)
    desk.held.papers["rules alone"] = Paper(closed=20, wins=12, won=12 * 0.003, lost=8 * 0.002)
    planned = trading.action.Plan(0.01, 0.015)
    stance = Stance(MARKET, desk.at, desk.at + 1, Bias.LONG, 0.8, 0.2, "why", "rules", 0.62)
    seen = trading.evidence(desk.core.state, desk.held, stance, planned)
    assert (seen.outcomes, seen.win_chance) == (20, 0.6) and seen.payoff == pytest.approx(1.5)
    assert entries(desk, 60)


def test_kelly_stakes_nothing_on_rules_that_lose_on_paper() -> None:
    desk = Judging(model=False)
    kelly(desk)
    desk.held.papers["rules alone"] = Paper(closed=40, wins=12, won=12 * 0.003, lost=28 * 0.003)
    assert not entries(desk, 60)


def test_papers_count_what_they_close_and_trade_under_kelly_before_there_are_outcomes() -> None:
    """Else the rules could never show what they are worth."""
    desk = Judging(model=False)
    kelly(desk)
    paper = desk.held.papers["rules alone"]
    for _ in range(60):
        assert not entries(desk, 1)
        if paper.quantity:
            break
    entry, side, before = paper.entry, paper.side, (paper.closed, paper.wins, paper.won, paper.lost)
    assert paper.plan is not None and side
    out = int((entry - side * paper.plan.stop_distance) / 0.0001) - side * 5
    desk.touch(*((out, out + 1) if side > 0 else (out - 1, out)))
    desk.pass_ms(100)
    price = out * 0.0001
    assert (paper.closed, paper.wins, paper.won) == (before[0] + 1, before[1], before[2])
    rate = float(desk.core.state.portfolio.taker_rate(MARKET))
    assert paper.lost - before[3] == pytest.approx((side * (entry - price) + rate * (entry + price)) / entry)
