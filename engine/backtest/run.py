"""A series, a strategy and settings in; what the loop made of them out, compiled where the strategy's functions are kernels."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from engine.action import SIZING
from engine.backtest import loop
from engine.backtest.loop import Bars, Funding, Judgments, Out, Setup
from engine.backtest.series import FIELDS, TRADE, WHOLE, Contract, Floats, Series, Trades
from engine.config import Settings, day_starts_s
from engine.core.limits import SHARES
from engine.errors import ConfigError
from engine.processor import indicators
from engine.strategy import Strategy

FUNDING_EVERY_MS = 28_800_000
SAID = 300  # of an error in a strategy
Cost = Annotated[float, Meta(ge=0)]


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a venue and a market take, beyond what bars show."""

    taker: Annotated[Cost | None, Meta(description="Commission, of notional; none: the contract's")] = None
    spread_bps: Annotated[Cost, Meta(description="Between bid and ask, basis points")] = 1.0
    slippage_bps: Annotated[Cost, Meta(description="Beyond the touch, always, basis points")] = 0.5
    impact: Annotated[Cost, Meta(description="Beyond that: times ATR and the root of the share of the bar's volume")] = 0.1
    funding_rate: Annotated[
        float | None, Meta(description="At each 00, 08 and 16 h UTC where the data have none, fraction; none: no funding")
    ] = None
    liquidation_fee: Annotated[Cost, Meta(description="Of notional, on top of the commission")] = 0.005


@dataclass(frozen=True)
class Run:
    """`equity` is at each close, quote units; `refused` counts entries that were refused, by `loop.REFUSALS`."""

    trades: Trades
    equity: Floats
    refused: dict[str, int]

    def fingerprint(self) -> str:
        """A hash of all trades: what filled where, and what it came to, to a millionth of the quote currency."""
        filled = FIELDS[: FIELDS.index("stop")]
        whole = np.stack([self.trades[name].astype("<i8") for name in filled], axis=1) if len(self.trades) else b""
        money = np.round(self.trades["profit"] * 1e6).astype("<i8")
        return hashlib.sha256(bytes(whole) + money.tobytes()).hexdigest()[:16]


class Progress:
    """Where a run is, and whether it is to stop; read and set from another thread."""

    def __init__(self) -> None:
        self.bar = np.zeros(2, np.int64)

    @property
    def at(self) -> int:
        """The bar that it is at."""
        return int(self.bar[0])

    def cancel(self) -> None:
        self.bar[1] = 1

    @property
    def cancelled(self) -> bool:
        return bool(self.bar[1])


def setup(
    contract: Contract, timeframe_ms: int, settings: Settings, costs: Costs, strategy: Strategy, initial: float, quiet: int = 0
) -> Setup:
    """The loop's numbers. Limits that only a venue can trip (spread, divergence, collar, order rate, trust) always pass."""
    chosen, risk, judge = settings.strategy, settings.risk, settings.judgment
    return Setup(
        timeframe_ms=timeframe_ms,
        tick=float(contract.tick),
        step=float(contract.step),
        min_quantity=contract.min_quantity,
        max_quantity=contract.max_quantity,
        min_notional=float(contract.min_notional),
        taker=float(contract.taker) if costs.taker is None else costs.taker,
        maintenance=float(contract.maintenance),
        liquidation_fee=costs.liquidation_fee,
        spread_bps=costs.spread_bps,
        slippage_bps=costs.slippage_bps,
        impact=costs.impact,
        initial=initial,
        follows=strategy.follows,
        method=SIZING[chosen.sizing],
        fixed_notional=chosen.fixed_notional,
        capital_fraction=chosen.capital_fraction,
        kelly_fraction=chosen.kelly_fraction,
        kelly_capital=chosen.kelly_capital,
        kelly_outcomes=chosen.kelly_outcomes,
        risk_per_trade=chosen.risk_per_trade,
        stop_atr=chosen.stop_atr,
        target_atr=chosen.target_atr,
        min_stop_bps=chosen.min_stop_bps,
        cooldown_bars=chosen.cooldown_bars,
        min_confidence=judge.min_confidence,
        max_risk_score=judge.max_risk_score,
        cost_factor=judge.cost_factor,
        max_order_notional=risk.max_order_notional,
        max_position_notional=risk.max_position_notional,
        max_gross_notional=risk.max_gross_notional,
        max_leverage=risk.max_leverage,
        max_loss_per_trade=risk.max_loss_per_trade,
        max_daily_loss=risk.max_daily_loss,
        on_daily_loss=SHARES.get(risk.on_daily_loss, 0.0),
        max_drawdown=risk.max_drawdown,
        on_drawdown=SHARES.get(risk.on_drawdown, 0.0),
        min_liquidation_distance=risk.min_liquidation_distance,
        loss_cooldown_s=risk.loss_cooldown_s,
        stop_guard=risk.stop_guard,
        stop_guard_bars=risk.stop_guard_bars,
        max_judgment_age_s=risk.max_judgment_age_s,
        max_judgment_drift_bps=risk.max_judgment_drift_bps,
        day_starts_ms=day_starts_s(settings) * 1000,
        quiet=quiet,
    )


