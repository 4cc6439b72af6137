"""What the venues' decoders share: the grid that turns prices and sizes into integers, and the venue's words about itself."""

from decimal import Decimal
from typing import Annotated

import msgspec

from engine.events import Event, Instrument

LARGEST = 2**63 - 1  # what an event can carry
Whole = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
LATEST_MS = 9_000_000_000_000  # in the year 2255: as nanoseconds it still fits
Millis = Annotated[int, msgspec.Meta(ge=0, le=LATEST_MS)]
MOST = 10**15  # ticks or steps of anything: their sums fit, too
LARGEST_FIGURE, SMALLEST_DIGIT = 20, -40  # powers of ten between which a figure of money lies
# msgspec's own errors and UnicodeDecodeError are ValueErrors; deep nesting is a RecursionError.
UNREADABLE = (ValueError, ArithmeticError, LookupError, RecursionError)
SHORT = 200  # characters of what a stranger wrote
NAMES_KEPT = 200  # of fields that we do not know


class Control(msgspec.Struct, frozen=True):
    """What a venue says of the connection itself.

    `kind`: subscribe or unsubscribe (done, for `stream`), done (the request of that `number`: Binance names no stream), error,
    notice, leaving (the venue will close soon) or pong.
    """

    kind: str
    stream: str = ""
    text: str = ""
    number: int = 0


Events = list[Event]  # a decoder has a method of the name `list`
Heard = Control | Events
NOTHING: Events = []


def said(text: str) -> str:
    """A stranger's words as a terminal may show them: short, one line, no escape."""
    return "".join(char if char.isprintable() else "?" for char in text[:SHORT])


def usable(value: Decimal) -> bool:
    """Whether sums and quotients can bear a figure: finite, and no exponent that would take minutes to write out."""
    if not value.is_finite() or value.adjusted() > LARGEST_FIGURE:
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and SMALLEST_DIGIT <= exponent <= LARGEST_FIGURE


def counted(value: Decimal, unit: Decimal) -> int:
    """How many whole units, what is left over left out. Raises ValueError where that is no number of ticks or steps."""
    if not usable(value) or abs(count := value / unit) > MOST:
        raise ValueError(f"{value:.6e} is no number of {unit:.6e}")
    return int(count)


class Grid(msgspec.Struct, frozen=True):
    """An instrument's conversion of what its venue writes to integers: `per_step` turns the venue's sizes into steps."""

    market: str
    per_tick: float
    per_step: float

    @classmethod
    def of(cls, instrument: Instrument) -> "Grid":
        return cls(instrument.market, float(1 / instrument.tick), float(instrument.contract / instrument.step))


def on_grid(value: float, per_unit: float) -> int:
    """The integer number of ticks or steps. Raises ValueError when the value is not finite, negative or between two."""
    scaled = value * per_unit
    if not 0 <= scaled <= MOST:  # also false for NaN
        raise ValueError(f"{value} is not a price or quantity")
    whole = round(scaled)
    # Parsing and scaling are off by some 3e-16 of the value; anything more is between two ticks.
    if abs(scaled - whole) > 1e-6 + 1e-15 * whole:
        raise ValueError(f"{value} is not a multiple of {1 / per_unit:g}")
    return whole


def nearest(value: float, per_unit: float) -> int:
    """As `on_grid`, for history: the tick may have been another one then, so between two is rounded."""
    scaled = value * per_unit
    if not 0 <= scaled <= MOST:
        raise ValueError(f"{value} is not a price or quantity")
    return round(scaled)
