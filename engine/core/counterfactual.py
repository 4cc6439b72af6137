"""What would have come of it otherwise: papers that trade the same market at the same book, beside the real account.

`model raw` holds the side of the model's chance for as long as its stance is valid, at the full size, without a gate, a stop or a
thought of costs. `rules alone` is the strategy with the rules' stances, `no risk gate` the strategy as it is without the limits.
Each pays the taker's commission and crosses the spread; none moves the market. What is flat stays at zero. They decide at the
tick after a bar's close: a real order of that close does not wait for them.
"""

from engine import action
from engine.action import Plan
from engine.config import Settings
from engine.core.state import MarketState, Paper, State
from engine.core.trading import evidence, seen
from engine.events import Bar, Features, Stance
from engine.strategy import chosen

NAMES = ("model raw", "rules alone", "no risk gate")


def tick(state: State, settings: Settings, held: MarketState) -> None:
    """Decide on the bars that closed since the last tick, then look at stops and targets."""
    for features, bar in held.papers_due:
        _bar_closed(state, settings, held, features, bar)
    held.papers_due = []
    _ends(state, held)


def _bar_closed(state: State, settings: Settings, held: MarketState, features: Features, bar: Bar) -> None:
    if not held.book.trusted or not state.portfolio.known:
        return
    for name in NAMES:
        paper = held.papers.setdefault(name, Paper())
        paper.bars_since_close += 1
        if name == "model raw":
            _follow(state, settings, held, features, paper)
        else:
            _strategy(state, settings, held, features, bar, paper, held.rules if name == "rules alone" else held.stance)
        paper.profit = round(profit(held, paper), 2)


def _ends(state: State, held: MarketState) -> None:
    """Stops and targets, at the side of the book that would fill them."""
    if not held.book.trusted:
        return
    for paper in held.papers.values():
        if not paper.quantity or paper.plan is None:
            continue
        gain = (_exit(held, paper.side) - paper.entry) * paper.side
        if gain <= -paper.plan.stop_distance or gain >= paper.plan.target_distance:
            _close(state, held, paper)


def profit(held: MarketState, paper: Paper) -> float:
    """Quote units, with what is open at the price at which it could be closed."""
    open_profit = 0.0
    if paper.quantity and held.book.best_bid and held.book.best_ask:
        open_profit = (_exit(held, paper.side) - paper.entry) * paper.quantity
    return paper.realised + open_profit - paper.fees


def _follow(state: State, settings: Settings, held: MarketState, features: Features, paper: Paper) -> None:
    stance = held.model
    side = 0
    if stance is not None and stance.valid(state.now):
        side = (stance.raw_chance > 50) - (stance.raw_chance < 50)
    if side == paper.side:
        return
    if paper.side:
        _close(state, held, paper)
    if side and stance is not None:
        _open(state, settings, held, features, paper, side, stance, guarded=False)


def _strategy(
    state: State, settings: Settings, held: MarketState, features: Features, bar: Bar, paper: Paper, stance: Stance | None
) -> None:
    cooling = paper.bars_since_close < settings.strategy.cooldown_bars
    wish = action.decide(seen(state, settings, held, features, bar, stance, paper.side, cooling), held.memory, settings.strategy)
    if wish.side is None:
        return
    if wish.leave:
        _close(state, held, paper)
    elif not paper.side:
        _open(state, settings, held, features, paper, int(wish.side), stance, guarded=True)


def _open(
    state: State,
    settings: Settings,
    held: MarketState,
    features: Features,
    paper: Paper,
    side: int,
    stance: Stance | None,
    *,
    guarded: bool,
) -> None:
    price = _exit(held, -side)
    planned = action.plan(price, features.atr_14, settings.strategy)
    size = _size(state, settings, held, price, planned, stance)
    if guarded and stance is not None and chosen(settings.strategy)[0].follows:
        size *= min(stance.size_cap, 1.0)
    if size <= 0.0:
        return
    paper.quantity, paper.entry = side * size, price
    paper.plan = planned if guarded else None
    paper.trades += 1
    paper.fees += size * price * _rate(state, held)


def _size(state: State, settings: Settings, held: MarketState, price: float, planned: Plan, stance: Stance | None) -> float:
    """As the account would take it. Under kelly a paper takes the most that kelly may: what the rules are worth is seen on paper,
    and a paper that waited for it would never begin.
    """
    equity = float(state.equity())
    if settings.strategy.sizing == "kelly":
        return max(equity, 0.0) * settings.strategy.kelly_capital / price
    return action.size(settings.strategy, equity, price, planned, evidence(state, held, stance, planned))


def _close(state: State, held: MarketState, paper: Paper) -> None:
    price = _exit(held, paper.side)
    rate = _rate(state, held)
    gain = (price / paper.entry - 1.0) * paper.side - rate * (1.0 + price / paper.entry)
    paper.closed += 1
    paper.wins += gain > 0.0
    paper.won += max(gain, 0.0)
    paper.lost -= min(gain, 0.0)
    paper.realised += (price - paper.entry) * paper.quantity
    paper.fees += abs(paper.quantity) * price * rate
    paper.quantity, paper.plan, paper.bars_since_close = 0.0, None, 0


def _exit(held: MarketState, side: int) -> float:
    """Where a position of that side is closed."""
    return (held.book.best_bid if side > 0 else held.book.best_ask) * float(held.instrument.tick)


def _rate(state: State, held: MarketState) -> float:
    return float(state.portfolio.taker_rate(held.instrument.market))
