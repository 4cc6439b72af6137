"""The catalogue's worker: closed bars come in on stdin, the indicators' newest figures go out on stdout, a line of JSON each.

`python -m engine.processor.catalog` is a child of the engine, since `ta` is slow to import and loops in Python: prices never
wait for it. It ends when its input does.
"""

import importlib
import math
import os
import sys
import warnings
from collections import deque
from typing import Any

import msgspec

from engine.catalog import KINDS, Wanted, arguments, columns, found

KEPT = 500  # bars of a market and timeframe: recursions agree with those over all history to 1e-6 up to windows of some 35 bars
NICE = 5  # below the engine
FIELDS = ("open", "high", "low", "close", "volume")
Row = tuple[float, float, float, float, float]


class Request(msgspec.Struct):
    """Bars that the worker has not seen, oldest first; `begins`: what it knew of this market and timeframe is void."""

    market: str
    timeframe_ms: int
    open_ms: int  # of the newest
    begins: bool
    bars: list[Row]
    wanted: list[Wanted] = []  # once, with the first request of each market and timeframe


class Reply(msgspec.Struct):
    """Figures at the newest bar, null while they warm up; what an indicator failed of, by its label."""

    market: str
    timeframe_ms: int
    open_ms: int
    values: dict[str, float | None]
    failed: dict[str, str] = {}


class Series:
    """One market and timeframe."""

    def __init__(self, wanted: list[Wanted]) -> None:
        self.wanted = wanted
        self.rows: deque[Row] = deque(maxlen=KEPT)

    def figures(self) -> tuple[dict[str, float | None], dict[str, str]]:
        import pandas

        frame = pandas.DataFrame(list(self.rows), columns=list(FIELDS), dtype="float64")
        values: dict[str, float | None] = {}
        failed: dict[str, str] = {}
        for one in self.wanted:
            try:
                values |= newest(one, frame)
            except Exception as problem:  # the library's own, on whatever the market did
                values |= dict.fromkeys(columns(one).values())
                if len(frame) >= KEPT // 2:  # with few bars some indicators raise instead of warming up
                    failed[one.shown] = f"{type(problem).__name__}: {problem}"[:200]
        return values, failed


def newest(wanted: Wanted, frame: Any) -> dict[str, float | None]:
    """The figures of one indicator at the frame's last bar."""
    name = found(wanted.name)
    kind = KINDS[name]
    series = {field: frame[field] for field in kind.inputs}
    made = getattr(importlib.import_module(f"ta.{kind.module}"), name)(**series, **arguments(wanted))
    values: dict[str, float | None] = {}
    for output, column in columns(wanted).items():
        figure = float(getattr(made, output)().iloc[-1])
        values[column] = figure if math.isfinite(figure) else None
    return values


def main() -> int:
    warnings.simplefilter("ignore")  # the library's divisions by zero become NaN, which is what is said
    os.nice(NICE)
    known: dict[tuple[str, int], Series] = {}
    decode, encode = msgspec.json.Decoder(Request).decode, msgspec.json.encode
    for line in sys.stdin.buffer:
        request = decode(line)
        key = (request.market, request.timeframe_ms)
        if request.begins or key not in known:
            known[key] = Series(request.wanted or (known[key].wanted if key in known else []))
        series = known[key]
        series.rows.extend(request.bars)
        values, failed = series.figures()
        sys.stdout.buffer.write(encode(Reply(request.market, request.timeframe_ms, request.open_ms, values, failed)) + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
