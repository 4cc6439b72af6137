"""Alerts: what is typed is said in words, each fires once until it was false again, and what goes out names no address."""

import logging
import stat
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Input, Static

from console import alerts
from console.alertfile import LARGEST, NAME, AlertFile
from console.alerts import LINES, MOST, TOLD_EVERY_S, Delete, Kind, Rule, Watcher
from console.app import Parting
from console.desk import Desk
from console.messenger import VARIABLE, WAITING, Messenger, addresses, post
from console.orderline import LineError
from console.screens.alerts import AlertScreen
from engine.config import load
from engine.events import Bias, Judged, Level, Trust
from engine.views import (
    AccountView,
    AnyNews,
    AnyPicture,
    Frame,
    IndicatorsView,
    MarketsView,
    PositionsView,
    StatusView,
)
from tests import pictures
from tests.console.conftest import FakeLink, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, type_in
from tests.console.test_keys import until as until_within
from tests.test_documentation import between

M = pictures.MARKET
OKX = "okx:ASTER/USDT:USDT"
BTC = "binance:BTC/USDT:USDT"


async def until(pilot: Pilot[Parting], holds: Callable[[], bool]) -> None:
    await until_within(pilot, holds, 30.0)


def busy() -> Desk:
    """The busy desk, with the markets of its watch list."""
    desk = pictures.busy()
    found = desk.get(MarketsView, "")
    assert found is not None
    desk.markets = tuple(row.market for row in found.rows)
    return desk


def show(desk: Desk, *shown: AnyPicture, news: tuple[AnyNews, ...] = ()) -> None:
    desk.apply(Frame(desk.next_news, shown, news))


def priced(desk: Desk, last: int, market: str = M, trust: Trust = Trust.TRUSTED) -> None:
    """Another price (ticks) of a market."""
    view = desk.get(MarketsView, "")
    assert view is not None
    rows = tuple(msgspec.structs.replace(row, last=last, trust=trust) if row.market == market else row for row in view.rows)
    show(desk, MarketsView("", rows))


def texts(watcher: Watcher, desk: Desk, now: float) -> list[str]:
    return [fired.text for fired in watcher.check(desk, now)]


# --- what is typed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "rule", "said"),
    [
        ("aster > 1.30", Rule(Kind.PRICE, M, value=Decimal("1.30")), "binance ASTER/USDT trades above 1.30"),
        ("price<1.2", Rule(Kind.PRICE, M, above=False, value=Decimal("1.2")), "binance ASTER/USDT trades below 1.2"),
        ("> 1,300", Rule(Kind.PRICE, M, value=Decimal(1300)), "binance ASTER/USDT trades above 1300"),
        ("OKX aster below 1.2", Rule(Kind.PRICE, OKX, above=False, value=Decimal("1.2")), "okx ASTER/USDT trades below 1.2"),
        ("btc > 7e4", Rule(Kind.PRICE, BTC, value=Decimal("7e4")), "binance BTC/USDT trades above 70000"),
        (
            "rsi_14 > 70",
            Rule(Kind.INDICATOR, M, "rsi_14", 60_000, value=Decimal(70)),
            "rsi_14 of binance ASTER/USDT on 1m bars is above 70",
        ),
        ("pnl < -50", Rule(Kind.PNL, above=False, value=Decimal(-50)), "the unrealised profit of all positions is below -50"),
        ("aster pnl > 9", Rule(Kind.PNL, M, value=Decimal(9)), "the unrealised profit of binance ASTER/USDT is above 9"),
        ("loss > 60%", Rule(Kind.LOSS, value=Decimal(60)), "more than 60% of the day's loss limit is used"),
        ("trust", Rule(Kind.TRUST), "the book of some market is not trusted"),
        ("okx btc trust", Rule(Kind.TRUST, "okx:BTC/USDT:USDT"), "the book of okx BTC/USDT is not trusted"),
        ("connection", Rule(Kind.CONNECTION), "the engine or one of its routes is not connected"),
        ("judgment", Rule(Kind.JUDGMENT, M), "a judge changes its mind about binance ASTER/USDT"),
        ("btc judgment", Rule(Kind.JUDGMENT, BTC), "a judge changes its mind about binance BTC/USDT"),
    ],
)
def test_a_line_means_an_alert_and_is_said_in_words(line: str, rule: Rule, said: str) -> None:
    assert alerts.read(line, busy()) == rule
    assert alerts.words(rule) == said


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "Type an alert"),
        ("hello", "Above or below what?"),
        ("aster >", "Than what?"),
        ("aster > high", "'high' is not a number"),
        ("aster > nan", "no number that could be compared"),
        ("astre > 1", "did you mean aster?"),
        ("rsi > 70", "did you mean rsi_14?"),
        ("okx sol > 1", "'sol' is no market"),
        ("aster loss > 10", "of the whole account"),
        ("okx connection", "Above or below what?"),
        ("delete", "Which one?"),
        ("delete 0", "Which one?"),
        ("delete two", "Which one?"),
    ],
)
def test_a_line_that_means_nothing_says_why(line: str, problem: str) -> None:
    with pytest.raises(LineError, match=problem.replace("?", r"\?")):
        alerts.read(line, busy())


