"""Bars, judgments and a strategy in; trades, the equity curve and what was refused out, one bar after another.

The arithmetic is the live core's: the same kernels decide, size, limit and fill. `loop` makes the function for one strategy; it
runs as it is, and `engine.backtest.compile` compiles it. What happens within a bar, in this order:

1. funding that is due when it opens, on what was held before;
2. orders that were wanted at the last close, at its opening price;
3. liquidation, stop, target; where two could have been met, the worse one was;
4. its close: indicators, equity, loss limits, the strategy. What that wants is done in the next bar, never in this one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from engine.action import distances, exit_steps, position_size, sooner, stop_tick
from engine.backtest.series import END, LIMIT, LIQUIDATION, SIGNAL, STOP, TARGET
from engine.fills import (
    bar_price,
    half_spread,
    liquidation_price,
    slippage_bps,
    stop_reference,
    target_reference,
)
from engine.kernel import kernel
from engine.processor.features import spread_bps
from engine.processor.indicators import (
    ATR_14,
    BOLLINGER_LOWER,
    BOLLINGER_MIDDLE,
    BOLLINGER_UPPER,
    EMA_12,
    EMA_26,
    MACD,
    MACD_HISTOGRAM,
    MACD_SIGNAL,
    RSI_14,
    SMA_20,
    SMA_50,
    advance,
    update_averages,
    update_range,
    update_strength,
    update_windows,
)
from engine.risk import breach, daily_loss, drawdown, exposure_limit, room
from engine.strategy import LEAVE, NOTHING, Now

DAY_MS = 86_400_000
GUARDS = 100  # stops that the guard may count
# What refused an entry: the limits of `risk.Exposure`, then these.
COOLDOWN, GUARD, OLD, DRIFTED, UNSURE, TOO_SMALL, NO_STAKE = 11, 12, 13, 14, 15, 16, 17
REFUSALS = (
    "",
    "the day's loss",
    "the drawdown",
    "the venue's least notional",
    "the largest order",
    "the largest position",
    "the gross exposure",
    "leverage",
    "the distance to liquidation",
    "no stop on the losing side",
    "the loss at the stop",
    "the pause after a loss",
    "too many stops",
    "a judgment that was too old",
    "a price that had moved since the judgment",
    "doubts about the judgment",
    "no room for the venue's smallest order",
    "kelly, which stakes nothing without proof",
)


class Bars(NamedTuple):
    """Columns of `n` bars: ms, ticks, steps."""

    open_ms: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any


class Funding(NamedTuple):
    """Columns of settlements: ms, fractions of notional that a long pays."""

    ms: Any
    rate: Any


class Judgments(NamedTuple):
    """Columns of opinions by the time from which they are in force: ms, 1 or -1 or 0, fractions, bps, quote units."""

    since_ms: Any
    until_ms: Any
    made_ms: Any
    side: Any
    confidence: Any
    risk_score: Any
    move_bps: Any
    price: Any
    size_cap: Any
    invalid_bps: Any


class Setup(NamedTuple):
    """Everything else that the run depends on. Money in quote units."""

    timeframe_ms: int
    tick: float
    step: float
    min_quantity: int
    max_quantity: int
    min_notional: float
    taker: float
    maintenance: float
    liquidation_fee: float
    spread_bps: float
    slippage_bps: float
    impact: float
    initial: float
    follows: bool
    method: int
    fixed_notional: float
    capital_fraction: float
    kelly_fraction: float
    kelly_capital: float
    kelly_outcomes: int
    risk_per_trade: float
    stop_atr: float
    target_atr: float
    min_stop_bps: float
    cooldown_bars: int
    min_confidence: float
    max_risk_score: float
    cost_factor: float
    max_order_notional: float
    max_position_notional: float
    max_gross_notional: float
    max_leverage: float
    max_loss_per_trade: float
    max_daily_loss: float
    on_daily_loss: float  # the share of the position that is closed then
    max_drawdown: float
    on_drawdown: float
    min_liquidation_distance: float
    loss_cooldown_s: float
    stop_guard: int
    stop_guard_bars: int
    max_judgment_age_s: float
    max_judgment_drift_bps: float
    day_starts_ms: int
    quiet: int  # so many bars first warm the indicators, and nothing is entered


class Out(NamedTuple):
    """What the loop writes into: `equity` at each close, `trades` whole numbers and money by row, `refused` by reason."""

    equity: Any  # [n]
    whole: Any  # [rows, 11]: as in TRADE up to `target`
    money: Any  # [rows, 4]: the rest of TRADE
    refused: Any  # [len(REFUSALS)]


@kernel
def day_number(at_ms: int, starts_ms: int) -> int:
    return (at_ms - starts_ms) // DAY_MS


@kernel
def guarded(stops_ms: Any, stops: int, guard: int, since_ms: int) -> bool:
    """Whether `guard` stops were hit since then; 0: any number may be."""
    return guard > 0 and stops >= guard and stops_ms[(stops - guard) % GUARDS] >= since_ms


@kernel
def kelly_figures(closed: int, wins: int, won: float, lost: float, needed: int) -> tuple[float, float]:
    """The chance to win and a mean win for each unit of a loss, from trades on paper; 0 while they prove nothing."""
    losses = closed - wins
    if closed < needed or wins == 0 or losses == 0 or lost <= 0.0:
        return 0.0, 0.0
    return wins / closed, (won / wins) / (lost / losses)


@kernel
def seen(prices: Any, hot: Any, position: int, cooling: bool, cost_bps: float, said: Any, s: Setup) -> Now:
    """What the strategy looks at: `prices` open to volume, `said` what the judgment in force says."""
    return Now(
        prices[0],
        prices[1],
        prices[2],
        prices[3],
        prices[4],
        hot[SMA_20],
        hot[SMA_50],
        hot[EMA_12],
        hot[EMA_26],
        hot[RSI_14],
        hot[MACD],
        hot[MACD_SIGNAL],
        hot[MACD_HISTOGRAM],
        hot[BOLLINGER_MIDDLE],
        hot[BOLLINGER_UPPER],
        hot[BOLLINGER_LOWER],
        hot[ATR_14],
        position,
        cooling,
        cost_bps,
        said[0],
        said[1],
        said[2],
        said[3],
        said[4],
        s.min_confidence,
        s.max_risk_score,
        s.cost_factor,
    )


@kernel
def record(out: Out, row: int, whole: Any, money: Any) -> None:
    """One trade, in the order of TRADE."""
    for column in range(11):
        out.whole[row, column] = whole[column]
    for column in range(4):
        out.money[row, column] = money[column]


Decide = Callable[..., tuple[int, int]]
Observe = Callable[..., None]


def loop(decide: Decide, observe: Observe, reads: tuple[bool, bool, bool], kelly: bool) -> Callable[..., int]:
    """The function for a strategy. `reads` says whether it looks at averages, at RSI, and at windows (SMA, Bollinger); without
    `kelly` its share of the code is left out, which need not be compiled then.
    """
    averages, strength, windows = reads

    def run(
        bars: Bars, funding: Funding, judged: Judgments, s: Setup, p: Any, hot: Any, memory: Any, out: Out, progress: Any
    ) -> int:
        """Returns the number of trades. `progress[0]` is the bar it is at; it stops where `progress[1]` is not 0."""
        n, settlements, opinions = len(bars.open_ms), len(funding.ms), len(judged.since_ms)
        tick, step, taker = s.tick, s.step, s.taker
        wallet, cost, position, side = s.initial, 0.0, 0, 0
        entry_bar, entry, stop, target = 0, 0, 0, 0
        entry_fees = paid_funding = entry_slippage = 0.0
        best = worst = 0
        wanted, wanted_stop, wanted_target, leaving, why = 0, 0.0, 0.0, 0, SIGNAL
        settled, opinion, rows = 0, -1, 0
        day, day_equity, peak = -(2**62), 0.0, 0.0
        lost_day = lost_height = False
        since_close, loss_ms, stops = 1_000_000, -(2**62), 0
        stops_ms = [0] * GUARDS
        range_bps = 0.0
        ended = False
        # What kelly learns from: the strategy on paper, always with a position.
        paper, paper_entry, paper_stop, paper_target, paper_since = 0, 0.0, 0.0, 0.0, 1_000_000
        closed = wins = 0
        won = lost = 0.0

        for i in range(n):
            opening, high, low, close = bars.open[i], bars.high[i], bars.low[i], bars.close[i]
            volume = bars.volume[i]
            while settled < settlements and funding.ms[settled] <= bars.open_ms[i]:
                if position:
                    paid = position * step * opening * tick * funding.rate[settled]
                    wallet -= paid
                    paid_funding -= paid
                settled += 1

            if wanted:
                side = 1 if wanted > 0 else -1
                slip = slippage_bps(s.slippage_bps, s.impact, range_bps, abs(wanted), volume)
                entry = bar_price(opening, side, s.spread_bps, slip)
                position, entry_bar = wanted, i
                cost = entry * tick * (abs(position) * step)
                entry_fees, paid_funding = cost * taker, 0.0
                entry_slippage = side * (entry - opening) * tick * abs(position) * step
                wallet -= entry_fees
                best = worst = entry
                stop = sooner(side > 0, (entry * tick - side * wanted_stop) / tick)
                target = sooner(side < 0, (entry * tick + side * wanted_target) / tick) if wanted_target > 0.0 else 0
                wanted = 0

            if position:
                best = max(best, high) if side > 0 else min(best, low)
                worst = min(worst, low) if side > 0 else max(worst, high)
                reference, reason, quantity = 0, SIGNAL, abs(position)
                if leaving:
                    reference, reason, quantity = opening, why, min(leaving, abs(position))
                    leaving = 0
                for attempt in range(2):  # what a partial exit leaves can still be stopped out in the same bar
                    if attempt == 1 or not reference:
                        quantity = abs(position)
                        edge = liquidation_price(side, quantity * step, cost, wallet, s.maintenance) / tick
                        edge_tick = math.ceil(edge) if side > 0 else math.floor(edge)
                        nearer = edge_tick > 0 and (stop <= 0 or side * (edge_tick - stop) >= 0)
                        reference, reason = stop_reference(side, edge_tick if nearer else stop, opening, high, low), STOP
                        if reference and nearer:
                            reason = LIQUIDATION
                        if not reference:
                            reference, reason = target_reference(side, target, opening, high, low), TARGET
                    if not reference:
                        break
                    exit_ms = bars.open_ms[i] + (0 if reference == opening else s.timeframe_ms - 1)
                    slip = slippage_bps(s.slippage_bps, s.impact, range_bps, quantity, volume)
                    price = bar_price(reference, -side, s.spread_bps, slip)
                    value = price * tick * (quantity * step)
                    released = cost if quantity == abs(position) else cost * quantity / abs(position)
                    share = quantity / abs(position)
                    fees = value * taker + (value * s.liquidation_fee if reason == LIQUIDATION else 0.0)
                    gross = side * (value - released)
                    wallet += gross - fees
                    if reason == LIQUIDATION:
                        wallet = max(wallet, 0.0)  # the venue bears the rest
                    charged, funded = entry_fees * share + fees, paid_funding * share
                    slipped = entry_slippage * share + side * (reference - price) * tick * quantity * step
                    profit = gross - charged + funded
                    whole = (side, quantity, entry_bar, i, entry, price, reason, best, worst, stop, target)
                    record(out, rows, whole, (charged, funded, slipped, profit))
                    rows += 1
                    entry_fees *= 1.0 - share
                    paid_funding *= 1.0 - share
                    entry_slippage *= 1.0 - share
                    cost -= released
                    position -= side * quantity
                    if gross < 0.0:
                        loss_ms = exit_ms
                    if position == 0:
                        since_close = 0
                        if reason == STOP:
                            stops_ms[stops % GUARDS] = exit_ms
                            stops += 1
                        break
                    reference = 0
            leaving = 0

            # the close
            at_ms = bars.open_ms[i] + s.timeframe_ms
            last = close * tick
            if averages:
                update_averages(hot, last)
            if strength:
                update_strength(hot, last)
            update_range(hot, high * tick, low * tick)
            if windows:
                update_windows(hot, last)
            advance(hot, last)
            prices = (opening * tick, high * tick, low * tick, last, volume * step)
            observe(p, memory, prices[0], prices[1], prices[2], prices[3], prices[4])
            since_close += 1
            atr = hot[ATR_14]
            range_bps = atr / last * 1e4 if atr > 0.0 else 0.0
            equity = wallet
            if position:
                equity += side * (abs(position) * step * last - cost)
            out.equity[i] = equity
            progress[0] = i
            if progress[1] != 0:
                return -1
            while opinion + 1 < opinions and judged.since_ms[opinion + 1] <= at_ms:
                opinion += 1
                ended = False

            peak = max(peak, equity)
            today = day_number(at_ms, s.day_starts_ms)
            if today != day:
                day, day_equity = today, equity
            lost_day, fresh_day = breach(daily_loss(day_equity, equity), s.max_daily_loss, lost_day)
            lost_height, fresh_height = breach(drawdown(peak, equity), s.max_drawdown, lost_height)
            if position and (fresh_day or fresh_height):
                portion = s.on_daily_loss if fresh_day else 0.0
                if portion == 0.0 and fresh_height:
                    portion = s.on_drawdown
                if portion > 0.0:
                    leaving, why = exit_steps(abs(position), portion, 0, s.min_quantity, s.max_quantity), LIMIT

            valid = opinion >= 0 and at_ms < judged.until_ms[opinion] and not ended
            stance, confidence, risk_score, move_bps, cap = 0, 0.0, 0.0, 0.0, 1.0
            if valid:
                stance = judged.side[opinion]
                confidence, risk_score = judged.confidence[opinion], judged.risk_score[opinion]
                move_bps, cap = judged.move_bps[opinion], judged.size_cap[opinion]
                if judged.invalid_bps[opinion] > 0.0:
                    against = (judged.price[opinion] - last) / judged.price[opinion] * 1e4 * stance
                    if against >= judged.invalid_bps[opinion]:  # the market proved it wrong
                        ended, valid, stance = True, False, 0
            half = half_spread(close, s.spread_bps)
            cost_bps = 2e4 * taker + spread_bps(float(close - half), float(close + half))
            said = (valid, stance, confidence, risk_score, move_bps)
            if kelly:
                done = 0.0
                if paper:
                    against = low * tick if paper > 0 else high * tick
                    along = high * tick if paper > 0 else low * tick
                    if paper * (against - paper_entry) <= -paper_stop:
                        done = paper_entry - paper * paper_stop
                    elif paper * (along - paper_entry) >= paper_target:
                        done = paper_entry + paper * paper_target
                paper_since += 1
                what, _ = decide(p, memory, seen(prices, hot, paper, paper_since < s.cooldown_bars, cost_bps, said, s))
                if paper and not done and what == LEAVE:
                    done = last - paper * half * tick
                if done:
                    gain = paper * (done / paper_entry - 1.0) - taker * (1.0 + done / paper_entry)
                    closed += 1
                    wins += gain > 0.0
                    won += max(gain, 0.0)
                    lost -= min(gain, 0.0)
                    paper, paper_since = 0, 0
                elif not paper and what != NOTHING and what != LEAVE:
                    paper, paper_entry = what, last + what * half * tick
                    paper_stop, paper_target = distances(paper_entry, atr, s.stop_atr, s.target_atr, s.min_stop_bps)

            if leaving or i < s.quiet:
                continue
            holding = (position > 0) - (position < 0)
            what, _ = decide(p, memory, seen(prices, hot, holding, since_close < s.cooldown_bars, cost_bps, said, s))
            if what == NOTHING:
                continue
            if position:
                if what == LEAVE:
                    leaving, why = exit_steps(abs(position), 1.0, 0, s.min_quantity, s.max_quantity), SIGNAL
                continue
            if what == LEAVE:
                continue
            # an entry: sized, then limited, as `core.trading.enter` does it
            expected = close + what * half
            wanted_stop, wanted_target = distances(last, atr, s.stop_atr, s.target_atr, s.min_stop_bps)
            win, payoff = 0.0, 0.0
            if kelly:
                win, payoff = kelly_figures(closed, wins, won, lost, s.kelly_outcomes)
            units = position_size(
                s.method,
                equity,
                last,
                wanted_stop,
                win,
                payoff,
                s.fixed_notional,
                s.capital_fraction,
                s.kelly_fraction,
                s.kelly_capital,
                s.risk_per_trade,
            )
            if s.follows:
                units *= min(cap, 1.0)
            planned = stop_tick(expected, what, wanted_stop, tick)
            distance = max(abs(last - planned * tick), tick)
            most = room(
                last,
                distance,
                equity,
                0.0,
                0.0,
                s.max_order_notional,
                s.max_position_notional,
                s.max_leverage,
                s.max_loss_per_trade,
                s.max_gross_notional,
            )
            steps = min(int(units / step), int(most / step), s.max_quantity)
            refusal = 0
            if kelly and units <= 0.0:
                refusal = NO_STAKE
            elif steps < max(s.min_quantity, 1):
                refusal = TOO_SMALL
            elif s.loss_cooldown_s > 0.0 and (at_ms - loss_ms) / 1000.0 < s.loss_cooldown_s:
                refusal = COOLDOWN
            elif guarded(stops_ms, stops, s.stop_guard, at_ms - s.stop_guard_bars * s.timeframe_ms):
                refusal = GUARD
            if refusal == 0 and s.follows:
                drift = abs(last / judged.price[opinion] - 1.0) * 1e4 if judged.price[opinion] > 0.0 else 0.0
                if (at_ms - judged.made_ms[opinion]) / 1000.0 > s.max_judgment_age_s:
                    refusal = OLD
                elif drift > s.max_judgment_drift_bps:
                    refusal = DRIFTED
                elif not confidence >= s.min_confidence or not risk_score <= s.max_risk_score:
                    refusal = UNSURE
            if refusal == 0:
                refusal = exposure_limit(
                    what,
                    steps * step,
                    0.0,
                    last,
                    last,
                    planned * tick,
                    equity,
                    day_equity,
                    peak,
                    0.0,
                    s.min_notional,
                    s.max_daily_loss,
                    s.max_drawdown,
                    s.max_order_notional,
                    s.max_position_notional,
                    s.max_gross_notional,
                    s.max_leverage,
                    s.min_liquidation_distance,
                    s.max_loss_per_trade,
                )
            if refusal:
                out.refused[refusal] += 1
            else:
                wanted = what * steps

        if position:  # what is open at the end is closed at the last price, at its cost
            quantity = abs(position)
            price = bar_price(close, -side, s.spread_bps, slippage_bps(s.slippage_bps, s.impact, range_bps, quantity, volume))
            value = price * tick * (quantity * step)
            gross = side * (value - cost)
            wallet += gross - value * taker
            charged = entry_fees + value * taker
            slipped = entry_slippage + side * (close - price) * tick * quantity * step
            whole = (side, quantity, entry_bar, n - 1, entry, price, END, best, worst, stop, target)
            record(out, rows, whole, (charged, paid_funding, slipped, gross - charged + paid_funding))
            rows += 1
            out.equity[n - 1] = wallet
        return rows

    return run
