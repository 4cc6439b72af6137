"""A model's record over the screen: what it is, how often it was right, and whether what it calls 70% happens 70 times in 100."""

import math
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from console.desk import Desk
from console.dialogs import Page
from console.panes.lines import bar
from engine.views import ModelView, TrackView

CELLS = 20
REFRESH_S = 1.0


class RecordScreen(Page):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "close", "Close")]

    def __init__(self, desk: Desk) -> None:
        super().__init__("The model's record")
        self.desk = desk
        self._seen = -1

    def contents(self) -> ComposeResult:
        yield Static("No model was heard of in this session: the rules judge.", id="record", markup=False)

    async def on_mount(self) -> None:
        self._refresh()
        self.set_interval(REFRESH_S, self._refresh)

    def _refresh(self) -> None:
        version, view = self.desk.version(ModelView), self.desk.get(ModelView)
        if view is not None and version != self._seen:
            self._seen = version
            self.query_one("#record", Static).update(page(view))


def page(view: ModelView) -> Table:
    """A table of facts, and the record's figures once a judgment has met its end."""
    whole = Table.grid(padding=(0, 0, 1, 0))
    whole.add_column()
    facts = Table.grid(padding=(0, 3, 0, 0))
    rank = f"{view.tier}, {f'{view.size_cap:.0%} of the usual size' if view.size_cap else 'on paper'}"
    used = f"{view.questions} asked, {view.answers} used; dropped: "
    used += ", ".join(f"{count} {kind}" for kind, count in view.dropped) or "none"
    rows = [("model", f"{view.name or '-'}  {view.digest[:12]}"), ("rank", rank), ("this session", used)]
    rows += [("not qualified", "; ".join(view.verdict))] if view.verdict else []
    rows += [("shadow", view.shadow)] if view.shadow else []
    for name, text in rows:
        facts.add_row(Text(name, "bold"), Text(text))
    whole.add_row(facts)
    if view.track is None:
        whole.add_row(Text("No judgment of it has met its end yet."))
        return whole
    whole.add_row(_figures(view.track))
    whole.add_row(_reliability(view.track))
    if view.track.regimes:
        regimes = Table.grid(padding=(0, 3, 0, 0))
        for name, n, right in view.track.regimes:
            regimes.add_row(Text(name, "bold"), Text(f"{right} of {n} right"))
        whole.add_row(regimes)
    return whole


def _figures(track: TrackView) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    within = "too few without overlap to say more"
    if math.isfinite(track.skill_low):
        within = f"between {track.skill_low:+.1%} and {track.skill_high:+.1%}"
    right = f"{track.hits} of {track.sided}" + (f", {track.hit_low:.0%} to {track.hit_high:.0%}" if track.sided else "")
    for name, text in (
        ("scored", f"{track.n} judgments, {track.independent} of them without overlap"),
        ("right", right),
        ("Brier score", f"{track.brier:.3f}; the rules {track.brier_rules:.3f}, a coin 0.250"),
        ("skill", f"{track.skill:+.1%}, " + within),
        ("after costs", f"{track.gain:+.1f} bps a judgment; the rules {track.gain_rules:+.1f}, holding 0"),
        ("believed", f"{track.believed:.0%} of a chance's distance from one half is borne out"),
    ):
        table.add_row(Text(name, "bold"), Text(text))
    return table


def _reliability(track: TrackView) -> Table:
    """What it said beside what happened, for each tenth of the chance that it ever gave."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("said", "rose", "", "judgments"):
        table.add_column(head, justify="left" if not head else "right")
    for n, ups, chance in track.buckets:
        if n:
            marks = bar(ups / n, CELLS).replace(" ", "·")
            place = min(int(chance * CELLS), CELLS - 1)
            drawn = Text(marks)
            drawn.stylize("reverse", place, place + 1)  # where the bar would end if the chance held
            table.add_row(f"{chance:.0%}", f"{ups / n:.0%}", drawn, str(n))
    return table
