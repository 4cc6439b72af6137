"""Statistics: each worked out on paper beside it, and equal to empyrical's where that has one."""

import math
from typing import Any

import empyrical
import msgspec
import numpy as np
import pandas as pd
import pytest

from engine.backtest.metrics import (
    FIGURES,
    HOUR_MS,
    Group,
    Month,
    Statistics,
    iso,
    measure,
    shown,
)
from engine.backtest.returns import daily_returns, days_of, moments
from engine.backtest.series import END, LIMIT, LIQUIDATION, SIGNAL, STOP, TARGET
from engine.backtest.spans import DAY_MS
from tests.backtest.ledgers import START_MS, bars, random_run, trades

NONE = trades()


def of(equity: list[float], initial: float = 100.0, timeframe_ms: int = DAY_MS, **more: Any) -> Statistics:
    return measure(bars([100] * len(equity), timeframe_ms, **more), NONE, np.array(equity), initial)


# Returns of +10 %, -10 %, 0 and +20 %: their mean is 5 %, their distances from it 5, -15, -5 and 15 points.
FOUR_DAYS = [110.0, 99.0, 99.0, 118.8]


def test_return_is_the_end_against_the_start_and_compounds_to_a_year_of_365_days() -> None:
    found = of(FOUR_DAYS)
    assert found.total_return == pytest.approx(0.188)
    assert found.annual_return == pytest.approx(1.188 ** (365 / 4) - 1)
    assert (found.start_ms, found.end_ms) == (START_MS, START_MS + 4 * DAY_MS)


def test_sharpe_of_four_days() -> None:
    deviation = math.sqrt((0.05**2 + 0.15**2 + 0.05**2 + 0.15**2) / 3)
    assert of(FOUR_DAYS).sharpe == pytest.approx(0.05 / deviation * math.sqrt(365))
    assert of(FOUR_DAYS).volatility == pytest.approx(deviation * math.sqrt(365))


def test_sortino_of_four_days_counts_gains_as_zero_not_as_absent() -> None:
    downside = math.sqrt((0 + 0.1**2 + 0 + 0) / 4)  # 0.05
    assert of(FOUR_DAYS).sortino == pytest.approx(0.05 / downside * math.sqrt(365))


def test_skewness_and_kurtosis_of_four_days() -> None:
    # Squares: (0.0025 + 0.0225 + 0.0025 + 0.0225) / 4 = 0.0125. Cubes cancel. Fourth powers: 0.00102500 / 4 = 0.00025625.
    found = of(FOUR_DAYS)
    assert found.skew == pytest.approx(0, abs=1e-12)
    assert found.kurtosis == pytest.approx(0.00025625 / 0.0125**2)


def test_tail_of_four_days() -> None:
    # In order -10, 0, 10, 20 %: a twentieth of the way along three gaps is 0.15 of the first; the worst 5 % is one day.
    assert of(FOUR_DAYS).tail_loss == pytest.approx(-0.10 + 0.15 * 0.10)
    assert of(FOUR_DAYS).tail_mean == pytest.approx(-0.10)


def test_drawdown_from_peak_to_recovery_and_calmar() -> None:
    found = of(FOUR_DAYS)
    assert found.max_drawdown == pytest.approx(11 / 110)
    assert found.max_drawdown_quote == pytest.approx(11)
    assert found.drawdown_peak_ms == START_MS + DAY_MS  # the close of the first bar
    assert found.drawdown_low_ms == START_MS + 2 * DAY_MS
    assert found.drawdown_recovered_ms == START_MS + 4 * DAY_MS
    assert found.drawdown_length_ms == 3 * DAY_MS
    assert found.calmar == pytest.approx((1.188 ** (365 / 4) - 1) / 0.1)


def test_a_drawdown_that_is_open_lasts_to_the_end_and_one_from_the_start_counts() -> None:
    found = of([90.0, 95.0, 80.0, 85.0])
    assert found.max_drawdown == pytest.approx(0.2)
    assert found.drawdown_peak_ms == START_MS
    assert found.drawdown_recovered_ms is None
    assert found.drawdown_length_ms == found.longest_drawdown_ms == 4 * DAY_MS