def test_every_line_of_the_help_is_understood_and_the_readme_has_them(root: Path) -> None:
    for line, _ in LINES:
        alerts.read(line, busy())
    assert between((root / "README.md").read_text(encoding="utf-8"), "alerts").strip() == alerts.render_table()


def test_a_market_that_is_named_without_its_venue_is_the_one_on_the_screen() -> None:
    desk = busy()
    desk.market = OKX
    assert alerts.read("aster > 1", desk) == Rule(Kind.PRICE, OKX, value=Decimal(1))
    assert alerts.read("btc > 1", desk) == Rule(Kind.PRICE, BTC, value=Decimal(1))


def test_a_figure_of_the_users_own_indicators_keeps_its_name() -> None:
    desk = busy()
    view = desk.get(IndicatorsView)
    assert view is not None
    show(desk, msgspec.structs.replace(view, extra={"Donchian_W": 1.5}))
    rule = alerts.read("donchian_w > 1", desk)
    assert isinstance(rule, Rule) and rule.name == "Donchian_W" and alerts.see(rule, desk) == (True, "now 1.5")


# --- when it fires -----------------------------------------------------------------------------------------------------


def test_an_alert_fires_once_until_it_was_false_again() -> None:
    desk, watcher = busy(), Watcher([Rule(Kind.PRICE, M, value=Decimal("1.3"))])
    assert texts(watcher, desk, 0.0) == []
    priced(desk, 13_001)
    assert texts(watcher, desk, 1.0) == ["Alert: binance ASTER/USDT trades above 1.3 (now 1.3001)."]
    priced(desk, 13_500)
    assert texts(watcher, desk, 500.0) == []
    priced(desk, 13_000)
    assert texts(watcher, desk, 501.0) == []
    priced(desk, 13_002)
    assert texts(watcher, desk, 502.0) == ["Alert: binance ASTER/USDT trades above 1.3 (now 1.3002)."]


def test_a_price_that_dances_around_its_level_is_told_once_a_minute_with_a_count() -> None:
    desk, watcher = busy(), Watcher([Rule(Kind.PRICE, M, value=Decimal("1.3"))])
    said = []
    for second in range(int(TOLD_EVERY_S)):
        priced(desk, 13_001 if second % 2 else 12_999)
        said += texts(watcher, desk, float(second))
    assert said == ["Alert: binance ASTER/USDT trades above 1.3 (now 1.3001)."]
    assert texts(watcher, desk, TOLD_EVERY_S + 1) == [
        "Alert: binance ASTER/USDT trades above 1.3 (now 1.3001), 29 times in the last minute or so."
    ]
    assert watcher.known[watcher.rules[0]].times == 30
    assert texts(watcher, desk, 10 * TOLD_EVERY_S) == []


