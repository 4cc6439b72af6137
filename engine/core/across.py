"""A market and the same contract at other venues in; its place among them, for features, limits and views, out."""

import msgspec

from engine.config import Settings
from engine.core.state import MarketState, State
from engine.events import Features
from engine.processor.consolidated import Across, Quoted, across, divergence_bps

ALONE = Across()


def quoted(held: MarketState) -> Quoted:
    due = held.next_funding()
    return Quoted(held.instrument, held.book, due[0] if due is not None else None)


def elsewhere(state: State, held: MarketState) -> list[MarketState]:
    """The same contract at other venues."""
    symbol = held.symbol
    return [other for other in state.markets.values() if other is not held and other.symbol == symbol]


def beside(state: State, settings: Settings, held: MarketState) -> Across:
    """What can be told now; nothing but NaN where the contract is collected from one venue only, or one only is trusted."""
    others = [quoted(other) for other in elsewhere(state, held)]
    return across(quoted(held), others, settings.features.imbalance_levels) if others else ALONE


def divergence(state: State, held: MarketState) -> float:
    """How far the venues' middles are apart, basis points: that of `beside`, without the rest of it."""
    return divergence_bps(quoted(held), [quoted(other) for other in elsewhere(state, held)])


def completed(known: Features, seen: Across) -> Features:
    """The features of a bar with what is known across venues."""
    if seen == ALONE:
        return known
    return msgspec.structs.replace(
        known,
        basis_bps=seen.basis_bps,
        divergence_bps=seen.divergence_bps,
        funding_difference_bps=seen.funding_difference_bps,
        all_spread_bps=seen.spread_bps,
        all_imbalance=seen.imbalance,
    )
