"""The link between engine and console: one contract, held by the local socket and by the link within a loop."""

import asyncio
import itertools
import os
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from console.hotline import Hotline
from console.link import WireLink, memory_link, socket_link
from engine.config import state_dir
from engine.door import POINTER, SOCKET, Door, find, peer_uid
from engine.errors import LinkError, StateError, VenueError
from engine.events import Action, Alert, Event, FeaturesReady, Level, Trading, TradingChanged
from engine.frames import NEWS_A_FRAME, NEWS_KEPT, Sent, frame
from engine.serve import Ending, Service, serve
from engine.views import (
    PROTOCOL,
    AccountView,
    Answer,
    AnyPicture,
    Ask,
    Frame,
    Goodbye,
    Hello,
    Leave,
    OrdersView,
    StatusView,
    Watch,
    Welcome,
    encode,
)
from tests import pictures
from tests.factory import MARKET, settings
from tests.simulated import until

WATCH = Watch(MARKET, 1000, 20)
STOP = Ending(Action.SHUTDOWN, "the test", "the test is over")


def account(wallet: str) -> AccountView:
    return AccountView("", wallet, wallet, "0", "0", "0", "0", wallet, 0.03)


def alert(number: int, padding: str = "") -> Alert:
    return Alert(number, Level.INFO, f"news {number}{padding}")