def test_the_deepest_the_largest_and_the_longest_drawdown_may_be_three() -> None:
    # 100 -> 50 is half of it within two days; 1000 -> 700 is the most money; 1000 to the end the longest time.
    found = of([50.0, 100.0, 1000.0, 700.0, 800.0, 900.0, 950.0])
    assert found.max_drawdown == pytest.approx(0.5)
    assert found.drawdown_length_ms == 2 * DAY_MS
    assert found.max_drawdown_quote == pytest.approx(300)
    assert found.longest_drawdown_ms == 4 * DAY_MS


def test_equity_that_only_rises_has_no_drawdown() -> None:
    found = of([101.0, 101.0, 102.0])
    assert (found.max_drawdown, found.drawdown_length_ms, found.longest_drawdown_ms) == (0, 0, 0)
    assert found.drawdown_peak_ms is found.drawdown_recovered_ms is found.calmar is found.sortino is None


def test_the_seed_annualised_minutes_by_252() -> None:
    """A fault of its only implementation: the same curve in minutes and in days has the same headline."""
    days = [100 * 1.01**i * (1 + 0.02 * (i % 3)) for i in range(1, 41)]
    minutes = np.repeat(days, 1440)
    by_day, by_minute = of(days), of(list(minutes), timeframe_ms=60_000)
    assert by_minute.sharpe == pytest.approx(by_day.sharpe)
    assert by_minute.sortino == pytest.approx(by_day.sortino)
    assert by_minute.annual_return == pytest.approx(by_day.annual_return)
    changes = np.diff(np.append(100.0, minutes)) / np.append(100.0, minutes)[:-1]
    assert by_minute.sharpe_bars == pytest.approx(changes.mean() / changes.std(ddof=1) * math.sqrt(365 * 1440))
    assert by_day.sharpe_bars == pytest.approx(by_day.sharpe)


def test_days_are_utc_and_the_first_and_last_may_be_in_part() -> None:
    series = bars([100] * 6, 6 * HOUR_MS, START_MS + 18 * HOUR_MS)  # 18 h | 0 6 12 18 h | 0 h
    found = daily_returns(series, np.array([110.0, 120, 130, 140, 121, 60.5]), 100.0)
    assert found == pytest.approx([0.1, 0.1, -0.5])
    assert list(days_of(series)) == [START_MS, START_MS + DAY_MS, START_MS + 2 * DAY_MS]


def test_bars_of_a_week_are_annualised_as_weeks() -> None:
    found = of(FOUR_DAYS, timeframe_ms=7 * DAY_MS)
    deviation = math.sqrt(0.05 / 3)
    assert found.sharpe == pytest.approx(0.05 / deviation * math.sqrt(365 / 7))


def test_buy_and_hold_goes_from_the_first_open_to_the_last_close() -> None:
    assert measure(bars([200, 190, 260]), NONE, np.full(3, 100.0), 100.0).buy_and_hold == pytest.approx(0.3)


def test_months_compound_to_the_total_and_hold_the_trades_closed_in_them() -> None:
    equity = np.linspace(101, 160, 60)  # January, February and the first of March 2025
    made = trades({"exit_bar": 30}, {"exit_bar": 31}, {"exit_bar": 59, "reason": END})
    found = measure(bars([100] * 60), made, equity, 100.0).by_month
    assert [(one.year, one.month, one.trades) for one in found] == [(2025, 1, 1), (2025, 2, 1), (2025, 3, 1)]
    assert found[0].change == pytest.approx(131 / 100 - 1)
    assert found[1].change == pytest.approx(159 / 131 - 1)
    assert found[2] == Month(2025, 3, pytest.approx(160 / 159 - 1), pytest.approx(1), 1)


