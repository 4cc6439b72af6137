"""Takes a seed, the passing of time and the book as it stands; gives the orders that a market's crowd would send.

A latent fair value wanders through trends and ranges with clustered volatility; makers quote around it and pull what has
become stale; takers arrive in clusters (a Hawkes process with an exponential kernel), mostly small, now and then sweeping.
Everything happens at drawn times, so the result does not depend on how the caller slices time.
"""

from collections import deque
from enum import IntEnum
from math import ceil, exp, floor, log, pi, sin, sqrt
from typing import NamedTuple

import msgspec
import numpy as np

from engine.events import Side
from engine.venue.matching import OrderBook

PATH_PULSES = 2_000
PULSE_MS = 100  # the fair value, the volatility and the regime move on this grid
BATCH = 4096  # random numbers drawn at once: one call of numpy costs as much as twenty numbers
BRANCHING = 0.6  # takers that another taker brings along, on average
DECAY = 1.2  # 1/s, how fast a taker's excitement fades


class Act(IntEnum):
    """What the crowd does."""

    POST = 0
    CANCEL = 1
    TAKE = 2


class Wish(NamedTuple):
    """One order or cancel of the crowd. Its order ids are negative; `price` of a TAKE is its limit."""

    act: Act
    order_id: int
    side: Side
    quantity: int
    price: int


class Regime(IntEnum):
    """Where the fair value drifts."""

    RANGE = 0
    RISING = 1
    FALLING = -1


class Shape(msgspec.Struct, frozen=True):
    """A market's temper, in ticks, steps and events a second."""

    sigma: float  # ticks by the square root of a second, in calm
    unit: float  # ticks between levels that matter
    half_spread: float  # ticks, in calm
    size: float  # steps of a typical maker's order
    posts: float = 26.0
    cancels: float = 24.0
    takes: float = 4.5
    resting: int = 420  # orders in the book that cancels keep it to


