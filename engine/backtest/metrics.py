"""A backtest's bars, trades and equity in, its statistics out: each figure declared once, with its unit and its meaning.

The headline Sharpe ratio is of daily returns: scaling a minute's ratio to a year takes minutes as independent, and those of one
position are not.
"""

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt

from engine.backtest.returns import DAYS, annual_return, daily_returns, moments, periods_a_year, returns, sharpe, sortino
from engine.backtest.series import LIMIT, REASONS, SIGNAL, Floats, Integers, Series, Trades
from engine.backtest.spans import DAY_MS, UNITS_MS, date

HOUR_MS = UNITS_MS["h"]
AT_OPEN = (SIGNAL, LIMIT)  # exits that fill at the open of their bar, so that the bar is not one in position
FEW_DAYS = 30  # below, what is scaled to a year says little
FEW_TRADES = 30
TAIL = 0.05


class Unit(StrEnum):
    """What a figure counts; fractions are of 1, so 0.05 is 5 %."""

    CHANGE = "fraction, signed"
    SHARE = "fraction"
    QUOTE = "quote units"
    RATIO = "ratio"
    COUNT = "count"
    LENGTH = "ms"
    TIME = "ms UTC"


def _of(section: str, title: str, unit: Unit, description: str) -> msgspec.Meta:
    return msgspec.Meta(title=title, description=description, extra={"section": section, "unit": unit})


class Group(msgspec.Struct, frozen=True):
    """The trades that have something in common. Profit in quote units, after costs."""

    key: str
    trades: int
    wins: int
    profit: float
    fees: float

    @property
    def win_rate(self) -> float:
        return self.wins / self.trades

    @property
    def mean(self) -> float:
        return self.profit / self.trades


class Month(msgspec.Struct, frozen=True):
    """A calendar month UTC, the first and the last perhaps in part. `change` is a fraction of the equity at its start."""

    year: int
    month: int
    change: float
    profit: float  # quote units
    trades: int  # closed in it


