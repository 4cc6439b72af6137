"""Binance USD-M futures market data: sockets and REST replies in, events out."""

from engine.signal.binance.dialect import Binance
from engine.signal.binance.rest import Rest

ROUTES = ("public", "market")

__all__ = ["ROUTES", "Binance", "Rest"]
