"""The venue's bookkeeping against the published rules, and against fractions computed here without them."""

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Side
from engine.venue.accounts import Account, Resting

SYMBOL = "ASTERUSDT"
FREE = Decimal(0)
D = Decimal


def test_commission_is_notional_times_rate_rounded_half_even() -> None:
    account = Account(D(100))
    booking = account.fill(SYMBOL, Side.BUY, D("0.00001"), D("0.005"), D("0.1"))  # 5e-9: a tie, down to the even digit
    assert booking.commission == 0
    booking = account.fill(SYMBOL, Side.BUY, D("0.00003"), D("0.005"), D("0.1"))  # 1.5e-8: a tie, up to the even digit
    assert booking.commission == D("0.00000002")


def test_closing_the_whole_releases_the_whole_cost() -> None:
    account = Account(D(1000))
    for price in ("1.0001", "1.0002", "1.0004"):
        account.fill(SYMBOL, Side.BUY, D(price), D(1), FREE)
    booking = account.fill(SYMBOL, Side.SELL, D("1.1"), D(3), FREE)
    assert booking.realised == D("3.3") - D("3.0007")
    assert account.position(SYMBOL).cost == 0 and account.position(SYMBOL).entry == 0


def test_a_partial_close_releases_cost_rounded_half_even_to_eight_decimals() -> None:
    account = Account(D(1000))
    account.fill(SYMBOL, Side.BUY, D("1.0001"), D(1), FREE)
    account.fill(SYMBOL, Side.BUY, D("1.0002"), D(2), FREE)
    booking = account.fill(SYMBOL, Side.SELL, D(2), D(1), FREE)
    released = D("1.00016667")  # 3.0005 / 3
    assert booking.realised == D(2) - released
    assert account.position(SYMBOL).cost == D("3.0005") - released


def test_a_short_realises_when_the_price_falls() -> None:
    account = Account(D(1000))
    account.fill(SYMBOL, Side.SELL, D("2.0"), D(10), FREE)
    booking = account.fill(SYMBOL, Side.BUY, D("1.5"), D(4), FREE)
    assert booking.realised == D("2.0") and booking.position == -6
    assert account.position(SYMBOL).unrealised(D("1.5")) == D("3.0")


def test_a_fill_that_flips_realises_the_old_part_and_opens_the_rest_at_its_price() -> None:
    account = Account(D(1000))
    account.fill(SYMBOL, Side.BUY, D("1.0"), D(10), FREE)
    booking = account.fill(SYMBOL, Side.SELL, D("1.2"), D(25), D("0.0005"))
    held = account.position(SYMBOL)
    assert booking.realised == D("2.0") and booking.commission == D("0.015")
    assert held.quantity == -15 and held.cost == D("18.0") and held.entry == D("1.2")
    assert account.wallet == D(1000) + D("2.0") - D("0.015")


def test_funding_takes_from_longs_when_the_rate_is_positive() -> None:
    account = Account(D(1000))
    account.fill(SYMBOL, Side.BUY, D("1.0"), D(333), FREE)
    assert account.fund(SYMBOL, D("1.23456789"), D("0.0001")) == D("-0.04111111")
    assert account.wallet == D(1000) - D("0.04111111")
    account.fill(SYMBOL, Side.SELL, D("1.0"), D(666), FREE)
    assert account.fund(SYMBOL, D(1), D("0.0001")) == D("0.0333")


def test_initial_margin_is_the_larger_of_the_two_exposures() -> None:
    account = Account(D(1000))
    account.leverage[SYMBOL] = 10
    account.fill(SYMBOL, Side.BUY, D(1), D(100), FREE)
    marks, rates = {SYMBOL: D(1)}, {SYMBOL: D("0.01")}
    margin = account.margin(marks, rates, {SYMBOL: Resting(D(50), D(500))})
    assert margin.initial == 40 and margin.positions_initial == 10 and margin.maintenance == 1
    assert margin.available == 960


def test_the_liquidation_price_is_where_the_balance_meets_maintenance() -> None:
    account = Account(D(100))
    account.fill(SYMBOL, Side.BUY, D(1), D(1000), FREE)
    rates = {SYMBOL: D("0.01")}
    price = account.liquidation_price(SYMBOL, {SYMBOL: D(1)}, rates)
    margin = account.margin({SYMBOL: price}, rates, {})
    assert abs(margin.balance - margin.maintenance) < D("1e-20")
    assert account.margin({SYMBOL: price - D("0.0001")}, rates, {}).liquidates
    assert not account.margin({SYMBOL: price + D("0.0001")}, rates, {}).liquidates


# --- isolated margin ---------------------------------------------------------------------------------------------------

OTHER = "BTCUSDT"


def isolated(wallet: str = "1000", leverage: int = 10) -> Account:
    account = Account(D(wallet))
    account.leverage[SYMBOL] = leverage
    account.isolate(SYMBOL, True)
    return account


def test_an_isolated_position_sets_its_margin_aside_and_gives_it_back_in_proportion() -> None:
    account = isolated()
    account.fill(SYMBOL, Side.BUY, D("1.0"), D(100), FREE)
    account.fill(SYMBOL, Side.BUY, D("1.2"), D(100), FREE)
    assert account.set_aside() == 22
    account.fill(SYMBOL, Side.SELL, D("1.3"), D(50), FREE)
    assert account.set_aside() == D("16.5") and account.wallet == 1000 + D(10)
    account.fill(SYMBOL, Side.SELL, D("1.3"), D(200), FREE)  # closes all and turns it round
    assert account.set_aside() == D("6.5")
    account.fill(SYMBOL, Side.BUY, D("1.3"), D(50), FREE)
    assert account.set_aside() == 0


