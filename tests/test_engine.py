"""The whole engine against the simulated venue: real sockets, real ccxt, a process on the other side."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from console.venue_process import Order, VenueProcess
from engine.clock import Clock
from engine.config import Settings
from engine.core import Core
from engine.errors import ConfigError, StateError, VenueError
from engine.events import (
    Action,
    Difference,
    Event,
    FetchAccount,
    Input,
    OrderFateUnknown,
    OrderKind,
    OrderState,
    Purpose,
    SendOrder,
    Side,
    Started,
    Ticket,
    TimeInForce,
    Trading,
    Trust,
    TrustChanged,
    decode_input,
    encode,
)
from engine.execution.live import BinanceAccount, OkxAccount
from engine.runtime import Endpoints, Engine, latch
from engine.views import Ask
from tests.factory import settings

EAGER = {"judgment": {"every_bars": 1, "min_confidence": 0.5}, "strategy": {"cooldown_bars": 0}}
PATIENCE_S = 60.0
BOTH = pytest.mark.parametrize("first", ["binance", pytest.param("okx", marks=pytest.mark.slow)])


def desk(folder: Path, **sections: dict[str, object]) -> Settings:
    """Settings with their own state folder."""
    return settings(engine={"state_dir": str(folder), **sections.pop("engine", {})}, **sections)


@asynccontextmanager
async def venue(speed: float = 1.0, **more: object) -> AsyncIterator[VenueProcess]:
    fields = {"passphrase": "phrase", "symbols": None if "capture" in more else ("ASTERUSDT",), **more}
    order = Order(Clock.start(speed), "key", "secret", fields.pop("seed", 7), "10000", **fields)  # type: ignore[arg-type]
    async with VenueProcess(order) as process:
        yield process


def first_is(venue: str) -> dict[str, object]:
    """Engine settings with which orders go to `venue`; the other one is watched."""
    return {"venues": sorted(("binance", "okx"), key=lambda one: one != venue)}


def engine_on(process: VenueProcess, chosen: Settings, **more: object) -> Engine:
    return Engine(chosen, process.order.clock, process.endpoints, process.credentials, **more)  # type: ignore[arg-type]


async def until(reached: Callable[[], object]) -> None:
    """Wait for it, or fail saying what was waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


async def played(process: VenueProcess, engine: Engine) -> None:
    """The capture is at its end and its last frames have come in."""
    assert process.ended is not None
    await asyncio.wait_for(process.ended, PATIENCE_S)
    frames = -1
    while frames != (now := engine.frames):
        frames = now
        await asyncio.sleep(0.5)


async def fault(process: VenueProcess, **body: object) -> None:
    async with aiohttp.ClientSession() as session, session.post(process.said.rest + "/sim/fault", json=body) as reply:
        assert reply.status == 200, await reply.text()


@BOTH
async def test_generated_flow_leads_to_trades_whose_ledger_equals_the_venues_account(tmp_path: Path, first: str) -> None:
    chosen = desk(tmp_path, engine=first_is(first), **EAGER)
    async with venue(speed=8.0) as process, engine_on(process, chosen) as engine:
        await until(lambda: engine.state.counters.fills >= 8)
        summary = await engine.settle(Action.SHUTDOWN, "the test")
    assert summary.agreement.compared and summary.agreement.equal, summary.agreement
    assert summary.agreement.wallet == summary.agreement.venue_wallet != "10000"
    assert summary.gaps == summary.crossed == summary.ticker_mismatches == 0
    assert summary.ticker_agreements > 10
    assert summary.first_price_s is not None and summary.first_price_s < 5
    assert Decimal(summary.fees) > 0 and summary.judgments > 0
    late = summary.dropped.pop("late_trades")  # at eight times the speed the grace is 50 ms, and this machine may pause longer
    assert summary.dropped == dict.fromkeys(summary.dropped, 0) and late < 0.05 * summary.counts["trades"]
    assert summary.latency_us["round_trip"].count == summary.orders
    assert 0 < summary.latency_us["tick_to_wire"].count <= summary.orders
    view, counters = engine.stages.view(), engine.state.counters  # both of the end: the feed goes on after the summary
    counts = {stage.name: stage.count for stage in view.stages}
    assert list(counts) == ["feed", "book", "features", "decision", "risk", "send", "ack"] and all(counts.values())
    assert counts["send"] == counts["ack"] == summary.orders and counts["book"] == counters.deltas >= summary.counts["deltas"]
    assert counts["risk"] == counters.approvals + counters.refusals
    assert counts["features"] == counters.bars and all(0 <= stage.p50 <= stage.p99 for stage in view.stages)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["binance", "okx"])
