"""What the strategy sees at a bar's close, each figure with a small gauge; what is not known yet is said to warm up."""

import math
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from rich.cells import cell_len

from console import format as show
from console.desk import Desk
from console.panes.lines import RISING, LinePane, Row, Run, wrap
from engine.events import Features
from engine.views import ChartView, IndicatorsView, LadderView

HISTORY = 60  # values kept for the small curves; the oldest go
NAME, VALUE = 13, 11
GAUGE = (8, 24)  # cells, least and most
TWO_COLUMNS = 2 * (NAME + VALUE + 14) + 3
CURVES = ("atr_14", "spread_bps", "trade_intensity", "volatility_bps")
EMPTY = "·"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line: the figure as text, and its gauge."""

    name: str
    value: str
    look: str
    gauge: tuple[Run, ...] = ()
    note: str = ""


class IndicatorsPane(LinePane):
    title: ClassVar[str] = "Indicators"
    shows = ((IndicatorsView, None),)

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self._past: dict[str, deque[float]] = {}
        self._of: tuple[str, int] = ("", 0)
        self._bar_ms = -1

    def versions(self) -> tuple[object, ...]:
        return (*super().versions(), self._tick())

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        view = desk.get(IndicatorsView)
        if view is None or view.features is None:
            return [((text, "muted"),) for text in wrap("warming up: no bar has closed yet", width)]
        self._remember(view, view.features)
        two = width >= TWO_COLUMNS
        column = (width - 3) // 2 if two else width
        gauge = min(max(column - NAME - VALUE - 1, 0), GAUGE[1])
        found = self._entries(view.features, gauge if gauge >= GAUGE[0] else 0, column - NAME - VALUE - 2)
        found += further(view)
        head: list[Row] = []
        if height > len(found):
            at = show.clock((view.bar_open_ms + view.timeframe_ms) * 1_000_000)
            head = [((f"at the close of {show.timeframe(view.timeframe_ms)}, {at} UTC", "muted"),)]
        if not desk.connected:
            head = [(("! old: no engine is connected", "halt"),)]
        lines = [line(entry, column) for entry in found]
        if two:
            half = -(-len(lines) // 2)
            right = [*lines[half:], *[()] * half]
            return [*head, *((*padded(lines[y], column), ("   ", "text"), *right[y]) for y in range(half))]
        return [*head, *lines]

    def _tick(self) -> Decimal | None:
        view = self.desk.get(LadderView) or self.desk.get(ChartView)
        return view.tick if view is not None else None

    def _remember(self, view: IndicatorsView, features: Features) -> None:
        """One value a bar, for the curves."""
        if self._of != (view.market, view.timeframe_ms):
            self._of, self._past, self._bar_ms = (view.market, view.timeframe_ms), {}, -1
        new = view.bar_open_ms != self._bar_ms
        self._bar_ms = view.bar_open_ms
        for name in CURVES:
            past = self._past.setdefault(name, deque(maxlen=HISTORY))
            if not new and past:
                past.pop()
            past.append(getattr(features, name))

    def _curve(self, name: str, cells: int) -> tuple[Run, ...]:
        """The newest values, the newest at the right, between their lowest and highest."""
        values = list(self._past[name])[-cells:]
        known = [value for value in values if math.isfinite(value)]
        if cells <= 0 or len(known) < 2:
            return ()
        low, span = min(known), max(known) - min(known)
        glyphs = (RISING[1 + int((v - low) / span * 7) if span > 0 else 1] if math.isfinite(v) else " " for v in values)
        return (("".join(glyphs).rjust(cells), "slow"),)

    def _entries(self, f: Features, cells: int, room: int) -> list[Entry]:
        """In order of importance: a low pane shows the first ones. A gauge has `cells`, with its note at most `room`."""
        tick = self._tick()
        digits = show.decimals(tick) if tick is not None else 4

        def price(value: float, name: str) -> Entry:
            away = (f.close / value - 1) * 10_000 if value else math.nan
            note = "" if not math.isfinite(away) else f"close {'▲' if away > 0 else '▼' if away < 0 else '='} {away:+.1f} bps"
            return Entry(name, known(value, f".{digits}f"), "text", note=note)

        def curve(name: str, field: str, form: str, unit: str = "", note: str = "") -> Entry:
            return Entry(name, known(getattr(f, field), form, unit), "text", self._curve(field, cells), note)

        state = "overbought" if f.rsi_14 >= 70 else "oversold" if f.rsi_14 <= 30 else ""
        rsi_cells = min(cells, room - len(state) - 2) if state else cells
        rsi_look = signed(f.rsi_14 - 50) if state else "text"
        band = (f.close - f.bollinger_lower) / width if (width := f.bollinger_upper - f.bollinger_lower) else math.nan
        atr_bps = f.atr_14 / f.close * 10_000 if f.close else math.nan
        macd_share = f.macd_histogram / (abs(f.macd) + abs(f.macd_signal) or math.nan)
        fine = f"+.{digits + 1}f"
        return [
            Entry(
                "RSI 14",
                known(f.rsi_14, ".1f"),
                rsi_look,
                scale(f.rsi_14 / 100, rsi_cells if rsi_cells >= 4 else 0, (0.3, 0.7)),
                state,
            ),
            Entry("MACD hist", known(f.macd_histogram, fine), signed(f.macd_histogram), balance(macd_share, cells)),
            Entry("Bollinger %B", known(band, ".2f"), "text", scale(band, cells, (0.0, 0.5, 1.0))),
            Entry("imbalance", known(f.imbalance, "+.2f"), signed(f.imbalance), balance(f.imbalance, cells)),
            Entry(
                "momentum",
                known(f.momentum_bps, "+.1f", " bps"),
                signed(f.momentum_bps),
                balance(f.momentum_bps / (3 * f.volatility_bps or math.nan), cells),
            ),
            curve("ATR 14", "atr_14", f".{digits + 1}f", note=known(atr_bps, ".1f", " bps")),
            curve("volatility", "volatility_bps", ".1f", " bps"),
            curve("intensity", "trade_intensity", ".1f", "/s"),
            curve("spread", "spread_bps", ".2f", " bps"),
            *across(f),
            price(f.microprice, "microprice"),
            price(f.sma_20, "SMA 20"),
            price(f.sma_50, "SMA 50"),
            price(f.ema_12, "EMA 12"),
            price(f.ema_26, "EMA 26"),
            Entry("MACD", known(f.macd, fine), signed(f.macd), note=f"signal {known(f.macd_signal, fine)}"),
        ]


def further(view: IndicatorsView) -> list[Entry]:
    """The figures of `[[indicators]]`; those of a bar before the newest say how many bars they are behind."""
    behind = (view.bar_open_ms - view.extra_open_ms) // view.timeframe_ms
    note = f"{behind} bars behind" if behind > 1 else ""
    return [Entry(name, known(value, ".6g"), "text", note=note) for name, value in view.extra.items()]


def across(f: Features) -> list[Entry]:
    """Against the same contract at another venue; nothing where there is none that is trusted."""
    if not math.isfinite(f.basis_bps):
        return []
    return [
        Entry("basis", known(f.basis_bps, "+.2f", " bps"), signed(f.basis_bps), note=f"apart {f.divergence_bps:.2f}"),
        Entry("all spread", known(f.all_spread_bps, "+.2f", " bps"), "text", note="best of all venues"),
        Entry("all imbal.", known(f.all_imbalance, "+.2f"), signed(f.all_imbalance)),
        Entry("funding diff", known(f.funding_difference_bps, "+.2f", " bps"), signed(f.funding_difference_bps)),
    ]


def known(value: float, form: str, unit: str = "") -> str:
    return format(value, form) + unit if math.isfinite(value) else "warming up"


def signed(value: float) -> str:
    return "up" if value > 0 else "down" if value < 0 else "text"


def line(entry: Entry, width: int) -> Row:
    """Name, value at the right of its column, and the gauge or the note where it fits."""
    look = "muted" if entry.value == "warming up" else entry.look
    row: list[Run] = [(f"{entry.name:<{NAME}}"[:NAME], "muted"), (show.number(entry.value, VALUE), look)]
    used = NAME + VALUE
    if width < used:
        return (
            ((f"{entry.name} ", "muted"), (entry.value, look))
            if width >= cell_len(entry.name) + 1 + len(entry.value)
            else (row[0],)
        )
    gauge = () if entry.value == "warming up" else entry.gauge
    if gauge:
        row += [("  ", "text"), *gauge]
        used += 2 + sum(cell_len(text) for text, _ in gauge)
    if entry.note and entry.value != "warming up" and used + 2 + len(entry.note) <= width:
        row += [("  ", "text"), (entry.note, "muted")]
    return tuple(row)


def padded(row: Row, width: int) -> Row:
    return (*row, (" " * max(width - sum(cell_len(text) for text, _ in row), 0), "text"))


def scale(fraction: float, cells: int, marks: tuple[float, ...]) -> tuple[Run, ...]:
    """A line with marks and a dot where the value is; beyond its ends an arrow."""
    if cells <= 0 or not math.isfinite(fraction):
        return ()
    track = ["─"] * cells
    for mark in marks:
        track[round(mark * (cells - 1))] = "┼"
    spot = min(max(round(fraction * (cells - 1)), 0), cells - 1)
    glyph = "◂" if fraction < 0 else "▸" if fraction > 1 else "●"
    return ("".join(track[:spot]), "faint"), (glyph, "text bold"), ("".join(track[spot + 1 :]), "faint")


def balance(fraction: float, cells: int) -> tuple[Run, ...]:
    """A bar from the middle: to the right when positive, to the left when negative."""
    if cells <= 0 or not math.isfinite(fraction):
        return ()
    half = (cells - 1) // 2
    filled = min(round(abs(fraction) * half), half)
    left, right = (filled, 0) if fraction < 0 else (0, filled)
    return (
        (EMPTY * (half - left), "faint"),
        ("█" * left, "down-bar"),
        ("│", "muted"),
        ("█" * right, "up-bar"),
        (EMPTY * (half - right), "faint"),
    )
