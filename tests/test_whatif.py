"""What would have come of it: both sides filled anew by one rule, so that what differs is the change."""

import io
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from console.cli import main
from console.exits import Exit
from console.whatif import _child, changes_of, words
from engine.config import Settings, changed
from engine.core import Core
from engine.errors import ConfigError, SessionError
from engine.events import Action, Command, Event, Filled, Instrument, Mark, OrderAccepted, SendOrder, Tick, decode_output
from engine.queue.files import new_path
from engine.queue.local import LocalQueue
from engine.queue.retention import condense
from engine.queue.session import Session
from engine.replay import whatif
from engine.replay.whatif import WhatIf, delay_of, refusals, run, settings_for
from tests.factory import MARKET
from tests.recordings import without_sockets
from tests.test_core import entered
from tests.test_queue import OPENING, change, flip_body
from tests.test_recorder import pairs, rewritten


@pytest.fixture(scope="module")
def same(small: Path) -> WhatIf:
    """Nothing is changed: a setting is set to what it was."""
    with Session(small) as session:
        own = settings_for(session, {})[0]
        return run(session, {"risk.max_leverage": f"{own.risk.max_leverage}"})


def test_unchanged_settings_do_the_same_on_both_sides(same: WhatIf) -> None:
    assert same.divergence is None and same.decision is None and same.faithful
    assert msgspec.structs.replace(same.original, name="") == msgspec.structs.replace(same.changed, name="")
    assert same.original.fills > 0 and same.original.fees > 0 and len(same.original.curve) > 50


def first_position(fills: list[Filled]) -> tuple[float, int]:
    """The mean price of the fills up to the first that is of another order, and how much they were."""
    first = [fill for fill in fills if fill.client_id == fills[0].client_id]
    quantity = sum(fill.quantity for fill in first)
    return sum(fill.price * fill.quantity for fill in first) / quantity, quantity


def test_filled_anew_is_close_to_what_happened(small: Path, same: WhatIf, told: dict[str, list[Event]]) -> None:
    """Of the first position, before the two can differ in anything else: the same size, within 10 basis points of the price.

    A person closed the session's positions: one that opens a moment later than it did may not be there to be closed.
    """
    fills = {name: [one for one in out if isinstance(one, Filled)] for name, out in told.items()}
    (was, quantity), (now, anew) = first_position(fills["recorded"]), first_position(fills["original"])
    assert quantity == anew and abs(now / was - 1) < 10e-4
    assert 0.25 < same.original.fees / same.recorded.fees < 1.75
    assert abs(same.original.profit - same.recorded.profit) < 3.0


@pytest.fixture(scope="module")
def told(small: Path) -> dict[str, list[Event]]:
    """What each side said, inputs of the market among it, with the spread's limit at a level that refuses some."""
    heard: dict[str, list[Event]] = {}

    class Heard(whatif.Rerun):
        def _process(self, event: Event) -> list[Event]:
            out = super()._process(event)
            heard.setdefault(self.side.name, []).extend((event, *out))
            return out

    with pytest.MonkeyPatch.context() as patch, Session(small) as session:
        patch.setattr(whatif, "Rerun", Heard)
        run(session, {"risk.max_leverage": "3"})
    return heard


def test_a_sides_figures_are_what_its_fills_come_to(same: WhatIf, told: dict[str, list[Event]]) -> None:
    """Cash in and out, and what is left at the last mark."""
    for side in (same.recorded, same.original, same.changed):
        events = told[side.name]
        instruments = {one.market: one for one in events if isinstance(one, Instrument)}
        marks = {one.market: one.mark for one in events if isinstance(one, Mark)}
        cash, fees, held = Decimal(0), Decimal(0), dict.fromkeys(instruments, 0)
        fills = [one for one in events if isinstance(one, Filled)]
        for fill in fills:
            listing = instruments[fill.market]
            cash -= fill.side * fill.price * listing.tick * fill.quantity * listing.step
            held[fill.market] += fill.side * fill.quantity
            fees += fill.fee
        worth = sum(quantity * instruments[name].step * marks[name] for name, quantity in held.items() if quantity)
        assert len(fills) == side.fills > 0 and float(fees) == pytest.approx(side.fees, abs=1e-9)
        assert float(cash + worth) == pytest.approx(side.realised + side.unrealised, abs=1e-6)


def test_the_recorded_side_is_what_the_session_says_of_itself(small: Path, same: WhatIf) -> None:
    with Session(small) as session:
        closing = session.closing
        fills = sum(
            isinstance(decode_output(raw), Filled) for chunk in session.chunks() for _, out in chunk.steps() for raw in out
        )
    assert closing is not None
    assert same.recorded.profit == pytest.approx(float(Decimal(closing.pnl)), abs=1e-6)
    assert (same.recorded.orders, same.recorded.fills) == (closing.orders, closing.fills) and fills == same.recorded.fills


