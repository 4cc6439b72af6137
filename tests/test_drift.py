"""Live fills beside those that paper would have given: by hand, and of a recorded session."""

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from console.cli import main
from console.exits import Exit
from engine.errors import SessionError
from engine.events import Filled, SendOrder, decode_output
from engine.queue.retention import condense
from engine.queue.session import Session
from engine.replay.drift import Drift, OrderDrift, Side, drift
from tests.recordings import record

STEP = Decimal("0.1")


def an_order(buys: bool, live: tuple[int, str], paper: tuple[int, str]) -> OrderDrift:
    def side(quantity: int, price: str) -> Side:
        return Side(quantity, quantity * STEP * Decimal(price))

    return OrderDrift(1, "binance:A/USDT:USDT", "c", "entry", buys, 10, STEP, side(*live), side(*paper))


@pytest.mark.parametrize(
    ("buys", "live", "paper", "bps", "cost"),
    [
        (True, (10, "100.1"), (10, "100"), 10.0, "0.1"),
        (False, (10, "100.1"), (10, "100"), -10.0, "-0.1"),
        (False, (5, "99.5"), (10, "100"), 50.0, "0.25"),
        (True, (0, "0"), (10, "100"), None, "0"),
        (True, (10, "100"), (0, "0"), None, "0"),
    ],
)
def test_worse_than_paper_is_above_nought_on_both_sides(
    buys: bool, live: tuple[int, str], paper: tuple[int, str], bps: float | None, cost: str
) -> None:
    one = an_order(buys, live, paper)
    assert one.bps == (None if bps is None else pytest.approx(bps))
    assert one.cost == Decimal(cost)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("drift"))


@pytest.fixture(scope="module")
def found(path: Path) -> Drift:
    with Session(path) as session:
        return drift(session)


def test_every_fill_of_a_session_is_in_its_report_and_paper_filled_what_the_venue_did(path: Path, found: Drift) -> None:
    fills: dict[str, int] = {}
    fees = Decimal(0)
    with Session(path) as session:
        for chunk in session.chunks():
            for _, out in chunk.steps():
                for output in map(decode_output, out):
                    if isinstance(output, Filled):
                        fills[output.client_id] = fills.get(output.client_id, 0) + output.quantity
                        fees += output.fee
    assert fills and {one.client_id: one.live.quantity for one in found.orders if one.live.quantity} == fills
    assert found.fees_live == fees
    taking = [one for one in found.orders if one.purpose in ("entry", "exit") and one.bps is not None]
    assert taking and all(abs(one.bps or 0.0) < 50 for one in taking), "the same market, moments apart"
    assert all(one.paper.quantity <= one.wanted for one in found.orders)
    costs = sum((one.cost for one in found.orders if one.bps is not None), Decimal(0))
    assert found.cost == costs and (found.bps > 0) == (costs > 0)


def test_a_venue_that_fills_worse_is_seen_to_do_so(path: Path, found: Drift, tmp_path: Path) -> None:
    """The same session with every fill of a buy ten ticks higher."""
    from tests.test_whatif import pairs, rewritten

    events = pairs(path)
    orders = {one.client_id: one for _, out in events for one in out if isinstance(one, SendOrder)}
    moved = [
        (
            event,
            [
                msgspec.structs.replace(one, price=one.price + 10)
                if isinstance(one, Filled) and one.client_id in orders and one.side > 0
                else one
                for one in out
            ],
        )
        for event, out in events
    ]
    with Session(rewritten(path, moved, tmp_path)) as session:
        worse = drift(session)
    before = {one.client_id: one for one in found.orders}
    bought = [one for one in worse.orders if one.buys and one.live.quantity]
    assert bought
    for one in bought:
        assert one.cost - before[one.client_id].cost == Decimal("0.0010") * one.live.quantity * one.step
    assert worse.bps > found.bps


def test_the_command_prints_a_table_and_the_total(path: Path, found: Drift, capsys: pytest.CaptureFixture[str]) -> None:
    state = path.parent.parent.parent
    assert main(["sessions", "drift", "latest", "--set", f"engine.state_dir={state}"]) == Exit.OK
    said = capsys.readouterr().out
    assert f"{len(found.orders)} orders" in said and f"drift {found.bps:+.2f} bps" in said
    assert said.count("\n") == len(found.orders) + 2


def test_a_session_without_market_data_says_that_it_cannot_be_filled_anew(path: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / path.name
    shutil.copy(path, copy)
    condense(copy, 1)
    with Session(copy) as session, pytest.raises(SessionError, match="market data were removed"):
        drift(session)
