"""What may go wrong with a venue's market data, by name: for the tests, `tests.bench.faults` and `tests.bench.hours`."""

from typing import Any, NamedTuple

# So that what is found out by waiting is found out soon.
QUICK: dict[str, dict[str, Any]] = {
    "book": {"stale_after_ms": 1500, "snapshot_floor_ms": 100, "cross_check_s": 1.0},
    "venue": {"first_data_s": 3.0},
}


class Case(NamedTuple):
    """`fault` is switched on, and off again where it lasts; `loses` says whether the book may not keep its trust."""

    fault: dict[str, Any]
    loses: bool
    reason: str = ""
    first: tuple[dict[str, Any], ...] = ()  # what has to be switched on before
    lasts_s: float = 0.0
    again_s: float = 0.0  # switched on anew so often until the book has lost its trust


GAP = {"name": "depth_gap"}
TICKER = {"kind": "bookTicker"}
BOTH = {
    "depth_gap": Case(GAP, True, "missing"),
    "depth_duplicate": Case({"name": "depth_duplicate"}, False),
    "reorder": Case({"name": "reorder"}, True, "missing"),
    "cross": Case({"name": "cross"}, True, "not below the best ask"),
    "disagree": Case({"name": "disagree", **TICKER, "times": 400}, True, "ticker shows another"),
    "malformed": Case({"name": "malformed"}, True, "missing"),
    "truncated": Case({"name": "truncated"}, True, "missing"),
    "wrong_type": Case({"name": "wrong_type"}, True, "missing"),
    "unknown_fields": Case({"name": "unknown_fields"}, False),
    "malformed ticker": Case({"name": "malformed", **TICKER, "times": 3}, False),
    "silence": Case({"name": "silence", "kind": "depth"}, True, "behind the venue's ticker", lasts_s=3.0),
    # Every second picture of Binance's is of an id between two updates, and one that cannot be compared proves nothing.
    "lying_snapshot": Case({"name": "lying_snapshot"}, True, "REST picture", again_s=0.5),
    "cut": Case({"name": "cut"}, True, "closed the connection"),
    "refuse": Case({"name": "refuse"}, True, "closed the connection", lasts_s=1.5),
}
BINANCE = {
    "stale_snapshot": Case(GAP, True, "missing", ({"name": "stale_snapshot", "times": 2},)),
    "boundary_snapshot": Case(GAP, True, "missing", ({"name": "boundary_snapshot"},)),
    **{
        f"HTTP {status} on the snapshot": Case(
            GAP, True, "missing", ({"name": "http", "path": "GET /fapi/v1/depth", "status": status, "times": 2},)
        )
        for status in (418, 429, 503)
    },
    "late snapshot": Case(GAP, True, "missing", ({"name": "delay_reply", "path": "GET /fapi/v1/depth", "ms": 700},)),
    "late_ack": Case({"name": "cut"}, True, "closed", ({"name": "late_ack", "times": 2},)),
}
OKX = {
    "renumber": Case({"name": "renumber"}, False),
    "leave": Case({"name": "leave", "ms": 2500}, False, lasts_s=3.5),
    "lose_unsubscribe": Case(GAP, True, "missing", ({"name": "lose_unsubscribe"},)),
    "lose_subscribe": Case({"name": "cut"}, True, "closed", ({"name": "lose_subscribe", "times": 5},)),
}
AT = {"binance": {**BOTH, **BINANCE}, "okx": {**BOTH, **OKX}}
