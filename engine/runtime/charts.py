"""A market's closed bars in, their picture out: made anew when a bar closed, the same object until then."""

from engine.core.pictures import chart, chart_version
from engine.core.state import MarketState
from engine.views import ChartView


class Charts:
    """Remembers one picture a market and timeframe, so that frames between two closes cost nothing.

    Whoever gets the same object again knows without a look that nothing changed.
    """

    def __init__(self) -> None:
        self._drawn: dict[tuple[str, int], tuple[tuple[int, ...], ChartView]] = {}
        self.made = 0

    def of(self, held: MarketState, timeframe_ms: int) -> ChartView:
        key, version = (held.instrument.market, timeframe_ms), chart_version(held, timeframe_ms)
        known = self._drawn.get(key)
        if known is not None and known[0] == version:
            return known[1]
        self.made += 1
        view = chart(held, timeframe_ms)
        self._drawn[key] = version, view
        return view