async def test_isolated_margin_is_set_at_the_venue_and_the_ledger_equals_the_account(tmp_path: Path, first: str) -> None:
    chosen = desk(tmp_path, engine=first_is(first), risk={"margin_mode": "isolated"}, **EAGER)
    seen: list[str] = []
    async with venue(speed=8.0) as process, engine_on(process, chosen) as engine:
        await until(lambda: engine.state.counters.fills >= 6)
        while not seen:
            await until(lambda: engine.state.portfolio.held())
            seen += await _margin_modes(process, first)
        summary = await engine.settle(Action.SHUTDOWN, "the test")
    assert set(seen) == {"isolated"}
    assert summary.agreement.compared and summary.agreement.equal, summary.agreement


async def _margin_modes(process: VenueProcess, first: str) -> list[str]:
    """Of the positions, by the venue's own word."""
    account = (OkxAccount if first == "okx" else BinanceAccount)(
        process.credentials, process.said.rest, process.order.clock, 5000
    )
    await account.start([])
    try:
        if first == "okx":
            return [row["mgnMode"] for row in (await account._exchange.privateGetAccountPositions())["data"]]
        rows = await account._exchange.fapiPrivateV2GetPositionRisk()
        return [row["marginType"] for row in rows if float(row["positionAmt"])]
    finally:
        await account.close()


@BOTH
async def test_a_wrong_commission_at_the_venue_is_found(tmp_path: Path, first: str) -> None:
    """The account charges another rate than the one it tells: the ledger may not agree by repeating it."""
    async with venue(speed=8.0) as process:
        await fault(process, name="fee_rate", rate="0.0006", venue=first)
        async with engine_on(process, desk(tmp_path, engine=first_is(first), **EAGER)) as engine:
            await until(lambda: engine.state.counters.fills >= 1)
            summary = await engine.settle(Action.SHUTDOWN, "the test")
    assert not summary.agreement.equal
    assert summary.agreement.commission_mismatches >= 1


async def test_a_wrong_commission_of_ours_is_found(tmp_path: Path) -> None:
    async with venue(speed=8.0) as process, engine_on(process, desk(tmp_path, **EAGER)) as engine:
        await until(lambda: engine.state.portfolio.fee_rates)
        market = next(iter(engine.state.markets))
        maker, taker = engine.state.portfolio.fee_rates[market]
        engine.state.portfolio.fee_rates[market] = (maker * 2, taker * 2)
        await until(lambda: engine.state.counters.fills >= 1)
        summary = await engine.settle(Action.SHUTDOWN, "the test")
    assert not summary.agreement.equal


@BOTH
async def test_recorded_inputs_give_the_same_outputs_byte_for_byte_and_a_changed_limit_others(tmp_path: Path, first: str) -> None:
    """What a live session saw, through fresh cores."""
    recorded: list[tuple[bytes, list[bytes]]] = []

    def journal(event: Event, out: list[Event]) -> None:
        recorded.append((encode(event), [encode(output) for output in out]))

    chosen = desk(tmp_path, engine=first_is(first), **EAGER)
    async with venue(speed=8.0) as process, engine_on(process, chosen, journal=journal) as engine:
        await until(lambda: engine.state.counters.fills >= 4)
        await engine.settle(Action.HALT, "the test")

    def replay(with_settings: Settings) -> list[list[bytes]]:
        core = Core(with_settings)
        return [[encode(output) for output in core.process(decode_input(raw))] for raw, _ in recorded]

    live = [out for _, out in recorded]
    assert replay(chosen) == live
    assert replay(chosen) == live
    limited = msgspec.structs.replace(chosen, risk=msgspec.structs.replace(chosen.risk, max_order_notional=100.0))
    assert replay(limited) != live
    assert isinstance(decode_input(recorded[0][0]), Started)
    assert {type(decode_input(raw)) for raw, _ in recorded} <= set(Input.__args__)


