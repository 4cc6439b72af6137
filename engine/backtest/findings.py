"""A sweep in; out, one HTML file with its best runs, heat maps of each two values, and how much of the winner is luck."""

import itertools
from collections.abc import Iterator
from html import escape
from pathlib import Path

from engine.backtest import charts
from engine.backtest.metrics import FIGURES, shown
from engine.backtest.report import chart, listed, synthetic_banner, table, whole
from engine.backtest.sweep import Sweep, heat_map
from engine.queue.export import coming

MOST_RUNS = 200  # of the table
MOST_MAPS = 10
BESIDE = ("total_return", "sharpe", "max_drawdown", "trades", "win_rate", "profit_factor")


def write(found: Sweep, to: Path, title: str, synthetic: bool) -> None:
    """The page as a new file at `to`: all of it or nothing. Raises SessionError."""
    with coming(to) as file:
        file.write(page(found, title, synthetic).encode())


def page(found: Sweep, title: str, synthetic: bool) -> str:
    """What is left out for its length is said."""
    pairs = list(itertools.combinations((one.name for one in found.axes), 2))
    body = [
        synthetic_banner() if synthetic else "",
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
        table(_head(found), _rows(found)),
        f'<p class="muted">The best {MOST_RUNS} runs are shown.</p>' if len(found.ranked()) > MOST_RUNS else "",
    ]
    return whole(f"{'SYNTHETIC ' if synthetic else ''}{title}", body)


def _names(found: Sweep) -> list[str]:
    return [found.by, *(name for name in BESIDE if name != found.by)]


def _head(found: Sweep) -> list[str]:
    titles = {figure.name: figure.title for figure in FIGURES}
    return ["", *(one.name for one in found.axes), *(titles[name] for name in _names(found))]


def _rows(found: Sweep) -> Iterator[list[str]]:
    by_name = {figure.name: figure for figure in FIGURES}
    for at in found.ranked()[:MOST_RUNS]:
        trial = found.trials[at]
        figures = [shown(by_name[name], getattr(trial.statistics, name)) for name in _names(found)]
        yield ["winner" if at == found.winner else "", *(trial.values[one.name] for one in found.axes), *figures]
