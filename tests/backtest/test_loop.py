"""Each rule of the bar loop, reckoned on paper: bars that are written out, a strategy that does as it is told."""

from decimal import Decimal
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from engine.backtest import compile, judges
from engine.backtest.run import Costs, Run, execute
from engine.backtest.series import REASONS, Contract, Series
from engine.config import create_aster_config
from engine.strategy import Strategy, chosen, find

FREE = Costs(taker=0.0, spread_bps=0.0, slippage_bps=0.0, impact=0.0, liquidation_fee=0.0)
LISTING = Contract(
    "ABC/USDT:USDT", "paper", Decimal("0.01"), Decimal("0.1"), min_notional=Decimal(1), maintenance=Decimal("0.01")
)
MINUTE = 60_000
WARM = 14  # bars until ATR is known: each has a range of 100 ticks, so that it is 1.00


NEVER = -99


class Orders(NamedTuple):
    """The bars after the warm-up at whose openings it has entered and left."""

    long: int = 0
    short: int = NEVER
    leave: int = NEVER


def decide(p: Orders, memory: list[float], now: object) -> tuple[int, int]:
    at = int(memory[0]) - WARM
    if at == p.leave:
        return 2, 0
    return (1, 0) if at == p.long else (-1, 0) if at == p.short else (0, 0)


def observe(p: Orders, memory: list[float], open: float, high: float, low: float, close: float, volume: float) -> None:
    memory[0] += 1.0


TOLD = Strategy("told", "does as it is told", Orders, decide, ("",), observe, lambda p: 1)


def series(rows: list[tuple[int, int, int, int]], **more: object) -> Series:
    """`rows` are open, high, low and close in ticks, after a warm-up around 10,000; volumes are 1,000 steps."""
    table = np.array([(10_000, 10_050, 9_950, 10_000)] * WARM + rows, np.int64)
    n = len(table)
    return Series(LISTING, MINUTE, np.arange(n, dtype=np.int64) * MINUTE, *table.T.copy(), np.full(n, 1_000), **more)  # type: ignore[arg-type]


def run(
    rows: list[tuple[int, int, int, int]], orders: Orders, costs: Costs = FREE, capital: float = 10_000.0, **more: object
) -> Run:
    """Stop 2 ATR (200 ticks) and target 3 ATR (300 ticks) away, a notional of 1,000: 10 units at 100."""
    risk = more.pop("risk", LOOSE)
    strategy = {"sizing": "fixed", "fixed_notional": 1_000.0, "stop_atr": 2.0, "target_atr": 3.0, "min_stop_bps": 1.0}
    strategy |= more.pop("strategy", {})  # type: ignore[operator]
    settings = create_aster_config(strategy=strategy, risk=risk)
    done = execute(series(rows, **more), TOLD, orders, settings, costs, judges.nobody(), capital)
    assert done is not None
    return done


def only(done: Run) -> tuple[int, int, int, int, int, int, str]:
    """Side, steps, bars after the warm-up, ticks, reason of the one trade."""
    assert len(done.trades) == 1
    side, quantity, entry_bar, exit_bar, entry, exit, reason = done.trades[0].tolist()[:7]
    return side, quantity, entry_bar - WARM, exit_bar - WARM, entry, exit, REASONS[reason]


LOOSE = {"max_loss_per_trade": 1.0, "max_daily_loss": 1.0, "max_drawdown": 1.0}
TEN_TIMES = {
    "capital": 100.0,
    "risk": {**LOOSE, "max_leverage": 50.0, "min_liquidation_distance": 0.0},
    "strategy": {"stop_atr": 9.5, "target_atr": 9.5},
}
CALM = (10_000, 10_010, 9_990, 10_000)


def test_an_entry_fills_at_the_next_bars_opening_and_an_exit_too() -> None:
    rows = [(10_020, 10_030, 10_010, 10_020), CALM, (10_040, 10_050, 10_030, 10_040), CALM]
    assert only(run(rows, Orders(long=0, leave=2))) == (1, 100, 0, 2, 10_020, 10_040, "signal")


def test_the_signals_own_bar_is_never_traded() -> None:
    """The bar whose close decides has a low under the stop: it cannot hurt, since the entry comes after it."""
    rows = [CALM, (10_000, 10_010, 9_000, 10_000), CALM, CALM]
    assert only(run(rows, Orders(long=2, leave=3))) == (1, 100, 2, 3, 10_000, 10_000, "signal")