def test_a_tighter_limit_is_felt_from_its_first_order_on(small: Path, same: WhatIf) -> None:
    with Session(small) as session:
        found = run(session, {"risk.max_order_notional": "100"})
        first = found.divergence
        assert first is not None
        events = [event for chunk in session.chunks() for event in chunk.inputs]
    assert first.at == events[first.input_number - 1].at and first.event == type(events[first.input_number - 1]).__name__
    assert "Decided" in first.original and "Decided" in first.changed and first.original != first.changed
    assert found.decision == first
    assert 0 < found.changed.fees < found.original.fees * 0.3
    assert msgspec.structs.replace(found.original) == same.original, "the original does not depend on the change"


def test_a_limit_that_refuses_everything_leaves_no_fill_and_says_why(small: Path) -> None:
    with Session(small) as session:
        found = run(session, {"risk.max_spread_bps": "0.001"})
    assert found.changed.fills == 0 and found.changed.profit == 0.0 and found.changed.curve[-1][1] == 0.0
    assert found.changed.refused["the spread of … bps is above …"] > 0, "reasons are counted without their numbers"
    assert refusals(found)[0][0] == "the spread of … bps is above …" and len(found.changed.refused) < 20
    first = found.decision
    assert first is not None and "approved=True" in first.original and "approved=False" in first.changed


def test_what_only_looks_otherwise_is_told_apart_from_what_was_decided_otherwise(small: Path) -> None:
    with Session(small) as session:
        found = run(session, {"features.intensity_window_s": "0.5"})
    assert found.divergence is not None and found.decision is None and found.original.profit == found.changed.profit
    assert found.divergence.original != found.divergence.changed and "Every decision and order was the same." in words(found)


def test_a_session_of_other_code_says_so(small: Path, tmp_path: Path) -> None:
    events = pairs(small)
    place = next(place for place, (_, out) in enumerate(events) if any(isinstance(one, SendOrder) for one in out))
    events[place] = events[place][0], events[place][1][:-1]
    with Session(rewritten(small, events, tmp_path)) as session:
        found = run(session, {"risk.max_leverage": "1"})
    assert not found.faithful and words(found)[-1].startswith("! Other code recorded this session")


def test_a_cancel_means_the_same_order_although_its_number_is_another() -> None:
    desk, entry, _ = entered()
    order = desk.core.state.orders[entry.client_id]
    other = whatif.Rerun("changed", Core.restore(desk.core.settings, desk.core.snapshot()), None)
    stop = next(iter(other.core.state.open_orders(MARKET)))
    del other.core.state.orders[stop.client_id], other.core.state.alive[stop.client_id]
    stop.client_id = "another"
    other.core.state.add(stop)
    truth = whatif.Rerun("recorded", desk.core, None)
    meant = Command(desk.at, "c", Action.CANCEL, "", next(iter(desk.core.state.open_orders(MARKET))).client_id)
    found = whatif._meant(meant, truth, other)
    assert isinstance(found, Command) and found.target == "another" and not order.open
    found = whatif._meant(msgspec.structs.replace(meant, target="nobody"), truth, other)
    assert isinstance(found, Command) and found.target == ""


def test_a_sides_profit_is_that_of_its_curve_and_its_drawdown_is_within(same: WhatIf) -> None:
    side = same.original
    assert side.curve[-1][1] == pytest.approx(side.profit, abs=1e-6)
    height, fall = 0.0, 0.0
    for _, value in side.curve:
        height = max(height, value)
        fall = max(fall, height - value)
    assert side.drawdown >= fall - 1e-5, "what happened between two points of the curve counts too"
    assert side.drawdown == pytest.approx(fall, rel=0.5, abs=0.5)


def test_the_delay_is_the_sessions_own(small: Path) -> None:
    with Session(small) as session:
        times: dict[str, int] = {}
        delays = []
        for chunk in session.chunks():
            for event, out in chunk.steps():
                if isinstance(event, OrderAccepted) and event.client_id in times:
                    delays.append(event.at - times.pop(event.client_id))
                for output in map(decode_output, out):
                    if isinstance(output, SendOrder):
                        times[output.client_id] = output.at
        assert delays and delay_of(session) == int(statistics.median(delays))