class Statistics(msgspec.Struct, frozen=True):
    """What came of a backtest. None is a figure that does not exist: a mean of nothing, a ratio to 0, too short a run."""

    start_ms: Annotated[int, _of("Result", "From", Unit.TIME, "Open of the first bar")]
    end_ms: Annotated[int, _of("Result", "To", Unit.TIME, "Close of the last bar")]
    bars: Annotated[int, _of("Result", "Bars", Unit.COUNT, "Bars that were run over")]
    initial: Annotated[float, _of("Result", "Capital at the start", Unit.QUOTE, "Equity before the first bar")]
    final: Annotated[float, _of("Result", "Equity at the end", Unit.QUOTE, "Equity at the close of the last bar")]
    total_return: Annotated[float, _of("Result", "Total return", Unit.CHANGE, "Equity at the end against the start")]
    annual_return: Annotated[
        float | None,
        _of("Result", "Annual return", Unit.CHANGE, "The yearly growth that compounds to the total return; none below a day"),
    ]
    buy_and_hold: Annotated[
        float, _of("Result", "Buy and hold", Unit.CHANGE, "From first open to last close, unlevered, without fees and funding")
    ]

    sharpe: Annotated[
        float | None,
        _of("Risk", "Sharpe", Unit.RATIO, "Mean over standard deviation of daily (UTC) returns, x sqrt(365); the headline"),
    ]
    sharpe_bars: Annotated[
        float | None,
        _of("Risk", "Sharpe of bars", Unit.RATIO, "The same of each bar's return, x sqrt(bars in a year); flatters or blames"),
    ]
    sortino: Annotated[
        float | None,
        _of("Risk", "Sortino", Unit.RATIO, "Mean of daily returns over the root mean square of the losing ones, x sqrt(365)"),
    ]
    calmar: Annotated[float | None, _of("Risk", "Calmar", Unit.RATIO, "Annual return over the deepest drawdown")]
    volatility: Annotated[float | None, _of("Risk", "Volatility", Unit.SHARE, "Standard deviation of daily returns, x sqrt(365)")]
    max_drawdown: Annotated[
        float, _of("Risk", "Deepest drawdown", Unit.SHARE, "Largest fall of equity at a bar's close, as a fraction of its peak")
    ]
    max_drawdown_quote: Annotated[
        float, _of("Risk", "Largest drawdown", Unit.QUOTE, "Largest fall of equity from a peak; perhaps another one")
    ]
    drawdown_peak_ms: Annotated[int | None, _of("Risk", "Its peak", Unit.TIME, "When the deepest drawdown began")]
    drawdown_low_ms: Annotated[int | None, _of("Risk", "Its low", Unit.TIME, "When it was deepest")]
    drawdown_recovered_ms: Annotated[
        int | None, _of("Risk", "Its recovery", Unit.TIME, "When equity was back at that peak; none: never within the run")
    ]
    drawdown_length_ms: Annotated[
        int, _of("Risk", "Its length", Unit.LENGTH, "From peak to recovery, or to the end where there was none")
    ]
    longest_drawdown_ms: Annotated[
        int, _of("Risk", "Longest drawdown", Unit.LENGTH, "Longest time below a peak; perhaps another one")
    ]
    tail_loss: Annotated[
        float | None,
        _of("Risk", "Bad day (VaR 95 %)", Unit.CHANGE, "The daily return that 5 % of the days fell below"),
    ]
    tail_mean: Annotated[
        float | None,
        _of("Risk", "Mean bad day (CVaR 95 %)", Unit.CHANGE, "Mean of the worst 5 % of the daily returns"),
    ]
    skew: Annotated[float | None, _of("Risk", "Skewness", Unit.RATIO, "Of daily returns; negative: the large days are losses")]
    kurtosis: Annotated[float | None, _of("Risk", "Kurtosis", Unit.RATIO, "Of daily returns; 3 is the normal distribution's")]
    ruined_ms: Annotated[
        int | None, _of("Risk", "Ruined", Unit.TIME, "When nothing was left; returns are 0 from then on. None: never")
    ]

    trades: Annotated[int, _of("Trades", "Trades", Unit.COUNT, "Positions closed; one closed in parts is as many")]
    wins: Annotated[int, _of("Trades", "Won", Unit.COUNT, "With a profit above 0, after costs")]
    losses: Annotated[int, _of("Trades", "Lost", Unit.COUNT, "With a profit below 0, after costs")]
    win_rate: Annotated[float | None, _of("Trades", "Win rate", Unit.SHARE, "Won over all")]
    profit_factor: Annotated[
        float | None, _of("Trades", "Profit factor", Unit.RATIO, "Sum of profits over sum of losses; none where nothing was lost")
    ]
    expectancy: Annotated[float | None, _of("Trades", "Expectancy", Unit.QUOTE, "Mean profit of a trade")]
    average_return: Annotated[
        float | None, _of("Trades", "Mean return", Unit.CHANGE, "Mean of profit over the notional at entry")
    ]
    average_win: Annotated[float | None, _of("Trades", "Mean win", Unit.QUOTE, "Mean profit of those that won")]
    average_loss: Annotated[float | None, _of("Trades", "Mean loss", Unit.QUOTE, "Mean profit of those that lost, negative")]
    payoff: Annotated[float | None, _of("Trades", "Payoff", Unit.RATIO, "Mean win over mean loss")]
    best: Annotated[float | None, _of("Trades", "Best", Unit.QUOTE, "Profit of the best trade")]
    worst: Annotated[float | None, _of("Trades", "Worst", Unit.QUOTE, "Profit of the worst trade")]
    winning_streak: Annotated[int, _of("Trades", "Wins in a row", Unit.COUNT, "The most, in the order of exits")]
    losing_streak: Annotated[int, _of("Trades", "Losses in a row", Unit.COUNT, "The most, in the order of exits")]
    average_length_ms: Annotated[
        float | None,
        _of("Trades", "Mean duration", Unit.LENGTH, "In position, to the end of the exit's bar where it fell within"),
    ]
    median_length_ms: Annotated[float | None, _of("Trades", "Median duration", Unit.LENGTH, "The same, of the middle one")]
    favourable: Annotated[
        float | None, _of("Trades", "Mean best price", Unit.CHANGE, "Mean of the best price reached against the entry")
    ]
    adverse: Annotated[
        float | None, _of("Trades", "Mean worst price", Unit.CHANGE, "Mean of the worst price reached against the entry")
    ]
    exposure: Annotated[float, _of("Trades", "Exposure", Unit.SHARE, "Bars in position over all bars")]

    traded: Annotated[float, _of("Costs", "Traded", Unit.QUOTE, "Notional of entries and exits")]
    turnover: Annotated[float | None, _of("Costs", "Turnover", Unit.RATIO, "Notional traded over mean equity, in the whole run")]
    fees: Annotated[float, _of("Costs", "Fees", Unit.QUOTE, "Paid, within the profits")]
    funding: Annotated[float, _of("Costs", "Funding", Unit.QUOTE, "Received, negative: paid; within the profits")]
    slippage: Annotated[
        float, _of("Costs", "Slippage and spread", Unit.QUOTE, "Paid beyond the price of the bar; within the profits")
    ]

    by_side: tuple[Group, ...]
    by_reason: tuple[Group, ...]  # of the exit
    by_hour: tuple[Group, ...]  # UTC, of the entry: `00` to `23`
    by_month: tuple[Month, ...]
    remarks: tuple[str, ...]  # sentences on what the figures do not say


