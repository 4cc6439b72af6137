"""The comparison's arithmetic with nobody's rules is the bare loop; each peer's rules make trades of their own."""

import numpy as np

from tests.bench.bare_loop import bare
from tests.bench.peer_fills import PEERS, Rules, arithmetic
from tests.bench.peers import common

RULES = (common.CAPITAL, common.FEE, common.SHARE, common.STOP, common.TARGET)


def prices(n: int = 6_000) -> list[np.ndarray]:
    dice = np.random.default_rng(5)
    close = np.exp(np.cumsum(dice.normal(0.0, 0.001, n)))
    opened = np.append(1.0, close[:-1]) * np.exp(dice.normal(0.0, 0.0003, n))
    high = np.maximum(opened, close) * np.exp(np.abs(dice.normal(0.0, 0.0005, n)))
    low = np.minimum(opened, close) * np.exp(-np.abs(dice.normal(0.0, 0.0005, n)))
    return [opened, high, low, close]


def signals(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, high, low, close = columns
    return common.signals(close, high, low)


def test_without_rules_it_is_the_bare_loop() -> None:
    columns = prices()
    equity, none = np.empty(len(columns[0])), np.empty(0, np.int64)
    trades = bare(*columns, np.zeros(len(equity), np.int64), none, np.empty(0), equity, *RULES)
    found = arithmetic(*columns, *signals(columns), *RULES, Rules())
    assert found == (trades, equity[-1]) and trades > 100


def test_each_peer_comes_to_an_equity_of_its_own() -> None:
    columns = prices()
    known = signals(columns)
    assert len({arithmetic(*columns, *known, *RULES, rules)[1] for rules in (Rules(), *PEERS.values())}) == len(PEERS) + 1
