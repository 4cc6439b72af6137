"""A backtest's result in, the charts of its report out, as plotly's figures; long lines keep each of their peaks.

Nothing that a stranger wrote is in them: a figure's texts may hold markup.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backtest.export import Column, Result
from engine.backtest.metrics import Statistics, trade_returns
from engine.backtest.series import REASONS, Floats, Integers, Series, Trades
from engine.backtest.thin import thin

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from engine.backtest.sweep import HeatMap

POINTS = 4_000  # of a line: the widest screens have fewer pixels
DRAWN = 1_000  # trades that are drawn on the price: those that earned or lost most
CANDLES = 400  # bars that are drawn as candles; more are a line through their lows and highs
BINS = 60
NUMBERED = 200  # cells of a heat map; more are told by their colour, and under the pointer
GAIN, LOSS, INK, MUTED, GRID, LINE, ENTRY = "#0f6b3d", "#b3211d", "#1c232b", "#8b949e", "#e6e3dc", "#0a58b8", "#7433b5"


def over_time(result: Result) -> "Figure":
    """Equity beside buying and holding, its drawdown, and the price with the trades, above each other."""
    from plotly import graph_objects as go
    from plotly.subplots import make_subplots

    series, equity, initial = result.series, result.equity, result.statistics.initial
    at = series.open_ms + series.timeframe_ms
    figure = make_subplots(rows=3, shared_xaxes=True, vertical_spacing=0.03, row_heights=[0.4, 0.17, 0.43])
    held = initial * (series.close / series.open[0])
    _line(figure, 1, at, held, "Buy and hold", MUTED, 1.2)
    _line(figure, 1, at, equity, "Equity", LINE, 1.8)
    peaks = np.maximum(np.maximum.accumulate(equity), initial)
    _line(figure, 2, at, 100 * (equity / peaks - 1), "Drawdown", LOSS, 1.0, fill="tozeroy", fillcolor="rgba(179,33,29,0.15)")
    tick = float(series.contract.tick)
    if len(series) <= CANDLES:
        prices = {name: getattr(series, name) * tick for name in ("open", "high", "low", "close")}
        look = {"increasing": {"line": {"color": GAIN, "width": 1}}, "decreasing": {"line": {"color": LOSS, "width": 1}}}
        figure.add_trace(go.Candlestick(x=series.open_ms, name="Price", showlegend=False, **look, **prices), row=3, col=1)
    else:
        places, prices_drawn = _range(series)
        line = {"color": MUTED, "width": 1}
        figure.add_trace(go.Scatter(x=series.open_ms[places], y=prices_drawn * tick, line=line, name="Price"), row=3, col=1)
    for trace in _trades(series, _largest(result.trades)):
        figure.add_trace(trace, row=3, col=1)
    figure.update_layout(height=860, hovermode="x", legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    figure.update_xaxes(type="date", rangeslider_visible=False)
    for row, title in enumerate(("Equity", "Drawdown, %", "Price"), start=1):
        figure.update_yaxes(title=title, row=row, col=1)
    return _styled(figure)


def results(result: Result) -> "Figure | None":
    """How many trades came to how much, as a percentage of the notional at entry; None without trades."""
    from plotly import graph_objects as go

    percents = 100 * trade_returns(result.series, result.trades)
    if not len(percents):
        return None
    counts, edges = np.histogram(percents, _edges(percents))
    middles = (edges[:-1] + edges[1:]) / 2
    colours = [GAIN if middle > 0 else LOSS for middle in middles]
    bars = go.Bar(
        x=middles, y=counts, width=np.diff(edges), marker_color=colours, hovertemplate="%{x:.2f} %: %{y} trades<extra></extra>"
    )
    figure = go.Figure(bars)
    figure.update_layout(height=320, bargap=0.03)
    figure.update_xaxes(title="Profit of a trade, % of its notional")
    figure.update_yaxes(title="Trades")
    return _styled(figure)


def hours(statistics: Statistics) -> "Figure | None":
    """Profit by the hour of entry; None without trades."""
    from plotly import graph_objects as go

    groups = {int(group.key): group for group in statistics.by_hour}
    if not groups:
        return None
    texts = [f"{hour:02} h: {groups[hour].trades:,} trades, {groups[hour].win_rate:.0%} won" for hour in groups]
    profits = [group.profit for group in groups.values()]
    colours = [GAIN if profit > 0 else LOSS for profit in profits]
    hover = "%{customdata}<br>%{y:,.2f}<extra></extra>"
    figure = go.Figure(go.Bar(x=list(groups), y=profits, customdata=texts, marker_color=colours, hovertemplate=hover))
    figure.update_layout(height=320, bargap=0.15)
    figure.update_xaxes(title="Hour of the entry, UTC", dtick=2, range=[-0.6, 23.6])
    figure.update_yaxes(title="Profit")
    return _styled(figure)


def heat(found: "HeatMap") -> "Figure":
    """A cell for each two values, with its number where there are few; no cell where no run has one."""
    from plotly import graph_objects as go

    rows, columns = found.rows, found.columns
    hover = "%{y} down, %{x} across: %{z:,.4f}<extra></extra>"
    scale = [[0.0, LOSS], [0.5, GRID], [1.0, GAIN]]
    cells = go.Heatmap(x=columns.values, y=rows.values, z=found.values, colorscale=scale, hovertemplate=hover, hoverongaps=False)
    if found.values.size <= NUMBERED:
        cells.update(texttemplate="%{z:.2f}")
    figure = go.Figure(cells)
    figure.update_layout(height=max(280, min(900, 140 + 34 * len(rows.values))))
    figure.update_xaxes(type="category", title=columns.name)
    figure.update_yaxes(type="category", title=rows.name, autorange="reversed")
    return _styled(figure)


def _line(figure: "Figure", row: int, at: Integers, values: Floats, name: str, colour: str, width: float, **more: Any) -> None:
    from plotly import graph_objects as go

    kept = thin(values, POINTS)
    line = {"color": colour, "width": width}
    show = name != "Drawdown"
    figure.add_trace(go.Scatter(x=at[kept], y=values[kept], name=name, line=line, showlegend=show, **more), row=row, col=1)


def _range(series: Series) -> tuple[Integers, Integers]:
    """Bars and prices, in ticks, of a line that reaches the lowest low and the highest high of each stretch."""
    lows, highs = thin(series.low, POINTS // 2), thin(series.high, POINTS // 2)
    places, prices = np.concatenate((lows, highs)), np.concatenate((series.low[lows], series.high[highs]))
    order = np.argsort(places, kind="stable")
    return places[order], prices[order]


def _largest(trades: Trades) -> Trades:
    """At most DRAWN, in their order."""
    if len(trades) <= DRAWN:
        return trades
    return trades[np.sort(np.argpartition(-np.abs(trades["profit"]), DRAWN)[:DRAWN])]


def _trades(series: Series, trades: Trades) -> "list[Any]":
    """A line from entry to exit of each, by what it came to; and a mark at each end."""
    from plotly import graph_objects as go

    tick = float(series.contract.tick)
    entered, left = series.open_ms[trades["entry_bar"]], series.open_ms[trades["exit_bar"]]
    texts = _texts(series, trades)
    traces = []
    for name, colour, which in (("Won", GAIN, trades["profit"] > 0), ("Not won", LOSS, trades["profit"] <= 0)):
        gap = np.full(int(which.sum()), np.nan)
        x = np.stack([entered[which], left[which], gap], axis=1).ravel()
        y = np.stack([trades["entry"][which] * tick, trades["exit"][which] * tick, gap], axis=1).ravel()
        traces.append(go.Scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 2}, name=name, hoverinfo="skip"))
    hover = "%{customdata}<extra></extra>"
    size = 6 if len(trades) < 100 else 3
    shapes = np.where(trades["side"] > 0, "triangle-up", "triangle-down")
    mark = {"symbol": shapes, "color": ENTRY, "size": size + 2}
    entries = go.Scatter(x=entered, y=trades["entry"] * tick, mode="markers", marker=mark, name="Entry: ▲ long, ▼ short")
    colours = np.where(trades["profit"] > 0, GAIN, LOSS)
    mark = {"symbol": "circle", "color": colours, "size": size}
    exits = go.Scatter(x=left, y=trades["exit"] * tick, mode="markers", marker=mark, name="Exit")
    for trace in (entries, exits):
        trace.update(customdata=texts, hovertemplate=hover)
    return [*traces, entries, exits]


def _texts(series: Series, trades: Trades) -> list[str]:
    contract = series.contract
    columns = [
        Column("quantity", "decimal", trades["quantity"], contract.step),
        Column("entry", "decimal", trades["entry"], contract.tick),
        Column("exit", "decimal", trades["exit"], contract.tick),
    ]
    rows = zip(trades, *(column.text() for column in columns), strict=True)
    return [
        f"{'long' if one['side'] > 0 else 'short'} {quantity}: {entry} → {leave}, {REASONS[one['reason']]}, {one['profit']:+,.2f}"
        for one, quantity, entry, leave in rows
    ]


def _edges(values: Floats) -> Floats:
    """Of at most BINS equal bins with one edge at 0, over all values."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    width = (high - low) / (BINS - 2) or 1.0
    return np.asarray(np.arange(np.floor(low / width), np.ceil(high / width) + 1) * width if high > low else [-1.0, 0.0, 1.0])


def _styled(figure: "Figure") -> "Figure":
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        margin={"l": 70, "r": 20, "t": 30, "b": 45},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": INK},
    )
    figure.update_xaxes(gridcolor=GRID, linecolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, linecolor=GRID, zerolinecolor=MUTED, title_standoff=8)
    return figure