class Figure(msgspec.Struct, frozen=True):
    """How one figure of `Statistics` is declared."""

    name: str
    title: str
    section: str
    unit: Unit
    description: str


def _figures() -> tuple[Figure, ...]:
    hints = get_type_hints(Statistics, include_extras=True)
    metas = [(name, hints[name].__metadata__[0]) for name in Statistics.__struct_fields__ if hasattr(hints[name], "__metadata__")]
    return tuple(Figure(name, m.title, m.extra["section"], m.extra["unit"], m.description) for name, m in metas)


FIGURES = _figures()


def shown(figure: Figure, value: float | None) -> str:
    """A value as a person reads it; `-` where there is none."""
    if value is None:
        return "-"
    match figure.unit:
        case Unit.CHANGE:
            return f"{value:+.2%}" if round(value, 4) else "0.00%"
        case Unit.SHARE:
            return f"{value:.2%}"
        case Unit.COUNT:
            return f"{value:,}"
        case Unit.TIME:
            return date(int(value))
        case Unit.LENGTH:
            return _length(value)
        case _:
            return f"{value:,.2f}" if round(value, 2) else f"{value:z.2g}"


def iso(ms: int) -> str:
    """`2025-09-18T12:00:00Z`, with milliseconds where there are some."""
    time = dt.datetime.fromtimestamp(ms // 1000, dt.UTC).replace(tzinfo=None).isoformat()
    return f"{time}.{ms % 1000:03}Z" if ms % 1000 else f"{time}Z"


def _length(ms: float) -> str:
    seconds = round(ms / 1000)
    if seconds < 60:
        return f"{ms / 1000:.3g}s"
    minutes, hours = seconds // 60, seconds // 3600
    if minutes < 60:
        return f"{minutes}m{seconds % 60:02}"
    return f"{hours}h{minutes % 60:02}" if hours < 48 else f"{hours // 24}d{hours % 24:02}"


def measure(series: Series, trades: Trades, equity: Floats, initial: float) -> Statistics:
    """`trades` by exit, `equity` [n] in quote units at each bar's close, `initial` before the first bar.

    Raises ValueError where there is no bar, `equity` has another length or lacks a number, or `initial` is not above 0.
    """
    bars = len(series)
    if not bars or len(equity) != bars:
        raise ValueError(
            f"There are {bars} bars and {len(equity)} values of equity; one for each of at least one bar was expected."
        )
    if not initial > 0:
        raise ValueError(f"The capital at the start is {initial}; more than 0 was expected.")
    curve = np.concatenate(([initial], equity))
    if not np.isfinite(curve).all():
        where = int(np.flatnonzero(~np.isfinite(curve))[0])
        raise ValueError(f"Equity at the close of bar {where - 1} is {curve[where]}; a number was expected.")

    final, length_ms = float(curve[-1]), bars * series.timeframe_ms
    daily = daily_returns(series, equity, initial)
    a_year = periods_a_year(series)
    annual = annual_return(final / initial, length_ms)
    falls = _drawdown(series, curve)
    shape = moments(daily)
    money = _trades(series, trades)
    return Statistics(
        start_ms=int(series.open_ms[0]),
        end_ms=_time(series, bars),
        bars=bars,
        initial=float(initial),
        final=final,
        total_return=final / initial - 1,
        annual_return=annual,
        buy_and_hold=float(series.close[-1] / series.open[0] - 1),
        sharpe=sharpe(daily, a_year),
        sharpe_bars=sharpe(returns(curve), DAYS * DAY_MS / series.timeframe_ms),
        sortino=sortino(daily, a_year),
        calmar=annual / falls["max_drawdown"] if annual is not None and falls["max_drawdown"] else None,
        volatility=float(daily.std(ddof=1)) * a_year**0.5 if len(daily) > 1 else None,
        tail_loss=float(np.quantile(daily, TAIL)) if len(daily) > 1 else None,
        tail_mean=float(np.sort(daily)[: int((len(daily) - 1) * TAIL) + 1].mean()) if len(daily) > 1 else None,
        skew=shape[0] if shape else None,
        kurtosis=shape[1] if shape else None,
        ruined_ms=_time(series, int((curve <= 0).argmax())) if curve.min() <= 0 else None,
        turnover=money["traded"] / float(curve.mean()) if curve.mean() > 0 else None,
        by_side=_groups(trades, (1 - trades["side"]) // 2, ("long", "short")),
        by_reason=_groups(trades, trades["reason"], REASONS),
        by_hour=_groups(trades, series.open_ms[trades["entry_bar"]] // HOUR_MS % 24, [f"{hour:02}" for hour in range(24)]),
        by_month=_months(series, trades, curve),
        remarks=_remarks(length_ms, money, final - initial, float(trades["profit"].sum())),
        **falls,
        **money,
    )


def _time(series: Series, point: int) -> int:
    """Of a point of the curve: 0 is the first open, `i` the close of bar `i - 1`."""
    return int(series.open_ms[0]) if not point else int(series.open_ms[point - 1]) + series.timeframe_ms


def _drawdown(series: Series, curve: Floats) -> dict[str, Any]:
    peaks = np.maximum.accumulate(curve)
    fall = peaks - curve
    depth = fall / peaks
    low = int(depth.argmax())
    at_peak = np.flatnonzero(fall == 0)  # the start is one
    after = int(np.searchsorted(at_peak, low))
    peak = int(at_peak[after - 1]) if after else 0
    back = int(at_peak[after]) if after < len(at_peak) else None
    spans = np.diff(at_peak)
    open_bars = len(curve) - 1 - int(at_peak[-1])
    longest = max(int(spans.max(initial=1)), open_bars)
    fell = bool(depth[low] > 0)
    return {
        "max_drawdown": float(depth[low]),
        "max_drawdown_quote": float(fall.max()),
        "drawdown_peak_ms": _time(series, peak) if fell else None,
        "drawdown_low_ms": _time(series, low) if fell else None,
        "drawdown_recovered_ms": _time(series, back) if fell and back is not None else None,
        "drawdown_length_ms": ((len(curve) - 1 if back is None else back) - peak) * series.timeframe_ms if fell else 0,
        "longest_drawdown_ms": longest * series.timeframe_ms if longest > 1 or open_bars else 0,
    }


def bars_held(trades: Trades) -> Integers:
    """Bars in position of each trade: that of the entry, and that of the exit unless it fills at the open."""
    return np.asarray(trades["exit_bar"] - trades["entry_bar"] + ~np.isin(trades["reason"], AT_OPEN))


def trade_returns(series: Series, trades: Trades) -> Floats:
    """Profit of each over its notional at entry."""
    unit = float(series.contract.tick * series.contract.step)
    return np.asarray(trades["profit"] / (trades["quantity"] * trades["entry"] * unit))


def _trades(series: Series, trades: Trades) -> dict[str, Any]:
    profit = np.ascontiguousarray(trades["profit"])
    won, lost = profit > 0, profit < 0
    wins, losses = int(won.sum()), int(lost.sum())
    gain, loss = float(profit[won].sum()), float(-profit[lost].sum())
    held = bars_held(trades)
    length = held * series.timeframe_ms
    unit = float(series.contract.tick * series.contract.step)
    favourable = trades["side"] * (trades["best"] / trades["entry"] - 1)
    adverse = trades["side"] * (trades["worst"] / trades["entry"] - 1)
    return {
        "trades": len(trades),
        "wins": wins,
        "losses": losses,
        "win_rate": wins / len(trades) if len(trades) else None,
        "profit_factor": gain / loss if loss else None,
        "expectancy": _mean(profit),
        "average_return": _mean(trade_returns(series, trades)),
        "average_win": gain / wins if wins else None,
        "average_loss": -loss / losses if losses else None,
        "payoff": (gain / wins) / (loss / losses) if wins and losses else None,
        "best": float(profit.max()) if len(profit) else None,
        "worst": float(profit.min()) if len(profit) else None,
        "winning_streak": _streak(won),
        "losing_streak": _streak(lost),
        "average_length_ms": _mean(length),
        "median_length_ms": float(np.median(length)) if len(length) else None,
        "favourable": _mean(favourable),
        "adverse": _mean(adverse),
        "exposure": _exposure(trades["entry_bar"], held, len(series)),
        "traded": float((trades["quantity"] * (trades["entry"] + trades["exit"])).sum()) * unit,
        "fees": float(trades["fees"].sum()),
        "funding": float(trades["funding"].sum()),
        "slippage": float(trades["slippage"].sum()),
    }


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _streak(hits: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], hits, [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _exposure(entry_bar: Integers, held: Integers, bars: int) -> float:
    """Trades may overlap: a position closed in parts is several."""
    if not len(held):
        return 0.0
    opened = np.bincount(entry_bar, minlength=bars + 1)
    closed = np.bincount(entry_bar + held, minlength=bars + 1)
    return float(np.count_nonzero(np.cumsum(opened - closed)) / bars)


def _groups(trades: Trades, keys: Integers, names: Sequence[str]) -> tuple[Group, ...]:
    """Those that have a trade, in the order of `names`."""
    profit, many = trades["profit"], len(names)
    counts, won = np.bincount(keys, minlength=many), np.bincount(keys, profit > 0, many)
    sums, fees = np.bincount(keys, profit, many), np.bincount(keys, trades["fees"], many)
    return tuple(
        Group(name, int(counts[i]), int(won[i]), float(sums[i]), float(fees[i])) for i, name in enumerate(names) if counts[i]
    )


def _months(series: Series, trades: Trades, curve: Floats) -> tuple[Month, ...]:
    first = np.datetime64(int(series.open_ms[0]), "ms").astype("datetime64[M]")
    last = np.datetime64(int(series.open_ms[-1]), "ms").astype("datetime64[M]")
    months = np.arange(first, last + np.timedelta64(1, "M"))
    starts = months.astype("datetime64[ms]").astype(np.int64)
    points = np.append(np.searchsorted(series.open_ms, starts), len(series))  # the equity before a month's first bar, and the end
    points[0] = 0
    changes, profits = returns(curve[points]), np.diff(curve[points])
    closed = np.histogram(trades["exit_bar"], bins=points)[0] if len(trades) else np.zeros(len(months), np.int64)
    dates = months.astype(object)
    return tuple(
        Month(date.year, date.month, float(changes[i]), float(profits[i]), int(closed[i])) for i, date in enumerate(dates)
    )


def _remarks(length_ms: int, money: dict[str, Any], earned: float, profit: float) -> tuple[str, ...]:
    days = length_ms / DAY_MS
    found = []
    if days < FEW_DAYS:
        found.append(f"The run spans {days:.1f} days: what is scaled to a year is an extrapolation.")
    if not money["trades"]:
        found.append("There was no trade.")
    elif not money["losses"]:
        found.append("No trade lost, so the profit factor has no bound.")
    if 0 < money["trades"] < FEW_TRADES:
        found.append(f"{money['trades']} trades are few to judge a strategy by.")
    if abs(earned - profit) > 1e-6 * max(abs(earned), abs(profit), 1.0):
        found.append(f"Equity changed by {earned:,.2f} and the trades sum up to {profit:,.2f}: a position is still open.")
    return tuple(found)
