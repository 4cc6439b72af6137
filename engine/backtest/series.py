"""What a backtest runs over: a contract, its bars and its funding, in the units in which the engine trades."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Contract(msgspec.Struct, frozen=True):
    """What a venue says of a contract. Sizes are steps (`step` base units each), rates are fractions of notional."""

    symbol: str  # unified, for example ASTER/USDT:USDT
    venue: str  # `synthetic` where the bars are made up, `` where the file does not say
    tick: Decimal
    step: Decimal
    min_quantity: int = 1
    max_quantity: int = 2**53
    min_notional: Decimal = Decimal(5)
    maker: Decimal = Decimal("0.0002")
    taker: Decimal = Decimal("0.0005")
    maintenance: Decimal = Decimal("0.01")  # margin rate
    first_ms: int = 0  # when it was listed, 0 where that is not known


@dataclass(frozen=True)
class Series:
    """`n` bars, oldest first, each `timeframe_ms` long, none missing, doubled or unfinished. Prices in ticks, volumes in steps.

    `funding_ms` and `funding_rate` are the settlements within (positive: longs pay); none where they are not known.
    """

    contract: Contract
    timeframe_ms: int
    open_ms: Integers  # [n]
    open: Integers
    high: Integers
    low: Integers
    close: Integers
    volume: Integers
    funding_ms: Integers = field(default_factory=lambda: np.empty(0, np.int64))  # [m]
    funding_rate: Floats = field(default_factory=lambda: np.empty(0, np.float64))
    source: str = ""  # for people: the file, the venue, or how it was generated
    synthetic: bool = False
    remarks: tuple[str, ...] = ()  # what was found and done in the data, as sentences

    def __len__(self) -> int:
        return len(self.open_ms)


# --- what came of it --------------------------------------------------------------------------------------------------

REASONS = ("signal", "stop", "target", "liquidation", "limit", "end")
SIGNAL, STOP, TARGET, LIQUIDATION, LIMIT, END = range(6)

TRADE = np.dtype(
    [
        ("side", np.int64),  # 1 long, -1 short
        ("quantity", np.int64),  # steps that were closed; a position closed in parts is as many trades
        ("entry_bar", np.int64),
        ("exit_bar", np.int64),
        ("entry", np.int64),  # ticks
        ("exit", np.int64),
        ("reason", np.int64),  # of the exit, one of REASONS
        ("best", np.int64),  # ticks, the most favourable price of the bars while it was open
        ("worst", np.int64),
        ("stop", np.int64),  # ticks, as it was placed with the position, 0 where there was none
        ("target", np.int64),
        ("fees", np.float64),  # quote units, both ways
        ("funding", np.float64),  # quote units, positive: received
        ("slippage", np.float64),  # quote units paid beyond the price of the bar (open, stop, target), both ways, spread included
        ("profit", np.float64),  # quote units after fees and funding
    ]
)
FIELDS: tuple[str, ...] = TRADE.names or ()
WHOLE = FIELDS.index("fees")  # so many columns are whole numbers
Trades = npt.NDArray[Any]  # of TRADE, by exit