@pytest.mark.slow
@BOTH
async def test_a_halt_under_load_sends_no_entry_afterwards_keeps_the_stop_and_survives_a_restart(
    tmp_path: Path, first: str
) -> None:
    chosen = desk(tmp_path, engine=first_is(first), **EAGER, risk={"max_orders_per_minute": 1000})
    sent: list[SendOrder] = []

    def journal(_: Event, out: list[Event]) -> None:
        sent.extend(output for output in out if isinstance(output, SendOrder))

    async with venue(speed=10.0) as process:
        async with engine_on(process, chosen, journal=journal) as engine:
            market = next(iter(engine.state.markets))
            await until(lambda: engine.state.counters.fills >= 4)
            await until(lambda: _protected(engine, market))
            engine.command(Action.HALT, "the test")
            before = len(sent)
            for _ in range(100):  # twenty seconds of the market, on which it would trade
                await asyncio.sleep(0.02)
            assert all(order.reduce_only for order in sent[before:])
            assert engine.state.trading is Trading.HALTED
            held = engine.state.portfolio.position(market).quantity
            if held:
                assert _protected(engine, market)
            await engine.settle(Action.HALT, "the test")
        orders = await _orders_there(process, first)
        entries = [order for order in orders if str(order["reduceOnly"]).lower() == "false"]
        assert len(entries) == sum(order.purpose is Purpose.ENTRY for order in sent)
        async with engine_on(process, chosen, journal=journal) as again:
            before = len(sent)
            await until(lambda: again.state.reconciled)
            assert again.state.trading is Trading.HALTED
            again.command(Action.ARM, "somebody who did not look")
            await asyncio.sleep(1.0)
            assert again.state.trading is Trading.HALTED
            assert all(order.reduce_only for order in sent[before:])
            position = again.state.portfolio.position(market).quantity
            if position:
                await until(lambda: _protected(again, market))
    assert latch.read(tmp_path / "demo").startswith("halted by the test")


def _protected(engine: Engine, market: str) -> bool:
    """A live stop of the position's size."""
    quantity = engine.state.portfolio.position(market).quantity
    stops = [order for order in engine.state.open_orders(market) if order.purpose is Purpose.STOP]
    return bool(quantity) and any(order.state == "working" and order.quantity == abs(quantity) for order in stops)


async def _orders_there(process: VenueProcess, first: str) -> list[dict[str, object]]:
    """Every ordinary order that the venue has seen, by its own book-keeping; OKX lists the open ones apart."""
    import ccxt.async_support as ccxt

    if first == "okx":
        okx = OkxAccount(process.credentials, process.said.rest, process.order.clock, 5000)
        await okx.start([])
        try:
            assert not [fact for fact in (await okx.snapshot(FetchAccount(0, "okx", ""))).orders if not fact.conditional]
            found: dict[str, list[dict[str, object]]] = await okx._exchange.privateGetTradeOrdersHistory({"instType": "SWAP"})
            assert len(found["data"]) < 100  # one page has all
            return found["data"]
        finally:
            await okx.close()
    from engine.execution.live.account import PUBLIC_HOST
    from engine.execution.live.base import redirect

    options = {"fetchCurrencies": False, "fetchMargins": False}
    exchange = ccxt.binanceusdm({"apiKey": "key", "secret": "secret", "options": options})
    redirect(exchange, process.said.rest, PUBLIC_HOST)
    exchange.milliseconds = process.order.clock.now_ms
    exchange.timeout_on_exit = 0
    try:
        rows: list[dict[str, object]] = await exchange.fapiPrivateGetAllOrders({"symbol": "ASTERUSDT", "limit": 1000})
        return rows
    finally:
        await exchange.close()


@BOTH
async def test_the_venue_going_away_makes_the_book_untrusted_and_coming_back_restores_it(tmp_path: Path, first: str) -> None:
    async with venue() as process, engine_on(process, desk(tmp_path, engine=first_is(first))) as engine:
        book = next(iter(engine.state.markets.values())).book
        await until(lambda: book.trusted)
        await until(lambda: engine.state.reconciled)
        out: list[Event] = []
        engine.listen(out.append)
        await fault(process, name="cut", route="all", venue=first)
        await until(lambda: engine.state.counters.disconnects >= 3)
        await until(lambda: book.trusted and engine.state.reconciled)
    assert Trust.OFF in [event.trust for event in out if isinstance(event, TrustChanged)]
    assert any(isinstance(event, FetchAccount) for event in out), "what the private stream missed is asked for"
    assert engine.state.counters.differences == 0


