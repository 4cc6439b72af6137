"""A console on another machine: the third link, through the real bridge, the real client and a cluster."""

import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from console import far as far_link
from console.cli import main
from console.exits import Exit
from console.far import FluvioWire, fluvio_link
from console.link import WireLink
from engine.errors import LinkError
from engine.events import Action, Event, OrderKind, Side, Ticket, Trading, TradingChanged
from engine.frames import NEWS_A_FRAME
from engine.queue.access import Access
from engine.queue.bridge import Order, Status
from engine.queue.carry import Errand, framed
from engine.queue.relay import COMMANDS, NEWS_KEPT, REFRESHED_S, VIEWS, Board, Shown, unpacked
from engine.queue.sealed import seal
from engine.secret import VARIABLE
from engine.serve import Ending, Service, serve
from engine.views import NO_PREVIEW, Answer, Ask, Frame, Goodbye, Leave, TicketView, TraceView, Watch, Welcome, encode
from tests.fluvio_bridge import bridged
from tests.fluvio_cluster import cluster
from tests.fluvio_standin import Standin, standin
from tests.simulated import until
from tests.test_link import FakeEngine, account, alert, read_until, shows

SECRET = "correct horse battery staple"
STOP = Ending(Action.SHUTDOWN, "the test", "the test is over")


class Far:
    """A served engine with a real bridge, and links to it over a cluster."""

    def __init__(self, engine: FakeEngine, endpoint: str, topics: tuple[str, str]) -> None:
        self.engine, self.endpoint, self.topics = engine, endpoint, topics
        self.said: list[Status] = []
        self.links: list[WireLink] = []
        self.service: Service
        self.serving: asyncio.Task[Ending]

    def link(self, secret: str = "") -> WireLink:
        made = fluvio_link(lambda: Access(self.endpoint), *self.topics, secret.encode() or None)
        self.links.append(made)
        return made

    async def opened(self, secret: str = "") -> WireLink:
        made = self.link(secret)
        await made.open()
        return made


@asynccontextmanager
async def bridge(far: Far, secret: str = SECRET) -> AsyncIterator[asyncio.subprocess.Process]:
    order = Order(str(far.engine.folder), Access(far.endpoint), 3600, far.topics)
    async with bridged(order, far.said, _surroundings(far.engine.folder, secret)) as child:
        yield child


