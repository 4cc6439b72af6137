"""Takes a contract and a seed; gives bars and funding that were made up: for trying things out, and labelled as such.

The price is a fair game: moves have no drift and no memory, so no strategy has an edge here but by luck. What is real in it
is the temper: volatility in clusters from minutes to weeks and by the hour of the day, now and then a jump, volume that
comes with range, funding that leans with the market.

The same arguments give the same bars on every platform and with every version of Python and numpy: only the raw words of
PCG64 are drawn, which numpy promises not to change, and only +, -, *, / and rounding touch them. More bars of the same seed
begin with the same bars.
"""

from decimal import Decimal

import numpy as np
import numpy.typing as npt

from engine.backtest.series import Contract, Floats, Integers, Series
from engine.errors import DataError

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
FUNDING_MS = 8 * HOUR_MS
YEARLY = 0.9  # volatility of a year, as a fraction of the price
MOVES = 4  # within a bar: its high and low are those of the path
# Log-volatility is a sum of noises that live so long; standard deviation of each.
CLUSTERS = ((5 * MINUTE_MS, 0.3), (30 * MINUTE_MS, 0.35), (3 * HOUR_MS, 0.35), (DAY_MS, 0.35), (7 * DAY_MS, 0.3))
JUMP_EVERY_MS, JUMP = 2 * DAY_MS, 0.008  # on average; standard deviation of one, as a fraction of the price
FURTHEST = 1.6  # of the logarithm: the path turns back at a fifth and at five times of where it starts
TURNOVER = 400_000.0  # quote units a minute, typically
# Quarters of the busiest hours: what volatility is multiplied by, from 00:00 UTC; America's morning is the busiest.
HOURS = np.array([24, 24, 22, 21, 20, 20, 21, 23, 25, 25, 24, 24, 26, 31, 34, 33, 31, 28, 26, 25, 25, 25, 23, 23]) / 25
STARTS = {"ASTER": "1.2", "BTC": "60000", "ETH": "3000", "SOL": "150", "BNB": "600"}
LISTINGS = {  # tick and step, as Binance lists them
    "ASTER": ("0.0001", "1"),
    "BTC": ("0.1", "0.001"),
    "ETH": ("0.01", "0.001"),
    "SOL": ("0.01", "0.01"),
    "BNB": ("0.01", "0.01"),
}
LONGEST = 20_000_000  # bars: forty years of minutes, a few gigabytes on the way


def listing(symbol: str) -> Contract:
    """A contract for a symbol of which nothing is known but its name: ticks and steps as they are usual."""
    tick, step = LISTINGS.get(symbol.partition("/")[0], ("0.0001", "1"))
    return Contract(symbol, "synthetic", Decimal(tick), Decimal(step))


def synthetic(contract: Contract, timeframe_ms: int, from_ms: int, bars: int, seed: int) -> Series:
    """`bars` bars of `timeframe_ms` from `from_ms` on, with funding every 8 hours. Raises DataError where that is no series."""
    for name, value, most in (("timeframe_ms", timeframe_ms, 7 * DAY_MS), ("bars", bars, LONGEST)):
        if not 1 <= value <= most:
            raise DataError(f"synthetic bars, {name}", f"{value:,} cannot be generated", f"1 to {most:,}")
    if seed < 0:
        raise DataError("synthetic bars, seed", f"{seed} is below 0", "a whole number from 0")
    open_ms = from_ms + timeframe_ms * np.arange(bars, dtype=np.int64)
    sigma = _sigma(seed, open_ms, timeframe_ms)
    path = _path(seed, sigma, timeframe_ms)
    start = _start(contract)
    ticks = np.maximum(np.rint(start / float(contract.tick) * _exp(path)), 1.0)  # [bars, 1 + MOVES]
    high, low = ticks.max(axis=1), ticks.min(axis=1)
    funding_ms, funding_rate = _funding(seed, path[:, -1], from_ms, timeframe_ms)
    return Series(
        contract,
        timeframe_ms,
        open_ms,
        _whole(ticks[:, 0]),
        _whole(high),
        _whole(low),
        _whole(ticks[:, -1]),
        _volume(seed, contract, high, low, ticks[:, -1], timeframe_ms),
        funding_ms,
        funding_rate,
        source=f"synthetic bars, seed {seed}: made up, no market ever traded them",
        synthetic=True,
    )


def _start(contract: Contract) -> float:
    """Where the price begins: about where the coin stands, and far enough above one tick to move."""
    known = STARTS.get(contract.symbol.partition("/")[0])
    least = 1_000 * float(contract.tick)
    return max(float(known), least) if known is not None else 10 * least


