"""Pictures of the four market panes; states, sizes and themes are paired so that few pictures cover them."""

from collections.abc import Callable
from typing import Any

import pictures
import pytest
from panes_host import Host, frame
from textual.pilot import Pilot

from console.desk import Desk
from console.panes.chart import ChartPane
from console.panes.indicators import IndicatorsPane
from console.panes.ladder import LadderPane
from console.panes.rationale import RationalePane


@pytest.mark.parametrize(
    ("state", "size", "worn"),
    [
        (pictures.busy, (160, 50), "dark"),
        (pictures.busy, (80, 24), "high-contrast"),
        (pictures.stale, (120, 36), "light"),
        (pictures.disconnected, (120, 36), "colour-blind-safe"),
        (pictures.empty, (80, 24), "light"),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else getattr(value, "__name__", value),
)
def test_the_market_panes(snap_compare: Any, state: Callable[[], Desk], size: tuple[int, int], worn: str) -> None:
    desk = state()
    panes = [kind(desk) for kind in (LadderPane, ChartPane, IndicatorsPane, RationalePane)]

    async def paint(pilot: Pilot[None]) -> None:
        await pilot.pause()
        frame(*panes)
        await pilot.pause()

    assert snap_compare(Host(panes, worn), terminal_size=size, run_before=paint)
