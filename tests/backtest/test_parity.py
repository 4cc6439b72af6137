"""The same bars through the live core and through the compiled loop: the same trades, and the same equity to 1e-9."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.backtest import compile, judges
from engine.backtest.files import read
from engine.backtest.generated import listing, synthetic
from engine.backtest.live import LiveBars
from engine.backtest.run import Costs, Run, execute
from engine.backtest.series import END, REASONS, Series
from engine.backtest.spans import cut
from engine.config import Settings, create_aster_config
from engine.strategy import chosen

START = 1_790_000_040_000 // 60_000 * 60_000
LOOSE: Mapping[str, object] = {"max_drawdown": 1.0, "max_daily_loss": 1.0}


def settings(strategy: Mapping[str, object], risk: Mapping[str, object] = LOOSE, **judgment: object) -> Settings:
    quiet = {"cross_check_s": 0.0}
    judge = {"judge": "rules", "min_confidence": 0.5, "max_risk_score": 1.0, **judgment}
    return create_aster_config(strategy={"timeframe": "1m", **strategy}, risk=risk, judgment=judge, book=quiet)


def looped(series: Series, chosen_settings: Settings, costs: Costs) -> Run:
    strategy, parameters = chosen(chosen_settings.strategy)
    judged = judges.by_rules(series, chosen_settings, costs.spread_bps)
    run = execute(series, strategy, parameters, chosen_settings, costs, judged, 10_000.0)
    assert run is not None
    return run


FREE = Costs(taker=0.0, spread_bps=0.5, slippage_bps=0.0, impact=0.0)
DEAR = Costs(taker=0.0005, spread_bps=2.0, slippage_bps=1.0, impact=0.3, funding_rate=0.0003)
FADE = {"name": "reversion", "cooldown_bars": 0, "min_stop_bps": 8.0}
FILTERED = {"parameters": ["trend=2"], "stop_atr": 1.5, "target_atr": 1.0, "min_stop_bps": 5.0}
CASES = {
    "stance": ({}, LOOSE, DEAR),
    "stance with both filters": (FILTERED, LOOSE, FREE),
    "reversion": ({**FADE, "parameters": ["oversold=40", "overbought=60"]}, LOOSE, DEAR),
    "reversion that ignores judgments": ({"name": "reversion", "parameters": ["judgment=0", "stretch=0.8"]}, LOOSE, FREE),
    "breakout": ({"name": "breakout", "parameters": ["bars=20", "exit_bars=10"], "min_stop_bps": 5.0}, LOOSE, DEAR),
    "breakout with judgments": ({"name": "breakout", "parameters": ["bars=15", "exit_bars=15", "judgment=2"]}, LOOSE, DEAR),
    "fixed size": ({"sizing": "fixed", "fixed_notional": 777.0}, LOOSE, DEAR),
    "risk parity": ({"sizing": "risk_parity", "risk_per_trade": 0.002, "min_stop_bps": 10.0}, LOOSE, DEAR),
    "limits that bite": (
        {"sizing": "percentage_of_capital", "capital_fraction": 1.0, "min_stop_bps": 3.0, "stop_atr": 1.0, "cooldown_bars": 0},
        {"max_drawdown": 0.9, "max_daily_loss": 0.004, "on_daily_loss": "reduce", "loss_cooldown_s": 300.0, "stop_guard": 2},
        DEAR,
    ),
    "a daily loss that flattens": (
        {"name": "breakout", "capital_fraction": 0.2, "min_stop_bps": 200.0, "stop_atr": 20.0, "target_atr": 20.0},
        {"max_drawdown": 0.05, "on_drawdown": "reduce", "max_daily_loss": 0.002, "on_daily_loss": "flatten"},
        DEAR,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_live_core_and_the_compiled_loop_agree(case: str, seed: int) -> None:
    strategy, risk, costs = CASES[case]
    chosen_settings = settings(strategy, risk, every_bars=4, lifetime_bars=9)
    series = synthetic(listing("ASTER/USDT:USDT"), 60_000, START, 6_000, seed)
    core, loop = LiveBars(series, chosen_settings, costs).run(), looped(series, chosen_settings, costs)
    known = loop.trades[loop.trades["reason"] != END]
    names = ("side", "quantity", "entry_bar", "exit_bar", "entry", "exit")
    rows = [(*(int(trade[name]) for name in names), REASONS[trade["reason"]]) for trade in known]
    assert len(rows) >= 6
    assert [row[:6] for row in core.trades] == [row[:6] for row in rows]
    assert [row[6] in ("stop", "target") for row in core.trades] == [row[6] in ("stop", "target") for row in rows]
    difference = np.abs(loop.equity[:-1] / np.array(core.equity)[:-1] - 1.0)  # at the last close the loop has closed what is open
    assert difference.max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stance", "reversion", "breakout"])
def test_the_interpreter_and_the_compiler_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a strategy that is no kernel runs through: the same loop as it is."""
    chosen_settings = settings({"name": name, "min_stop_bps": 8.0, "sizing": "kelly", "kelly_outcomes": 5}, every_bars=4)
    series = synthetic(listing("ASTER/USDT:USDT"), 60_000, START, 6_000, 3)
    fast = looped(series, chosen_settings, DEAR)
    monkeypatch.setattr(compile, "compiles", lambda strategy: False)
    slow = looped(series, chosen_settings, DEAR)
    assert fast.fingerprint() == slow.fingerprint() and fast.refused == slow.refused
    assert np.allclose(fast.equity, slow.equity, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(("name", "bars"), [("futures_XRP_USDT_USDT-5m-futures.feather", 1_500), ("ETH_BTC-5m.feather", 3_000)])
@pytest.mark.parametrize("strategy", ["stance", "reversion", "breakout"])
def test_they_agree_on_real_bars(shared_data: Path, name: str, bars: int, strategy: str) -> None:
    """Their shapes, gaps and volumes, as ticks of a contract that the core knows; a bar is taken for a minute."""
    real = cut(read(shared_data / "market" / "freqtrade" / name), 0, bars)
    minutes = START + 60_000 * np.arange(bars, dtype=np.int64)
    none = {"funding_ms": minutes[:0], "funding_rate": np.empty(0)}
    series = replace(real, contract=listing("ASTER/USDT:USDT"), timeframe_ms=60_000, open_ms=minutes, **none)
    chosen_settings = settings({"name": strategy, "min_stop_bps": 5.0, "stop_atr": 2.0, "target_atr": 2.0})
    core, loop = LiveBars(series, chosen_settings, FREE).run(), looped(series, chosen_settings, FREE)
    rows = loop.trades[loop.trades["reason"] != END]
    names = ("side", "quantity", "entry_bar", "exit_bar", "entry", "exit")
    assert [row[:6] for row in core.trades] == [tuple(int(trade[name]) for name in names) for trade in rows]
    assert np.abs(loop.equity[:-1] / np.array(core.equity)[:-1] - 1.0).max() < 1e-9