def test_a_stop_fills_at_its_price() -> None:
    rows = [(10_000, 10_010, 9_850, 9_900), (9_900, 9_910, 9_795, 9_900), CALM]
    assert only(run(rows, Orders())) == (1, 100, 0, 1, 10_000, 9_800, "stop")


def test_a_stop_within_the_entrys_own_bar_fills() -> None:
    assert only(run([(10_000, 10_010, 9_790, 9_900), CALM], Orders())) == (1, 100, 0, 0, 10_000, 9_800, "stop")


def test_a_gap_through_the_stop_fills_at_the_gap() -> None:
    rows = [CALM, (9_700, 9_900, 9_690, 9_850), CALM]
    assert only(run(rows, Orders())) == (1, 100, 0, 1, 10_000, 9_700, "stop")
    rows = [CALM, (10_333, 10_400, 10_100, 10_200), CALM]
    assert only(run(rows, Orders(long=NEVER, short=0))) == (-1, 100, 0, 1, 10_000, 10_333, "stop")


def test_a_target_fills_at_its_price_and_a_gap_beyond_it_at_the_gap() -> None:
    assert only(run([CALM, (10_000, 10_300, 9_990, 10_100), CALM], Orders())) == (1, 100, 0, 1, 10_000, 10_300, "target")
    assert only(run([CALM, (10_345, 10_400, 10_340, 10_350), CALM], Orders())) == (1, 100, 0, 1, 10_000, 10_345, "target")
    assert only(run([CALM, (10_000, 10_010, 9_700, 9_900), CALM], Orders(long=NEVER, short=0)))[4:] == (10_000, 9_700, "target")


def test_of_a_stop_and_a_target_in_one_bar_the_stop_is_taken() -> None:
    rows = [CALM, (10_000, 10_400, 9_700, 10_300), CALM]
    assert only(run(rows, Orders())) == (1, 100, 0, 1, 10_000, 9_800, "stop")


def test_what_is_open_at_the_end_is_closed_there() -> None:
    done = run([CALM, (10_000, 10_110, 9_990, 10_100)], Orders())
    assert only(done) == (1, 100, 0, 1, 10_000, 10_100, "end")
    assert done.equity[-1] == pytest.approx(10_010.0)


def test_fees_spread_and_slippage_on_paper() -> None:
    """Bought at 100.00: half of 4 bps is 2 ticks, 1 bps of slippage 1 tick: 100.03. Sold at 101.00: 2.02 and 1.01 ticks, each
    rounded against us to 3 and 2: 100.95. Fees of 10 bps: 1.0003 on 10 units, 1.0095. What they cost against the bars: 10 units
    times 0.03 and 0.05.
    """
    costs = Costs(taker=0.001, spread_bps=4.0, slippage_bps=1.0, impact=0.0)
    done = run([CALM, (10_100, 10_110, 10_090, 10_100), CALM], Orders(leave=1), costs)
    trade = done.trades[0]
    assert only(done)[4:6] == (10_003, 10_095)
    assert trade["fees"] == pytest.approx(1.0003 + 1.0095)
    assert trade["slippage"] == pytest.approx(0.3 + 0.5)
    assert trade["profit"] == pytest.approx(10 * 0.92 - 2.0098)
    assert done.equity[-1] == pytest.approx(10_000 + 10 * 0.92 - 2.0098)


def test_impact_grows_with_the_root_of_the_share_of_the_volume() -> None:
    """ATR is 100 bps, 100 of 1,000 steps are a tenth: 0.5 x 100 x sqrt(0.1) = 15.8 bps of 10,000 ticks: 16."""
    assert only(run([CALM, CALM], Orders(leave=1), msgspec.structs.replace(FREE, impact=0.5)))[4] == 10_016


def test_funding_is_paid_by_longs_and_received_by_shorts_at_its_time() -> None:
    """10 units at an opening of 101: 1,010 of notional, 10 bps are 1.01."""
    due = (WARM + 1) * MINUTE
    rows = [CALM, (10_100, 10_110, 10_090, 10_100), CALM, CALM]
    told = {"funding_ms": np.array([due]), "funding_rate": np.array([0.001])}
    long, short = run(rows, Orders(leave=2), **told), run(rows, Orders(long=NEVER, short=0, leave=2), **told)
    assert long.trades[0]["funding"] == pytest.approx(-1.01) and short.trades[0]["funding"] == pytest.approx(1.01)
    assert long.trades[0]["profit"] == pytest.approx(-1.01)


