"""A market's recent bars, book and trades in; the question's table of words and whole numbers out.

Code says in words what the numbers mean: models that are given numbers alone do not tell a rise from a fall. The part that never
changes comes first, so that a server reuses what it has read of it. Nothing is in it that a stranger wrote, no date, no price
level and no symbol, nothing of positions or money: code applies those, and the same table gets the same answer in a backtest.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from engine.events import Bar
from engine.processor.indicators import Indicators

TEMPLATE = "1"  # raised by any change of what is asked or how: records of answers belong to it
SYSTEM = """\
You judge the next minutes of one perpetual contract from a small table. Fixed rules do the trading; you only state a view.
Moves are in basis points (bp). Compare the rows: do short and long timeframes, book and trades point the same way?
chance_up = percent chance the price is higher at expiry. Use the full range; near the middle only when signals cancel.
expires_min = minutes the view holds: 5, 10, 15, 30 or 60. invalid_bp = adverse move that proves it wrong, 5 to 300.
regime = one word: breakout, quiet, range, shock or trend. why = one sentence on the strongest signal and the main doubt.
Reply with one line of JSON: keys chance_up, expires_min, invalid_bp, regime, why."""
MINUTES = (1, 5, 15, 60)  # timeframes of the rows
NEEDED = 5  # bars of a timeframe before it has a row
LONGEST = 100  # bars of a timeframe that are read
MEAN = 12  # bars behind "ema"


class Row(msgspec.Struct, frozen=True):
    """One timeframe; NaN where a figure is not known. Moves in basis points."""

    minutes: int
    moved_bps: float  # over its newest bar
    usual_bps: float  # standard deviation of its bars' moves
    trend: float  # close over the mean of its newest bars, -1, 0 or 1
    volume: float  # of its newest bar against the mean
    rsi: float
    atr_bps: float


class Table(msgspec.Struct, frozen=True):
    """All that a question says. Imbalances and flow are -1 (sellers only) to 1."""

    rows: tuple[Row, ...]
    age_s: float
    cost_bps: float  # of going in and out
    funding_bps: float
    book: float
    all_books: float  # of every venue together, NaN where there is one only
    flow: float  # of the newest trades' aggressors
    basis_bps: float  # this venue above the other ones, NaN where there is one only
    spread_bps: float


def rows(minutes: Sequence[Bar]) -> tuple[Row, ...]:
    """From closed one-minute bars without a hole, oldest first. Longer bars end with the newest minute."""
    made = []
    for length in MINUTES:
        ends = range(len(minutes), length - 1, -length)[:LONGEST]
        if len(ends) >= NEEDED:
            made.append(_row(length, [_joined(minutes[end - length : end]) for end in reversed(ends)]))
    return tuple(made)


Joined = tuple[int, int, int, int, int]  # open, high, low, close (ticks), volume


def _joined(bars: Sequence[Bar]) -> Joined:
    high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
    return bars[0].open, high, low, bars[-1].close, sum(bar.volume for bar in bars)


def _row(length: int, bars: list[Joined]) -> Row:
    hot = Indicators()
    for _, high, low, close, _ in bars:
        hot.update(float(high), float(low), float(close))
    closes = [float(bar[3]) for bar in bars]
    moves = [math.log(after / before) * 1e4 for before, after in pairwise(closes)]
    usual = math.sqrt(math.fsum(move * move for move in moves) / len(moves))
    newest = closes[-MEAN:]
    mean = math.fsum(newest) / len(newest)
    volumes = [float(bar[4]) for bar in bars]
    usual_volume = math.fsum(volumes) / len(volumes)
    return Row(
        length,
        moves[-1],
        usual,
        (closes[-1] > mean) - (closes[-1] < mean) + 0.0,
        volumes[-1] / usual_volume if usual_volume else math.nan,
        hot.rsi_14,
        hot.atr_14 / closes[-1] * 1e4,
    )


def text(table: Table) -> str:
    """The table as it is asked: the volatile part of the prompt."""
    facts = [f"age_s {_whole(table.age_s)}", f"cost_bp {_whole(table.cost_bps)}"]
    facts += [f"{name} {_whole(value)}" for name, value in _extras(table) if not math.isnan(value)]
    lines = [" ".join(facts), *(_line(row) for row in table.rows)]
    voices = [("book", table.book), ("all venues", table.all_books), ("trades", table.flow)]
    said = [f"{name} {_tilt(value)}" for name, value in voices if not math.isnan(value)]
    return "\n".join([*lines, ", ".join(said)] if said else lines)


def _extras(table: Table) -> list[tuple[str, float]]:
    return [("spread_bp", table.spread_bps), ("fund8h_bp", table.funding_bps), ("basis_bp", table.basis_bps)]


def _line(row: Row) -> str:
    parts = [f"{row.minutes}m move {_move(row)}" if row.minutes < 60 else f"1h move {_move(row)}"]
    parts.append(f"ema {'up' if row.trend > 0 else 'down' if row.trend < 0 else 'flat'}")
    if not math.isnan(row.volume):
        parts.append(f"volume {'heavy' if row.volume > 1.6 else 'light' if row.volume < 0.6 else 'normal'}")
    parts.append(f"ret {_whole(row.moved_bps)}bp")
    if not math.isnan(row.rsi):
        parts.append(f"rsi {_whole(row.rsi)}")
    if not math.isnan(row.atr_bps):
        parts.append(f"atr {_whole(row.atr_bps)}bp")
    return ", ".join(parts)


def _move(row: Row) -> str:
    """How far against what is usual there."""
    size = abs(row.moved_bps) / row.usual_bps if row.usual_bps > 0 else 0.0
    if size < 0.3:
        return "flat"
    word = "up" if row.moved_bps > 0 else "down"
    return f"strong {word}" if size >= 1.5 else word if size >= 0.8 else f"mild {word}"


def _tilt(value: float) -> str:
    if abs(value) < 0.1:
        return "even"
    who = "buyers" if value > 0 else "sellers"
    return f"strong {who}" if abs(value) >= 0.6 else who if abs(value) >= 0.3 else f"mild {who}"


def _whole(value: float) -> str:
    return str(round(max(min(value, 99_999.0), -99_999.0)))