def test_what_is_true_already_when_the_alert_is_set_is_said_at_once() -> None:
    assert len(Watcher([Rule(Kind.PRICE, M, value=Decimal(1))]).check(busy(), 0.0)) == 1


def test_nothing_fires_on_what_an_engine_that_is_gone_showed_but_the_loss_of_it() -> None:
    desk = busy()
    watcher = Watcher([Rule(Kind.PRICE, M, value=Decimal("1.3")), Rule(Kind.CONNECTION), Rule(Kind.TRUST)])
    watcher.check(desk, 0.0)
    priced(desk, 14_000, trust=Trust.STALE)
    desk.connected, desk.lost_reason = False, "The engine ended."
    assert texts(watcher, desk, 1.0) == ["Alert: the engine or one of its routes is not connected (The engine ended.)."]


def test_a_figure_of_bars_that_are_not_shown_is_not_seen_and_not_guessed() -> None:
    desk = busy()
    rule = alerts.read("rsi_14 > 60", desk)
    assert isinstance(rule, Rule) and alerts.see(rule, desk) == (True, "now 63.4")
    desk.timeframe_ms = 1_000
    assert alerts.see(rule, desk).holds is None
    view = pictures.busy().get(IndicatorsView)
    assert view is not None and view.features is not None
    warming = msgspec.structs.replace(view, features=msgspec.structs.replace(view.features, rsi_14=float("nan")))
    desk.timeframe_ms = pictures.TIMEFRAME_MS
    show(desk, warming)
    assert alerts.see(rule, desk).holds is None


def test_profit_and_the_days_loss_are_those_of_the_account() -> None:
    desk = busy()
    assert alerts.see(Rule(Kind.PNL, value=Decimal("29.5")), desk) == (True, "now +29.52")
    assert alerts.see(Rule(Kind.PNL, OKX, above=False, value=Decimal(1)), desk) == (True, "now 0.00")
    assert alerts.see(Rule(Kind.LOSS, value=Decimal(50)), desk) == (False, "now 0.0%")
    account = desk.get(AccountView, "")
    assert account is not None
    # 10,006.40 at the opening of the day, and 3 % of it may be lost
    show(desk, msgspec.structs.replace(account, equity="9826.28"))
    assert alerts.see(Rule(Kind.LOSS, value=Decimal(50)), desk) == (True, "now 60.0%")
    show(desk, msgspec.structs.replace(account, day_equity="0"), PositionsView("", ()))
    assert alerts.see(Rule(Kind.LOSS, value=Decimal(50)), desk).holds is None


def test_a_book_that_loses_its_trust_is_said_and_one_that_begins_is_not() -> None:
    desk, watcher = busy(), Watcher([Rule(Kind.TRUST), Rule(Kind.TRUST, BTC)])
    assert texts(watcher, desk, 0.0) == [], "two of the markets are not trusted yet, or were not when the console came"
    priced(desk, 12_360, trust=Trust.STALE)
    assert texts(watcher, desk, 1.0) == ["Alert: the book of some market is not trusted (binance ASTER/USDT is stale)."]
    assert texts(watcher, desk, 2.0) == []
    priced(desk, 12_360)
    watcher.check(desk, 3.0)
    priced(desk, 671_000, BTC, Trust.STALE)
    assert len(texts(watcher, desk, 100.0)) == 2


def test_a_route_that_breaks_is_said() -> None:
    desk, watcher = busy(), Watcher([Rule(Kind.CONNECTION)])
    assert watcher.check(desk, 0.0) == []
    status = desk.get(StatusView, "")
    assert status is not None
    show(desk, msgspec.structs.replace(status, routes=(("binance public", False), ("okx public", True))))
    assert texts(watcher, desk, 1.0) == ["Alert: the engine or one of its routes is not connected (binance public down)."]


