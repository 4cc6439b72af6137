"""Durations in, percentiles out; bounded, newest kept."""

from collections import deque

import msgspec
import numpy as np

KEPT = 50_000


class Percentiles(msgspec.Struct, frozen=True):
    """Microseconds."""

    count: int
    p50: float
    p99: float
    p999: float


class Durations:
    """The newest `KEPT` durations in nanoseconds."""

    def __init__(self) -> None:
        self._ns: deque[int] = deque(maxlen=KEPT)
        self.count = 0

    def add(self, ns: int) -> None:
        self._ns.append(ns)
        self.count += 1

    @property
    def newest_us(self) -> float:
        return self._ns[-1] / 1000 if self._ns else 0.0

    def percentiles(self) -> Percentiles:
        if not self._ns:
            return Percentiles(0, 0.0, 0.0, 0.0)
        p50, p99, p999 = np.percentile(np.fromiter(self._ns, dtype=np.int64), (50, 99, 99.9)) / 1000
        return Percentiles(self.count, round(float(p50), 1), round(float(p99), 1), round(float(p999), 1))


class Latencies:
    """Where the time goes from a socket read that causes an order to the order's bytes at the socket."""

    def __init__(self) -> None:
        self.process = Durations()  # one event through the core
        self.read_to_core = Durations()  # decode
        self.core = Durations()  # the event that caused the order
        self.handoff = Durations()  # from the core's output to our call of ccxt
        self.ccxt = Durations()  # ccxt's and aiohttp's own work until the bytes are written
        self.tick_to_wire = Durations()  # all of it
        self.cancel_to_wire = Durations()  # from the event that wanted it to a cancel's bytes at the socket
        self.round_trip = Durations()  # from the call of ccxt to the venue's reply
        self.loop_lag = Durations()  # how late the loop's timer fires

    def summary(self) -> dict[str, Percentiles]:
        return {name: held.percentiles() for name, held in vars(self).items()}