def _sigma(seed: int, open_ms: Integers, timeframe_ms: int) -> Floats:
    """The standard deviation of each bar's move, as a fraction of the price."""
    log = np.zeros(len(open_ms))
    since = open_ms - open_ms[0]
    for number, (lives_ms, size) in enumerate(CLUSTERS):
        if lives_ms < timeframe_ms:
            continue
        knot, within = np.divmod(since, lives_ms)
        knots = size * _normal(seed, 10 + number, int(knot[-1]) + 2)
        share = within / lives_ms
        log += knots[knot] * (1.0 - share) + knots[knot + 1] * share
    log -= sum(size * size for _, size in CLUSTERS) * 0.5  # so that a year's volatility is about YEARLY
    hours = HOURS[open_ms % DAY_MS // HOUR_MS] if timeframe_ms < DAY_MS else 1.0
    bars_a_year = 365 * DAY_MS / timeframe_ms
    return np.asarray(_exp(log) * hours * (YEARLY / np.sqrt(bars_a_year)))


def _path(seed: int, sigma: Floats, timeframe_ms: int) -> Floats:
    """Logarithm of the price against its start: at each bar's open and after each of its moves, [bars, 1 + MOVES]."""
    bars = len(sigma)
    moves = np.empty((bars, 1 + MOVES))
    moves[:, 1:] = _normal(seed, 1, bars * MOVES).reshape(bars, MOVES) * (sigma / np.sqrt(float(MOVES)))[:, None]
    # A jump happens between two bars (a gap), or within one.
    chance, size = _uniform(seed, 2, bars), _normal(seed, 3, bars)
    often = min(timeframe_ms / JUMP_EVERY_MS, 0.5)
    jumps = np.where(chance < often, size * JUMP, 0.0)
    gaps = chance < often / 2
    moves[:, 0] = np.where(gaps, jumps, 0.0)
    moves[:, 2] += np.where(gaps, 0.0, jumps)
    moves[0, 0] = 0.0
    walked = np.cumsum(moves.ravel()).reshape(moves.shape)
    return np.abs(np.mod(walked + FURTHEST, 4 * FURTHEST) - 2 * FURTHEST) * -1.0 + FURTHEST


def _volume(seed: int, contract: Contract, high: Floats, low: Floats, close: Floats, timeframe_ms: int) -> Integers:
    """Steps: a part that is always there and one that comes with the bar's range, by a factor of their own."""
    minutes = timeframe_ms / MINUTE_MS
    usual = YEARLY / np.sqrt(365 * DAY_MS / timeframe_ms) * 1.3  # a bar's range, as a fraction
    busy = 0.3 + 0.7 * ((high - low) / close / usual)
    turnover = TURNOVER * minutes * busy * _exp(0.5 * _normal(seed, 4, len(close)) - 0.125)
    return _whole(np.clip(np.rint(turnover / (close * float(contract.tick) * float(contract.step))), 1.0, 2.0**52))


def _funding(seed: int, closes: Floats, from_ms: int, timeframe_ms: int) -> tuple[Integers, Floats]:
    """Settlements at 00:00, 08:00 and 16:00 UTC, the first bar's open included; longs pay more after a rise."""
    first = -(-from_ms // FUNDING_MS) * FUNDING_MS
    at = np.arange(first, from_ms + len(closes) * timeframe_ms, FUNDING_MS, dtype=np.int64)
    bar = np.maximum((at - from_ms) // timeframe_ms - 1, 0)  # the last that has closed by then
    before = np.maximum(bar - FUNDING_MS // timeframe_ms, 0)
    leaning = 0.0001 + 0.01 * (closes[bar] - closes[before]) + 0.00005 * _normal(seed, 5, len(at))
    return at, np.rint(np.clip(leaning, -0.003, 0.003) * 1e8) / 1e8


# --- numbers that are the same everywhere -----------------------------------------------------------------------------


def _words(seed: int, stream: int, count: int) -> npt.NDArray[np.uint64]:
    """Raw words, of a stream of its own for each use."""
    return np.asarray(np.random.PCG64(np.random.SeedSequence([seed, stream])).random_raw(count), np.uint64)


def _uniform(seed: int, stream: int, count: int) -> Floats:
    """From 0 to just below 1, multiples of 2**-53."""
    return np.asarray((_words(seed, stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _normal(seed: int, stream: int, count: int) -> Floats:
    """Of mean 0 and deviation 1, nearly normal: the sum of the four 16-bit parts of a word. The tails come of volatility."""
    words, part = _words(seed, stream, count), np.uint64(0xFFFF)
    total = words & part
    for shift in (16, 32, 48):
        total += (words >> np.uint64(shift)) & part
    return np.asarray((total.astype(np.float64) - 4 * 32767.5) / 37837.22)  # 65536 * sqrt(4 / 12)


def _exp(x: Floats) -> Floats:
    """e**x by its series and six squarings, to 1e-13 for |x| below 4: a library's own differs from machine to machine."""
    small = x * (1 / 64)
    made = np.ones_like(small)
    for power in range(8, 0, -1):
        made = 1.0 + made * small / power
    for _ in range(6):
        made = made * made
    return made


def _whole(values: Floats) -> Integers:
    return np.asarray(values).astype(np.int64)
