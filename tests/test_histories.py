"""Random histories of orders, fills, cuts, time-outs, repeats, strangers and restarts: afterwards the engine and the venue agree.

`BARTER_HISTORIES=5000` tries that many (the default is a sample for every day); the figures come with `-s`.
"""

import os
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from engine.events import Action, AmendOrder, Filled, OrderChanged, OrderKind, OrderState, Side, Ticket, TimeInForce
from tests.factory import MARKET
from tests.factory import settings as chosen
from tests.world import SYMBOL, World

HISTORIES = int(os.environ.get("BARTER_HISTORIES", "150"))
FATES = st.sampled_from(["ok", "ok", "executed", "lost", "late"])
SIDES = st.sampled_from([Side.BUY, Side.SELL])
SIZES = st.integers(20, 400)
OFFSETS = st.integers(-10, 40)
RARELY = st.sampled_from([False] * 4 + [True])
MOST = 500.0  # USDT in a position
FIGURES: Counter[str] = Counter()


class Histories(RuleBasedStateMachine):
    """Each rule is a thing that happens; nothing is asserted before the end but that risk held all the way."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            chosen(risk={"max_order_notional": 300.0, "max_position_notional": MOST, "max_orders_per_minute": 1000})
        )
        self.world.command(Action.ARM)
        self.world.wait(200)
        self.strangers = 0

    @initialize()
    def begin(self) -> None:
        FIGURES["histories"] += 1

    def _place(self, ticket: Ticket) -> None:
        self.world.command(Action.ORDER, MARKET, ticket)
        self._check()

    def _check(self) -> None:
        """What rests at the venue, and what is held there, may together never pass the limit, whatever the engine was told."""
        there = self.world.exchange.position_steps(SYMBOL) - self.strangers
        for side in (1, -1):
            adding = [order for order in self.world.exchange.open.values() if order.side == side and not order.reduce_only]
            ours = sum(order.unfilled for order in adding if order.client_id.startswith("bt"))
            worst = abs(there + side * ours) * 0.7
            assert self.strangers or worst <= MOST * 1.2, f"{there} held and {ours} resting"

    @rule(fates=st.lists(FATES, max_size=6))
    def weather(self, fates: list[str]) -> None:
        self.world.network.extend(fates)

    @rule(side=SIDES, size=SIZES)
    def buy_or_sell(self, side: Side, size: int) -> None:
        self._place(Ticket(side, OrderKind.MARKET, size))

    @rule(
        side=SIDES,
        size=SIZES,
        off=OFFSETS,
        tif=st.sampled_from(list(TimeInForce)),
        stop=st.integers(0, 60),
        goal=st.integers(0, 60),
    )
    def limit(self, side: Side, size: int, off: int, tif: TimeInForce, stop: int, goal: int) -> None:
        price = self.world.market.bid - side * off
        away = (price - side * (stop + 5)) if stop else 0
        ahead = (price + side * (goal + 5)) if goal else 0
        self._place(Ticket(side, OrderKind.LIMIT, size, price, time_in_force=tif, stop=away, target=ahead))

    @rule(size=SIZES, off=OFFSETS)
    def reduce(self, size: int, off: int) -> None:
        held = self.world.state.portfolio.position(MARKET).quantity
        side = Side.SELL if held > 0 else Side.BUY
        if off % 2:
            self._place(Ticket(side, OrderKind.LIMIT, size, self.world.market.bid + off, reduce_only=True))
        else:
            self._place(Ticket(side, OrderKind.MARKET, size, reduce_only=True))

    @rule(off=st.integers(1, 80), trail=st.sampled_from([0, 0, 30, 100]), gains=st.booleans())
    def guard(self, off: int, trail: int, gains: bool) -> None:
        held = self.world.state.portfolio.position(MARKET).quantity
        side = Side.SELL if held > 0 else Side.BUY
        kind = OrderKind.TRAILING if trail else OrderKind.TARGET if gains else OrderKind.STOP
        trigger = 0 if trail else self.world.market.bid + side * off * (-1 if gains else 1)
        self._place(Ticket(side, kind, 0, trigger=trigger, reduce_only=True, trail_bps=trail))

    @rule(which=st.integers(0, 5), size=SIZES, off=OFFSETS)
    def amend(self, which: int, size: int, off: int) -> None:
        entries = self.world.open_entries()
        if entries:
            name = entries[which % len(entries)]
            order = self.world.state.orders[name]
            ticket = Ticket(order.side, OrderKind.LIMIT, size, self.world.market.bid + off)
            self.world.command(Action.AMEND, name, ticket)
            self._check()

    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        alive = list(self.world.state.alive)
        if alive:
            self.world.command(Action.CANCEL, alive[which % len(alive)])

    @rule(ticks=st.integers(-40, 40), part=st.integers(0, 100))
    def move(self, ticks: int, part: int) -> None:
        self.world.move(ticks, part)
        self._check()

    @rule(ms=st.integers(100, 3_000), deliver=st.booleans())
    def wait(self, ms: int, deliver: bool) -> None:
        self.world.wait(ms, deliver)
        self._check()

    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        self.world.deliver(count)

    @rule(back=st.integers(0, 19))
    def repeat(self, back: int) -> None:
        self.world.repeat(back)

    @rule(really=RARELY)
    def swallow(self, really: bool) -> None:
        """A report is lost on a stream that lives."""
        if really and self.world.told:
            FIGURES["swallowed"] += 1
            self.world.told.popleft()

    @rule(really=RARELY)
    def cut(self, really: bool) -> None:
        if not really:
            return
        FIGURES["cuts"] += 1
        self.world.cut()

    @rule()
    def connect(self) -> None:
        if not self.world.up:
            self.world.connect()

    @rule(really=RARELY)
    def restart(self, really: bool) -> None:
        if not really:
            return
        FIGURES["restarts"] += 1
        self.world.restart()
        self.world.command(Action.ARM)

    @rule(side=SIDES, size=SIZES, off=st.sampled_from([0, 0, 20]), really=RARELY)
    def stranger(self, side: Side, size: int, off: int, really: bool) -> None:
        if not really:
            return
        FIGURES["strangers"] += 1
        before = self.world.exchange.position_steps(SYMBOL)
        self.world.stranger(side, size, self.world.market.bid - side * off if off else 0)
        self.strangers += self.world.exchange.position_steps(SYMBOL) - before or 1

    @rule(rate=st.sampled_from(["0.0001", "-0.0003"]))
    def funding(self, rate: str) -> None:
        self.world.exchange.fund(SYMBOL, self.world.market.middle(), Decimal(rate))

    @rule(action=st.sampled_from([Action.CLOSE, Action.HALT, Action.FLATTEN, *[Action.ARM] * 4]))
    def operator(self, action: Action) -> None:
        if action is Action.ARM:
            self.world.command(Action.RELEASE)
        self.world.command(action, MARKET)

    def teardown(self) -> None:
        world = self.world
        world.settle()
        told = world.outputs
        FIGURES["fills"] += sum(isinstance(one, Filled) for one in told)
        changes = [one for one in told if isinstance(one, OrderChanged)]
        FIGURES.update(f"orders {one.after.value}" for one in changes if one.after.final or one.after is OrderState.UNKNOWN)
        FIGURES["amendments"] += sum(isinstance(one, AmendOrder) for one in told)
        FIGURES.update({f"requests {fate}": count for fate, count in world.fates.items()})
        FIGURES["sent"] += len(world.sent)
        found = world.differences()
        world.close()
        assert not found, found
        assert world.state.counters.faults == 0


EACH = settings(
    max_examples=HISTORIES, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.mark.slow
def test_after_any_history_the_engine_and_the_venue_agree() -> None:
    run_state_machine_as_test(Histories, settings=EACH)
    print(dict(sorted(FIGURES.items())))
    assert FIGURES["orders unknown"] and FIGURES["restarts"] and FIGURES["cuts"] and FIGURES["fills"]