def test_a_judge_that_changes_its_mind_is_said_and_another_judge_is_not_a_change() -> None:
    desk, watcher = busy(), Watcher([Rule(Kind.JUDGMENT, M)])
    long, other = pictures.stance(), msgspec.structs.replace(pictures.stance(Bias.SHORT), source="rules")
    for stance in (long, other, long, msgspec.structs.replace(pictures.stance(Bias.SHORT), market=BTC)):
        show(desk, news=(Judged(pictures.NOW, stance),))
        assert texts(watcher, desk, 0.0) == []
    show(desk, news=(Judged(pictures.NOW, pictures.stance(Bias.HOLD)),))
    assert texts(watcher, desk, 1.0) == [
        "Alert: a judge changes its mind about binance ASTER/USDT (mistral: long to hold, 72% sure)."
    ]


def test_alerts_are_bounded_and_set_once_and_deleted_by_their_number() -> None:
    watcher = Watcher([Rule(Kind.PRICE, M, value=Decimal(n)) for n in range(MOST + 5)])
    assert len(watcher.rules) == MOST
    with pytest.raises(LineError, match="delete one first"):
        watcher.add(Rule(Kind.TRUST))
    watcher.check(busy(), 0.0)
    assert watcher.delete(Delete(2)) == [Rule(Kind.PRICE, M, value=Decimal(1))]
    assert len(watcher.rules) == len(watcher.known) == MOST - 1
    with pytest.raises(LineError, match="set already"):
        watcher.add(watcher.rules[0])
    with pytest.raises(LineError, match=f"no alert {MOST}"):
        watcher.delete(Delete(MOST))
    assert len(watcher.delete(Delete(0))) == MOST - 1 and watcher.rules == []


# --- the file ----------------------------------------------------------------------------------------------------------


def test_alerts_are_kept_for_their_owner_alone_and_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "demo"
    rules = [rule for line, _ in LINES if isinstance(rule := alerts.read(line, busy()), Rule)]
    file = AlertFile(folder)
    assert file.read() == []
    file.write(rules)
    assert file.problem == "" and AlertFile(folder).read() == rules
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600 and [path.name for path in folder.iterdir()] == [NAME]


@pytest.mark.parametrize("content", [b"{", b'[{"kind": "pain"}]', b" " * (LARGEST + 1), b"\xff"])
def test_a_file_that_cannot_be_read_is_named_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    file = AlertFile(tmp_path)
    assert file.read() == [] and str(tmp_path / NAME) in file.problem
    file.write([Rule(Kind.TRUST)])
    assert (tmp_path / NAME).read_bytes() == content


def test_alerts_that_cannot_be_written_are_said_to_end_with_the_console(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    file = AlertFile(tmp_path / "file")
    file.write([Rule(Kind.TRUST)])
    assert "end with this console" in file.problem
    AlertFile(None).write([Rule(Kind.TRUST)])


def by_value(rules: list[Rule]) -> list[Rule]:
    return sorted(rules, key=lambda rule: rule.value)


CHANGES = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["set", "delete", "look"]), st.integers(0, 5)), max_size=30)


@given(CHANGES)
def test_two_consoles_that_share_a_folder_come_to_the_same_alerts(changes: list[tuple[int, str, int]]) -> None:
    """Whoever changes something knows all that was changed before; nothing of the other's is lost."""
    with tempfile.TemporaryDirectory() as folder:
        files = [AlertFile(Path(folder)) for _ in range(2)]
        held = [file.read() for file in files]
        wanted: list[Rule] = []
        for who, what, number in changes:
            rule = Rule(Kind.PRICE, M, value=Decimal(number))
            mine = held[who]
            if what == "look":
                found = files[who].changed(mine)
                held[who] = mine if found is None else found
                assert by_value(held[who]) == by_value(wanted)
            elif what == "set" and rule not in mine:
                wanted += [rule] if rule not in wanted else []
                held[who] = files[who].write([*mine, rule])
            elif what == "delete" and rule in mine:
                wanted = [one for one in wanted if one != rule]
                held[who] = files[who].write([one for one in mine if one != rule])
        for who, file in enumerate(files):
            found = file.changed(held[who])
            assert by_value(held[who] if found is None else found) == by_value(wanted) == by_value(AlertFile(Path(folder)).read())
            assert file.problem == ""