class Draws:
    """Random numbers one by one out of batches."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._uniforms: list[float] = []
        self._normals: list[float] = []

    def uniform(self) -> float:
        if not self._uniforms:
            self._uniforms = self._generator.random(BATCH).tolist()
        return self._uniforms.pop()

    def normal(self) -> float:
        if not self._normals:
            self._normals = self._generator.standard_normal(BATCH).tolist()
        return self._normals.pop()

    def wait(self, mean: float) -> float:
        """An exponential time."""
        return -mean * log(1.0 - self.uniform())


class Flow:
    """The crowd of one instrument. Whoever drives it calls `step` at `due_ms` and carries out its wishes in order."""

    def __init__(self, seed: int, shape: Shape, price: int, start_ms: int) -> None:
        self.shape = shape
        self.fair = float(price)
        self.volatility = 1.0
        self.regime = Regime.RANGE
        self._draws = Draws(seed)
        self._home = self._anchor = float(price)
        self._drift = 0.0
        self._regime_left_s = 15.0 + self._draws.wait(40.0)
        self._fast = self._slow = self._burst = 0.0
        self._excitement, self._excited_ms = 0.0, float(start_ms)
        self._last_side = Side.BUY
        self._ids: list[int] = []
        self._next_id = -1
        self._pulse_ms = float(start_ms - start_ms % PULSE_MS + PULSE_MS)
        self._activity, self._breath, self._half_spread = 1.0, 1.0, shape.half_spread
        self._path: deque[float] = deque(maxlen=PATH_PULSES)  # fair values, one a pulse
        self._ceiling = 1.0
        self._arrival_ms = float(start_ms)
        self._schedule(float(start_ms))
        self.due_ms = min(self._pulse_ms, self._arrival_ms)

    def fair_at(self, at_ms: float) -> float:
        """The fair value at a pulse of the last minutes; the nearest one that is known."""
        if not self._path:
            return self.fair
        back = round((self._pulse_ms - PULSE_MS - at_ms) / PULSE_MS)
        return self._path[max(-1 - max(back, 0), -len(self._path))]

    def opening(self) -> list[Wish]:
        """The book to start with."""
        return [self._post(side, self.fair) for _ in range(self.shape.resting // 2) for side in (Side.BUY, Side.SELL)]

    def step(self, book: OrderBook) -> list[Wish]:
        """What happens at `due_ms`; sets the next `due_ms`."""
        if self._pulse_ms <= self._arrival_ms:
            self._pulse()
            wishes = self._requote(book)
            self._pulse_ms += PULSE_MS
        else:
            now_ms = self._arrival_ms
            wishes = self._arrive(book, now_ms)
            self._schedule(now_ms)
        self.due_ms = min(self._pulse_ms, self._arrival_ms)
        return wishes

    def felt(self, side: Side, quantity: int, at_ms: float) -> None:
        """Somebody took `quantity`: it excites others and moves what they believe."""
        self._excitement = self._excited(at_ms) + BRANCHING * DECAY
        self._excited_ms = at_ms
        self._last_side = side
        impact = 0.12 * self.shape.sigma * min(3.0, quantity / (6.0 * self.shape.size))
        self.fair = max(20.0, self.fair + side * impact)

    # time

    def _excited(self, at_ms: float) -> float:
        return self._excitement * exp(-DECAY * max(0.0, at_ms - self._excited_ms) / 1000.0)

    def _schedule(self, now_ms: float) -> None:
        """Draw the next arrival under a ceiling that the decaying intensity cannot exceed (Ogata's thinning)."""
        shape = self.shape
        calm = (shape.posts + shape.cancels) * self._activity + shape.takes * (1 - BRANCHING) * self._activity
        self._ceiling = calm + self._excited(now_ms)
        self._arrival_ms = now_ms + 1000.0 * self._draws.wait(1.0 / self._ceiling)

    def _pulse(self) -> None:
        draws, shape, dt = self._draws, self.shape, PULSE_MS / 1000.0
        self._fast += -self._fast * dt / 15.0 + 0.55 * sqrt(2 * dt / 15.0) * draws.normal()
        self._slow += -self._slow * dt / 180.0 + 0.35 * sqrt(2 * dt / 180.0) * draws.normal()
        self._burst *= 1.0 - dt / 3.0
        jump = 0.0
        if draws.uniform() < dt / 35.0:
            self._burst += 0.8 + 1.2 * draws.uniform()
            jump = shape.sigma * (1.0 + 2.0 * draws.uniform()) * (1 if draws.uniform() < 0.5 else -1)
        self.volatility = exp(self._fast + self._slow - 0.2) * (1.0 + self._burst)
        self._turn(dt)
        pull = (self._anchor - self.fair) / 12.0 if self.regime is Regime.RANGE else 0.0
        self.fair += (self._drift + pull) * dt + shape.sigma * self.volatility * sqrt(dt) * draws.normal() + jump
        self.fair = max(20.0, self.fair)
        self._path.append(self.fair)
        seconds = self._pulse_ms / 1000.0
        self._breath = 1.0 + 0.3 * sin(2 * pi * seconds / 840.0)
        self._activity = min(3.0, max(0.5, (1.0 + 0.25 * sin(2 * pi * seconds / 1260.0)) * (0.55 + 0.45 * self.volatility)))
        self._half_spread = shape.half_spread * (0.6 + 0.4 * min(5.0, self.volatility)) * (2.0 - self._breath)

    def _turn(self, dt: float) -> None:
        """Change the regime when its time is over; far from home a trend back is the likelier one."""
        self._regime_left_s -= dt
        if self._regime_left_s > 0:
            return
        draws = self._draws
        if self.regime is Regime.RANGE or draws.uniform() < 0.25:
            up = min(0.85, max(0.15, 0.5 - 6.0 * log(self.fair / self._home)))
            self.regime = Regime.RISING if draws.uniform() < up else Regime.FALLING
            self._drift = self.regime * self.shape.sigma * (0.25 + 0.35 * draws.uniform())
            self._regime_left_s = 15.0 + draws.wait(30.0)
        else:
            self.regime, self._drift, self._anchor = Regime.RANGE, 0.0, self.fair
            self._regime_left_s = 20.0 + draws.wait(40.0)

    # wishes

    def _arrive(self, book: OrderBook, now_ms: float) -> list[Wish]:
        shape = self.shape
        pick = self._draws.uniform() * self._ceiling
        pick -= shape.posts * self._activity
        if pick < 0:
            side = Side.BUY if self._draws.uniform() < 0.5 else Side.SELL
            return [self._post_in(book, side)]
        pick -= shape.cancels * self._activity
        if pick < 0:
            return self._cancel(book)
        pick -= shape.takes * (1 - BRANCHING) * self._activity + self._excited(now_ms)
        return self._take(book, now_ms) if pick < 0 else []

    def _post(self, side: Side, centre: float, distance: float | None = None) -> Wish:
        draws, unit = self._draws, self.shape.unit
        if distance is None:
            tier = draws.uniform()
            distance = draws.wait(unit * (1.2 if tier < 0.4 else 9.0 if tier < 0.8 else 60.0))
        price = max(1, floor(centre - self._half_spread - distance) if side is Side.BUY
                    else ceil(centre + self._half_spread + distance))  # fmt: skip
        mean = self.shape.size * self._breath / (0.5 + 0.5 * min(4.0, self.volatility)) * sqrt(1 + distance / (8 * unit))
        quantity = max(1, round(mean * exp(0.9 * draws.normal())))
        order_id = self._next_id
        self._next_id -= 1
        self._ids.append(order_id)
        return Wish(Act.POST, order_id, side, quantity, price)

    def _post_in(self, book: OrderBook, side: Side, distance: float | None = None) -> Wish:
        """Makers are post-only: a price that would trade is moved to the near side of the other best."""
        wish = self._post(side, self.fair, distance)
        other = book.half(side.other).best
        if other and side * (wish.price - other) >= 0:
            return wish._replace(price=max(1, other - side))
        return wish

    def _cancel(self, book: OrderBook) -> list[Wish]:
        """Of two orders picked at random the nearer one is more likely to go; the farther one when the book is full."""
        picked = [order_id for order_id in (self._pick(book), self._pick(book)) if order_id]
        if not picked:
            return []
        picked.sort(key=lambda order_id: abs(book.orders[order_id].price - self.fair))
        full = len(self._ids) > self.shape.resting
        if len(self._ids) < 0.8 * self.shape.resting:
            return []
        near = self._draws.uniform() < (0.3 if full else 0.65)
        return [self._pull(book, picked[0] if near else picked[-1])]

    def _pick(self, book: OrderBook) -> int:
        """A random order of ours that still rests; those that were filled are forgotten on the way."""
        while self._ids:
            index = int(self._draws.uniform() * len(self._ids))
            order_id = self._ids[index]
            if order_id in book.orders:
                return order_id
            self._ids[index] = self._ids[-1]
            self._ids.pop()
        return 0

    def _pull(self, book: OrderBook, order_id: int) -> Wish:
        order = book.orders[order_id]
        return Wish(Act.CANCEL, order_id, order.side, order.left, order.price)

    def _requote(self, book: OrderBook) -> list[Wish]:
        """Makers pull quotes that the fair value has reached, and close a gap that opened between it and the best."""
        wishes: list[Wish] = []
        for side, half in ((Side.BUY, book.bids), (Side.SELL, book.asks)):
            room = side * (self.fair - half.best) if half.keys else -1.0
            if room < 0.25 * self._half_spread:
                for key in half.keys[-3:]:
                    price = half.sign * key
                    if side * (self.fair - price) < 0.25 * self._half_spread and self._draws.uniform() < 0.6:
                        wishes += [self._pull(book, number) for number in half.queues[price].orders if number < 0]
            elif room > self._half_spread + 1.5 * self.shape.unit and self._draws.uniform() < 0.7:
                wishes.append(self._post_in(book, side, self._draws.wait(0.4 * self.shape.unit)))
        return wishes

    def _take(self, book: OrderBook, now_ms: float) -> list[Wish]:
        draws, shape = self._draws, self.shape
        bid, ask = book.bids.best, book.asks.best
        if not bid or not ask:
            return []
        lean = max(-0.42, min(0.42, (self.fair - (bid + ask) / 2) / (3.0 * shape.unit + ask - bid)))
        lean += 0.15 * self._last_side
        side = Side.BUY if draws.uniform() < 0.5 + lean else Side.SELL
        best = ask if side is Side.BUY else bid
        if draws.uniform() < 0.03 * (1.0 + self._burst):
            quantity, reach = shape.size * (4.0 + 8.0 * draws.uniform()) * exp(0.5 * draws.normal()), 8.0 * shape.unit
        else:
            quantity, reach = 0.3 * shape.size * exp(1.1 * draws.normal()), 2.0 * shape.unit
        order_id = self._next_id
        self._next_id -= 1
        steps = max(1, round(quantity))
        self.felt(side, steps, now_ms)
        return [Wish(Act.TAKE, order_id, side, steps, max(1, best + side * round(reach)))]