def test_funding_that_is_due_as_the_entry_fills_is_not_ours() -> None:
    told = {"funding_ms": np.array([WARM * MINUTE]), "funding_rate": np.array([0.01])}
    assert run([CALM, CALM], Orders(leave=1), **told).trades[0]["funding"] == 0.0


def test_funding_that_is_assumed_is_due_every_eight_hours() -> None:
    rows = [CALM] * 500
    done = run(rows, Orders(), msgspec.structs.replace(FREE, funding_rate=0.0001))
    assert done.trades[0]["funding"] == pytest.approx(-0.1)  # once, at 08:00


def test_liquidation_on_paper() -> None:
    """100 of equity, 10 units at 100, a stop at 90.50. 100 + 10 p - 1,000 = 0.01 x 10 p at p = 900 / 9.9 = 90.909, before the
    stop: tick 9,091. Left are 100 - 10 x 9.09 = 9.10, the maintenance margin, less a fee of 0.5 % of 909.10.
    """
    rows = [CALM, (10_000, 10_010, 9_000, 9_500), CALM]
    done = run(rows, Orders(), **TEN_TIMES)
    assert only(done) == (1, 100, 0, 1, 10_000, 9_091, "liquidation")
    assert done.equity[-1] == pytest.approx(9.10)
    charged = run(
        rows, Orders(), Costs(taker=0.0, spread_bps=0.0, slippage_bps=0.0, impact=0.0, liquidation_fee=0.005), **TEN_TIMES
    )
    assert charged.equity[-1] == pytest.approx(9.10 - 0.005 * 909.1)


def test_a_gap_beyond_liquidation_leaves_nothing_and_no_debt() -> None:
    done = run([CALM, (8_000, 8_010, 7_990, 8_000), CALM, CALM], Orders(), **TEN_TIMES)
    assert only(done)[5:] == (8_000, "liquidation") and done.equity[-1] == 0.0


def test_a_shorts_liquidation_is_above() -> None:
    """100 - (10 p - 1,000) = 0.01 x 10 p at p = 1,100 / 10.1 = 108.91: tick 10,891, below the stop at 109.50."""
    done = run([CALM, (10_000, 11_000, 9_990, 10_500), CALM], Orders(long=NEVER, short=0), **TEN_TIMES)
    assert only(done) == (-1, 100, 0, 1, 10_000, 10_891, "liquidation")


def test_sizes_are_whole_steps_and_limits_clip_them() -> None:
    """1 % of 10,000 is 100, at a stop 2.00 away 50 units: 1,000 of notional is less. With 0.1 %: 10 / 2.00 = 5 units."""
    assert only(run([CALM, CALM], Orders(leave=1), risk={**LOOSE, "max_loss_per_trade": 0.001}))[1] == 50


def test_an_entry_below_the_least_notional_is_refused_and_counted() -> None:
    done = run([CALM, CALM], Orders(), strategy={"fixed_notional": 0.5})
    assert len(done.trades) == 0
    assert sum(done.refused.values()) == 1


def test_an_empty_and_a_single_bar_give_no_trade() -> None:
    strategy, given = chosen(create_aster_config().strategy)
    empty = Series(LISTING, MINUTE, *(np.empty(0, np.int64) for _ in range(6)))  # type: ignore[arg-type]
    one = Series(LISTING, MINUTE, *(np.array([value]) for value in (0, 100, 110, 90, 100, 5)))  # type: ignore[arg-type]
    for bars in (empty, one):
        done = execute(bars, strategy, given, create_aster_config(), FREE, judges.nobody(), 1_000.0)
        assert done is not None and len(done.trades) == 0 and len(done.equity) == len(bars)


@pytest.mark.parametrize("name", ["stance", "reversion", "breakout"])
def test_what_a_strategy_does_not_look_at_is_not_reckoned(name: str) -> None:
    looked = {"stance": (True, False, False), "reversion": (True, True, True), "breakout": (False, False, False)}
    assert compile.reads(find(name).decide) == looked[name]
