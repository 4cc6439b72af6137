"""A sweep in; out, one HTML page with its best runs, heat maps of each two values, and how much of the winner is luck, or a
table of all its runs as CSV, Parquet or JSON.
"""

import csv
import io
import itertools
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import IO, Any

import msgspec

from engine.backtest import charts
from engine.backtest.metrics import FIGURES, shown
from engine.backtest.report import chart, listed, synthetic_banner, table, whole
from engine.backtest.sweep import Sweep, heat_map
from engine.queue.export import coming

MOST_RUNS = 200  # of the table
MOST_MAPS = 10
FORMS = (".html", ".csv", ".parquet", ".json")
ALIKE = ("start_ms", "end_ms", "bars", "initial", "buy_and_hold")  # of all runs
_BY_NAME = {figure.name: figure for figure in FIGURES}
BESIDE = ("total_return", "sharpe", "max_drawdown", "trades", "win_rate", "profit_factor")


def write(found: Sweep, to: Path, title: str) -> None:
    """A new file at `to`, in the form that its ending says (one of FORMS): all of it or nothing. Raises SessionError."""
    with coming(to) as file:
        match to.suffix:
            case ".html":
                file.write(page(found, title).encode())
            case ".csv":
                _csv(found, file)
            case ".parquet":
                _parquet(found, file)
            case _:
                file.write(msgspec.json.format(msgspec.json.encode(document(found)), indent=1))


def document(found: Sweep) -> dict[str, object]:
    """All of it but the daily returns."""
    return {
        "by": found.by,
        "synthetic": found.synthetic,
        "axes": {one.name: one.values for one in found.axes},
        "winner": None if found.winner is None else found.trials[found.winner].values,
        "deflated": found.deflated,
        "overfit": found.overfit,
        "notes": found.notes,
        "trials": found.trials,
    }


def columns(found: Sweep) -> dict[str, list[Any]]:
    """A row a run: its values, its figures (None where there was no run), its fingerprint, and why there was none."""
    made: dict[str, list[Any]] = {one.name: [trial.values[one.name] for trial in found.trials] for one in found.axes}
    for figure in FIGURES:
        if figure.name not in ALIKE:
            made[figure.name] = [trial.statistics and getattr(trial.statistics, figure.name) for trial in found.trials]
    made["fingerprint"] = [trial.fingerprint for trial in found.trials]
    made["problem"] = [trial.problem for trial in found.trials]
    return made


def _csv(found: Sweep, file: IO[bytes]) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="")
    rows = csv.writer(text)
    made = columns(found)
    rows.writerow(made)
    rows.writerows(zip(*made.values(), strict=True))
    text.detach()  # flushes, and leaves the file open to whoever opened it


def _parquet(found: Sweep, file: IO[bytes]) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    parquet.write_table(arrow.table(columns(found)), file, compression="zstd")


def page(found: Sweep, title: str) -> str:
    """What is left out for its length is said."""
    pairs = list(itertools.combinations((one.name for one in found.axes), 2))
    body = [
        synthetic_banner() if found.synthetic else "",
        f"<h1>{escape(title)}</h1>",
        f'<p class="muted">A sweep of {len(found.trials):,} runs, compared by {escape(found.by)}</p>',
        listed(found.notes),
        "<h2>Two at a time</h2>" if pairs else "",
        '<p class="muted">Each cell is the best run over whatever else differs.</p>' if len(found.axes) > 2 else "",
        *(
            chart(f"heat-{at}", charts.heat(heat_map(found, rows, columns)))
            for at, (rows, columns) in enumerate(pairs[:MOST_MAPS])
        ),
        f'<p class="muted">{len(pairs) - MOST_MAPS} more pairs are left out.</p>' if len(pairs) > MOST_MAPS else "",
        "<h2>The best runs</h2>",
        table(["", *heads(found)], _rows(found)),
        f'<p class="muted">The best {MOST_RUNS} runs are shown.</p>' if len(found.ranked()) > MOST_RUNS else "",
    ]
    return whole(f"{'SYNTHETIC ' if found.synthetic else ''}{title}", body)


def _rows(found: Sweep) -> Iterator[list[str]]:
    for at in found.ranked()[:MOST_RUNS]:
        yield ["winner" if at == found.winner else "", *told(found, at)]


def heads(found: Sweep) -> list[str]:
    """Over the columns of `told`."""
    return [*(one.name for one in found.axes), *(_BY_NAME[name].title for name in _names(found))]


def told(found: Sweep, at: int) -> list[str]:
    """Of a run that there was: its values, then what the runs are compared by and the figures beside it."""
    trial = found.trials[at]
    figures = (shown(_BY_NAME[name], getattr(trial.statistics, name)) for name in _names(found))
    return [*(trial.values[one.name] for one in found.axes), *figures]


def _names(found: Sweep) -> list[str]:
    return [found.by, *(name for name in BESIDE if name != found.by)]