def _surroundings(folder: Path, secret: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return {**kept, "XDG_CONFIG_HOME": str(folder / "none"), **({VARIABLE: secret} if secret else {})}


@asynccontextmanager
async def served(folder: Path, endpoint: str, base: str = "aster", **more: object) -> AsyncIterator[Far]:
    far = Far(FakeEngine(folder, **more), endpoint, (f"{base}-{VIEWS}", f"{base}-{COMMANDS}"))
    far.engine.session = f"t{time.time_ns() % 10**8}"
    ready: asyncio.Future[Service] = asyncio.get_running_loop().create_future()
    far.serving = asyncio.create_task(serve(far.engine, lambda service, _: ready.set_result(service)))  # type: ignore[arg-type]
    far.service = await ready
    try:
        yield far
    finally:
        for link in far.links:
            await link.close()
        far.service.stop(STOP)
        await asyncio.wait((far.serving,), timeout=10)


@pytest.fixture(params=["stand-in", "cluster"])
async def far(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Far]:
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "stand-in":
            endpoint, base = (await stack.enter_async_context(standin())).endpoint, "aster"
        else:
            endpoint, base = await stack.enter_async_context(cluster(tmp_path / "cluster")), "bartertest"
        made = await stack.enter_async_context(served(tmp_path, endpoint, base))
        await stack.enter_async_context(bridge(made))
        yield made


@pytest.fixture
async def standing() -> AsyncIterator[Standin]:
    async with standin() as made:
        yield made


async def answer_to(link: WireLink, ask: Ask) -> Answer:
    await link.send(ask)
    return (await read_until(link, lambda message: isinstance(message, Answer)))[-1]  # type: ignore[return-value]


# --- the link ----------------------------------------------------------------------------------------------------------------


async def test_a_console_elsewhere_sees_everything_then_what_changes(far: Far) -> None:
    link = far.link()
    welcome = await link.open()
    assert isinstance(welcome, Welcome) and welcome.session == far.engine.session
    await read_until(link, shows("1"))
    far.engine.shown[0] = account("2")
    await read_until(link, shows("2"))
    assert link.note == "" and link.late_s < 5


async def test_one_that_comes_late_sees_also_what_does_not_change(far: Far) -> None:
    first = await far.opened()
    await read_until(first, shows("1"))
    began = time.monotonic()
    second = await far.opened()
    await read_until(second, shows("1"))
    assert time.monotonic() - began < REFRESHED_S + 6


async def test_news_arrive_once_and_in_order_at_several_consoles(far: Far) -> None:
    links = [await far.opened(), await far.opened()]
    total = NEWS_A_FRAME + 7
    for number in range(total):
        far.engine.tell(alert(number))
        if number % 50 == 0:
            await asyncio.sleep(0.02)
    for link in links:
        got: list[int] = []
        while len(got) < total:
            message = await asyncio.wait_for(link.receive(), 10)
            assert isinstance(message, Frame) and (message.first == len(got) or not message.news)
            got += [news.at for news in message.news]
        assert got == list(range(total))


async def test_a_command_is_carried_out_once_and_answered(far: Far) -> None:
    link = await far.opened(SECRET)
    ask = Ask("one", Action.HALT)
    assert await answer_to(link, ask) == Answer("one", True, "halt number 1")
    again = await answer_to(link, ask)
    assert not again.accepted and "carried out before" in again.text
    assert [(one.id, one.source) for one in far.engine.asked] == [("one", "a console over Fluvio")]
    await until(lambda: far.said and far.said[-1].commands == 1 and far.said[-1].refused == 1)


async def test_a_console_without_the_secret_only_watches(far: Far) -> None:
    link = await far.opened()
    answer = await answer_to(link, Ask("one", Action.ARM))
    assert not answer.accepted and "only watches" in answer.text and far.engine.asked == []


async def test_a_console_with_another_secret_is_refused_visibly_at_both_ends(far: Far) -> None:
    link = await far.opened(SECRET + "!")
    answer = await answer_to(link, Ask("one", Action.ARM))
    assert not answer.accepted and "not made with this engine's secret" in answer.text
    await until(lambda: far.said and far.said[-1].refused == 1 and "secret" in far.said[-1].refusal)
    assert far.engine.asked == []
    assert all(SECRET not in str(status) for status in far.said)


async def test_a_trace_cannot_be_had_from_far_and_that_is_said(far: Far) -> None:
    link = await far.opened()
    await link.send(Watch("", 1000, 20, "order-1"))
    traces = [
        view
        for message in await read_until(
            link, lambda message: isinstance(message, Frame) and any(isinstance(one, TraceView) for one in message.pictures)
        )
        for view in getattr(message, "pictures", ())
        if isinstance(view, TraceView)
    ]
    assert [view.order for view in traces] == ["order-1"] and "engine's machine only" in traces[0].steps[0][2]


async def test_a_preview_cannot_be_had_from_far_and_refuses_nothing(far: Far) -> None:
    link, ticket = await far.opened(), Ticket(Side.BUY, OrderKind.MARKET, 100)
    await link.send(Watch("binance:ASTER/USDT:USDT", 1000, 20, ticket=ticket))
    told = TicketView("binance:ASTER/USDT:USDT", ticket, "", "", None, (NO_PREVIEW,))
    await read_until(link, lambda message: isinstance(message, Frame) and told in message.pictures)


async def test_going_is_nobodys_loss_and_stops_nothing(far: Far) -> None:
    link = await far.opened(SECRET)
    await link.send(Leave(keep_running=False))
    await link.close()
    await asyncio.sleep(1.0)
    assert not far.serving.done() and not far.service.consoles.lost and far.service.consoles.counts.welcomed == 0


async def test_an_engines_goodbye_comes_after_its_last_news(far: Far) -> None:
    link = await far.opened()
    far.service.stop(Ending(Action.SHUTDOWN, "the test", "the test stopped it"))
    messages = await read_until(link, lambda message: isinstance(message, Goodbye))
    news = [one for message in messages if isinstance(message, Frame) for one in message.news]
    assert news == [TradingChanged(0, Trading.OFF, "the test")]
    assert messages[-1] == Goodbye("The engine ended: the test stopped it.")


# --- a cluster and a bridge that come and go -----------------------------------------------------------------------------------


async def test_a_cluster_that_goes_and_comes_back_is_said_and_goes_on(tmp_path: Path, standing: Standin) -> None:
    async with served(tmp_path, standing.endpoint) as far, bridge(far):
        link = await far.opened(SECRET)
        await read_until(link, shows("1"))
        await standing.stop()
        await until(lambda: "Reconnecting to Fluvio" in link.note)
        lost = await answer_to(link, Ask("lost", Action.HALT))
        assert not lost.accepted and "may not have reached the cluster" in lost.text
        far.engine.shown[0] = account("2")
        await standing.start()
        await read_until(link, shows("2"))
        assert link.note == ""
        assert (await answer_to(link, Ask("two", Action.HALT))).accepted
        assert [one.id for one in far.engine.asked] == ["two"]


async def test_a_bridge_that_is_killed_is_followed_by_another_and_what_was_missed_is_told(
    tmp_path: Path, standing: Standin
) -> None:
    async with served(tmp_path, standing.endpoint) as far:
        async with bridge(far):
            link = await far.opened(SECRET)
            far.engine.tell(alert(0))
            await read_until(link, lambda message: isinstance(message, Frame) and bool(message.news))
            assert (await answer_to(link, Ask("one", Action.HALT))).accepted
        await until(lambda: not far.service.consoles._present)
        far.engine.tell(alert(1), alert(2))
        async with bridge(far):
            await until(lambda: far.service.consoles._present)
            await asyncio.sleep(1.0)
            far.engine.tell(alert(3))
            messages = await read_until(link, lambda message: isinstance(message, Frame) and bool(message.news))
            news = [one.text for one in messages[-1].news]  # type: ignore[union-attr]
            assert news == ["2 entries of this log were lost on the way to this console.", "news 3"]
            replayed = await answer_to(link, Ask("one", Action.HALT))  # the new bridge never saw it; the engine did
            assert replayed == Answer("one", True, "halt number 1") and len(far.engine.asked) == 1


async def test_an_engine_is_not_held_up_by_a_cluster_that_is_silent(tmp_path: Path, standing: Standin) -> None:
    async with served(tmp_path, standing.endpoint) as far, bridge(far):
        await until(lambda: standing.logs["aster-views"].end > 2)
        standing.fault = "silent"
        await standing.stop()
        await standing.start()
        began = time.monotonic()
        for number in range(3 * NEWS_KEPT):
            far.engine.tell(alert(number))
            if number % 100 == 0:
                await asyncio.sleep(0.001)
        assert time.monotonic() - began < 5
        far.service.stop(STOP)
        await asyncio.wait_for(far.serving, 8)


async def test_without_an_engine_the_link_says_so_in_time(standing: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far_link, "SEEN_WITHIN_S", 3.0)
    link = fluvio_link(lambda: Access(standing.endpoint), "aster-views", "aster-commands")
    began = time.monotonic()
    with pytest.raises(LinkError, match="No engine shows itself on aster-views"):
        await link.open()
    assert time.monotonic() - began < 6
    await standing.stop()
    with pytest.raises(LinkError, match=r"No engine shows itself.*no cluster can be reached"):
        await link.open()
    missing = fluvio_link(lambda: Access(standing.endpoint), "doge-views", "doge-commands")
    await standing.start()
    with pytest.raises(LinkError, match="there is no topic doge-views"):
        await missing.open()


async def test_a_command_for_another_session_or_from_a_wrong_clock_is_refused(tmp_path: Path, standing: Standin) -> None:
    async with served(tmp_path, standing.endpoint) as far, bridge(far):
        link = await far.opened(SECRET)
        wire = link._wire
        assert isinstance(wire, FluvioWire) and wire._child.stdin is not None
        now = time.time_ns()
        strangers = [
            seal(Ask("other", Action.ARM), "another", SECRET.encode(), now),
            seal(Ask("late", Action.ARM), far.engine.session, SECRET.encode(), now - 60 * 10**9),
            seal(Ask("early", Action.ARM), far.engine.session, SECRET.encode(), now + 60 * 10**9),
            b"nonsense",
        ]
        for number, value in enumerate(strangers, start=1):
            wire._sent.append("")
            wire._child.stdin.write(framed(value))
            await until(lambda at=number: far.said and far.said[-1].refused == at)  # type: ignore[misc]
        reasons = [status.refusal for status in far.said if status.refused]
        for words in ("it is for session another", "expired", "the clocks differ", "cannot be read"):
            assert any(words in reason for reason in reasons)
        assert far.engine.asked == []


# --- what is shown -----------------------------------------------------------------------------------------------------------


def heard(*wallets: str, first: int = 0, news: tuple[Event, ...] = ()) -> object:
    from engine.queue.relay import _heard

    return _heard.decode(encode(Frame(first, tuple(account(wallet) for wallet in wallets), news)))  # type: ignore[arg-type]


def taken(board: Board, now: float) -> tuple[Shown, list[bytes], list[bytes], Callable[[], None]] | None:
    due = board.take(now, int(now * 1e9))
    if due is None:
        return None
    shown, body = unpacked(due[0])
    return shown, [bytes(raw) for raw in body.pictures], [encode(news) for news in body.news], due[1]


def test_the_newest_picture_wins_and_is_sent_again_after_a_while() -> None:
    board = Board("s1")
    board.hear(heard("1", "2"))  # type: ignore[arg-type]
    first = taken(board, 100.0)
    assert first is not None and first[1] == [encode(account("2"))]
    board.hear(heard("3"))  # type: ignore[arg-type] # while it is under way
    first[3]()
    second = taken(board, 100.3)
    assert second is not None and second[1] == [encode(account("3"))]
    second[3]()
    assert taken(board, 101.0) is None
    again = taken(board, 100.3 + REFRESHED_S)
    assert again is not None and again[1] == [encode(account("3"))]


def test_what_was_not_acknowledged_is_sent_again_and_news_are_bounded() -> None:
    board = Board("s1")
    numbers = itertools.count()
    board.hear(heard(first=0, news=tuple(alert(next(numbers)) for _ in range(3))))  # type: ignore[arg-type]
    first, second = taken(board, 1.0), taken(board, 2.0)
    assert first is not None and second is not None and first[2] == second[2] and len(first[2]) == 3
    assert (first[0].sequence, second[0].sequence) == (0, 1)
    board.hear(heard(first=3, news=tuple(alert(next(numbers)) for _ in range(NEWS_KEPT))))  # type: ignore[arg-type]
    second[3]()  # the oldest were pushed out meanwhile
    third = taken(board, 3.0)
    assert third is not None and (third[0].news, len(third[2])) == (3, NEWS_KEPT) and board.dropped == 3


# --- the command -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--control",), "only a screen on a running engine uses it"),
        (("--fluvio", "127.0.0.1:9003"), "only a screen on a running engine uses it"),
        (("attach", "--fluvio", "nonsense"), "queue.endpoint"),
    ],
)
def test_flags_of_an_attached_screen_are_checked(words: tuple[str, ...], said: str, tmp_path: Path, capsys: object) -> None:
    (tmp_path / "none.toml").touch()
    assert main([*words, "--config", str(tmp_path / "none.toml")]) == Exit.USAGE
    assert said in capsys.readouterr().err  # type: ignore[attr-defined]


async def test_the_process_that_carries_ends_with_its_owner(standing: Standin) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.queue.carry"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert child.stdin is not None
    child.stdin.write(framed(msgspec.msgpack.encode(Errand(Access(standing.endpoint), "aster-views"))))
    await asyncio.sleep(1.0)
    child.stdin.close()
    assert await asyncio.wait_for(child.wait(), 5) == 0