def test_an_answer_is_found_however_many_chunks_later_and_one_that_never_came_is_not_waited_for(tmp_path: Path) -> None:
    """In a burst the chunk of an order may be long closed when the venue's answer to it comes."""
    _, entry, _ = entered()
    path = new_path(tmp_path, OPENING)
    queue = LocalQueue(path, OPENING)

    def at(moment: int, *orders: str, accepted: str = "") -> None:
        event = OrderAccepted(moment, MARKET, accepted, "1") if accepted else Tick(moment)
        queue.append(event, [msgspec.structs.replace(entry, at=moment, client_id=name) for name in orders])
        queue.commit()

    at(1_000, "slow", "quick", "lost")
    for moment in range(1_001, 1_006):
        at(moment)
    at(1_006, accepted="quick")
    at(1_050, "later")
    at(1_058, accepted="slow")
    at(1_060, accepted="later")
    at(20_000_000_000)
    at(20_000_000_001, accepted="lost")
    queue.close(None)
    with Session(path) as session:
        assert delay_of(session) == int(statistics.median([6, 58, 10]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("risk.max_leverag=1", "risk.max_leverage, the nearest"),
        ("risk.max_leverage=-1", "out of range"),
        ("engine.mode=live", "cannot be had otherwise"),
        ("queue.record=false", "cannot be had otherwise"),
        ("nonsense", "not a setting"),
        ("risk.max_order_notional=999999", "the largest position"),
        ("judgment.model=mistral", "cannot be asked again"),
        ("judgment.ask_every_s=5", "cannot be asked again"),
        ("judgment.judge=model", "nobody else can be asked.*rules"),
        ("judgment.judge=mine:Judge", "nobody else can be asked.*rules"),
    ],
)
def test_a_change_that_cannot_be_is_refused_before_anything_runs(change: str, words: str, small: Path) -> None:
    with Session(small) as session, pytest.raises(ConfigError, match=words):
        run(session, changes_of([change]))


def test_changed_settings_are_the_old_ones_but_for_the_change() -> None:
    before = Settings()
    after = changed(before, {"strategy.stop_atr": "2", "judgment.judge": "rules"})
    assert (after.strategy.stop_atr, after.judgment.judge) == (2.0, "rules")
    assert changed(after, {"strategy.stop_atr": "3.0", "judgment.judge": "auto"}) == before


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a flipped bit": (flip_body, "damaged or was altered"),
    "a missing end": (
        lambda path: change(path, "DELETE FROM chunks WHERE number = (SELECT max(number) FROM chunks)"),
        "its closing says",
    ),
    "another schema": (lambda path: change(path, "PRAGMA user_version = 99"), "a newer version of this program"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_nothing_is_concluded_from_a_session_that_is_damaged_or_of_another_schema(
    name: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / small.name
    shutil.copy(small, copy)
    damage, said = DAMAGES[name]
    damage(copy)
    assert main(["--replay", str(copy), "--no-ui", "--what-if", "risk.max_leverage=1"]) == Exit.DAMAGED
    shown = capsys.readouterr()
    assert said in shown.err and not shown.out


def test_a_what_if_opens_no_socket_and_loads_no_client(small: Path) -> None:
    work = "assert run(session, {'risk.max_leverage': '1'}).inputs"
    without_sockets(small, "from engine.replay.whatif import run", work)


def test_ctrl_c_ends_it_with_a_sentence_and_its_code(small: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from console.cli import main\n"
        "from engine.replay import whatif\n"
        "whatif.delay_of = lambda session: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(main(['--replay', sys.argv[1], '--no-ui', '--what-if', 'risk.max_leverage=1']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(small)], capture_output=True, text=True, check=False)
    assert done.returncode == Exit.INTERRUPTED and not done.stdout
    assert done.stderr == "barter-tui: the what-if was interrupted before its end; nothing can be said of it.\n"


def test_a_session_whose_market_data_are_gone_cannot_be_filled_anew(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / small.name
    shutil.copy(small, copy)
    condense(copy, 1_900_000_000_000_000_000)
    with Session(copy) as session, pytest.raises(SessionError, match="market data were removed"):
        run(session, {"risk.max_leverage": "1"})


def test_the_command_prints_a_table_and_json(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small.parent.parent.parent
    words = ["--replay", small.stem.rpartition("-")[2], "--no-ui", "--set", f"engine.state_dir={folder}"]
    assert main([*words, "--what-if", "risk.max_order_notional=100"]) == Exit.OK
    said = capsys.readouterr().out
    assert "recorded" in said and "changed, filled anew" in said and "First divergence at input" in said
    assert main([*words, "--what-if", "risk.max_order_notional=100", "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert told["type"] == "what_if" and told["changes"] == {"risk.max_order_notional": "100"} and told["divergence"]
    assert main([*words, "--what-if", "risk.max_leverag=1"]) == Exit.USAGE
    assert main(["--what-if", "risk.max_leverage=1", "--no-ui"]) == Exit.USAGE


def test_the_screens_child_tells_progress_and_then_the_result(small: Path) -> None:
    out = io.StringIO()
    _child(io.StringIO(json.dumps([str(small), {"risk.max_leverage": "1"}]) + "\n"), out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert all("done" in line for line in lines[:-1]) and lines[-1]["found"]["inputs"] == lines[-2]["done"]
    out = io.StringIO()
    _child(io.StringIO(json.dumps([str(small), {"risk.no": "1"}]) + "\n"), out)
    assert "problem" in json.loads(out.getvalue().splitlines()[-1])
