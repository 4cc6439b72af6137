"""A link to an engine in, a screen and an operator's commands out. The engine's life never hangs on anything here.

Frames are applied as they come and painted by one timer; keys, fills and alerts paint at once, at most once a frame.
"""

import asyncio
import contextlib
import inspect
import logging
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual import events
from textual.actions import ActionParseResult
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.driver import Driver
from textual.notifications import Notify
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input

from console import keys, layouts, theme
from console.alertfile import AlertFile
from console.alerts import Rule, Watcher
from console.commands import AGAIN_WITHIN_S, Presses, fresh_id
from console.desk import Desk
from console.dialogs import Question, ask_lost
from console.kill import SWITCH_S, KillKey, reading
from console.messenger import Messenger
from console.notes import Note
from console.palette import Palette
from console.screens.help import HelpScreen
from console.screens.opening import OpeningScreen
from console.screens.settings import SettingsScreen
from console.screens.trading import TradingScreen
from engine.config import TIMEFRAMES_MS, ConsoleSettings
from engine.events import Action, Alert, Filled, Level, Mode, OrderChanged, Ticket, Trading, TradingChanged
from engine.garbage import look_rarely
from engine.views import NOT_HERE, Answer, Ask, Frame, Goodbye, Leave, OpeningView, StatusView, Watch

if TYPE_CHECKING:
    from console.link import Link
    from engine.config import Settings, Sourced
    from engine.replay.playback import Playback

log = logging.getLogger(__name__)
SEND_WITHIN_S = 0.5
SETTLED_AFTER_S = 2.0  # modules are imported and the screen is built
SILENT_AFTER_S = 1.5
DEPTH = 100  # levels a side that are watched
ASKED_KEPT = 256
BREATHE_EVERY = 32  # messages without a pause, so that a flood cannot keep keys and frames waiting
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
STEER = "One that steers: `barter-tui attach --control`."
KILLS = (Action.HALT, Action.FLATTEN)
URGENT = (Alert, Filled, OrderChanged, TradingChanged)
Severity = Literal["information", "warning", "error"]


def _replay_screen(desk: Desk, playback: "Playback", now: Callable[[], float]) -> TradingScreen:
    from console.screens.replay import ReplayScreen

    return ReplayScreen(desk, playback, now)


class Parting(StrEnum):
    """How the console ended, for who started it."""

    LEFT = "left"  # the engine runs on
    STOPPED = "stopped"  # the engine was told to stop
    LOST = "lost"  # the engine was gone before
    SIGNAL = "signal"  # the terminal or a signal ended it: the engine does as `on_console_loss` says