async def _booked_there(process: VenueProcess) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(process.said.rest + "/sim/state") as reply:
        state: dict[str, Any] = await reply.json()
    return state


@pytest.mark.parametrize(("base", "step"), [("ASTER", "1"), ("BTC", "0.0001")])
async def test_the_demo_trades_on_okx_whose_sizes_are_contracts(tmp_path: Path, base: str, step: str) -> None:
    """A contract is one ASTER, or a hundredth of a BTC: entry, stop and target rest there in the position's own size."""
    market, name = f"okx:{base}/USDT:USDT", f"{base}-USDT-SWAP"
    wanted = {**first_is("okx"), "symbols": [f"{base}/USDT:USDT"]}
    listed = (f"{base}USDT",)
    async with venue(8.0, symbols=listed) as process, engine_on(process, desk(tmp_path, engine=wanted, **EAGER)) as engine:
        await until(lambda: _protected(engine, market))
        engine.command(Action.DISARM, "the test")
        seen: tuple[object, ...] = ()
        for _ in range(500):
            there = (await _booked_there(process))["okx"]
            steps = engine.state.portfolio.position(market).quantity
            resting = {order.client_id: order.purpose for order in engine.state.open_orders(market)}
            held = there["positions"].get(name, {"quantity": "0"})["quantity"]
            seen = (steps, resting, held, there["open_conditionals"])
            purposes = sorted(resting.values())
            if steps and purposes == [Purpose.STOP, Purpose.TARGET] and sorted(resting) == sorted(there["open_conditionals"]):
                break
            if not steps:
                engine.command(Action.ARM, "the test")  # the stop was reached meanwhile
            await asyncio.sleep(0.02)
        assert steps and Decimal(held) == steps * Decimal(step), seen
        assert sorted(resting) == sorted(there["open_conditionals"]), seen
        engine.command(Action.DISARM, "the test")
        engine.command(Action.CLOSE, "the test", market)
        await until(lambda: not engine.state.portfolio.position(market).quantity)
        summary = await engine.settle(Action.SHUTDOWN, "the test")
        there = await _booked_there(process)
    assert there["okx"]["positions"] == {} and there["okx"]["open_conditionals"] == [] and there["wallet"] == "10000"
    assert summary.agreement.compared and summary.agreement.equal, summary.agreement
    assert Decimal(there["okx"]["wallet"]) == engine.state.portfolio.wallet != 10_000
    assert engine.state.counters.differences == 0
    assert not list(engine.state.live_orders())


@BOTH
async def test_an_operators_order_rests_is_amended_and_cancelled_and_a_position_gets_its_trailing_stop(
    tmp_path: Path, first: str
) -> None:
    market = f"{first}:BTC/USDT:USDT"
    wanted = {**first_is(first), "symbols": ["BTC/USDT:USDT"]}
    chosen = desk(tmp_path, engine=wanted, judgment={"min_confidence": 1.0})
    async with venue(symbols=("BTCUSDT",)) as process, engine_on(process, chosen) as engine:
        await until(lambda: engine.state.reconciled and engine.state.markets[market].book.trusted)
        await until(lambda: not engine.view().ready)
        bid = engine.state.markets[market].book.best_bid

        def ask(action: Action, target: str, ticket: Ticket | None = None) -> None:
            answer = engine.ask(Ask(f"{action}-{target}-{ticket}", action, target, ticket=ticket))
            assert answer.accepted, answer.text

        post_only = TimeInForce.GTX
        ask(Action.ORDER, market, Ticket(Side.BUY, OrderKind.LIMIT, 10, bid - 3000, time_in_force=post_only))
        (order,) = engine.state.open_orders(market)
        await until(lambda: order.state is OrderState.WORKING)
        there = await _booked_there(process)
        assert (there["okx"] if first == "okx" else there)["open_orders"] == [order.client_id]
        ask(Action.AMEND, order.client_id, Ticket(Side.BUY, OrderKind.LIMIT, 20, bid - 4000))
        await until(lambda: (order.quantity, order.price, order.amend_quantity) == (20, bid - 4000, 0))
        ask(Action.CANCEL, order.client_id)
        await until(lambda: order.state is OrderState.CANCELLED)
        ask(Action.ORDER, market, Ticket(Side.BUY, OrderKind.MARKET, 10, trail_bps=100))
        await until(lambda: _protected(engine, market))
        (stop,) = engine.state.open_orders(market)
        assert (stop.kind, stop.trail_bps, stop.quantity) == (OrderKind.TRAILING, 100, 10)
        ask(Action.CLOSE, market)
        await until(lambda: not list(engine.state.live_orders()))
        summary = await engine.settle(Action.SHUTDOWN, "the test")
    assert summary.agreement.compared and summary.agreement.equal and engine.state.counters.differences == 0


