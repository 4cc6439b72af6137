"""Orders out through ccxt, the account's news in through our own private sockets; both as events, for each venue."""

from collections.abc import Callable

from engine.clock import Clock
from engine.events import Emit, Instrument
from engine.execution.live.account import BinanceAccount
from engine.execution.live.base import Credentials, Feed, VenueAccount, Wire
from engine.execution.live.okx import OkxAccount
from engine.execution.live.okx_private import OkxFeed
from engine.execution.live.private import PrivateFeed

__all__ = [
    "BinanceAccount",
    "Credentials",
    "OkxAccount",
    "OkxFeed",
    "PrivateFeed",
    "VenueAccount",
    "Wire",
    "open_account",
    "private_feed",
]


def open_account(
    venue: str,
    credentials: Credentials,
    rest: str,
    clock: Clock,
    recv_window_ms: int,
    margin_mode: str = "cross",
    ahead_ms: Callable[[], int] = lambda: 0,
) -> VenueAccount:
    """The account at a venue, whose clock is `ahead_ms` ahead of ours; nothing is asked before its `start`."""
    kind = OkxAccount if venue == "okx" else BinanceAccount
    return kind(credentials, rest, clock, recv_window_ms, margin_mode=margin_mode, ahead_ms=ahead_ms)


def private_feed(
    account: VenueAccount, ws: str, instruments: list[Instrument], clock: Clock, emit: Emit, order_waits: Callable[[], bool]
) -> Feed:
    """The stream that belongs to an account."""
    if isinstance(account, OkxAccount):
        return OkxFeed(ws, account, instruments, clock, emit, order_waits)
    assert isinstance(account, BinanceAccount)
    return PrivateFeed(ws, account, instruments, clock, emit, order_waits)
