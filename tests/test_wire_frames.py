"""Every real frame that we have of both venues is decoded, or refused with a reason that names what it is."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DecodeError
from engine.events import Instrument
from engine.signal.binance import decode as binance
from engine.signal.decoding import Control, Grid
from engine.signal.okx import decode as okx

AT = 1_790_000_000_000_000_000
FINE = Decimal("0.00000001")
Decoder = binance.Decoder | okx.Decoder

# What becomes of a file's frames when they come on a market-data socket, by the venue and the beginning of the file's name:
# kinds of events, `control`, or `refused` and a word of the reason, which names what it is.
OURS = "refused Object missing"  # REST bodies have no kind of their own
LIST = "refused got `array`"
SOCKET: dict[str, dict[str, str]] = {
    "binance": {
        "barter_forceOrder": "Liquidation",
        "ccxt2026_linear": "BookDelta, Kline, control, refused '24hrMiniTicker'",
        "cf_aggTrade_": "Trade",
        "cf_book_chain_": f"BookDelta, Quote, {OURS}",
        "cf_kline_": "Kline",
        "cf_rest_": OURS,
        "hft_btcusdt_first8s": f"BookDelta, Quote, refused 'trade', {OURS}",
        "hft_trade_": "refused 'trade'",
        "nautilus_http_order_response": OURS,
        "nautilus_http_": LIST,
        "nautilus_market_data_agg_trade": "Trade",
        "nautilus_market_data_book_ticker": "Quote",
        "nautilus_market_data_depth_update": "BookDelta",
        "nautilus_market_data_kline": "Kline",
        "nautilus_market_data_liquidation": "Liquidation",
        "nautilus_market_data_mark_price": "Mark",
        "nautilus_market_data_ticker": "refused '24hrTicker'",
        "nautilus_market_data_trade": "refused 'trade'",
        "nautilus_py_http_futures_account_orders": LIST,
        "nautilus_py_http_futures_account_positions": LIST,
        "nautilus_py_http_futures_account_symbol": LIST,
        "nautilus_py_http_futures_market_agg": LIST,
        "nautilus_py_http_futures_market_funding": LIST,
        "nautilus_py_http_": OURS,
        "nautilus_py_ws_futures_algo": "refused 'ALGO_UPDATE'",
        "nautilus_py_ws_futures_book_ticker": "Quote",
        "nautilus_py_ws_futures_depth_update": "BookDelta",
        "nautilus_py_ws_futures_order": "refused 'ORDER_TRADE_UPDATE'",
        "nautilus_user_data_account": "refused 'ACCOUNT_UPDATE'",
        "nautilus_user_data_algo": "refused 'ALGO_UPDATE'",
        "nautilus_user_data_order": "refused 'ORDER_TRADE_UPDATE'",
        "nautilus_user_data_trade_lite": "refused 'TRADE_LITE'",
        "tardis_messages": "Mark, refused 'trade', refused missing `a`",
    },
    "okx": {
        "ccxt2026_swap": "Kline, Trade, control, refused 'tickers'",
        "cf_books_": "refused `seqId`",  # of 2022, before ids; the checksums of these are an offline test of the book
        "cf_rest_": "refused neither an event",
        "cf_subscribe_acks": "control",
        "cf_tickers_": "refused 'tickers'",
        "cf_trades_": "Trade",
        "nautilus_http_": "refused neither an event",
        "nautilus_ws_account": "refused 'account'",
        "nautilus_ws_books_snapshot": "BookSnapshot",
        "nautilus_ws_books_update": "BookDelta",
        "nautilus_ws_candle": "refused 'candle1D'",
        "nautilus_ws_funding_rate": "Funding",
        "nautilus_ws_instruments": "refused 'instruments'",
        "nautilus_ws_orders_algo": "refused 'orders-algo'",
        "nautilus_ws_orders": "refused 'orders'",
        "nautilus_ws_trades": "Trade",
        "tardis_messages": "Funding, Mark, Trade, refused 'books-l2-tbt', refused 'open-interest'",
    },
}
# What our own questions are answered with.
GRID = Grid("m", 1e8, 1e8)
REST: dict[tuple[str, str], tuple[Callable[[bytes], Any], Callable[[Any], bool]]] = {
    ("binance", "cf_rest_exchangeInfo"): (lambda body: binance.instruments(body, AT, False), lambda found: len(found[0]) == 3),
    ("binance", "nautilus_py_http_futures_market_exchange_info"): (
        lambda body: binance.instruments(body, AT, False), lambda found: bool(found[0]) and not found[1]),
    ("binance", "nautilus_py_http_futures_market_depth"): (
        lambda body: binance.book_snapshot(body, GRID, AT), lambda found: found.last_id == 1027024),
    ("binance", "nautilus_py_http_futures_market_agg_trades"): (
        lambda body: binance.trade_history(body, GRID, AT), lambda found: len(found.trades) == 40),
    ("okx", "cf_rest_instruments"): (lambda body: okx.instruments(body, AT, False), lambda found: not found[1]),
    ("okx", "nautilus_http_get_instruments"): (
        lambda body: okx.instruments(body, AT, False),
        lambda found: {"okx:BTC/USDT:USDT", "okx:ETH/USDT:USDT"} <= {one.market for one in found[0]} and not found[1]),
    ("okx", "nautilus_http_get_candlesticks"): (
        lambda body: okx.bar_history(body, GRID, 60_000, AT), lambda found: len(found.bars) > 1),
}  # fmt: skip


def frames(path: Path) -> Iterator[Any]:
    """The bodies in a file, out of the recorder's and the venue's envelopes."""
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines() if path.suffix == ".jsonl" else [text]:
        body = line.strip().partition(" ")[2] if line[:1].isdigit() else line
        if body.strip():
            read = json.loads(body)
            if isinstance(read, dict):
                read = next((read[name] for name in ("msg", "snapshot") if isinstance(read.get(name), dict)), read)
            yield read["data"] if isinstance(read, dict) and "stream" in read else read


def outcome(decoder: Decoder, body: Any) -> list[str]:
    """What becomes of one frame."""
    raw = json.dumps(body).encode()
    try:
        heard = decoder.frame(raw, AT)
    except DecodeError as problem:
        return [f"refused: {problem.problem}"]
    if isinstance(heard, Control):
        return ["control"]
    events = heard if isinstance(heard, list) else [] if heard is None else [heard]
    return [type(event).__name__ for event in events] or ["ignored"]


def knowing(venue: str, bodies: list[Any]) -> Decoder:
    """A decoder to which every symbol in the frames is listed, on a grid that holds any price."""
    decoder: Decoder = okx.Decoder() if venue == "okx" else binance.Decoder()
    names: set[str] = set()
    for body in bodies:
        if isinstance(body, dict):
            held = body.get("arg", body.get("o", body)) if venue == "okx" else body.get("o", body)
            names |= {str(held.get(key)) for key in ("s", "instId") if isinstance(held, dict) and held.get(key)}
            names |= {str(body["s"])} if isinstance(body.get("s"), str) else set()
    for name in names:
        decoder.list(Instrument(AT, f"{venue}:{name}", name, name, "USDT", FINE, FINE, 1, 10**9, 10**9, Decimal(0)))
    return decoder


def outcomes(venue: str, bodies: list[Any]) -> Counter[str]:
    decoder = knowing(venue, bodies)
    found: Counter[str] = Counter()
    for body in bodies:
        found.update(outcome(decoder, body))
    return found


def expected(venue: str, name: str) -> str:
    """Of the longest beginning of the file's name in the table; a file that is not in it fails."""
    found = [begin for begin in SOCKET[venue] if name.startswith(begin)]
    assert found, f"what becomes of {venue}/{name}?"
    return SOCKET[venue][max(found, key=len)]