FATES = {
    "the reply is lost": {"name": "lose_ack"},
    "executed, then 503": {"name": "http", "status": 503, "executed": True},
    "the body is empty": {"name": "empty_body"},
    "the reply is later than we wait": {"name": "delay_reply", "ms": 400},
}


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("why", FATES)
async def test_an_entry_without_a_usable_reply_is_known_all_the_same_and_protected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, why: str
) -> None:
    monkeypatch.setattr("engine.execution.live.base.TIMEOUT_MS", 200)
    path = {"binance": "POST /fapi/v1/order", "okx": "POST /api/v5/trade/order"}[first]
    unusable: list[OrderFateUnknown] = []

    def journal(event: Event, _: list[Event]) -> None:
        unusable.extend([event] if isinstance(event, OrderFateUnknown) else [])

    chosen = desk(tmp_path, engine=first_is(first), **EAGER)
    async with venue(speed=4.0) as process, engine_on(process, chosen, journal=journal) as engine:
        market = next(iter(engine.state.markets))
        await fault(process, venue=first, path=path, **FATES[why])
        await until(lambda: _protected(engine, market))
        summary = await engine.settle(Action.SHUTDOWN, "the test")
    assert unusable and engine.state.orders[unusable[0].client_id].state is OrderState.FILLED
    assert summary.agreement.compared and summary.agreement.equal, summary.agreement


@BOTH
async def test_a_fill_that_is_told_twice_is_booked_once(tmp_path: Path, first: str) -> None:
    kind = {"binance": "ORDER_TRADE_UPDATE", "okx": "orders"}[first]
    async with venue(speed=8.0) as process:
        await fault(process, venue=first, name="duplicate", kind=kind, times=1000)
        async with engine_on(process, desk(tmp_path, engine=first_is(first), **EAGER)) as engine:
            await until(lambda: engine.state.counters.fills >= 4)
            summary = await engine.settle(Action.SHUTDOWN, "the test")
            there = await _booked_there(process)
    assert summary.agreement.equal, summary.agreement
    assert engine.state.counters.fills == (there["okx"] if first == "okx" else there)["counters"]["fills"]


async def test_a_market_that_the_venue_does_not_list_is_refused_with_those_that_it_does(tmp_path: Path) -> None:
    async with venue() as process:
        with pytest.raises(ConfigError, match=r"does not list this market.*ASTER/USDT:USDT"):
            async with engine_on(process, desk(tmp_path, engine={"symbols": ["DOGE/USDT:USDT"]})):
                pass


async def test_a_venue_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    nowhere = Endpoints("http://127.0.0.1:9", "ws://127.0.0.1:9")
    with pytest.raises(VenueError, match="could not be reached"):
        async with Engine(desk(tmp_path), Clock.start(), nowhere):
            pass


async def test_a_state_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    with pytest.raises(StateError, match="cannot be written"):
        async with Engine(desk(in_the_way), Clock.start(), Endpoints("http://127.0.0.1:9", "ws://127.0.0.1:9")):
            pass


# --- captures ----------------------------------------------------------------------------------------------------------


