"""A backtest's result in; out, one HTML file with charts and tables that needs no network.

All that comes from outside is escaped, and the page's own policy forbids it to load anything.
"""

import calendar
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from engine import __version__
from engine.backtest import charts
from engine.backtest.export import Result
from engine.backtest.metrics import FIGURES, Group, Month, Statistics, Unit, shown
from engine.backtest.spans import date, length
from engine.queue.export import coming

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CARDS = ("total_return", "buy_and_hold", "annual_return", "sharpe", "max_drawdown", "trades", "win_rate", "profit_factor")
FAINT = 0.001  # of a month that is coloured in full, at least
BUTTONS = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,  # from version 7 on there is a button that uploads the chart
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
STYLE = """
:root { color-scheme: light }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1200px; padding: 24px; background: #fbfaf7; color: #1c232b }
body { font: 15px/1.5 system-ui, sans-serif }
h1 { margin: 0; font-size: 26px; letter-spacing: -0.01em }
h2 { margin: 36px 0 10px; font-size: 18px }
h3 { margin: 0 0 6px; font-size: 13px; text-transform: uppercase; letter-spacing: 0.06em; color: #5d6771 }
p { margin: 4px 0 } .muted { color: #5d6771 } .gain { color: #0f6b3d } .loss { color: #b3211d }
.synthetic { margin: 0 0 20px; padding: 14px 18px; background: #8a5a00; color: #fff; border-radius: 8px; font-size: 17px }
.synthetic b { font-size: 24px; letter-spacing: 0.08em; margin-right: 12px }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(125px, 1fr)); gap: 10px; margin-top: 18px }
.card { padding: 10px 14px; background: #f2f0eb; border-radius: 8px }
.card b { display: block; font-size: 21px; font-variant-numeric: tabular-nums } .card span { font-size: 13px; color: #5d6771 }
.side { display: grid; gap: 12px 32px; align-items: start }
.side { grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)) } .side > * { min-width: 0 }
div + div > h3 { margin-top: 14px } .side > div > h3 { margin-top: 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums }
td, th { padding: 4px 8px; text-align: right; border-bottom: 1px solid #e6e3dc; white-space: nowrap }
th { font-weight: 600; color: #5d6771 } td:first-child, th:first-child { text-align: left }
.figures td:first-child { white-space: normal } .figures small { display: block; color: #5d6771; line-height: 1.3 }
.run td { white-space: normal; overflow-wrap: anywhere; text-align: left } .run td:first-child { width: 30%; color: #5d6771 }
li { margin: 3px 0 } footer { margin-top: 40px; color: #5d6771; font-size: 13px }
@media print { body { max-width: none; padding: 0 } h2 { break-after: avoid } tr, .card, .chart { break-inside: avoid } }
"""


def write(result: Result, to: Path, beside: Sequence[msgspec.Struct] = ()) -> None:
    """The page as a new file at `to`: all of it or nothing. Raises SessionError."""
    with coming(to) as file:
        file.write(page(result, beside).encode())


def page(result: Result, beside: Sequence[msgspec.Struct] = ()) -> str:
    """`beside` are further findings, such as `montecarlo.Summary`: each a table of its fields, by their descriptions."""
    found, series = result.statistics, result.series
    name = f"{series.contract.symbol} {length(series.timeframe_ms)}"
    title = f"{result.labels['strategy']} on {name}" if "strategy" in result.labels else name
    body = [
        synthetic_banner() if series.synthetic else "",
        f"<h1>{escape(title)}</h1>",
        f'<p class="muted">Backtest{" over synthetic data" if series.synthetic else ""}, '
        f"{date(found.start_ms)} to {date(found.end_ms)} UTC, {found.bars:,} bars, "
        f"{_money(found.initial)} to {_money(found.final)} {escape(series.contract.symbol.partition(':')[2])}</p>",
        _cards(found),
        listed(found.remarks),
        "<h2>Over time</h2>",
        chart("time", charts.over_time(result)),
        _drawn(result),
        "<h2>Months</h2>",
        _months(found.by_month),
        "<h2>Trades</h2>",
        _side(
            _titled("Results", chart("results", charts.results(result))), _titled("Hours", chart("hours", charts.hours(found)))
        ),
        _side(_titled("By side", _groups(found.by_side)), _titled("By exit", _groups(found.by_reason))),
        "<h2>Statistics</h2>",
        _statistics(found),
        *(_beside(one) for one in beside),
        "<h2>What was run</h2>",
        _run(result),
    ]
    return whole(f"{'SYNTHETIC ' if series.synthetic else ''}{title}", body)


def whole(title: str, body: Iterable[str]) -> str:
    """A page of these parts, which are HTML; the title is text."""
    from plotly.offline import get_plotlyjs

    head = (
        '<meta charset="utf-8">',
        f"<title>{escape(title)}</title>",
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style>",
        f"<script>{get_plotlyjs()}</script>",
    )
    text = "\n".join(part for part in body if part)
    foot = f"<footer>barter-tui {escape(__version__)}</footer>"
    return f'<!doctype html>\n<html lang="en"><head>{"".join(head)}</head><body>\n{text}\n{foot}</body></html>\n'


def synthetic_banner() -> str:
    return '<div class="synthetic"><b>SYNTHETIC</b>The prices were generated. No market ever traded at them.</div>'


def _cards(found: Statistics) -> str:
    by_name = {figure.name: figure for figure in FIGURES}
    cards = []
    for name in CARDS:
        figure, value = by_name[name], getattr(found, name)
        look = _sign(value) if figure.unit is Unit.CHANGE else ""
        cards.append(f'<div class="card"><b class="{look}">{shown(figure, value)}</b><span>{figure.title}</span></div>')
    return f'<div class="cards">{"".join(cards)}</div>'


