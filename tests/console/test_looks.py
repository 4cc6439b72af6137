"""Pictures of what is not the bare trading screen. Screens, sizes and themes are paired: no two pictures share two of the three,
so that each picture shows three pairs that no other shows.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TabbedContent

from console import theme
from console.app import Console, Parting
from console.link import memory_link
from console.replay import consoles
from console.screens.alerts import AlertScreen
from console.screens.order import OrderScreen
from console.screens.settings import SettingsScreen
from console.screens.trace import TraceScreen
from engine.config import create_aster_config, read
from engine.core import Core
from engine.events import Mode, OrderAccepted, Purpose, Started
from engine.queue import Closing, Opening
from engine.queue.local import LocalQueue
from engine.queue.session import Session
from engine.replay.playback import Playback
from engine.replay.player import Player
from engine.views import StatusView, TicketView, TraceView, Watch
from tests import pictures
from tests.console.conftest import SIZES
from tests.console.test_backtest_screen import COMPILED_S, opened, ran, write
from tests.console.test_keys import until
from tests.console.test_ticket import ESTIMATE
from tests.factory import MARKET, sent, settings
from tests.screens import Film
from tests.test_core import entered, protect

P = Pilot[Parting]


class Look(NamedTuple):
    screen: str
    size: str
    theme: str


LOOKS = (
    Look("help", "small", "midnight"),
    Look("settings", "small", "sepia"),
    Look("curves", "small", "colour-blind-safe"),
    Look("order", "small", "high-contrast"),
    Look("alerts", "middle", "midnight"),
    Look("tour", "middle", "sepia"),
    Look("form", "middle", "high-contrast"),
    Look("latency", "large", "midnight"),
    Look("trace", "large", "sepia"),
    Look("order", "large", "colour-blind-safe"),
    Look("replay", "large", "high-contrast"),
    Look("pnl", "vast", "dark"),
    Look("sweep", "vast", "midnight"),
    Look("curves", "vast", "sepia"),
    Look("help", "vast", "colour-blind-safe"),
)
ELSEWHERE = (  # the trading screen's pictures: test_screens.py and the README's
    *(("small", worn) for worn in ("dark", "light")),
    *(("middle", worn) for worn in ("dark", "light", "colour-blind-safe")),
    *(("large", worn) for worn in ("dark", "light")),
)
NOT_SHOWN = {("vast", "light"), ("vast", "high-contrast")}


def test_no_two_pictures_share_a_pair_and_all_but_two_sizes_in_themes_are_shown() -> None:
    for one, other in itertools.combinations(LOOKS, 2):
        assert sum(here == there for here, there in zip(one, other, strict=True)) <= 1, (one, other)
    shown = [*((look.size, look.theme) for look in LOOKS), *ELSEWHERE]
    assert len(set(shown)) == len(shown)
    names = [found.name for found in theme.load_all()[0]]
    assert set(itertools.product(SIZES, names)) - set(shown) == NOT_SHOWN
    assert {look.screen for look in LOOKS} == set(SCREENS)


def test_there_are_at_most_forty_pictures(root: Path) -> None:
    assert len(list((root / "tests").rglob("*.svg"))) <= 40


# --- how each screen is filled -----------------------------------------------------------------------------------------------


async def help_(film: Film, pilot: P) -> None:
    await pilot.press("question_mark")


async def tour(film: Film, pilot: P) -> None:
    await pilot.press("f2", "right")


async def latency(film: Film, pilot: P) -> None:
    await pilot.press("f3")


async def pnl(film: Film, pilot: P) -> None:
    await pilot.press("P")


async def trace(film: Film, pilot: P) -> None:
    await pilot.press("6", "enter")
    await until(pilot, lambda: any(isinstance(one, Watch) and one.order for one in film.link.sent))
    order = next(one.order for one in film.link.sent if isinstance(one, Watch) and one.order)
    at = pictures.NOW - 22 * pictures.MINUTE
    said = (
        ("question", 0, "the rules were asked at the close of the 1m bar of 13:51"),
        ("judgment", 12_000_000, "LONG, confidence 0.72, risk 0.31, until 13:53:00: price holds above SMA20 and SMA50"),
        ("decision", 13_100_000, "enter long 8,200 ASTER: the stance is long and the bar agrees"),
        ("risk", 13_105_000, "approved; nearest limit: order 602 of 2,000 USDT (30 %)"),
        ("order", 13_400_000, "b-3 BUY 8,200 at the market, stop 1.2249, target 1.2434"),
        ("sent", 13_710_000, "at the socket"),
        ("accepted", 15_240_000, "the venue calls it 81203"),
        ("fill", 16_800_000, "8,200 at 1.2324, taker, fee 5.02 USDT, +0.4 bps from the mid"),
        ("stop", 19_300_000, "b-3-s SELL 8,200 trigger 1.2249, working"),
        ("now", 0, "open: +29.52 USDT unrealised"),
    )
    steps = tuple((name, at + after if after or name == "question" else 0, text) for name, after, text in said)
    film.link.show(TraceView("", order, steps))
    await until(pilot, lambda: isinstance(film.app.screen, TraceScreen) and film.app.desk.get(TraceView, "") is not None)
    await pilot.pause(0.5)  # it looks for news five times a second


async def alerts(film: Film, pilot: P) -> None:
    await pilot.press("exclamation_mark")
    await until(pilot, lambda: isinstance(film.app.screen, AlertScreen))
    line = film.app.screen.query_one("#phrase", Input)
    for text in ("aster < 1.2100", "rsi_14 > 80", "loss > 50%", "judgment"):
        line.value = text
        await pilot.pause()
        await pilot.press("enter")
    line.value = "pnl < -100"
    await pilot.pause()


async def order(film: Film, pilot: P) -> None:
    await pilot.press("colon", *"buy 500 stop 1.19")
    screen = film.app.screen
    assert isinstance(screen, OrderScreen)
    await until(pilot, lambda: screen.understood is not None)
    assert screen.understood is not None
    view = TicketView(pictures.MARKET, screen.understood.ticket, "", "", ESTIMATE)
    film.link.show(view)
    await until(pilot, lambda: screen.preview.view() == view)
    screen.frame()


async def settings_(film: Film, pilot: P) -> None:
    await pilot.press("s")
    await until(pilot, lambda: isinstance(film.app.screen, SettingsScreen) and film.app.screen.list.has_focus)
    await pilot.press("j", "j", "j")


async def form(film: Film, pilot: P) -> None:
    screen = await opened(pilot, film.link)
    await write(pilot, screen, start="2025-10-01", end="2025-10-07", strategy="breakout", judge="nobody", capital="-5")
    await until(pilot, lambda: bool(screen.query("#own-exit_bars")))


async def curves(film: Film, pilot: P) -> None:
    screen = await opened(pilot, film.link)
    await write(pilot, screen, start="2025-10-01", end="2025-10-07", strategy="breakout", judge="nobody")
    await until(pilot, lambda: bool(screen.query("#own-exit_bars")))
    for bars in ("40", "20"):
        screen.query_one("#own-bars", Input).value = bars
        await ran(pilot, screen)
    await until(pilot, lambda: not screen.has_class("-busy") and screen.query_one(TabbedContent).active == "curves")


async def sweep(film: Film, pilot: P) -> None:
    screen = await opened(pilot, film.link)
    await write(pilot, screen, start="2025-10-01", end="2025-10-05", strategy="breakout", judge="nobody")
    await until(pilot, lambda: bool(screen.query("#own-exit_bars")))
    screen.query_one("#sweep-over", Input).value = "bars=20:80:20 exit_bars=10,20 strategy.stop_atr=1:3:1"
    screen.query_one("#sweep-least", Input).value = "5"
    await pilot.press("f4")
    await until(pilot, lambda: screen.sweeping.found is not None and not screen.has_class("-busy"), COMPILED_S)
    screen.sweeping.heat.focus()


SCREENS: dict[str, Callable[[Film, P], Awaitable[None]] | None] = {
    **{"help": help_, "tour": tour, "latency": latency, "pnl": pnl, "trace": trace, "alerts": alerts, "order": order},
    **{"settings": settings_, "form": form, "curves": curves, "sweep": sweep, "replay": None},
}


async def still(app: Console, pilot: P) -> None:
    """Nothing moves or blinks, and everything was drawn."""
    for line in app.screen.query(Input):
        line.cursor_blink = False
    await until(pilot, lambda: not app._animator._animations)
    await pilot.pause()
    app._frame()
    await pilot.pause(0.6)  # screens that look at the engine's state twice a second have


@pytest.fixture(autouse=True)
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("engine.config.layers.config_folder", lambda: Path("/nowhere/barter-tui"))


RUN_FIRST = ("curves", "sweep")  # what they show is run for them
DRAWN = [pytest.param(look, marks=pytest.mark.slow if look.screen in RUN_FIRST else ()) for look in LOOKS if SCREENS[look.screen]]


@pytest.mark.parametrize("look", DRAWN, ids="-".join)
def test_the_screen_looks_as_it_did(snap_compare: Any, look: Look, tmp_path: Path) -> None:
    sources = read(file=None, environ={}, flags={})
    chosen = create_aster_config(engine={"state_dir": str(tmp_path)})
    film = Film(pictures.busy, look.theme, settings=chosen, sources=sources)
    fill = SCREENS[look.screen]
    assert fill is not None

    async def run(pilot: P) -> None:
        await film.run(pilot)
        await fill(film, pilot)
        await still(film.app, pilot)

    assert snap_compare(film.app, terminal_size=SIZES[look.size], run_before=run)


# --- a recorded session ------------------------------------------------------------------------------------------------------


def recorded(path: Path) -> Path:
    """An entry, its fill and its stop by a core fed by hand: the same session each time."""
    desk, _, out = entered()
    protect(desk, out)
    target = next(order for order in sent(desk.out) if order.purpose is Purpose.TARGET)
    desk.feed(OrderAccepted(desk.at, MARKET, target.client_id, "algo2"))
    desk.trend(20, 3, 6360)
    chosen = settings()
    core, first = Core(chosen), desk.inputs[0].at
    opening = Opening("a1b2c3", "", Mode.DEMO, chosen.engine.symbols, chosen.engine.venues, "0", "", "3.11", first, 1.0)
    queue = LocalQueue(path, opening)
    for event in desk.inputs:
        if isinstance(event, Started):
            event = msgspec.structs.replace(event, settings=msgspec.json.encode(chosen).decode())
        queue.append(event, core.process(event))
    queue.close(Closing(desk.at, queue.inputs, queue.outputs, 1, 1, "0", "10000"))
    return path


@pytest.mark.parametrize("look", [look for look in LOOKS if look.screen == "replay"], ids="-".join)
def test_a_replay_looks_as_it_did(snap_compare: Any, look: Look, tmp_path: Path) -> None:
    with Session(recorded(tmp_path / "a1b2c3.barter")) as session:
        playback = Playback(Player(session))
        app = Console(memory_link(lambda: consoles(playback)), playback=playback, wear=look.theme, now=lambda: 100.0)

        async def run(pilot: P) -> None:
            playing = asyncio.create_task(playback.run())
            try:
                await until(pilot, lambda: app.desk.get(StatusView, "") is not None)
                player = playback.player
                while not player.ended:  # at once: small curves have the bars of the frames that were seen
                    player.step()
                there = lambda: (view := app.desk.get(StatusView, "")) is not None and view.at == player.at  # noqa: E731
                await until(pilot, there)
                app.trading.ladder.recentre()
                await still(app, pilot)
            finally:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)

        assert snap_compare(app, terminal_size=SIZES[look.size], run_before=run)