def execute(
    series: Series,
    strategy: Strategy,
    parameters: Any,
    settings: Settings,
    costs: Costs,
    judged: Judgments,
    initial: float,
    progress: Progress | None = None,
    quiet: int = 0,
) -> Run | None:
    """One run over the whole series, without an entry in its first `quiet` bars; None where it was cancelled.

    Raises ConfigError where the strategy fails or cannot be compiled.
    """
    from engine.backtest import compile

    fast = compile.compiles(strategy)
    kelly = settings.strategy.sizing == "kelly"
    run: Callable[..., int] = compile.compiled(strategy, kelly) if fast else compile.plain(strategy, kelly)
    numbers = setup(series.contract, series.timeframe_ms, settings, costs, strategy, initial, quiet)
    n = len(series)
    columns = (series.open_ms, series.open, series.high, series.low, series.close, series.volume)
    due, rates = funding(series, costs)
    hot, memory = indicators.empty(), [0.0] * strategy.size(parameters)
    rows = 2 * n + 2  # untouched ones cost no memory
    whole, money = np.empty((rows, WHOLE), np.int64), np.empty((rows, len(FIELDS) - WHOLE))
    out = Out(np.empty(n), whole, money, np.zeros(len(loop.REFUSALS), np.int64))
    told = (progress or Progress()).bar
    try:
        if fast:
            made = run(
                Bars(*columns), Funding(due, rates), judged, numbers, parameters, np.array(hot), np.array(memory), out, told
            )
        else:  # the interpreter is fastest with its own lists
            opinions = Judgments(*(column.tolist() for column in judged))
            bars, paid = Bars(*(column.tolist() for column in columns)), Funding(due.tolist(), rates.tolist())
            made = run(bars, paid, opinions, numbers, parameters, hot, memory, out, told)
    except Exception as problem:  # somebody else's code: whatever it raises, the compiler included, is told
        said = " ".join(str(problem).split())[:SAID]
        text = f"it failed ({type(problem).__name__}: {said})"
        raise ConfigError("strategy", strategy.name, text, "functions that do as `engine.strategy.Strategy` says") from problem
    if made < 0:
        return None
    trades = np.empty(made, TRADE)
    for at, name in enumerate(FIELDS):
        trades[name] = out.whole[:made, at] if at < WHOLE else out.money[:made, at - WHOLE]
    refused = {loop.REFUSALS[at]: int(count) for at, count in enumerate(out.refused) if count}
    return Run(trades, out.equity, refused)


def funding(series: Series, costs: Costs) -> tuple[Any, Any]:
    """When it is due, ms, and its rates: the data's, else the one that is assumed, else none."""
    if len(series.funding_ms) or costs.funding_rate is None or not len(series):
        return series.funding_ms, series.funding_rate
    first = math.ceil(int(series.open_ms[0]) / FUNDING_EVERY_MS) * FUNDING_EVERY_MS
    due = np.arange(first, int(series.open_ms[-1]) + 1, FUNDING_EVERY_MS, dtype=np.int64)
    return due, np.full(len(due), costs.funding_rate)
