"""Numbers and times in, the short text of a trading screen out: fixed decimals, a sign where it matters, never wrapped.

A number that does not fit is shown as `#`: a cut number would be a wrong one.
"""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from rich.cells import cell_len, set_cell_size

NONE = "-"  # where there is no value
_NS = 1_000_000_000


def market_name(market: str, *, short: bool = False) -> str:
    """`binance:ASTER/USDT:USDT` as `binance ASTER/USDT`, or `ASTER` when short."""
    venue, _, symbol = market.partition(":")
    pair = symbol.partition(":")[0]
    return pair.partition("/")[0] if short else f"{venue} {pair}".strip()


def decimals(unit: Decimal) -> int:
    """How many decimals a tick or a step needs: 2 for 0.01, 0 for 5."""
    exponent = unit.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def ticks(count: int, unit: Decimal) -> str:
    """A price in ticks or a size in steps, with the decimals of its unit."""
    return f"{count * unit:.{decimals(unit)}f}"


def money(text: str, places: int = 2, *, sign: bool = False) -> str:
    """Exact decimal text as `1,234.50`, with `+` or `-` when `sign`; zero has no sign."""
    try:
        value = round(Decimal(text), places)
    except InvalidOperation:
        return NONE
    if not value.is_finite():
        return NONE
    shown = f"{abs(value):,.{places}f}"
    return f"-{shown}" if value < 0 else f"+{shown}" if sign and value > 0 else shown


def percent(value: float, places: int = 2) -> str:
    """A percentage with its sign: `+1.25%`."""
    rounded = round(value, places)
    return NONE if value != value else f"{rounded:+.{places}f}%" if rounded else f"{0:.{places}f}%"


def trend(text: str) -> int:
    """The sign of decimal text: 1, 0 or -1; 0 for what is no number."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return 0
    return 0 if value.is_nan() else (value > 0) - (value < 0)


def duration(ms: float) -> str:
    """How long: `0.2s`, `12s`, `3m05`, `2h07`, `4d03`; `-` for a negative (unknown) one."""
    if ms < 0:
        return NONE
    seconds = int(ms / 1000)
    if ms < 10_000:
        return f"{ms / 1000:.1f}s"
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3_600:
        return f"{seconds // 60}m{seconds % 60:02}"
    if seconds < 86_400:
        return f"{seconds // 3_600}h{seconds % 3_600 // 60:02}"
    return f"{seconds // 86_400}d{seconds % 86_400 // 3_600:02}"


def micros(us: float) -> str:
    """A latency: `850us`, `2.1ms`, `1.30s`; `-` before it was measured."""
    if not us > 0:
        return NONE
    if us < 999.5:
        return f"{us:.0f}us"
    return f"{us / 1_000:.1f}ms" if us < 999_500 else f"{us / 1_000_000:.2f}s"


def count(value: float) -> str:
    """`840`, `5.1k`, `2.3M`."""
    if value < 999.5:
        return f"{value:.0f}"
    return f"{value / 1_000:.1f}k" if value < 999_500 else f"{value / 1_000_000:.1f}M"


def clock(at: int) -> str:
    """Engine time (ns UTC) as `12:34:56`."""
    second = at // _NS % 86_400
    return f"{second // 3_600:02}:{second // 60 % 60:02}:{second % 60:02}"


def date(at: int) -> str:
    """Nanoseconds UTC as `2026-11-27 12:34:56`."""
    return datetime.fromtimestamp(at // _NS, UTC).strftime("%Y-%m-%d %H:%M:%S")


def timeframe(ms: int) -> str:
    """`1s`, `5m`, `1h`."""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if ms >= size and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def fit(text: str, width: int) -> str:
    """Words in exactly `width` cells, cut with an ellipsis; line breaks and control characters become spaces."""
    if width <= 0:
        return ""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    if cell_len(line) <= width:
        return set_cell_size(line, width)
    return set_cell_size(line, width - 1) + "…"


def number(text: str, width: int) -> str:
    """A number at the right of `width` cells; all `#` when it does not fit."""
    return text.rjust(width) if len(text) <= width else "#" * max(0, width)
