"""Takes the JSON of Binance USD-M market-data frames as they were recorded; gives typed structs that encode back the same.

Levels stay raw: a frame is re-stamped without touching them. Unknown fields are dropped.
"""

import msgspec
from msgspec import UNSET, Raw, UnsetType

_EMPTY = Raw(b"[]")


class Envelope(msgspec.Struct, omit_defaults=True):
    """A frame of a combined stream, or a REST book."""

    stream: str = ""
    data: Raw = Raw(b"")
    lastUpdateId: int = -1
    bids: Raw = _EMPTY
    asks: Raw = _EMPTY
    E: int = 0


class DepthFrame(msgspec.Struct):
    """Field order is the venue's, since encoding a struct again must look like the venue's frame."""

    e: str
    E: int
    T: int
    s: str
    U: int
    u: int
    pu: int
    b: Raw
    a: Raw
    ps: str | UnsetType = UNSET
    st: int | UnsetType = UNSET


class QuoteFrame(msgspec.Struct):
    """`bookTicker`."""

    e: str
    u: int
    s: str
    b: str
    B: str
    a: str
    A: str
    T: int
    E: int
    ps: str | UnsetType = UNSET
    st: int | UnsetType = UNSET


class TradeFrame(msgspec.Struct):
    """`trade`."""

    e: str
    E: int
    T: int
    s: str
    t: int
    p: str
    q: str
    m: bool
    X: str = "MARKET"
    st: int | UnsetType = UNSET


class AggFrame(msgspec.Struct):
    """`aggTrade`."""

    e: str
    E: int
    a: int
    s: str
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - the venue's name
    T: int
    m: bool
    nq: str | UnsetType = UNSET
    st: int | UnsetType = UNSET


class Candle(msgspec.Struct):
    """The bar of a `KlineFrame`."""

    t: int
    T: int
    s: str
    i: str
    f: int
    L: int
    o: str
    c: str
    h: str
    l: str  # noqa: E741 - the venue's name
    v: str
    n: int
    x: bool
    q: str
    V: str
    Q: str
    B: str = "0"


class KlineFrame(msgspec.Struct):
    """`kline`."""

    e: str
    E: int
    s: str
    k: Candle
    st: int | UnsetType = UNSET


class MarkFrame(msgspec.Struct):
    """`markPriceUpdate`."""

    e: str
    E: int
    s: str
    p: str
    r: str
    T: int
    i: str | UnsetType = UNSET
    P: str | UnsetType = UNSET
    ap: str | UnsetType = UNSET
    st: int | UnsetType = UNSET


Frame = DepthFrame | QuoteFrame | TradeFrame | AggFrame | KlineFrame | MarkFrame

KINDS: dict[str, type[Frame]] = {
    "depth": DepthFrame,
    "bookTicker": QuoteFrame,
    "trade": TradeFrame,
    "aggTrade": AggFrame,
    "kline_1m": KlineFrame,
    "markPrice": MarkFrame,
}
DECODE = {kind: msgspec.json.Decoder(form).decode for kind, form in KINDS.items()}
decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_levels = msgspec.json.Decoder(list[tuple[str, str]]).decode