def test_what_is_isolated_neither_backs_other_positions_nor_is_backed_by_them() -> None:
    account = isolated()
    account.fill(SYMBOL, Side.BUY, D(1), D(1000), FREE)
    account.fill(OTHER, Side.BUY, D(1), D(2000), FREE)
    rates = {SYMBOL: D("0.01"), OTHER: D("0.01")}
    margin = account.margin({SYMBOL: D("1.5"), OTHER: D("0.8")}, rates, {})
    assert (margin.balance, margin.isolated, margin.isolated_gain, margin.cross) == (1100, 100, 500, 500)
    assert (margin.initial, margin.maintenance, margin.available) == (80, 16, 420)
    assert not margin.liquidates and account.margin({SYMBOL: D("1.5"), OTHER: D("0.5")}, rates, {}).liquidates
    for price, falls in (("0.9091", False), ("0.9090", True)):  # (1000 - 100) / (1000 x 0.99) = 0.90909...
        assert account.isolated_liquidates(SYMBOL, D(price), rates[SYMBOL]) is falls
    assert account.liquidation_price(SYMBOL, {SYMBOL: D(1), OTHER: D("0.5")}, rates) == pytest.approx(D("0.9090909"))
    assert not account.isolated_liquidates(OTHER, D("0.01"), rates[OTHER])


def test_an_isolated_position_costs_no_more_than_its_margin() -> None:
    account = isolated("500")
    account.fill(SYMBOL, Side.BUY, D(1), D(1000), FREE)
    before, margin = account.wallet, account.position(SYMBOL).margin
    account.fill(SYMBOL, Side.SELL, D("0.85"), D(1000), FREE)
    assert account.clear_own_debt(before, margin) == 50 and account.wallet == 400
    assert account.clear_own_debt(account.wallet, D(0)) == 0


# --- debt --------------------------------------------------------------------------------------------------------------


def test_debt_is_cleared_only_when_nothing_is_open() -> None:
    account = Account(D(1))
    account.fill(SYMBOL, Side.BUY, D(1), D(10), FREE)
    account.wallet = D(-5)
    assert account.clear_debt() == 0
    account.fill(SYMBOL, Side.SELL, D(1), D(10), FREE)
    assert account.clear_debt() == 5 and account.wallet == 0


rates = st.sampled_from(["0.0002", "0.0005"])
fills = st.lists(
    st.tuples(st.sampled_from(list(Side)), st.integers(1, 2_000_000), st.integers(1, 50_000), rates), min_size=1, max_size=40
)


@given(fills, st.integers(1, 2_000_000), st.sampled_from([("0.0001", "1"), ("0.01", "0.001")]))
def test_wallet_and_unrealised_add_up_to_cash_flow_and_holdings(
    rows: list[tuple[Side, int, int, str]], last: int, units: tuple[str, str]
) -> None:
    """Whatever the order of fills, equity is what was paid and received plus what is held: nothing appears or is lost."""
    tick, step = D(units[0]), D(units[1])
    account, start = Account(D(10_000)), Fraction(10_000)
    cash, held = start, Fraction(0)
    for side, ticks, steps, rate in rows:
        account.fill(SYMBOL, side, ticks * tick, steps * step, D(rate))
        notional = Fraction(ticks * tick) * Fraction(steps * step)
        fee = Fraction(D(str(round_half_even(notional * Fraction(rate), 8))))
        cash -= side * notional + fee
        held += side * Fraction(steps * step)
    mark = last * tick
    position = account.position(SYMBOL)
    assert Fraction(position.quantity) == held
    assert Fraction(account.wallet) + Fraction(position.unrealised(mark)) == cash + held * Fraction(mark)


@given(fills)
def test_cost_is_never_negative_and_zero_only_when_flat(rows: list[tuple[Side, int, int, str]]) -> None:
    account = Account(D(0))
    for side, ticks, steps, rate in rows:
        account.fill(SYMBOL, side, ticks * D("0.0001"), D(steps), D(rate))
        position = account.position(SYMBOL)
        assert (position.cost > 0) == (position.quantity != 0) and position.cost >= 0


def round_half_even(value: Fraction, places: int) -> Decimal:
    scaled = value * 10**places
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    double = 2 * rest
    whole += double > scaled.denominator or (double == scaled.denominator and whole % 2 == 1)
    return Decimal(whole).scaleb(-places).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)


@given(fills, st.integers(1, 2_000_000), st.integers(1, 50))
def test_an_isolated_margin_is_that_part_of_the_cost_and_the_money_is_the_same_as_without_it(
    rows: list[tuple[Side, int, int, str]], last: int, leverage: int
) -> None:
    apart, plain = isolated("1000000", leverage), Account(D(1_000_000))
    for n, (side, price, quantity, rate) in enumerate(rows, 1):
        for account in (apart, plain):
            account.fill(SYMBOL, side, price * D("0.0001"), D(quantity), D(rate))
        held = apart.position(SYMBOL)
        assert abs(held.margin - held.cost / leverage) <= n * D("2e-8") and (held.quantity or not held.margin)
        assert (held.quantity, held.cost, apart.wallet) == (
            plain.position(SYMBOL).quantity,
            plain.position(SYMBOL).cost,
            plain.wallet,
        )
    marks, rates = {SYMBOL: last * D("0.0001")}, {SYMBOL: D("0.01")}
    one, other = apart.margin(marks, rates, {}), plain.margin(marks, rates, {})
    assert one.balance == other.balance == other.cross == one.cross + one.isolated + one.isolated_gain
    assert one.cross == one.wallet - one.isolated and not one.liquidates
