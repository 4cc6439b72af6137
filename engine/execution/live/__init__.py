"""Orders out through ccxt, the account's news in through our own private socket; both as events."""

from engine.execution.live.account import BinanceAccount, Credentials
from engine.execution.live.private import PrivateFeed

__all__ = ["BinanceAccount", "Credentials", "PrivateFeed"]
