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

from engine.catalog import KINDS, Wanted, arguments, columns, drawn, found

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
    """Figures at the newest bar, null while they warm up; what an indicator failed of, by its label; and of a series that begins,
    those that a chart draws at each of its bars, oldest first.
    """

    market: str
    timeframe_ms: int
    open_ms: int
    values: dict[str, float | None]
    failed: dict[str, str] = {}
    past: dict[str, list[float | None]] = {}


class Series:
    """One market and timeframe."""

    def __init__(self, wanted: list[Wanted]) -> None:
        self.wanted = wanted
        self.rows: deque[Row] = deque(maxlen=KEPT)

    def reply(self, request: Request) -> Reply:
        import pandas

        frame = pandas.DataFrame(list(self.rows), columns=list(FIELDS), dtype="float64")
        values: dict[str, float | None] = {}
        failed: dict[str, str] = {}
        past: dict[str, list[float | None]] = {}
        for one in self.wanted:
            try:
                made = reckoned(one, frame)
                values |= {column: _figure(series.iloc[-1]) for column, series in made.items()}
                if request.begins:
                    past |= {column: [_figure(value) for value in made[column]] for column in drawn(one)}
            except Exception as problem:  # the library's own, on whatever the market did
                values |= dict.fromkeys(columns(one).values())
                if request.begins:
                    past |= {column: [] for column in drawn(one)}
                if len(frame) >= KEPT // 2:  # with few bars some indicators raise instead of warming up
                    failed[one.shown] = f"{type(problem).__name__}: {problem}"[:200]
        return Reply(request.market, request.timeframe_ms, request.open_ms, values, failed, past)


def reckoned(wanted: Wanted, frame: Any) -> dict[str, Any]:
    """The figures of one indicator, by column: a series over the frame's bars each."""
    name = found(wanted.name)
    kind = KINDS[name]
    series = {field: frame[field] for field in kind.inputs}
    made = getattr(importlib.import_module(f"ta.{kind.module}"), name)(**series, **arguments(wanted))
    return {column: getattr(made, output)() for output, column in columns(wanted).items()}


def _figure(value: Any) -> float | None:
    figure = float(value)
    return figure if math.isfinite(figure) else None


def main() -> int:
    """Until stdin ends."""
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
        sys.stdout.buffer.write(encode(series.reply(request)) + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