def is_as_told(found: Counter[str], told: str) -> bool:
    """Each outcome is told, and each told one is found."""
    kinds = [kind for kind in found if not kind.startswith("refused")]
    reasons = [kind for kind in found if kind.startswith("refused")]
    words = [kind.removeprefix("refused").split() for kind in told.split(", ") if kind.startswith("refused")]
    same = sorted(kinds) == sorted(kind for kind in told.split(", ") if not kind.startswith("refused"))
    return same and len(reasons) == len(words) and all(any(all(w in r for w in ws) for r in reasons) for ws in words)


@pytest.mark.parametrize("venue", SOCKET)
def test_every_recorded_frame_is_decoded_or_refused_by_name(shared_data: Path, venue: str) -> None:
    wrong = {}
    for path in sorted((shared_data / "wire" / venue).iterdir()):
        found = outcomes(venue, list(frames(path)))
        if not is_as_told(found, expected(venue, path.name)):
            wrong[path.name] = dict(found)
    assert not wrong


@pytest.mark.parametrize(("venue", "begin"), REST, ids=[begin for _, begin in REST])
def test_every_recorded_answer_to_our_questions_is_read(shared_data: Path, venue: str, begin: str) -> None:
    read, holds = REST[venue, begin]
    paths = [path for path in (shared_data / "wire" / venue).iterdir() if path.name.startswith(begin)]
    assert paths and all(holds(read(path.read_bytes())) for path in paths)


def test_an_answer_with_a_book_that_has_no_id_cannot_be_joined_and_is_refused(shared_data: Path) -> None:
    with pytest.raises(DecodeError, match="`seqId`"):
        okx.book_snapshot((shared_data / "wire/okx/nautilus_http_get_order_book.json").read_bytes(), GRID, AT)


# --- a small twin of these, on frames made here ---------------------------------------------------------------------------

MADE: dict[str, list[tuple[Any, str]]] = {
    "binance": [
        ({"e": "bookTicker", "u": 1, "s": "X", "b": "1.5", "B": "2", "a": "1.6", "A": "3", "T": 1, "E": 1, "st": 1}, "Quote"),
        ({"e": "trade", "E": 1, "T": 1, "s": "X", "t": 5, "p": "1", "q": "1", "X": "MARKET", "m": False}, "refused 'trade'"),
        ({"e": "ACCOUNT_UPDATE", "T": 1, "E": 1, "a": {"m": "ORDER"}}, "refused 'ACCOUNT_UPDATE'"),
        ({"result": None, "id": 1}, "control"),
        ([{"symbol": "X"}], LIST),
    ],
    "okx": [
        ({"arg": {"channel": "mark-price", "instId": "X"}, "data": [{"instId": "X", "markPx": "1", "ts": "1"}]}, "Mark"),
        ({"arg": {"channel": "tickers", "instId": "X"}, "data": [{}]}, "refused 'tickers'"),
        ({"arg": {"channel": "books", "instId": "X"}, "action": "update", "data": [{"asks": [], "bids": [], "ts": "1"}]},
         "refused `seqId`"),
        ({"event": "subscribe", "arg": {"channel": "books", "instId": "X"}}, "control"),
        ({"code": "0", "msg": "", "data": []}, "refused neither an event"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("venue", "place"), [(venue, place) for venue, rows in MADE.items() for place in range(len(rows))])
def test_a_made_frame_is_decoded_or_refused_by_name(venue: str, place: int) -> None:
    body, told = MADE[venue][place]
    assert is_as_told(outcomes(venue, [body]), told)