def _drawn(result: Result) -> str:
    notes = []
    if len(result.series) > charts.CANDLES:
        notes.append("Lines are drawn through the lowest and the highest value of each pixel's stretch.")
    if len(result.trades) > charts.DRAWN:
        notes.append(f"Of {len(result.trades):,} trades the {charts.DRAWN:,} that earned or lost most are drawn.")
    return f'<p class="muted">{" ".join(notes)}</p>' if notes else ""


def _months(months: Sequence[Month]) -> str:
    """A row a year; its last column compounds the months."""
    deepest = max(FAINT, *(abs(month.change) for month in months))
    head = "".join(f"<th>{calendar.month_abbr[number]}</th>" for number in range(1, 13))
    rows = []
    for year, of_year in groupby(months, key=lambda month: month.year):
        by_number = {month.month: month for month in of_year}
        cells, whole = "", 1.0
        for number in range(1, 13):
            month = by_number.get(number)
            if month is None:
                cells += "<td></td>"
                continue
            whole *= 1 + month.change
            colour = "15,107,61" if month.change > 0 else "179,33,29"
            tint = f"background:rgba({colour},{0.35 * abs(month.change) / deepest:.2f})"
            cells += f'<td style="{tint}" title="{month.profit:+,.2f}, {month.trades:,} trades">{_percent(month.change)}</td>'
        rows.append(f'<tr><td>{year}</td>{cells}<td class="{_sign(whole - 1)}"><b>{_percent(whole - 1)}</b></td></tr>')
    return f'<div class="wide"><table><tr><th>%</th>{head}<th>Year</th></tr>{"".join(rows)}</table></div>'


def _groups(groups: Sequence[Group]) -> str:
    rows = []
    for group in groups:
        counts = (f"{group.trades:,}", f"{group.win_rate:.1%}")
        rows.append((group.key, *counts, _money(group.profit), _money(group.mean), _money(group.fees)))
    return "" if not rows else table(("", "Trades", "Won", "Profit", "Mean", "Fees"), rows)


def _statistics(found: Statistics) -> str:
    parts = []
    for section, figures in groupby(FIGURES, key=lambda figure: figure.section):
        rows = ""
        for figure in figures:
            what = f"{figure.title}<small>{escape(figure.description)}</small>"
            rows += f"<tr><td>{what}</td><td>{shown(figure, getattr(found, figure.name))}</td></tr>"
        parts.append(_titled(section, f'<table class="figures">{rows}</table>'))
    return _side(f"<div>{''.join(parts[:2])}</div>", f"<div>{''.join(parts[2:])}</div>")


def _beside(one: msgspec.Struct) -> str:
    """Its docstring is the title; a field that is a tuple of structs is a table of its own."""
    hints = get_type_hints(type(one), include_extras=True)
    rows, tables = [], []
    for name, value in msgspec.structs.asdict(one).items():
        meaning = next((meta.description for meta in getattr(hints[name], "__metadata__", ()) if meta.description), name)
        if isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            tables.append(table(value[0].__struct_fields__, [map(_plain, msgspec.structs.astuple(row)) for row in value]))
        else:
            rows.append(f"<tr><td>{escape(meaning)}</td><td>{escape(_plain(value))}</td></tr>")
    title = (type(one).__doc__ or type(one).__name__).partition(".")[0]
    return f"<h2>{escape(title)}</h2>" + _side(f'<table class="figures">{"".join(rows)}</table>', *tables)


def _run(result: Result) -> str:
    series, contract = result.series, result.series.contract
    data = {
        "symbol": contract.symbol,
        "venue": contract.venue or "not known",
        "bars": f"{len(series):,} of {length(series.timeframe_ms)}, {date(int(series.open_ms[0]))} on",
        "source": series.source,
        "data": "synthetic" if series.synthetic else "as recorded",
        "tick, step": f"{contract.tick:f}, {contract.step:f}",
        "funding": f"{len(series.funding_ms):,} settlements" if len(series.funding_ms) else "not known",
    }
    labels, about = _facts(result.labels), _facts(data)
    remarks = _titled("Of the data", listed(series.remarks)) if series.remarks else ""
    notes = _titled("Assumed", listed(result.notes)) if result.notes else ""
    return _side(_titled("Settings", labels), _titled("Data", about)) + _side(remarks, notes)


def _facts(facts: Any) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return f'<table class="run">{rows}</table>'


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="wide"><table><tr>{titles}</tr>{cells}</table></div>'


def _titled(title: str, html: str) -> str:
    return f"<div><h3>{escape(title)}</h3>{html or '<p class=muted>There was no trade.</p>'}</div>"


def _side(*parts: str) -> str:
    return f'<div class="side">{"".join(parts)}</div>' if any(parts) else ""


def listed(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>" if sentences else ""


def chart(name: str, figure: "Figure | None") -> str:
    """Its part of the page; the name is that of its place, the same each time."""
    if figure is None:
        return ""
    return f'<div class="chart">{figure.to_html(BUTTONS, full_html=False, include_plotlyjs=False, div_id=name)}</div>'


def _plain(value: Any) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.4g}" if abs(value) < 1000 else _money(value)
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _money(value: float) -> str:
    return f"{value:z,.2f}"


def _percent(change: float) -> str:
    return f"{100 * change:z.2f}"


def _sign(value: float | None) -> str:
    """The class of a change as it is shown, to a hundredth of a percent."""
    return "" if not value or not round(value, 4) else "gain" if value > 0 else "loss"
