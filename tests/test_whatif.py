"""What would have come of it: both sides filled anew by one rule, so that what differs is the change."""

import io
import json
import shutil
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from console.cli import main
from console.exits import Exit
from console.screens.whatif import curve
from console.whatif import _child, changes_of
from engine.config import Settings, changed
from engine.errors import ConfigError, SessionError
from engine.events import Filled, OrderAccepted, SendOrder, decode_output
from engine.queue.local import Session
from engine.queue.retention import condense
from engine.replay.whatif import WhatIf, delay_of, run, settings_for


@pytest.fixture(scope="module")
def same(small: Path) -> WhatIf:
    """Nothing is changed: a setting is set to what it was."""
    with Session(small) as session:
        own = settings_for(session, {})[0]
        return run(session, {"risk.max_leverage": f"{own.risk.max_leverage}"})


def test_unchanged_settings_do_the_same_on_both_sides(same: WhatIf) -> None:
    assert same.divergence is None
    assert msgspec.structs.replace(same.original, name="") == msgspec.structs.replace(same.changed, name="")
    assert same.original.fills > 0 and same.original.fees > 0 and len(same.original.curve) > 50


def test_filled_anew_is_close_to_what_happened(same: WhatIf) -> None:
    """A person closed the session's positions: one that opens a moment later than it did may not be there to be closed."""
    assert same.recorded.fills > 0
    assert 0.25 < same.original.fees / same.recorded.fees < 1.75
    assert abs(same.original.profit - same.recorded.profit) < 3.0


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
    assert 0 < found.changed.fees < found.original.fees * 0.3
    assert msgspec.structs.replace(found.original) == same.original, "the original does not depend on the change"


def test_a_limit_that_refuses_everything_leaves_no_fill_and_says_why(small: Path) -> None:
    with Session(small) as session:
        found = run(session, {"risk.max_spread_bps": "0.001"})
    assert found.changed.fills == 0 and found.changed.profit == 0.0 and found.changed.curve[-1][1] == 0.0
    assert any("spread" in reason and count for reason, count in found.changed.refused.items())


def test_a_sides_profit_is_that_of_its_curve_and_its_drawdown_is_within(same: WhatIf) -> None:
    side = same.original
    assert side.curve[-1][1] == pytest.approx(side.profit, abs=1e-6)
    height, fall = 0.0, 0.0
    for _, value in side.curve:
        height = max(height, value)
        fall = max(fall, height - value)
    assert side.drawdown == pytest.approx(fall, abs=1e-5)


def test_the_delay_is_the_sessions_own(small: Path) -> None:
    with Session(small) as session:
        sent: dict[str, int] = {}
        delays = []
        for chunk in session.chunks():
            for event, out in chunk.steps():
                if isinstance(event, OrderAccepted) and event.client_id in sent:
                    delays.append(event.at - sent[event.client_id])
                for output in map(decode_output, out):
                    if isinstance(output, SendOrder):
                        sent[output.client_id] = output.at
        assert delays and delay_of(session) == pytest.approx(sorted(delays)[len(delays) // 2], rel=0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("risk.max_leverag=1", "risk.max_leverage, the nearest"),
        ("risk.max_leverage=-1", "out of range"),
        ("engine.mode=live", "cannot be had otherwise"),
        ("queue.record=false", "cannot be had otherwise"),
        ("nonsense", "not a setting"),
        ("risk.max_order_notional=999999", "the largest position"),
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


def test_a_curve_fills_its_rows_from_the_bottom() -> None:
    assert curve([0.0, 1.0, 2.0], 0.0, 2.0, rows=2, cells=3) == ["  █", " ██"]
    assert curve([], 0.0, 1.0) == [] and len(curve([1.0] * 500, 0.0, 1.0)[0]) == 90