# --- what goes out -----------------------------------------------------------------------------------------------------

SECRET = "https://hooks.example/T0SECRET"


class Sender:
    """Stands in for the library, which is optional, at this one edge: it takes what a test says it takes."""

    sent: list[tuple[tuple[str, ...], str]] = []  # noqa: RUF012 - emptied by the fixture
    fails: Exception | None = None
    answer = True
    came = threading.Semaphore(0)
    held = threading.Event()

    def __init__(self) -> None:
        self.urls: list[str] = []

    def add(self, url: str) -> bool:
        self.urls.append(url)
        return url.startswith("https:")

    def notify(self, body: str, title: str) -> bool:
        assert title == "barter-tui"
        answer, fails = Sender.answer, Sender.fails  # of this call: a test sets the next one's as soon as this one came
        logging.getLogger("apprise").error("to %s", self.urls)
        logging.getLogger("urllib3.connectionpool").warning("to %s", self.urls)
        Sender.sent.append((tuple(self.urls), body))
        Sender.came.release()
        assert Sender.held.wait(30)
        if fails is not None:
            raise fails
        return answer


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> type[Sender]:
    module = types.ModuleType("apprise")
    module.Apprise = Sender  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "apprise", module)
    Sender.sent, Sender.fails, Sender.answer, Sender.came, Sender.held = [], None, True, threading.Semaphore(0), threading.Event()
    Sender.held.set()
    return Sender


def test_the_addresses_leave_the_environment_so_that_no_child_has_them() -> None:
    environ = {VARIABLE: f"{SECRET}\n json://one ", "PATH": "/bin"}
    assert addresses(environ) == (SECRET, "json://one") and environ == {"PATH": "/bin"}
    assert addresses(environ) == ()


def test_the_variable_of_the_addresses_is_no_unknown_setting() -> None:
    assert SECRET not in repr(load(file=None, environ={VARIABLE: SECRET}, flags={}))


def test_a_message_goes_to_every_address(sender: type[Sender]) -> None:
    assert post((SECRET, "https://two"), "text") == ""
    assert sender.sent == [((SECRET, "https://two"), "text")]