# Profits: 30, -10, 20, 0, -20, -10. One step of 0.1 base at 1.00 quote is a notional of 0.1.
SIX = trades(
    {"profit": 30, "fees": 1, "funding": 2, "slippage": 0.5, "exit_bar": 2, "reason": TARGET},
    {"profit": -10, "side": -1, "entry_bar": 3, "exit_bar": 4, "reason": STOP},
    {"profit": 20, "entry_bar": 5, "exit_bar": 6},
    {"profit": 0, "entry_bar": 5, "exit_bar": 7, "fees": 3},
    {"profit": -20, "side": -1, "entry_bar": 8, "exit_bar": 8, "reason": LIQUIDATION, "funding": -5},
    {"profit": -10, "entry_bar": 8, "exit_bar": 9, "reason": END},
)


@pytest.fixture
def six() -> Statistics:
    return measure(bars([100] * 20, HOUR_MS), SIX, np.append(np.full(9, 100.0), np.full(11, 110.0)), 100.0)


def test_trades_won_and_lost(six: Statistics) -> None:
    assert (six.trades, six.wins, six.losses) == (6, 2, 3)
    assert six.win_rate == pytest.approx(2 / 6)
    assert six.profit_factor == pytest.approx(50 / 40)
    assert six.expectancy == pytest.approx(10 / 6)
    assert (six.average_win, six.average_loss) == (pytest.approx(25), pytest.approx(-40 / 3))
    assert six.payoff == pytest.approx(25 / (40 / 3))
    assert (six.best, six.worst) == (30, -20)
    assert six.average_return == pytest.approx((30 - 10 + 20 - 20 - 10) / 6 / 0.1)


def test_streaks_end_at_a_trade_that_neither_won_nor_lost(six: Statistics) -> None:
    assert (six.winning_streak, six.losing_streak) == (1, 2)
    won = trades(*[{"profit": profit} for profit in (1, 1, -1, 1, 1, 1, 0, 1)])
    assert measure(bars([100] * 3), won, np.full(3, 100.0), 100.0).winning_streak == 3


def test_costs_are_summed(six: Statistics) -> None:
    assert (six.fees, six.funding, six.slippage) == (4, -3, 0.5)
    assert six.traded == pytest.approx(6 * 2 * 0.1)
    assert six.turnover == pytest.approx(1.2 / ((10 * 100 + 11 * 110) / 21))


def test_a_trade_is_in_position_until_the_open_where_a_signal_closes_it_and_through_the_bar_where_a_stop_does(
    six: Statistics,
) -> None:
    # Bars in position: 3 (0-2), 2 (3-4), 1 (5), 2 (5-6), 1 (8), 2 (8-9).
    assert six.average_length_ms == pytest.approx(11 / 6 * HOUR_MS)
    assert six.median_length_ms == pytest.approx(2 * HOUR_MS)
    assert six.exposure == pytest.approx(9 / 20)  # all of 0 to 9 but 7


@pytest.mark.parametrize(("reason", "held"), [(SIGNAL, 1), (LIMIT, 1), (STOP, 2), (TARGET, 2), (LIQUIDATION, 2), (END, 2)])
def test_exits_by_signal_and_limit_fill_at_the_open_the_others_within_the_bar(reason: int, held: int) -> None:
    found = measure(bars([100] * 4), trades({"exit_bar": 1, "reason": reason}), np.full(4, 100.0), 100.0)
    assert found.exposure == held / 4


def test_best_and_worst_prices_are_signed_for_the_side() -> None:
    made = trades({"best": 110, "worst": 95}, {"side": -1, "best": 80, "worst": 101})
    found = measure(bars([100] * 3), made, np.full(3, 100.0), 100.0)
    assert found.favourable == pytest.approx((0.10 + 0.20) / 2)
    assert found.adverse == pytest.approx((-0.05 - 0.01) / 2)