class FakeEngine:
    """What a console sees of an engine, set by hand."""

    def __init__(self, folder: Path, **more: object) -> None:
        self.settings = settings(engine={"state_dir": str(folder), "venues": ["binance"], **more})
        self.folder, self.session = state_dir(self.settings), "fake00"
        self.shown: list[AnyPicture] = [account("1"), OrdersView("", (), ())]
        self.watched: list[Watch] = []
        self.asked: list[Ask] = []
        self.commands: list[tuple[Action, str]] = []
        self.settled: list[tuple[Action, str]] = []
        self.state = SimpleNamespace(portfolio=SimpleNamespace(positions={}))
        self.left = False
        self.refused, self.refusal = asyncio.Event(), None
        self._listeners: list[Callable[[Event], None]] = []

    async def __aenter__(self) -> "FakeEngine":
        return self

    async def __aexit__(self, *error: object) -> None:
        self.left = True

    def pictures(self, watch: Watch) -> list[AnyPicture]:
        self.watched.append(watch)
        return list(self.shown)

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def ask(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        return Answer(ask.id, True, f"{ask.action.value} number {len(self.asked)}")

    def command(self, action: Action, source: str) -> None:
        self.commands.append((action, source))

    async def settle(self, action: Action, source: str) -> None:
        self.settled.append((action, source))
        self.tell(TradingChanged(0, Trading.OFF, source))

    def tell(self, *events: Event) -> None:
        for event in events:
            for listener in self._listeners:
                listener(event)


class World:
    """A served engine and ways to reach it."""

    def __init__(self, kind: str, engine: FakeEngine) -> None:
        self.kind, self.engine = kind, engine
        self.links: list[WireLink] = []
        self.service: Service
        self.serving: asyncio.Task[Ending]

    def link(self, *, control: bool = True, frames_per_s: float = 30.0) -> WireLink:
        async def path() -> Path:
            return find(self.engine.folder)

        async def consoles() -> object:
            return self.service.consoles

        made = (
            socket_link(path, control=control, frames_per_s=frames_per_s)
            if self.kind == "socket"
            else memory_link(consoles, control=control, frames_per_s=frames_per_s)  # type: ignore[arg-type]
        )
        self.links.append(made)
        return made

    async def opened(self, **more: object) -> WireLink:
        link = self.link(**more)  # type: ignore[arg-type]
        await link.open()
        return link


@pytest.fixture(params=["socket", "memory"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """`await world(...)` serves an engine with these settings; everything is stopped at the end."""
    started: list[World] = []

    async def make(**more: object) -> World:
        made = World(request.param, FakeEngine(tmp_path, **more))
        started.append(made)
        await _serve(made)
        return made

    yield make
    for made in started:
        for link in made.links:
            await link.close()
        made.service.stop(STOP)
        await asyncio.wait((made.serving,), timeout=10)
        assert made.serving.done()


async def _serve(made: World) -> None:
    ready: asyncio.Future[Service] = asyncio.get_running_loop().create_future()
    made.serving = asyncio.create_task(serve(made.engine, lambda service, _: ready.set_result(service)))  # type: ignore[arg-type]
    await asyncio.wait((ready, made.serving), return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        made.serving.result()
    made.service = ready.result()


async def heard(link: WireLink) -> Frame | Answer | Goodbye:
    return await asyncio.wait_for(link.receive(), 10)


async def read_until(link: WireLink, reached: Callable[[Frame | Answer | Goodbye], bool]) -> list[Frame | Answer | Goodbye]:
    """Everything up to the message that was waited for."""
    messages = []
    while True:
        messages.append(await heard(link))
        if reached(messages[-1]):
            return messages


async def goodbye(link: WireLink) -> str:
    last = (await read_until(link, lambda message: isinstance(message, Goodbye)))[-1]
    assert isinstance(last, Goodbye)
    return last.reason


def shows(wallet: str) -> Callable[[object], bool]:
    return lambda message: isinstance(message, Frame) and any(
        isinstance(picture, AccountView) and picture.wallet == wallet for picture in message.pictures
    )


# --- handshake --------------------------------------------------------------------------------------------------------------


async def test_a_hello_is_answered_with_a_welcome_that_names_session_process_and_markets(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    welcome = await served.link().open()
    assert welcome == Welcome(PROTOCOL, welcome.version, "fake00", os.getpid(), (MARKET,), 0)


async def test_another_protocol_is_refused_with_a_sentence_that_names_both_and_what_to_do(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = served.link()
    link._hello = Hello(PROTOCOL + 1, "9.9", True, 10.0)
    with pytest.raises(LinkError, match=rf"version {PROTOCOL + 1} .*9\.9.* version {PROTOCOL} .*stop that engine"):
        await link.open()
    assert served.service.consoles.counts.other_versions == 1 and not served.service.consoles.lost


NONSENSE = [b"\xc1", b"", encode({"type": "Nonsense"}), encode({"type": "Watch", "market": 5}), b"\x91" * 5000]


@pytest.mark.parametrize("message", NONSENSE, ids=["bytes", "nothing", "kind", "field", "depth"])
async def test_a_message_that_cannot_be_read_ends_the_link_with_a_sentence_and_is_counted(world, message: bytes) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened()
    await link._wire.send(message)
    assert "could not read what this console said" in await goodbye(link)
    assert served.service.consoles.counts.unreadable == 1


async def test_too_many_consoles_are_refused_with_a_sentence(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    for _ in range(8):
        await served.opened(control=False)
    with pytest.raises(LinkError, match="8 consoles already"):
        await served.opened()


# --- pictures ---------------------------------------------------------------------------------------------------------------


async def test_the_first_frame_has_everything_and_later_ones_only_what_changed(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened()
    first = await heard(link)
    assert isinstance(first, Frame) and set(first.pictures) == {account("1"), OrdersView("", (), ())}
    drawn = len(served.engine.watched)
    await until(lambda: len(served.engine.watched) > drawn + 3)  # frames without a change are not sent
    served.engine.shown[0] = account("2")
    second = await heard(link)
    assert isinstance(second, Frame) and second.pictures == (account("2"),)
    assert served.service.consoles.counts.frames == 2


async def test_troubles_of_consoles_are_on_the_status_of_all(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    served.engine.shown.append(pictures.status())
    link, other = await served.opened(), await served.opened(control=False)
    await heard(link)
    await other._wire.send(b"nonsense")
    await goodbye(other)
    shown = await read_until(link, lambda message: any(isinstance(view, StatusView) for view in message.pictures))  # type: ignore[union-attr]
    assert [view.link_troubles for view in shown[-1].pictures if isinstance(view, StatusView)] == [1]  # type: ignore[union-attr]


async def test_without_minding_losses_a_console_that_is_lost_changes_nothing_and_one_that_stops_the_engine_does(
    tmp_path: Path,
) -> None:
    engine = FakeEngine(tmp_path, console_loss_after_s=0.01, console_return_s=0.01)
    service = Service(engine, minds_loss=False)  # type: ignore[arg-type]
    running = asyncio.create_task(service.run())

    async def consoles() -> object:
        return service.consoles

    lost, stopping = memory_link(consoles), memory_link(consoles)  # type: ignore[arg-type]
    await lost.open()
    await lost.close()
    await until(lambda: service.consoles.lost)
    await asyncio.sleep(0.2)
    assert engine.commands == [] and not running.done()
    await stopping.open()
    await stopping.send(Leave(keep_running=False))
    assert (await service.until_stopped()).source == "the console"
    assert (await running).code == 0 and engine.settled == [(Action.SHUTDOWN, "the console")]
    await stopping.close()


async def test_what_a_console_watches_is_what_it_is_shown_within_limits(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened()
    await link.send(Watch("binance:BTC/USDT:USDT", 60_000, 10**9))
    await until(lambda: served.engine.watched and served.engine.watched[-1].market == "binance:BTC/USDT:USDT")
    assert served.engine.watched[-1] == Watch("binance:BTC/USDT:USDT", 60_000, 200)


async def test_a_slow_reader_gets_the_newest_picture_and_few_old_ones(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened()
    await link.send(WATCH)
    for number in range(10, 35):
        served.engine.shown[0] = account(f"{number}".zfill(100_000))
        await asyncio.sleep(0.035)
    drawn = len(served.engine.watched)
    await asyncio.sleep(0.2)
    assert len(served.engine.watched) == drawn, "pictures were made that nobody takes"
    served.engine.shown[0] = account("newest")
    frames = await read_until(link, shows("newest"))
    wallets = [picture.wallet for frame in frames for picture in frame.pictures if isinstance(picture, AccountView)]  # type: ignore[union-attr]
    numbers = [int(wallet.lstrip("0")) for wallet in wallets[:-1]]
    assert len(numbers) < 20 and numbers == sorted(numbers)


async def test_one_that_reads_slowly_does_not_hold_another_up(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    await served.opened()  # never reads
    reader = await served.opened()
    for number in range(20):
        served.engine.shown[0] = account(f"{number}" + "x" * 100_000)
        await read_until(reader, shows(served.engine.shown[0].wallet))


async def test_a_picture_that_cannot_be_made_ends_the_link_and_not_the_engine(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened()
    served.engine.shown = [None]
    assert "failed to serve this console" in await goodbye(link)
    served.engine.shown = [account("3")]
    await read_until(await served.opened(), shows("3"))


# --- news -------------------------------------------------------------------------------------------------------------------


async def test_news_arrive_complete_and_in_order_at_a_reader_that_comes_late(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened()
    total = 4 * NEWS_A_FRAME + 7
    for number in range(total):
        served.engine.tell(alert(number, "." * 300))
        if number % 50 == 0:
            await asyncio.sleep(0)
    got: list[int] = []
    while len(got) < total:
        frame = await heard(link)
        assert isinstance(frame, Frame)
        assert frame.first == len(got) or not frame.news
        got += [news.at for news in frame.news]
        await asyncio.sleep(0.002)
    assert got == list(range(total))


async def test_the_first_console_hears_what_happened_on_its_way_and_later_ones_what_follows(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    served.engine.tell(alert(0), FeaturesReady(0, MARKET, 1000, 0, None), alert(1))  # type: ignore[arg-type]
    first = served.link()
    assert (await first.open()).news == 0
    frame = await heard(first)
    assert isinstance(frame, Frame) and frame.news == (alert(0), alert(1))
    second = served.link()
    assert (await second.open()).news == 2
    served.engine.tell(alert(2))
    told = await read_until(second, lambda message: isinstance(message, Frame) and bool(message.news))
    assert told[-1].first == 2 and told[-1].news == (alert(2),)  # type: ignore[union-attr]


async def test_urgent_news_do_not_wait_for_the_frame(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened(frames_per_s=1.0)
    await heard(link)
    drawn = len(served.engine.watched)
    for number in range(5):
        served.engine.tell(alert(number))
        frame = await heard(link)
        assert isinstance(frame, Frame) and frame.news == (alert(number),)
    assert len(served.engine.watched) <= drawn + 1  # five came within one frame's time


async def test_a_console_that_lags_too_far_is_told_dropped_and_counted(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link, other = await served.opened(), await served.opened(control=False)
    reading = asyncio.create_task(goodbye(other))
    for number in itertools.count():
        served.engine.tell(alert(number, "." * 200))
        if number % 100 == 0:
            await asyncio.sleep(0.001)
        if served.service.consoles.counts.lagged:
            break
        assert number < 10 * NEWS_KEPT, "it was never dropped"
    assert not reading.done()
    assert "lagged too far behind" in await goodbye(link)
    assert served.service.consoles.counts.lagged == 1
    await until(lambda: served.service.consoles.lost)  # it could steer
    reading.cancel()


# --- commands ---------------------------------------------------------------------------------------------------------------


async def test_a_command_is_done_once_and_answered_the_same_on_every_connection(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link, other = await served.opened(), await served.opened()
    ask = Ask("doubled", Action.HALT)
    answers = []
    for through in (link, link, other):
        await through.send(ask)
        answers.append((await read_until(through, lambda message: isinstance(message, Answer)))[-1])
    assert answers == [Answer("doubled", True, "halt number 1")] * 3
    assert served.engine.asked == [ask]


async def test_a_command_is_carried_out_for_a_console_that_does_not_read(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened()
    for number in range(20):
        served.engine.shown[0] = account(f"{number}" + "x" * 100_000)
        await asyncio.sleep(0.04)
    await link.send(Ask("halt", Action.HALT))
    await until(lambda: served.engine.asked)


async def test_a_console_that_only_watches_is_refused_its_commands(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened(control=False)
    await link.send(Ask("1", Action.ARM))
    answer = (await read_until(link, lambda message: isinstance(message, Answer)))[-1]
    assert isinstance(answer, Answer) and not answer.accepted and "only watches" in answer.text
    await link.send(Leave(keep_running=False))
    await goodbye(link)
    assert served.engine.asked == [] and not served.serving.done()


# --- the end ----------------------------------------------------------------------------------------------------------------


async def test_a_stopping_engine_settles_and_says_goodbye_after_its_last_news(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link, watching = await served.opened(), await served.opened(control=False)
    await link.send(Leave(keep_running=False))
    for each in (link, watching):
        messages = await read_until(each, lambda message: isinstance(message, Goodbye))
        news = [one for message in messages if isinstance(message, Frame) for one in message.news]
        assert news == [TradingChanged(0, Trading.OFF, "the console")]
        assert messages[-1] == Goodbye("The engine ended: a console stopped it.")
        assert await heard(each) == messages[-1]  # the last message is given again and again
    await served.serving
    assert served.engine.settled == [(Action.SHUTDOWN, "the console")] and served.engine.left


async def test_the_link_can_be_opened_again(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened()
    await link.close()
    assert isinstance(await link.receive(), Goodbye)
    await link.send(WATCH)  # nobody is there: no error
    await link.open()
    assert isinstance(await heard(link), Frame)


QUICK = {"console_loss_after_s": 0.1, "console_return_s": 0.1}


@pytest.mark.parametrize(("policy", "action"), [("halt", Action.HALT), ("flatten", Action.FLATTEN)])
async def test_losing_the_last_console_that_steers_halts_and_ends_the_engine(world, policy: str, action: Action) -> None:  # type: ignore[no-untyped-def]
    served = await world(on_console_loss=policy, **QUICK)
    link = await served.opened()
    await served.opened(control=False)  # one that watches does not help
    await link.close()
    await asyncio.wait_for(served.serving, 10)
    assert served.engine.commands == [(action, "console loss")]
    assert served.engine.settled == [(action, "console loss")]


async def test_an_engine_that_is_set_to_run_on_does(world) -> None:  # type: ignore[no-untyped-def]
    served = await world(on_console_loss="run", **QUICK)
    await (await served.opened()).close()
    await until(lambda: served.service.consoles.lost)
    await asyncio.sleep(0.5)
    assert not served.serving.done() and served.engine.commands == []


async def test_losing_one_of_two_consoles_that_steer_is_no_loss(world) -> None:  # type: ignore[no-untyped-def]
    served = await world(**QUICK)
    link, _ = await served.opened(), await served.opened()
    await link.close()
    await asyncio.sleep(0.4)
    assert served.engine.commands == [] and not served.serving.done()


async def test_a_console_that_comes_back_in_time_prevents_the_halt_and_a_later_one_the_end(world) -> None:  # type: ignore[no-untyped-def]
    served = await world(console_loss_after_s=0.5, console_return_s=0.7)
    await (await served.opened()).close()
    await until(lambda: served.service.consoles.lost)
    link = await served.opened()
    await asyncio.sleep(0.6)
    assert served.engine.commands == []
    await link.close()
    await until(lambda: served.engine.commands)
    await served.opened()
    await asyncio.sleep(0.8)
    assert served.engine.commands == [(Action.HALT, "console loss")] and not served.serving.done()


async def test_leaving_the_engine_running_is_no_loss_also_when_its_starter_goes_then(world) -> None:  # type: ignore[no-untyped-def]
    served = await world(**QUICK)
    link = await served.opened()
    await link.send(Leave(keep_running=True))
    assert "runs on" in await goodbye(link)
    served.service.consoles.owner_gone()
    await asyncio.sleep(0.4)
    assert served.engine.commands == [] and not served.serving.done()


async def test_a_starter_that_goes_before_a_console_came_is_a_loss(world) -> None:  # type: ignore[no-untyped-def]
    served = await world(**QUICK)
    served.service.consoles.owner_gone()
    await asyncio.wait_for(served.serving, 10)
    assert served.engine.commands == [(Action.HALT, "console loss")]


# --- the socket and its folder ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def on_socket(folder: Path) -> AsyncIterator[World]:
    made = World("socket", FakeEngine(folder))
    await _serve(made)
    try:
        yield made
    finally:
        for link in made.links:
            await link.close()
        made.service.stop(STOP)
        await made.serving


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_socket_and_its_folder_are_their_owners_alone_and_go_with_the_engine(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir(mode=0o755)
    async with on_socket(tmp_path):
        assert (mode(folder), mode(folder / SOCKET)) == (0o700, 0o600)
    assert not (folder / SOCKET).exists()


async def test_a_second_engine_of_a_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with on_socket(tmp_path) as first:
        with pytest.raises(StateError, match=rf"process {os.getpid()}\) runs with this state folder already.*barter-tui attach"):
            async with on_socket(tmp_path):
                pass
        await (await first.opened()).receive()


async def test_a_dead_engines_socket_is_replaced(tmp_path: Path) -> None:
    with Door(tmp_path / "demo") as door:
        os.link(door.path, tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "demo" / SOCKET)  # as a killed engine leaves it
    async with on_socket(tmp_path) as served:
        assert isinstance(await (await served.opened()).receive(), Frame)


async def test_a_folder_whose_path_is_too_long_for_a_socket_points_to_a_short_one(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    async with on_socket(deep) as served:
        path = find(served.engine.folder)
        assert path.parent != served.engine.folder and mode(path) == 0o600 and mode(path.parent) == 0o700
        assert isinstance(await (await served.opened()).receive(), Frame)
    assert not path.exists() and not (served.engine.folder / POINTER).exists()


async def test_another_users_process_is_turned_away_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.serve.peer_uid", lambda connected: os.getuid() + 1)
    async with on_socket(tmp_path) as served:
        with pytest.raises(LinkError, match="belongs to another user"):
            await served.link().open()
        assert served.service.consoles.counts.other_users == 1


async def test_nobody_listening_is_a_sentence(tmp_path: Path) -> None:
    async def nowhere() -> Path:
        return tmp_path / SOCKET

    with pytest.raises(LinkError, match="No engine answers"):
        await socket_link(nowhere).open()


async def test_an_engine_that_fails_to_start_tells_the_console_that_waited(tmp_path: Path) -> None:
    engine, entered = FakeEngine(tmp_path), asyncio.Event()

    async def enter() -> None:
        await entered.wait()
        raise VenueError("the venue", "it is not there")

    made = World("socket", engine)
    engine.__class__ = type("Failing", (FakeEngine,), {"__aenter__": lambda self: enter()})
    await _serve(made)
    link = await made.opened()
    entered.set()
    assert "could not start. the venue: it is not there" in await goodbye(link)
    with pytest.raises(VenueError):
        await made.serving


def test_the_other_end_of_a_local_socket_is_known_by_its_user() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()


def test_an_encoded_frame_is_the_contracts() -> None:
    from engine.views import decode_to_console

    raw = frame(3, (msgspec.Raw(encode(account("5"))),), (alert(3),))
    assert decode_to_console(raw) == Frame(3, (account("5"),), (alert(3),))


def test_a_picture_that_is_the_same_or_reads_the_same_is_not_sent_again() -> None:
    sent, first = Sent(), account("5")
    assert len(sent.changed([first])) == 1
    assert sent.changed([first]) == sent.changed([account("5")]) == ()
    assert sent.changed([account("6")]) == (msgspec.Raw(encode(account("6"))),)
    assert len(sent.changed([first])) == 1


# --- the kill key's own way -----------------------------------------------------------------------------------------------


async def test_a_command_reaches_the_engine_from_another_thread_while_the_loop_of_the_console_is_held_up(tmp_path: Path) -> None:
    """As in a repaint: the engine has a loop of its own, the console's does nothing."""
    engine, serving = FakeEngine(tmp_path), asyncio.new_event_loop()
    made = World("socket", engine)
    thread = threading.Thread(target=serving.run_forever)
    thread.start()
    try:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_serve(made), serving))
        link = await made.opened()
        ask = Ask("k1", Action.HALT)
        sent: list[bool] = []
        presser = threading.Thread(target=lambda: sent.append(link.send_now(ask)))
        presser.start()
        deadline = time.monotonic() + 10
        while not engine.asked and time.monotonic() < deadline:
            time.sleep(0.001)  # noqa: ASYNC251 - this is the repaint
        presser.join()
        assert sent == [True] and engine.asked == [ask]
        await link.send(ask)
        answer = (await read_until(link, lambda message: isinstance(message, Answer)))[-1]
        assert answer == Answer("k1", True, "halt number 1") and engine.asked == [ask]
        await link.send(Leave(False))
        await goodbye(link)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_ended(made), serving))
    finally:
        serving.call_soon_threadsafe(serving.stop)
        await asyncio.to_thread(thread.join, 10)
        serving.close()


async def _ended(made: World) -> Ending:
    return await made.serving


async def test_the_kill_keys_own_connection_is_no_console_and_its_end_no_loss(tmp_path: Path) -> None:
    made = World("socket", FakeEngine(tmp_path, console_loss_after_s=0.0, console_return_s=0.0))
    await _serve(made)
    consoles = made.service.consoles
    line = await asyncio.to_thread(Hotline, find(made.engine.folder))
    assert not consoles.steered and consoles.counts.welcomed == 0
    link = await made.opened()
    await asyncio.to_thread(line.close)
    assert await asyncio.to_thread(line.send, Ask("k2", Action.HALT)) is False
    await link.send(Ask("k3", Action.VETO))
    await read_until(link, lambda message: isinstance(message, Answer))
    assert not consoles.lost and consoles.counts.lost == 0 and [ask.id for ask in made.engine.asked] == ["k3"]
    await link.close()
    assert (await asyncio.wait_for(made.serving, 10)).action is Action.HALT  # that one was a console


async def test_a_link_within_a_loop_has_no_other_way_and_says_so(world) -> None:  # type: ignore[no-untyped-def]
    served = await world()
    link = await served.opened()
    assert link.send_now(Ask("k4", Action.HALT)) is (served.kind == "socket")