def frames(path: Path, symbol: str, seconds: int = 40, price: int = 20_000) -> int:
    """A small recording with book, ticker and trades; returns the number of its lines."""
    lines, update, start = [], 100, 1_700_000_000_000
    name = symbol.lower()

    def line(ms: int, body: dict[str, object]) -> None:
        lines.append(f"{(start + ms) * 1_000_000} {json.dumps(body)}")

    def px(ticks: int) -> str:
        return f"{ticks / 1000:.3f}"

    for n in range(seconds * 10):
        ms, drift = n * 100, n // 2
        bid = price + drift
        before, update = update, update + 10
        gone = [[px(bid - 1 + 1), "0"]] if n and n % 2 == 0 else []
        changes = {"b": [[px(bid), "12.0"], [px(bid - 40), "0"]], "a": [[px(bid + 1), "11.0"], *gone]}
        stamp = {"E": start + ms, "T": start + ms, "s": symbol}
        depth = {"e": "depthUpdate", **stamp, "U": before + 3, "u": update, "pu": before, **changes}
        line(ms, {"stream": f"{name}@depth@100ms", "data": depth})
        if n == 2:
            rows = {"bids": [[px(bid - i), "12.0"] for i in range(30)], "asks": [[px(bid + 1 + i), "11.0"] for i in range(60)]}
            line(ms + 1, {"lastUpdateId": update, "E": start + ms, "T": start + ms, **rows})
        ticker = {"e": "bookTicker", "u": update, **stamp, "b": px(bid), "B": "12.0", "a": px(bid + 1), "A": "11.0"}
        line(ms + 2, {"stream": f"{name}@bookTicker", "data": ticker})
        trade = {"e": "trade", **stamp, "t": n + 1, "p": px(bid + n % 2), "q": "0.5", "X": "MARKET", "m": n % 2 == 0}
        line(ms + 3, {"stream": f"{name}@trade", "data": trade})
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines) + "\n")
    return len(lines)


async def test_a_capture_of_any_symbol_runs_the_whole_pipeline(tmp_path: Path) -> None:
    capture = tmp_path / "some.gz"
    count = frames(capture, "SOLUSDT")
    async with venue(speed=8.0, capture=str(capture)) as process:
        assert process.said.symbols == ("SOL/USDT:USDT",)
        chosen = desk(tmp_path, **EAGER, engine={"symbols": list(process.said.symbols)})
        async with engine_on(process, chosen) as engine:
            await played(process, engine)
            summary = await engine.settle(Action.SHUTDOWN, "the test")
    counts = summary.counts
    assert counts["deltas"] + counts["quotes"] + counts["trades"] + counts["snapshots"] == count
    assert (summary.gaps, summary.crossed, summary.ticker_mismatches) == (0, 0, 0)
    assert summary.ticker_agreements > 100
    assert summary.orders > 0 and summary.fills > 0 and summary.judgments > 0
    assert summary.agreement.equal, summary.agreement


@pytest.mark.slow
async def test_the_real_recording_runs_without_a_gap(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first minutes at speed; the whole of it is `barter-tui --no-ui --capture`."""
    # A picture has its ten seconds of this machine's time: at thirty times the speed a busy one missed all of them.
    monkeypatch.setattr("engine.signal.book.SNAPSHOT_TIMEOUT_MS", 300_000)
    capture = shared_data / "market" / "hftbacktest" / "usdm_btcusdt_20240808.gz"
    chosen = desk(tmp_path, engine={"symbols": ["BTC/USDT:USDT"]})
    async with venue(speed=30.0, capture=str(capture)) as process, engine_on(process, chosen) as engine:
        await played(process, engine)
        summary = await engine.settle(Action.SHUTDOWN, "the test")
    counts = summary.counts
    assert (counts["deltas"], counts["quotes"], counts["trades"]) == (6551, 66089, 21313)
    book = next(iter(engine.state.markets.values())).book.counters
    assert counts["snapshots"] == 1 + book.checks_agreed + book.checks_missed
    assert book.checks_agreed >= 1 and book.checks_differed == 0
    assert (summary.gaps, summary.crossed, summary.ticker_mismatches) == (0, 0, 0)
    assert summary.ticker_agreements >= 447
    assert summary.agreement.equal and summary.fills > 0
    assert not [event for event in engine.alerts if isinstance(event, Difference)]


async def test_a_bug_in_the_core_halts_trading_and_the_engine_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with venue() as process, engine_on(process, desk(tmp_path)) as engine:
        await until(lambda: engine.state.reconciled)
        monkeypatch.setattr("engine.core.market.traded", lambda *_: 1 / 0)
        await until(lambda: engine.state.trading is Trading.HALTED)
        monkeypatch.undo()
        before = engine.state.counters.events
        await until(lambda: engine.state.counters.events > before + 10)
    assert "ZeroDivisionError" in engine.state.trading_reason
    assert "ZeroDivisionError" in latch.read(tmp_path / "demo")
