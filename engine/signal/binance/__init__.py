"""Binance USD-M futures market data: sockets and REST replies in, events out."""

from engine.signal.binance.feed import Feed
from engine.signal.binance.rest import Rest

__all__ = ["Feed", "Rest"]
