"""An exception from ccxt in; whether the order was refused or its fate is unknown out. One table, by the venue's number.

ccxt's own classes depend on the URL (a redirected one loses half of them) and on wording, so the number in the text
decides; without one, only errors from before the request was sent mean that nothing happened.
"""

import re
from enum import Enum

from engine.signal.decoding import said


class Fate(Enum):
    """What an exception says of an order."""

    REFUSED = "refused"  # the venue said no: the order does not exist
    UNKNOWN = "unknown"  # it may have been executed
    GONE = "gone"  # the order that was asked for is not known


# Binance numbers below zero, OKX with five digits: they never meet.
# Internal errors and time-outs of the backend leave the outcome open. So does an id that OKX knows already: its order exists.
UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007, 50004, 50013, 50026, 51016, 51065})
GONE_CODES = frozenset({-2011, -2013, 51400, 51401, 51402, 51503, 51603})
OKX_FIRST = 50_000
# OKX says of an order `sCode` and `sMsg`, of a request `code` and `msg`; "1" and "2" only say that an order failed.
_CODE = re.compile(r'"(?:sCode|code)"\s*:\s*"?(-?[0-9]{1,9})(?![0-9])')
_MESSAGE = re.compile(r'"(?:sMsg|msg)"\s*:\s*"((?:[^"\\]|\\.)+)"')
# Raised by ccxt itself before anything is sent.
LOCAL = frozenset({"ArgumentsRequired", "BadSymbol", "NotSupported"})


def code_of(problem: BaseException) -> int:
    """The venue's number, 0 where there is none."""
    found = [int(code) for code in _CODE.findall(str(problem))]
    return next((code for code in found if code not in (0, 1, 2)), 0)


def words_of(problem: BaseException) -> str:
    """The venue's message, else the kind of error: never the whole text, which holds the request's URL and signature."""
    found = _MESSAGE.findall(str(problem))
    told = next((words for words in found if not words.startswith(("All operations", "Bulk operation"))), "")
    return said(told) if told else type(problem).__name__


def fate_of(problem: BaseException, status: int | None) -> Fate:
    """`status` is the HTTP status of the reply where one came."""
    code = code_of(problem)
    if code in GONE_CODES:
        return Fate.GONE
    if code in UNKNOWN_CODES:
        return Fate.UNKNOWN
    if code < 0 or code >= OKX_FIRST:  # another one is a gateway's, which does not know what became of the order
        return Fate.REFUSED
    if type(problem).__name__ in LOCAL:
        return Fate.REFUSED
    if type(problem).__name__ == "InvalidOrder" and status is None:
        return Fate.REFUSED  # ccxt's own check of amount and type, before sending
    if status in (418, 429, 403):
        return Fate.REFUSED  # turned away at the door
    return Fate.UNKNOWN