class Console(App[Parting], inherit_bindings=False):
    """`restart` starts an engine that recovers and returns the link to it (or None: the same link is opened again).

    `faults` are what `inject(name, venue)` can do to a simulated venue, with what is seen of it. Without `control` it only
    watches; `may_stop` says whether its goodbye can end the engine. `tour`: begin with the cards for newcomers. In a
    `browser` the keys of `keys.LOCAL` do nothing.
    """

    CSS_PATH = "console.tcss"
    TITLE = "barter-tui"
    COMMAND_PALETTE_BINDING = keys.BY_ID["palette"].key
    BINDINGS: ClassVar[list[BindingType]] = [
        *keys.bindings(anywhere=True),
        Binding("tab", "focus_next", show=False),
        Binding("shift+tab", "focus_previous", show=False),
    ]

    def __init__(
        self,
        link: "Link",
        *,
        restart: "Callable[[], Awaitable[Link | None] | Link | None] | None" = None,
        frames_per_s: float | None = None,
        wear: str | None = None,
        user_keys: Mapping[str, str] | None = None,
        themes: Path | None = None,
        own_themes: Path | None = None,
        log_file: Path | None = None,
        faults: Mapping[str, str] | None = None,
        inject: Callable[[str, str], Awaitable[None]] | None = None,
        now: Callable[[], float] = time.monotonic,
        playback: "Playback | None" = None,
        control: bool = True,
        may_stop: bool = True,
        settings: "Settings | None" = None,
        sources: "Sourced | None" = None,
        alerts: Path | None = None,
        alert_urls: tuple[str, ...] = (),
        tour: bool = False,
        browser: bool = False,
    ) -> None:
        super().__init__()
        self.settings = settings  # what backtests begin with
        self.sources = sources  # what the settings screen shows
        self.look_of = settings.console if settings is not None else ConsoleSettings()
        self._tour, self._browser = tour, browser
        self._backtest: Screen[None] | None = None
        self.control, self.may_stop = control, control and may_stop
        self.log_file = log_file
        self.faults, self.inject = faults if faults and inject else {}, inject
        self.frames_per_s = self.look_of.frames_per_s if frames_per_s is None else frames_per_s
        self.link, self._restart, self.now = link, restart, now
        self.desk = Desk()
        self.desk.watches = not control
        self.presses = Presses()
        self.kill = KillKey(self.presses, lambda ask: self.link.send_now(ask), now)
        self.playback = playback
        self.trading = TradingScreen(self.desk, now) if playback is None else _replay_screen(self.desk, playback, now)
        self.user_keys = keys.settled(self.look_of.keys if user_keys is None else user_keys)
        self._timer: Timer | None = None
        self.layouts: dict[str, layouts.Rows] = dict(layouts.BUILT_IN)
        self.laid = layouts.DESK
        self._opened = False  # the account was shown
        self.painted_soon = False  # an urgent paint was made since the last frame
        self._previewed: tuple[Ticket | None, str] = None, ""  # the order that is being written, and the one that it amends
        self._asked: OrderedDict[str, Ask] = OrderedDict()  # not answered yet, by id
        self._heard_at = 0.0
        self._lost_dialog: Question | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._folders = [themes or theme.folder(), *([own_themes] if own_themes is not None else [])]
        self._saved: dict[Path, tuple[int, int]] = {}
        self._wear = self.look_of.theme if wear is None else wear
        self._alert_file = AlertFile(alerts)
        self.alerts = Watcher()
        self._messenger = Messenger(alert_urls, self._unsent)

    # --- life ----------------------------------------------------------------------------------------------------------

    def get_driver_class(self) -> type[Driver]:
        return reading(super().get_driver_class())

    def on_mount(self) -> None:
        wrong = [f"{sentence} The default keys are used." for sentence in keys.problems(self.user_keys)]
        self._bind({} if wrong else self.user_keys)
        wrong += self._take_layouts()
        self.reread_themes()
        if self._wear in self.available_themes:
            self.theme = self._wear
        elif theme.DEFAULT in self.available_themes:
            self.theme = theme.DEFAULT
            wrong.append(f"There is no theme {self._wear}: {theme.DEFAULT} is worn.")
        self.push_screen(self.trading)
        if self._tour:
            self.call_after_refresh(self.trading.action_tour)
        for sentence in wrong:
            self.say(sentence, "warning")
        self._ours = asyncio.get_running_loop()
        self._set_alerts(self._alert_file.read())
        self._timer = self.set_interval(1 / self.frames_per_s, self._frame)
        self.set_interval(1.0, self.reread_themes)
        self.set_interval(1.0, self.share_alerts)
        self._follow()
        if not self.is_headless:
            sys.setswitchinterval(SWITCH_S)
            self.set_timer(SETTLED_AFTER_S, look_rarely)
            for name in SIGNALS:
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                    asyncio.get_running_loop().add_signal_handler(name, self.exit, Parting.SIGNAL)
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # meant for the engine: it gets there
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.call_later, self.action_halt)

    def on_unmount(self) -> None:
        if not self.is_headless:
            for name in (*SIGNALS, signal.SIGUSR1):
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                    asyncio.get_running_loop().remove_signal_handler(name)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Nothing blinks, whoever made the box to type in: also that of Textual's palette."""
        if isinstance(event.widget, Input):
            event.widget.cursor_blink = False

    def _follow(self) -> None:
        self.run_worker(self._receive(), name="link", group="link", exclusive=True, exit_on_error=False)

    async def _receive(self) -> None:
        desk = self.desk
        try:
            welcome = await self.link.open()
            desk.markets, desk.next_news = welcome.markets, welcome.news
            if desk.market not in desk.markets and desk.markets:
                desk.market = desk.markets[0]
            desk.lost_reason = ""
            self._heard_at = self.now()
            await self.link.send(Watch(desk.market, desk.timeframe_ms, DEPTH, "", *self._previewed))
            for ask in [ask for ask in self._asked.values() if ask.action in KILLS]:
                await self.link.send(ask)  # the last engine may have died of it before it halted; the id makes it act once
            taken = 0
            while True:
                message = await self.link.receive()
                self._heard_at = self.now()
                if isinstance(message, Frame):
                    self._take(message)
                elif isinstance(message, Answer):
                    self._answered(message)
                elif isinstance(message, Goodbye):
                    self.lose(message.reason)
                    return
                taken += 1
                if taken % BREATHE_EVERY == 0:
                    await asyncio.sleep(0)
        except Exception as error:
            log.warning("the link ended", exc_info=error)
            self.lose(f"The link to the engine ended ({str(error) or type(error).__name__}).")

    def _take(self, frame: Frame) -> None:
        self.desk.apply(frame)
        self.desk.connected = True
        if self.desk.markets and self.desk.market not in self.desk.markets:  # it is collected no more
            self.desk.market = self.desk.markets[0]
            self.run_worker(self.look(), group="look", exit_on_error=False)
        self._open()
        if any(isinstance(news, URGENT) for news in frame.news):
            self.paint_soon()

    def _open(self) -> None:
        """Once, where orders go to a real venue: the account, before trading is armed."""
        status, view = self.desk.get(StatusView, ""), self.desk.get(OpeningView, "")
        if self._opened or status is None or view is None or not view.ready or status.mode not in (Mode.TESTNET, Mode.LIVE):
            return
        self._opened = True
        if self.playback is None:
            self.push_screen(OpeningScreen(self.desk))

    def _answered(self, answer: Answer) -> None:
        ask = self._asked.pop(answer.id, None)
        name = ask.action.value if ask else "command"
        if answer.accepted:
            self.tell(Level.INFO, f"{name}: {answer.text or 'taken'}")
        else:
            self.say(f"The engine did not {name}: {answer.text}", "warning")
        self.paint_soon()

    def lose(self, reason: str) -> None:
        """The engine is gone: say so on the whole screen, call everything stale, offer what can be done."""
        desk = self.desk
        if desk.lost_reason:
            return
        sentence = reason.strip() or "the link ended."
        desk.lost_reason = sentence if sentence.endswith(".") else f"{sentence}."
        desk.connected, desk.lost_at = False, self.now()
        self.tell(Level.ERROR, f"no engine: {desk.lost_reason}")
        self._frame()
        self._lost_dialog = ask_lost(desk.lost_reason, self._restart is not None, self.may_stop)
        self.push_screen(self._lost_dialog, self._after_loss)

    def _after_loss(self, answer: str | None) -> None:
        if answer == "quit":
            self.exit(Parting.LOST)
        elif answer == "restart":
            self.run_worker(self._start_again(), name="restart", group="restart", exclusive=True, exit_on_error=False)

    async def _start_again(self) -> None:
        if self._restart is None:
            return
        self.tell(Level.INFO, "restarting the engine into recovery")
        self.desk.lost_reason = ""
        try:
            await self._close()
            made = self._restart()
            link = await made if inspect.isawaitable(made) else made
            self.link = link or self.link
        except Exception as error:
            log.error("the engine could not be started again", exc_info=error)
            self.lose(f"The engine could not be started again ({error}).")
        else:
            self._follow()

    def part(self, answer: str | None) -> None:
        """The quit dialog was answered."""
        if answer in ("leave", "stop"):
            self.run_worker(self._part(answer == "leave"), name="part", group="part", exclusive=True, exit_on_error=False)

    async def _part(self, keep: bool) -> None:
        try:
            if not self.desk.lost_reason:
                async with asyncio.timeout(SEND_WITHIN_S):
                    await self.link.send(Leave(keep))
        except Exception as error:
            log.warning("the engine was not told how the console left", exc_info=error)
        await self._close()
        self.exit(Parting.LOST if self.desk.lost_reason else Parting.LEFT if keep else Parting.STOPPED)

    async def _close(self) -> None:
        self.workers.cancel_group(self, "link")
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self.link.close()
        except Exception as error:
            log.info("the link did not close well", exc_info=error)

    def _fatal_error(self) -> None:
        """Never a traceback on the screen: it goes to the log, and the terminal gets a sentence."""
        error = self._exception
        log.critical("the console failed", exc_info=error)
        self._exit_renderables.append(f"The console failed ({type(error).__name__}: {error}). The engine does not depend on it.")
        self._close_messages_no_wait()

    # --- painting ------------------------------------------------------------------------------------------------------

    def _frame(self) -> None:
        self.painted_soon = False
        self._paint()
        self._watch_alerts()

    def paint_soon(self) -> None:
        """At once, unless that was done since the last frame: then with the next one."""
        if not self.painted_soon:
            self.painted_soon = True
            self._paint()

    def _paint(self) -> None:
        if not self.trading.is_attached:
            return
        try:
            status = self.desk.get(StatusView, "")
            halted = status is not None and (status.trading is Trading.HALTED or status.flattening)
            now = self.now()
            self.presses.shown(halted, now)
            resting = self.desk.lost_reason or not self._heard_at or self.playback is not None  # a paused replay is silent
            silent = 0.0 if resting else now - self._heard_at + self.link.late_s
            self.trading.banner.note = self.link.note
            if silent > SILENT_AFTER_S and self.desk.frames:
                self.trading.banner.silent_s = int(silent)
                self.desk.connected = False
            else:
                self.trading.banner.silent_s = 0
            for screen in self.screen_stack:
                # Told apart by nothing below the screen: restyling all of that would hold the banner up for 100 ms.
                screen.set_class(halted, "-halted", update=False)
                screen.set_class(not self.desk.connected, "-lost", update=False)
            self.trading.frame(halted)
            self.trading.paint()
        except Exception as error:
            log.error("the screen could not be painted", exc_info=error)

    # --- alerts --------------------------------------------------------------------------------------------------------

    def _watch_alerts(self) -> None:
        if self.playback is not None:
            return
        try:
            for fired in self.alerts.check(self.desk, self.now()):
                self.say(fired.text, "warning")
                self.bell()
                self._messenger.send(fired.text)
        except Exception as error:
            log.error("the alerts could not be watched", exc_info=error)

    def share_alerts(self) -> None:
        """What another console of this state folder set and deleted."""
        if self.playback is None and (rules := self._alert_file.changed(self.alerts.rules)) is not None:
            self._set_alerts(rules)

    def keep_alerts(self) -> None:
        """After each change."""
        self._set_alerts(self._alert_file.write(self.alerts.rules))

    def _set_alerts(self, rules: list[Rule]) -> None:
        self.alerts.replace(rules)
        if self._alert_file.problem:
            self.say(self._alert_file.problem, "warning")

    def _unsent(self, sentence: str) -> None:
        """From the messenger's thread."""
        with contextlib.suppress(RuntimeError):  # the program ends
            self._ours.call_soon_threadsafe(self.say, sentence, "warning")

    # --- commands ------------------------------------------------------------------------------------------------------

    async def action_halt(self) -> None:
        """The kill key: the command is sent before anything is drawn, if it was not on its way already."""
        ask = self.kill.take()
        if self.playback is not None:
            self.say(NOT_HERE, "warning")
            return
        if ask is not None and await self.send(ask):
            flatten = ask.action is Action.FLATTEN
            word = "Flatten asked: every position is closed, reduce-only." if flatten else "Halt asked. Again: flatten."
            self.say(word, "error")

    def bounced(self, key: str) -> bool:
        return self.presses.bounced(key, self.now())

    def second(self, key: str, what: str, target: str = "") -> bool:
        """True on the second press; the first one says what a second would do."""
        if self.presses.second(key, self.now(), target):
            return True
        name = keys.name_of(key, self.user_keys)
        self.say(f"Press {name} again within {AGAIN_WITHIN_S:.0f} s to {what}.", "warning")
        return False

    def prepare(self, action: Action, target: str = "", note: str = "", ticket: Ticket | None = None) -> Ask:
        return Ask(fresh_id(), action, target, note, ticket=ticket)

    async def ask(self, action: Action, target: str = "") -> bool:
        return await self.send(self.prepare(action, target))

    async def send(self, ask: Ask) -> bool:
        """Hand a command to the link now; False and a sentence when that cannot be done."""
        name = ask.action.value
        if not self.control:
            self.say(f"This console only watches: {name} was not sent. {STEER}", "warning")
            return False
        if self.desk.lost_reason:
            self.say(f"Nothing was sent: there is no engine. What is at the venue stays there ({name}).", "error")
            return False
        self._asked[ask.id] = ask
        while len(self._asked) > ASKED_KEPT:
            self._asked.popitem(last=False)
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self.link.send(ask)
        except Exception as error:
            log.error("%s could not be sent", name, exc_info=error)
            self.say(f"{name} may not have reached the engine ({str(error) or type(error).__name__}).", "error")
            return False
        if ask.action is Action.RELEASE:
            self.presses.released()
        self.tell(Level.INFO, f"you asked: {name} {ask.target}".rstrip())
        self.paint_soon()
        return True

    def send_soon(self, ask: Ask) -> None:
        """From a dialog's answer."""
        self._soon(self.send(ask))

    def _soon(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def look(self, symbol_step: int = 0, timeframe_step: int = 0, market: str = "") -> None:
        """Watch another market or other bars."""
        desk = self.desk
        if market in desk.markets:
            desk.market = market
        if symbol_step and len(desk.markets) < 2:
            self.say("There is one market only.")
            return
        if symbol_step:
            desk.market = desk.markets[(desk.markets.index(desk.market) + symbol_step) % len(desk.markets)]
        if timeframe_step:
            lengths = sorted(TIMEFRAMES_MS.values())
            place = lengths.index(desk.timeframe_ms) if desk.timeframe_ms in lengths else -1
            desk.timeframe_ms = lengths[(place + timeframe_step) % len(lengths)]
        self.paint_soon()
        await self.tell_watched()

    async def tell_watched(self, order: str = "") -> None:
        """Tell the engine what is looked at; with `order`, the trace of that order too."""
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self.link.send(Watch(self.desk.market, self.desk.timeframe_ms, DEPTH, order, *self._previewed))
        except Exception as error:
            log.warning("the engine was not told what is watched", exc_info=error)

    def preview(self, ticket: Ticket | None, amends: str = "") -> None:
        """Have the engine say, frame by frame, what that order would do; None: no more."""
        if (ticket, amends) != self._previewed:
            self._previewed = ticket, amends
            self._soon(self.tell_watched())

    async def _inject(self, name: str) -> None:
        """A fault at the simulated venue, where the watched market is."""
        assert self.inject is not None
        try:
            await self.inject(name, self.desk.market.partition(":")[0])
        except Exception as error:
            log.warning("a fault could not be injected", exc_info=error)
            self.say(f"The fault {name} could not be injected ({str(error) or type(error).__name__}).", "warning")
        else:
            self.say(f"Injected at the simulated venue: {name}. {self.faults[name]}.", "warning")

    def say(self, sentence: str, severity: Severity = "information") -> None:
        """A toast, and a line in the log."""
        level = {"information": Level.INFO, "warning": Level.WARNING, "error": Level.ERROR}[severity]
        self.tell(level, sentence)
        self.notify(sentence, severity=severity, timeout=4, markup=False)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: Severity = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """As Textual's, with a notification that cannot stop the program."""
        seconds = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        self.post_message(Notify(Note(message, title, severity, seconds, markup)))

    def tell(self, level: Level, sentence: str) -> None:
        self.trading.news.tell(level, sentence)

    def open_backtest(self) -> None:
        """Its screen, with what was run on it before."""
        from console.screens.backtest import BacktestScreen  # numpy's share of a second, when it is wanted

        if self._backtest is None:
            self._backtest = BacktestScreen(self.desk, self.settings)
            self.install_screen(self._backtest, "backtest")
        if self.screen is not self._backtest:
            self.push_screen("backtest")

    # --- keys by name --------------------------------------------------------------------------------------------------

    def open_help(self) -> None:
        """The keys of the screen that is shown, those of its focused pane first."""
        on_backtest = self.screen is self._backtest
        everywhere = [key for key in keys.KEYS if key.anywhere or key.id == "palette"]
        offered = [*keys.BACKTEST, *everywhere] if on_backtest else keys.offered(self.playback is not None)
        pane = self.focused.id or "" if self.focused is not None else ""

        async def chosen(key: keys.Key | None) -> None:
            if key is not None:
                await self.press(key)

        self.push_screen(HelpScreen(offered, pane, self.user_keys, self.log_file), chosen)

    async def run_action(
        self,
        action: "str | ActionParseResult",
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """As Textual's, which every key, chosen row and palette entry comes through; what is not for a browser ends here."""
        if self._browser and any(action == keys.BY_ID[id].action for id in keys.LOCAL):
            self.say("In a browser this console only watches.", "warning")
            return True
        return await super().run_action(action, default_namespace, namespaces)

    async def press(self, key: keys.Key) -> None:
        """Do what a key does, wherever the focus is."""
        space: App[Parting] | Screen[None] | Widget = self
        if not key.anywhere:
            space = self._backtest if key.pane in keys.BACKTEST_PANES and self._backtest is not None else self.trading
            if key.pane not in ("", "replay", "backtest"):
                space = space.query_one(f"#{key.pane}", Widget)
        await self.run_action(key.action, space)

    # --- settings, themes and the palette ------------------------------------------------------------------------------

    def _bind(self, user_keys: Mapping[str, str]) -> None:
        self.user_keys = dict(user_keys)
        self.set_keymap(self.user_keys)
        self.kill.remap(self.user_keys.get("halt", keys.BY_ID["halt"].key).split(","))

    def _take_layouts(self) -> list[str]:
        """Ours and the user's, and the one to begin with; what cannot be, as sentences."""
        look = self.look_of
        wrong = layouts.problems(look.layouts, self.pane_names)
        self.layouts = {**layouts.BUILT_IN, **({} if wrong else look.layouts)}
        if look.layout not in self.layouts:
            wrong.append(f"There is no layout {look.layout}.")
        self.lay(look.layout if look.layout in self.layouts else layouts.DESK)
        return wrong

    @property
    def pane_names(self) -> tuple[str, ...]:
        return tuple(pane.id or "" for pane in self.trading.panes)

    def lay(self, name: str) -> None:
        self.laid = name
        self.trading.lay(self.layouts[name])

    def next_layout(self) -> None:
        names = list(self.layouts)
        self.lay(names[(names.index(self.laid) + 1) % len(names)])
        self.say(f"Layout: {self.laid}.")

    def take(self, sources: "Sourced") -> None:
        """Settings that were saved: the screen's hold at once."""
        before, look = self.look_of, sources.settings.console
        self.sources, self.settings, self.look_of = sources, sources.settings, look
        if look.keys != before.keys:
            self._bind(keys.settled(look.keys))
            self.trading.key_bar.repaint()
        if look.frames_per_s != before.frames_per_s and self._timer is not None:
            self._timer.stop()
            self.frames_per_s = look.frames_per_s
            self._timer = self.set_interval(1 / self.frames_per_s, self._frame)
        if (look.layout, look.layouts) != (before.layout, before.layouts):
            self._take_layouts()

    def action_command_palette(self) -> None:
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def open_settings(self) -> None:
        if self.sources is None:
            self.say("There are no settings to be changed here.", "warning")
        elif not isinstance(self.screen, SettingsScreen):
            self.push_screen(SettingsScreen(self.desk, self.sources, only_console=self.playback is not None or not self.control))

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.market_defaults(self.current_theme)

    def reread_themes(self) -> None:
        """Take in theme files that were saved; a bad one is named, and what is worn stays."""
        saved = {path: theme.stamp(path) for folder in self._folders for path in theme.files(folder)}
        if saved == self._saved:
            return
        self._saved = saved
        themes, wrong = theme.load_all(*self._folders)
        worn = self.current_theme
        for made in themes:
            self.register_theme(made)
        for error in wrong:
            self.say(f"{error} The theme before it stays.", "warning")
        if self.current_theme != worn and self.is_running:
            self.refresh_css(animate=False)
        self.theme_names = tuple(made.name for made in themes) or (self.theme,)

    def next_theme(self) -> None:
        names = self.theme_names
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]
        self.say(f"Theme: {self.theme}.")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: from the table of keys, then the themes and markets by name."""
        for title, key in keys.palette(self.playback is not None, screen is self._backtest):
            yield SystemCommand(title, key.help, partial(self.press, key), not key.id.startswith("pane_"))
        if self.playback is None:
            what = "What it holds, what is set at the venue, our limits, and what differs"
            yield SystemCommand("view: the account at the venue", what, lambda: self.push_screen(OpeningScreen(self.desk)))
        for name, seen in self.faults.items():
            yield SystemCommand(f"demo: inject {name}", seen, partial(self._inject, name))
        for name in self.layouts:
            yield SystemCommand(f"layout: {name}", "Lay the panes out like this", partial(self.lay, name))
        for name in self.theme_names:
            yield SystemCommand(f"theme: {name}", "Wear this theme", partial(setattr, self, "theme", name))
