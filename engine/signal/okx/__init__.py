"""OKX perpetual swaps market data: sockets and REST replies in, events out."""

from engine.signal.okx.dialect import Okx
from engine.signal.okx.rest import Rest

ROUTES = ("public", "business")

__all__ = ["ROUTES", "Okx", "Rest"]