def test_tables_by_side_reason_and_hour(six: Statistics) -> None:
    assert six.by_side == (Group("long", 4, 2, 40, 4), Group("short", 2, 0, -30, 0))
    assert [(one.key, one.trades, one.profit) for one in six.by_reason] == [
        ("signal", 2, 20),
        ("stop", 1, -10),
        ("target", 1, 30),
        ("liquidation", 1, -20),
        ("end", 1, -10),
    ]
    assert [(one.key, one.trades) for one in six.by_hour] == [("00", 1), ("03", 1), ("05", 2), ("08", 2)]
    assert (six.by_side[0].win_rate, six.by_side[0].mean) == (0.5, 10)


def test_no_trade_leaves_no_ratios_but_a_result() -> None:
    found = of([100.0, 100.0, 100.0])
    assert (found.trades, found.exposure, found.total_return, found.traded) == (0, 0, 0, 0)
    assert found.win_rate is found.profit_factor is found.expectancy is found.best is found.sharpe is None
    assert found.median_length_ms is None and found.by_side == () and found.by_month[0].trades == 0
    assert "There was no trade." in found.remarks


def test_a_profit_factor_without_losses_is_null_in_json_and_said_in_words() -> None:
    found = measure(bars([100] * 3), trades({"profit": 5}), np.full(3, 105.0), 100.0)
    assert found.profit_factor is None and found.payoff is None and found.average_loss is None
    assert msgspec.json.decode(msgspec.json.encode(found))["profit_factor"] is None
    assert any("no bound" in remark for remark in found.remarks)


def test_one_bar_has_a_return_and_no_ratios() -> None:
    found = of([105.0], timeframe_ms=60_000)
    assert found.total_return == pytest.approx(0.05)
    assert found.annual_return is found.sharpe is found.sharpe_bars is found.volatility is found.tail_loss is found.calmar is None
    assert found.longest_drawdown_ms == 0


def test_nothing_left_is_minus_one_and_zero_from_then_on() -> None:
    found = of([50.0, -10.0, -5.0, 20.0])
    assert found.ruined_ms == START_MS + 2 * DAY_MS
    assert found.total_return == pytest.approx(-0.8)
    assert found.max_drawdown == pytest.approx(1.1)
    changes = np.array([-0.5, -1.0, 0.0, 0.0])
    assert found.sharpe == pytest.approx(changes.mean() / changes.std(ddof=1) * math.sqrt(365))
    assert of([50.0, 0.0]).annual_return == -1.0


def test_equal_returns_have_no_ratio_instead_of_a_giant_one() -> None:
    found = of([100 * 1.001**i for i in range(1, 30)])
    assert found.sharpe is found.skew is None
    assert moments(np.empty(0)) is None


def test_growth_that_no_float_holds_is_not_annualised() -> None:
    assert of([1e9], initial=1.0, timeframe_ms=DAY_MS).annual_return is None


def test_short_runs_few_trades_and_open_positions_are_remarked() -> None:
    found = measure(bars([100] * 3), trades({"profit": 5}, {"profit": -1}), np.full(3, 120.0), 100.0)
    assert found.remarks == (
        "The run spans 3.0 days: what is scaled to a year is an extrapolation.",
        "2 trades are few to judge a strategy by.",
        "Equity changed by 20.00 and the trades sum up to 4.00: a position is still open.",
    )