def test_what_goes_wrong_is_said_without_the_address(sender: type[Sender], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    problems = [post((SECRET, "ftp:T0SECRET"), "text")]
    sender.answer = False
    problems.append(post((SECRET,), "text"))
    sender.fails = ValueError(f"bad answer of {SECRET}")
    problems.append(post((SECRET,), "text"))
    words = ("apprise does not understand", "did not take it", "apprise failed (ValueError)")
    assert all(word in problem for word, problem in zip(words, problems, strict=True))
    assert "address 2 of 2" in problems[0]
    assert "T0SECRET" not in "".join(problems) + caplog.text


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert "pip install 'barter-tui[alerts]'" in post((SECRET,), "text")


def test_a_failure_is_said_once_until_something_was_sent_again(sender: type[Sender]) -> None:
    told: list[str] = []
    messenger = Messenger((SECRET,), told.append)
    for answer in (False, False, True, False):
        sender.answer = answer
        messenger.send("text")
        assert sender.came.acquire(timeout=30)
        while messenger._failed is answer:  # the thread has not come back yet
            threading.Event().wait(0.005)
    assert len(told) == 2 and all("It is said here all the same" in text for text in told)


def test_a_slow_address_holds_nothing_up_and_what_waits_goes_as_one_message(sender: type[Sender]) -> None:
    sender.held.clear()
    messenger = Messenger((SECRET,), lambda sentence: None)
    messenger.send("first")
    assert sender.came.acquire(timeout=30)
    for n in range(WAITING + 3):
        messenger.send(f"more {n}")
    assert messenger.dropped == 3
    sender.held.set()
    assert sender.came.acquire(timeout=30)
    assert [body for _, body in sender.sent] == ["first", "\n".join(f"more {n}" for n in range(WAITING))]


def test_without_addresses_no_thread_is_started() -> None:
    messenger = Messenger((), lambda sentence: None)
    messenger.send("text")
    assert messenger._thread is None


# --- on the screen -----------------------------------------------------------------------------------------------------


async def test_an_alert_is_typed_said_in_words_kept_and_fires_with_a_toast_a_bell_and_a_message(
    tmp_path: Path, sender: type[Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, rung = FakeLink(frames_of(pictures.busy())), []
    app = program(link, alerts=tmp_path, alert_urls=(SECRET,))
    monkeypatch.setattr(app, "bell", lambda: rung.append(1))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot, link)
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: isinstance(app.screen, AlertScreen))
        said = app.screen.query_one("#question", Static)
        assert "rsi_14 > 70" in drawn(app) and "No alert is set." in drawn(app)
        await type_in(pilot, "aster > 1.3x")
        assert "is not a number" in str(said.render())
        await pilot.press("enter", "backspace", "0")
        assert "Say so when binance ASTER/USDT trades above 1.30 (now 1.2360)." in str(said.render())
        await pilot.press("enter")
        await until(pilot, lambda: "1  binance ASTER/USDT trades above 1.30" in drawn(app))
        assert AlertFile(tmp_path).read() == app.alerts.rules == [Rule(Kind.PRICE, M, value=Decimal("1.30"))]
        assert rung == [] and app.screen.query_one(Input).value == ""
        desk = pictures.busy()
        priced(desk, 13_001)
        shown = desk.get(MarketsView, "")
        assert shown is not None
        link.show(shown)
        text = "Alert: binance ASTER/USDT trades above 1.30 (now 1.3001)."
        await until(pilot, lambda: text in [note.message for note in app._notifications])
        await until(pilot, lambda: "fired 1x" in drawn(app) and "! now 1.3001" in drawn(app))
        await until(pilot, lambda: sender.sent == [((SECRET,), text)])
        assert rung == [1] and any(line.text == text and line.level is Level.WARNING for line in app.trading.news.lines)
        await type_in(pilot, "delete 1")
        assert "Delete: binance ASTER/USDT trades above 1.30." in str(said.render())
        await pilot.press("enter")
        await until(pilot, lambda: "No alert is set." in drawn(app))
        assert AlertFile(tmp_path).read() == []
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading)
        assert link.asks() == [], "nothing was traded by what was typed"


async def test_alerts_of_the_last_time_are_watched_from_the_start(tmp_path: Path) -> None:
    AlertFile(tmp_path).write([Rule(Kind.PRICE, M, value=Decimal(1))])
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, alerts=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: any("trades above 1 (now" in note.message for note in app._notifications))


async def test_a_message_that_cannot_be_sent_is_said_on_the_screen(tmp_path: Path, sender: type[Sender]) -> None:
    AlertFile(tmp_path).write([Rule(Kind.PRICE, M, value=Decimal(1))])
    sender.fails = OSError(SECRET)
    app = program(FakeLink(frames_of(pictures.busy())), alerts=tmp_path, alert_urls=(SECRET,))
    async with app.run_test(size=(120, 36)) as pilot:
        said = "was not sent out: apprise failed (OSError)"
        await until(pilot, lambda: any(said in note.message for note in app._notifications))
        assert SECRET not in drawn(app)


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 5)])
async def test_many_alerts_leave_the_line_its_place_and_fail_on_no_terminal(size: tuple[int, int], tmp_path: Path) -> None:
    AlertFile(tmp_path).write([Rule(Kind.PRICE, M, value=Decimal(100 + n)) for n in range(MOST)])
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, alerts=tmp_path)
    async with app.run_test(size=size) as pilot:
        await settled(pilot, link)
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: isinstance(app.screen, AlertScreen))
        await pilot.press("x", "pagedown", "pagedown")
        await until(pilot, lambda: app.screen.find_widget(app.screen.query_one(Input)).visible_region.height == 1)
        if size[1] > 5:
            await until(pilot, lambda: app.screen.find_widget(app.screen.query_one("#set")).visible_region.height > 0)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading)
