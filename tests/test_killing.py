"""Halts and flattens that are followed until the venue confirms them, slices, and the dead man's switch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from console import drill
from engine.errors import ConfigError
from engine.events import (
    Action,
    Alert,
    ArmDeadMan,
    FetchAccount,
    KillReport,
    OrderKind,
    OrderState,
    Purpose,
    Side,
    Ticket,
    TimeInForce,
    Trading,
)
from engine.runtime import latch
from engine.views import Ask
from tests.factory import MARKET, SECOND, of, sent
from tests.factory import settings as chosen
from tests.test_engine import desk, engine_on, until, venue
from tests.test_tickets import alive, order, position
from tests.world import LEVEL, SYMBOL, World, armed

B, L = Side.BUY, OrderKind.LIMIT


@pytest.fixture
def world() -> Iterator[World]:
    risk = {"max_order_notional": 20_000.0, "max_position_notional": 50_000.0, "max_loss_per_trade": 0.5}
    with armed(chosen(risk=risk)) as made:
        yield made


def reports(world: World) -> list[KillReport]:
    return [one for one in world.outputs if isinstance(one, KillReport)]


def test_a_halt_is_told_with_its_times_once_the_venue_confirms_it(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    order(world, Ticket(B, L, 200, 6150))
    world.wait(2000)
    world.command(Action.HALT)
    world.wait(1500)
    (report,) = reports(world)
    assert (report.flatten, report.orders, report.positions, report.problem) == (False, 1, 1, "")
    assert report.asked_at < report.cancelled_at <= report.safe_at < report.confirmed_at
    assert position(world) == 200 and alive(world, Purpose.STOP) and not world.exchange.open
    assert any("The halt by the test is done" in one.text for one in world.outputs if isinstance(one, Alert))


def test_a_flatten_is_done_when_the_venue_is_flat_and_its_stops_are_gone(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    order(world, Ticket(B, L, 200, 6150))
    world.wait(2000)
    world.command(Action.HALT)
    world.command(Action.FLATTEN)
    world.wait(2500)
    (report,) = reports(world)
    assert report.flatten and report.confirmed_at and not world.exchange.position_steps(SYMBOL)
    assert not world.exchange.open and not world.exchange.conditionals.open()
    assert not world.differences()


def test_what_is_not_done_in_time_is_said_and_gone_on_with(world: World) -> None:
    order(world, Ticket(B, L, 200, 6150))
    world.wait(500)
    world.network.extend(["lost"] * 16)  # cancels, look-ups and comparisons
    world.command(Action.HALT)
    world.wait(6000)
    late = reports(world)[0]
    assert not late.confirmed_at and "could add exposure" in late.problem
    world.network.clear()
    world.wait(12_000)
    assert reports(world)[-1].confirmed_at and not world.exchange.open


def test_a_kill_waits_for_a_venue_that_is_away(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    world.wait(2000)
    world.cut()
    world.network.extend(["lost"] * 16)
    world.command(Action.HALT)
    world.wait(6000)
    assert [one.problem for one in reports(world)] == ["the venue has not confirmed it"]
    world.network.clear()
    world.connect()
    world.wait(2000)
    assert reports(world)[-1].confirmed_at


def test_a_kill_does_not_wait_for_an_older_question_about_the_account(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    world.wait(2000)
    world.network.append("lost")
    world.state.account_asked_at = 0
    world.wait(100)  # the regular comparison, whose answer does not come
    asked = of(world.outputs, FetchAccount)
    assert asked[-1].may_wait and world.state.reconciling
    world.command(Action.FLATTEN)
    world.wait(500)
    assert reports(world)[-1].confirmed_at and not of(world.outputs, FetchAccount)[-1].may_wait


def test_a_flatten_takes_slices_that_the_book_can_give() -> None:
    """Levels of 5,000 a tick; 5 bps are 3 ticks beside the best."""
    limits = {
        "max_order_notional": 20_000.0,
        "max_position_notional": 50_000.0,
        "max_loss_per_trade": 0.5,
        "flatten_within_bps": 5.0,
    }
    world = World(chosen(risk=limits))
    world.command(Action.ARM)
    world.wait(200)
    for number in range(3):
        order(world, Ticket(B, OrderKind.MARKET, 16_000 - 100 * number))
        world.wait(500)
    held = position(world)
    before = len(world.desk.out)
    world.command(Action.FLATTEN)
    world.wait(3000)
    exits = [one for one in sent(world.desk.out[before:]) if one.purpose is Purpose.EXIT]
    assert [one.quantity for one in exits] == [4 * LEVEL, 4 * LEVEL, held - 8 * LEVEL]
    assert all(one.reduce_only for one in exits) and not position(world)
    world.close()


def test_a_close_that_is_larger_than_the_venues_largest_order_goes_in_several(world: World) -> None:
    market = world.state.markets[MARKET]
    for number in range(3):
        order(world, Ticket(B, OrderKind.MARKET, 16_000 - 100 * number))
        world.wait(500)
    held = position(world)
    market.instrument = type(market.instrument)(**{**_fields(market.instrument), "max_market_quantity": 20_000})
    before = len(world.desk.out)
    assert order(world, None, MARKET, Action.CLOSE) == ""
    world.wait(3000)
    exits = [one.quantity for one in sent(world.desk.out[before:]) if one.purpose is Purpose.EXIT]
    assert exits == [20_000, 20_000, held - 40_000] and not position(world)


def _fields(instrument: object) -> dict[str, object]:
    return {name: getattr(instrument, name) for name in instrument.__struct_fields__}  # type: ignore[attr-defined]


# --- the dead man's switch ---------------------------------------------------------------------------------------------


def switches(world: World) -> list[int]:
    return [one.seconds for one in world.outputs if isinstance(one, ArmDeadMan)]


def test_the_venues_switch_is_wound_up_while_an_entry_rests_and_let_go_after(world: World) -> None:
    assert not switches(world)
    order(world, Ticket(B, L, 200, 6150))
    world.wait(41_000)
    assert switches(world) == [60, 60, 60] and world.exchange.countdowns
    world.command(Action.CANCEL, alive(world, Purpose.ENTRY)[0].client_id)
    world.wait(1000)
    assert switches(world) == [60, 60, 60, 0] and not world.exchange.countdowns


def test_an_engine_that_stands_still_loses_its_entries_and_keeps_its_stops(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    order(world, Ticket(B, L, 200, 6150))
    world.wait(2000)
    assert world.exchange.open and world.exchange.conditionals.open()
    world.exchange.advance(world.clock.now_ms() + 61_000)  # the venue's time goes on, the engine's does not
    assert not world.exchange.open, "the venue cancelled the entry"
    assert [one.kind for one in world.exchange.conditionals.open()] == ["STOP_MARKET"]
    world.clock.at += 61 * SECOND
    world.wait(1000)
    assert not world.open_entries() and not world.differences()


def test_a_switch_that_cannot_be_set_is_told_once_and_tried_again(world: World) -> None:
    order(world, Ticket(B, L, 200, 6150))
    world.network.extend(["lost"] * 3)
    world.wait(8000)
    assert len(switches(world)) == 4 and world.state.counters.dead_man_failures == 3
    assert sum("dead man" in one.text for one in world.outputs if isinstance(one, Alert)) == 1


def test_no_switch_is_wound_up_where_the_setting_says_so() -> None:
    world = World(chosen(risk={"dead_man_s": 0}))
    world.command(Action.ARM)
    world.wait(200)
    order(world, Ticket(B, L, 200, 6150, time_in_force=TimeInForce.GTX))
    world.wait(2000)
    assert not switches(world) and of(world.desk.out, KillReport) == []
    assert alive(world, Purpose.ENTRY)[0].state is OrderState.WORKING
    world.close()


# --- files and signals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "flatten"), latch.SENTINELS.items())
async def test_a_file_in_the_state_folder_kills_once(tmp_path: Path, name: str, flatten: bool) -> None:
    quiet = desk(tmp_path, judgment={"min_confidence": 1.0, "judge": "rules"})
    async with venue() as process, engine_on(process, quiet) as engine:
        state = engine.state
        await until(lambda: state.markets and not engine.view().ready and next(iter(state.markets.values())).book.trusted)
        market = next(iter(state.markets))
        assert engine.ask(Ask("one", Action.ORDER, market, ticket=Ticket(B, OrderKind.MARKET, 200))).accepted
        await until(lambda: [one for one in state.live_orders() if one.state is OrderState.WORKING])
        (engine.folder / name).touch()
        await until(lambda: state.trading is Trading.HALTED and state.kill is None)
        assert bool(state.portfolio.held()) is not flatten
        assert not (engine.folder / name).exists() and (engine.folder / f"{name}.taken").exists()
        assert state.counters.commands == 3, "armed, ordered, and killed once"
    assert latch.read(engine.folder).startswith("flattened by the file" if flatten else "halted by the file")


async def test_a_second_signal_soon_after_the_first_flattens(tmp_path: Path) -> None:
    async with venue() as process, engine_on(process, desk(tmp_path)) as engine:
        engine.kill("the signal SIGUSR1")
        assert engine.state.trading is Trading.HALTED and not engine.state.flattening
        engine.kill("the signal SIGUSR1")
        assert engine.state.flattening


# --- drills ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("first", ["binance", "okx"])
async def test_drills_end_flat_and_confirmed_on_both_venues(tmp_path: Path, first: str) -> None:
    others = [one for one in ("binance", "okx") if one != first]
    asked = desk(tmp_path, engine={"venues": [first, *others], "state_dir": str(tmp_path)})
    async with venue() as process, engine_on(process, drill.quiet(asked, tmp_path)) as engine:
        times = await drill.tried(engine, 3)
        assert not times.problems and times.confirmed.count == 3 and engine.latencies.cancel_to_wire.count >= 3
        assert not engine.state.portfolio.held() and engine.state.counters.differences == 0


@pytest.mark.slow
async def test_a_try_that_fails_ends_flat_and_whoever_stops_the_drill_waits_for_the_try_that_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with venue() as process, engine_on(process, drill.quiet(desk(tmp_path), tmp_path)) as engine:
        done: list[int] = []
        times = await drill.tried(engine, 50, done.append, lambda: bool(done))
        assert done == [1] and times.confirmed.count == 1 and not times.problems
        monkeypatch.setattr(drill, "WITHIN_S", 5.0)
        monkeypatch.setattr(drill, "_resting", drill._market)  # it fills, so that nothing rests
        times = await drill.tried(engine, 1)
        assert [one for one in times.problems if "its place in the book" in one] == times.problems != []
        assert not engine.state.portfolio.held() and not engine.state.live_orders()


def test_a_drill_is_refused_in_live() -> None:
    with pytest.raises(ConfigError, match="opens and closes positions"):
        drill.check(chosen(engine={"mode": "live"}))