@pytest.mark.parametrize(
    ("closes", "equity", "initial", "words"),
    [
        ([], [], 100.0, "0 bars"),
        ([1, 2], [1.0], 100.0, "1 values"),
        ([1], [1.0], 0.0, "more than 0"),
        ([1, 2], [1.0, math.nan], 100.0, "bar 1 is nan"),
    ],
)
def test_what_is_no_run_is_said(closes: list[int], equity: list[float], initial: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure(bars(closes), NONE, np.array(equity), initial)


@pytest.mark.parametrize("seed", range(5))
def test_ratios_equal_those_of_a_well_kept_library(seed: int) -> None:
    series, made, equity = random_run(90 * 1440, 1500, seed=seed)
    found = measure(series, made, equity, 10_000.0)
    curve = pd.Series(equity, pd.to_datetime(series.open_ms, unit="ms", utc=True)).resample("1D").last()
    daily = pd.concat([pd.Series([10_000.0], [curve.index[0] - pd.Timedelta("1D")]), curve]).pct_change().dropna()
    assert found.sharpe == pytest.approx(empyrical.sharpe_ratio(daily, annualization=365))
    assert found.sortino == pytest.approx(empyrical.sortino_ratio(daily, annualization=365))
    assert found.volatility == pytest.approx(empyrical.annual_volatility(daily, annualization=365))
    assert found.annual_return == pytest.approx(empyrical.annual_return(daily, annualization=365))
    assert found.tail_loss == pytest.approx(empyrical.value_at_risk(daily))
    assert found.tail_mean == pytest.approx(empyrical.conditional_value_at_risk(daily))
    assert found.skew == pytest.approx(daily.skew() * (88 / math.sqrt(90 * 89)))  # pandas' is the sample's
    by_bar = pd.Series(np.append(10_000.0, equity)).pct_change().dropna()
    assert found.max_drawdown == pytest.approx(-empyrical.max_drawdown(by_bar))
    assert found.sharpe_bars == pytest.approx(empyrical.sharpe_ratio(by_bar, annualization=365 * 1440))
    monthly = empyrical.aggregate_returns(daily, "monthly")
    assert [one.change for one in found.by_month] == pytest.approx(list(monthly))


def test_calmar_equals_that_of_a_well_kept_library() -> None:
    series, made, equity = random_run(400, 90, DAY_MS)
    daily = pd.Series(np.append(10_000.0, equity)).pct_change().dropna()
    assert measure(series, made, equity, 10_000.0).calmar == pytest.approx(empyrical.calmar_ratio(daily, annualization=365))


def test_tables_add_up_to_all_trades() -> None:
    series, made, equity = random_run(90 * 1440, 1500)
    found = measure(series, made, equity, 10_000.0)
    for table in (found.by_side, found.by_reason, found.by_hour):
        assert sum(one.trades for one in table) == 1500
        assert sum(one.profit for one in table) == pytest.approx(made["profit"].sum())
    assert sum(one.profit for one in found.by_month) == pytest.approx(equity[-1] - 10_000)
    assert math.prod(1 + one.change for one in found.by_month) == pytest.approx(equity[-1] / 10_000)
    assert sum(one.trades for one in found.by_month) == 1500


def test_each_figure_is_declared_with_unit_and_meaning_and_has_a_readable_form() -> None:
    tables = {"by_side", "by_reason", "by_hour", "by_month", "remarks"}
    assert {figure.name for figure in FIGURES} == set(Statistics.__struct_fields__) - tables
    assert len({figure.title for figure in FIGURES}) == len(FIGURES)
    series, made, equity = random_run(3 * 1440, 50)
    found = measure(series, made, equity, 10_000.0)
    assert all(figure.description and shown(figure, getattr(found, figure.name)) for figure in FIGURES)


def test_figures_as_a_person_reads_them() -> None:
    by_name = {figure.name: figure for figure in FIGURES}
    shapes = [
        ("total_return", 0.1234, "+12.34%"),
        ("total_return", -0.00001, "0.00%"),
        ("win_rate", 0.5, "50.00%"),
        ("final", 12345.678, "12,345.68"),
        ("expectancy", 0.00123, "0.0012"),
        ("trades", 9000, "9,000"),
        ("sharpe", None, "-"),
        ("start_ms", START_MS, "2025-01-01"),
        ("start_ms", START_MS + HOUR_MS, "2025-01-01 01:00"),
        ("average_length_ms", 90_000.0, "1m30"),
        ("longest_drawdown_ms", 3 * DAY_MS + 4 * HOUR_MS, "3d04"),
        ("median_length_ms", 500.0, "0.5s"),
        ("median_length_ms", 3 * HOUR_MS, "3h00"),
    ]
    assert [shown(by_name[name], value) for name, value, _ in shapes] == [text for *_, text in shapes]
    assert (iso(START_MS), iso(START_MS + 5)) == ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00.005Z")
