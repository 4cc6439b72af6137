"""How long each stage takes in; one line of it, and a table with bars, out."""

import math
from typing import ClassVar

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from console import format as show
from console.desk import Desk
from console.panes.lines import LinePane, Row, Run, bar
from engine.views import LatencyView, Picture, StageRow

MEANINGS = {
    "feed": "since the venue's stamp",
    "book": "one update of a book",
    "features": "all figures of a bar",
    "decision": "judgment and strategy",
    "risk": "the gate's answer",
    "send": "to bytes at the socket",
    "ack": "to the venue's reply",
}
CELLS = 21
SCALE = f"{'1us':<{CELLS // 3}}{'1ms':<{CELLS // 3}}{'10s':>{CELLS - CELLS // 3 * 2}}"
DECADES = 7  # of the bars, from a microsecond on


class LatencyStrip(LinePane, can_focus=False):
    """p50 and p99 of the last minute; of the session, muted, where nothing came in that."""

    title: ClassVar[str] = "Latency"
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ((LatencyView, ""),)
    DEFAULT_CSS = "LatencyStrip { height: 1; width: 1fr; padding: 0 1; }"

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        view = desk.get(LatencyView, "")
        row: list[Run] = [("p50/p99", "muted")]
        used = len("p50/p99")
        for stage in view.stages if view is not None else ():
            recent = stage.recent > 0
            figures = pair(stage.recent_p50, stage.recent_p99) if recent else pair(stage.p50, stage.p99)
            used += 3 + cell_len(stage.name) + 1 + cell_len(figures)
            if used > width:
                break
            row += [(f"   {stage.name} ", "muted"), (figures, "text" if recent and desk.connected else "muted")]
        return [tuple(row)] if len(row) > 1 else [(("latency: nothing is measured", "muted"),)]


def pair(p50: float, p99: float) -> str:
    return f"{figure(p50)}/{figure(p99)}"


def figure(us: float) -> str:
    """A stage that takes no time that can be measured shows 0."""
    return show.micros(us) if us >= 0.5 else "0"


def table(view: LatencyView, wide: bool) -> Table:
    """Bars, where there is room for them, are of the last minute: full to the p50 and light to the p99, by powers of ten."""
    made = Table.grid(padding=(0, 1, 0, 0))
    titles = ("stage", "minute", "p50", "p99", *((SCALE,) if wide else ()), "session", "p50", "p99", *(("",) if wide else ()))
    for title in titles:
        left = title in ("stage", SCALE, "")
        made.add_column(justify="left" if left else "right", min_width=1 if left else 7, no_wrap=True)
    made.add_row(*(Text(title, "dim") for title in titles))
    for stage in view.stages:
        recent = (figure(stage.recent_p50), figure(stage.recent_p99)) if stage.recent else (show.NONE,) * 2
        ever = (figure(stage.p50), figure(stage.p99)) if stage.count else (show.NONE,) * 2
        bars, said = ((gauge(stage),), (Text(MEANINGS.get(stage.name, ""), "dim"),)) if wide else ((), ())
        cells = (stage.name, show.count(stage.recent), *recent, *bars, show.count(stage.count), *ever)
        made.add_row(*map(Text, cells), *said)
    return made


def gauge(stage: StageRow) -> str:
    if not stage.recent:
        return ""
    full = bar(share(stage.recent_p50), CELLS).rstrip()
    return full + "░" * (round(share(stage.recent_p99) * CELLS) - len(full))


def share(us: float) -> float:
    return min(math.log10(us) / DECADES, 1.0) if us > 1.0 else 0.0
