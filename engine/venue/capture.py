"""Takes a recorded file of Binance USD-M frames; gives its lines one by one, and what is in it (`scan`).

A line is `<receive time, ns> <json>`: a combined-stream frame, or a REST depth snapshot, which has no `stream`.
"""

import gzip
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec

from engine.errors import CaptureError
from engine.venue.frames import (
    DECODE,
    AggFrame,
    DepthFrame,
    Envelope,
    Frame,
    KlineFrame,
    QuoteFrame,
    TradeFrame,
    decode_envelope,
    decode_levels,
)

NS_PER_MS = 1_000_000
BACKWARDS_NS = 1_000_000_000  # recorders reorder a little; more than this is a damaged file
LONGEST_LINE = 8 << 20
STRINGS_HELD = 50_000
TOLD_EVERY = 1_000  # frames
_NUMBER = re.compile(r"\d+(\.\d+)?")


class Line(msgspec.Struct):
    """A line that was read: `kind` is `snapshot`, one of KINDS with its `frame`, or "" for a stream we do not play."""

    number: int
    recv_ns: int
    kind: str
    frame: Frame | None
    envelope: Envelope


class SymbolInfo(msgspec.Struct, frozen=True):
    """What a recording holds of one symbol."""

    symbol: str
    tick: Decimal
    step: Decimal
    kinds: dict[str, int]
    low: Decimal
    high: Decimal
    first_id: int  # `pu` of the first depth event
    last_id: int
    gaps: int


class CaptureInfo(msgspec.Struct, frozen=True):
    """A recording at a glance. `skew_ms` is how far the recorder's clock ran behind the venue's (negative: ahead)."""

    path: str
    frames: int
    skipped: int
    first_ns: int
    last_ns: int
    skew_ms: int
    symbols: dict[str, SymbolInfo]
    snapshots: dict[int, str]  # line number of each usable snapshot: its symbol
    without_book: tuple[str, ...]


def lines(path: str) -> Iterator[Line]:
    """Every line, decoded; CaptureError names the line that cannot be and what was expected."""
    number, latest = 0, 0
    for number, text in enumerate(_raw(path), 1):
        stamp, _, payload = text.partition(b" ")
        if not payload.strip():
            raise CaptureError(path, "expected '<receive time in ns> <json>'", number)
        if not stamp.isdigit() or len(stamp) > 19:
            shown = stamp[:30].decode("utf-8", "replace")
            raise CaptureError(path, f"expected a receive time in whole nanoseconds, not {shown!r}", number)
        recv_ns = int(stamp)
        if recv_ns < latest - BACKWARDS_NS:
            by = (latest - recv_ns) / 1e9
            raise CaptureError(path, f"the receive time goes backwards by {by:.1f} s; expected rising times", number)
        latest = max(latest, recv_ns)
        yield _line(path, number, latest, payload)
    if not number:
        raise CaptureError(path, "the file is empty; expected lines of '<receive time in ns> <json>'")


def _line(path: str, number: int, recv_ns: int, payload: bytes) -> Line:
    kind = ""
    try:
        envelope = decode_envelope(payload)
        if not envelope.stream:
            if envelope.lastUpdateId < 0:
                expected = "expected a frame with 'stream' and 'data', or a depth snapshot with 'lastUpdateId'"
                raise CaptureError(path, expected, number)
            decode_levels(envelope.bids)
            decode_levels(envelope.asks)
            return Line(number, recv_ns, "snapshot", None, envelope)
        kind = envelope.stream.partition("@")[2].partition("@")[0]
        decode = DECODE.get(kind)
        if decode is None:
            return Line(number, recv_ns, "", None, envelope)
        return Line(number, recv_ns, kind, decode(envelope.data), envelope)
    except msgspec.ValidationError as error:
        if kind == "depth" and "`pu`" in str(error):
            problem = "not a futures frame: the depth update lacks `pu`; expected Binance USD-M frames"
            raise CaptureError(path, problem, number) from None
        where = f"a {kind} frame" if kind else "a frame"
        raise CaptureError(path, f"expected {where} of Binance USD-M: {error}", number) from None
    except msgspec.DecodeError as error:
        raise CaptureError(path, f"expected JSON: {error}", number) from None
    except UnicodeDecodeError:
        raise CaptureError(path, "expected JSON in UTF-8", number) from None
    except RecursionError:
        raise CaptureError(path, "expected a frame, and not one that is nested without end", number) from None


def _raw(path: str) -> Iterator[bytes]:
    number = 0
    try:
        with Path(path).open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        if not zipped and path.endswith(".gz") and Path(path).stat().st_size:
            raise CaptureError(path, "expected gzip, as the name says; the content is not")
        with gzip.open(path, "rb") if zipped else Path(path).open("rb") as file:
            while text := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(text) > LONGEST_LINE:
                    raise CaptureError(path, f"expected lines of at most {LONGEST_LINE >> 20} MiB", number)
                yield text
    except EOFError:
        raise CaptureError(path, "the gzip file is truncated; expected its end mark", number + 1) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise CaptureError(path, f"the gzip file is damaged: {error}", number + 1) from None
    except OSError as error:
        raise CaptureError(path, f"cannot be read: {error.strerror or error}") from None


class _Numbers:
    """The greatest common divisor and the decimals of number texts. Holds a bounded set of the texts seen last."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: dict[str, int] = {}  # text: a line that has it
        self._divisor = Decimal(0)
        self.decimals = 0
        self.low, self.high = Decimal("Infinity"), Decimal(0)

    def add(self, texts: "tuple[str, ...]", number: int) -> None:
        self._seen.update(dict.fromkeys(texts, number))
        if len(self._seen) > STRINGS_HELD:
            self.flush()

    def flush(self) -> None:
        wrong = next((text for text in self._seen if not _NUMBER.fullmatch(text)), None)
        if wrong is not None:
            raise CaptureError(self._path, f"expected a decimal number, not {wrong!r}", self._seen[wrong])
        decimals = max([self.decimals, *(len(text.partition(".")[2]) for text in self._seen)])
        scale = 10**decimals
        units = [int((text + "0" * (decimals - len(text.partition(".")[2]))).replace(".", "")) for text in self._seen
                 if "." in text or not decimals]  # fmt: skip
        units += [int(text) * scale for text in self._seen if "." not in text and decimals]
        self._divisor = Decimal(math.gcd(int(self._divisor * scale), *units)) / scale
        self.decimals = decimals
        positive = [unit for unit in units if unit]
        if positive:
            self.low = min(self.low, Decimal(min(positive)) / scale)
            self.high = max(self.high, Decimal(max(positive)) / scale)
        self._seen.clear()

    def increment(self) -> Decimal:
        self.flush()
        smallest = Decimal(1).scaleb(-self.decimals)
        return self._divisor.quantize(smallest) if self._divisor else smallest

    def merge(self, other: "_Numbers") -> None:
        for text, number in other._seen.items():
            self.add((text,), number)

    def shares(self, texts: list[str]) -> int:
        return sum(text in self._seen for text in texts)


class _Seen:
    """What the scan knows of a symbol."""

    def __init__(self, path: str) -> None:
        self.prices, self.sizes = _Numbers(path), _Numbers(path)
        self.traded = _Numbers(path)  # prices near the market, for the range
        self.kinds: Counter[str] = Counter()
        self.first_id = self.last_id = -1
        self.gaps = 0


class _Snapshot:
    def __init__(self, path: str, line: Line) -> None:
        self.number, self.last_id = line.number, line.envelope.lastUpdateId
        self.prices, self.sizes = _Numbers(path), _Numbers(path)
        bids, asks = decode_levels(line.envelope.bids), decode_levels(line.envelope.asks)
        for price, size in bids + asks:
            self.prices.add((price,), line.number)
            self.sizes.add((size,), line.number)
        self.top = [price for price, _ in bids[:50] + asks[:50]]
        for text in self.top:
            if not _NUMBER.fullmatch(text):
                raise CaptureError(path, f"expected a decimal number, not {text!r}", line.number)
        self.middle = float(Decimal(bids[0][0]) + Decimal(asks[0][0])) / 2 if bids and asks else 0.0


def scan(path: str, progress: Callable[[int], None] = lambda _: None) -> CaptureInfo:
    """One pass over the file, holding none of its frames; `progress` is told now and then how many were read."""
    seen: dict[str, _Seen] = {}
    snapshots: list[_Snapshot] = []
    frames = skipped = first_ns = last_ns = 0
    skew_ms = -(10**15)
    for line in lines(path):
        frames += 1
        if frames % TOLD_EVERY == 0:
            progress(frames)
        first_ns, last_ns = first_ns or line.recv_ns, line.recv_ns
        frame = line.frame
        if frame is None:
            if line.kind:
                snapshots.append(_Snapshot(path, line))
            else:
                skipped += 1
            continue
        skew_ms = max(skew_ms, frame.E - line.recv_ns // NS_PER_MS)
        symbol = seen.get(frame.s)
        if symbol is None:
            symbol = seen[frame.s] = _Seen(path)
        _note(symbol, line.kind, frame, line.number, path)
    owners = _owners(snapshots, seen)
    for snapshot in snapshots:
        if snapshot.number in owners:
            seen[owners[snapshot.number]].prices.merge(snapshot.prices)
            seen[owners[snapshot.number]].sizes.merge(snapshot.sizes)
    if not owners:
        raise CaptureError(path, "no REST depth snapshot that fits a recorded depth stream, so no book could be built; expected"
                                 " a line with 'lastUpdateId' inside the depth stream's ids")  # fmt: skip
    playable = sorted(set(owners.values()))
    infos: dict[str, SymbolInfo] = {}
    for name in playable:
        one = seen[name]
        one.traded.flush()
        infos[name] = SymbolInfo(name, one.prices.increment(), one.sizes.increment(), dict(one.kinds), one.traded.low,
                                 one.traded.high, one.first_id, one.last_id, one.gaps)  # fmt: skip
    lacking = tuple(sorted(set(seen) - set(playable)))
    return CaptureInfo(path, frames, skipped, first_ns, last_ns, skew_ms, infos, owners, lacking)


def _note(symbol: _Seen, kind: str, frame: Frame, number: int, path: str) -> None:
    symbol.kinds[kind] += 1
    if isinstance(frame, QuoteFrame):
        symbol.prices.add((frame.b, frame.a), number)
        symbol.traded.add((frame.b, frame.a), number)
        symbol.sizes.add((frame.B, frame.A), number)
    elif isinstance(frame, TradeFrame | AggFrame):
        symbol.prices.add((frame.p,), number)
        symbol.traded.add((frame.p,), number)
        symbol.sizes.add((frame.q,), number)
    elif isinstance(frame, DepthFrame):
        if symbol.last_id < 0:
            symbol.first_id = frame.pu
        elif frame.pu != symbol.last_id:
            symbol.gaps += 1
        symbol.last_id = frame.u
        for raw in (frame.b, frame.a):
            try:
                levels = decode_levels(raw)
            except (ValueError, RecursionError) as error:
                raise CaptureError(path, f"expected levels of [price, size] texts: {error}", number) from None
            if levels:
                prices, sizes = zip(*levels, strict=True)
                symbol.prices.add(prices, number)
                symbol.sizes.add(sizes, number)
    elif isinstance(frame, KlineFrame):
        candle = frame.k
        symbol.prices.add((candle.o, candle.h, candle.l, candle.c), number)
        symbol.traded.add((candle.h, candle.l), number)
        symbol.sizes.add((candle.v, candle.V), number)


def _owners(snapshots: list[_Snapshot], seen: dict[str, _Seen]) -> dict[int, str]:
    """Whose each snapshot is: its id lies inside the symbol's depth ids, and its prices look like the symbol's.

    Ids are shared between symbols, so several may hold the id; then the one whose prices the snapshot shares most wins.
    """
    owners: dict[int, str] = {}
    for snapshot in snapshots:
        best: tuple[int, float] | None = None
        for name, one in seen.items():
            if one.last_id < 0 or not one.first_id <= snapshot.last_id <= one.last_id:
                continue
            one.traded.flush()
            low, high = float(one.traded.low), float(one.traded.high)
            distance = 0.0
            if high:  # without quotes, trades or klines only the shared levels can tell
                distance = max(0.0, low / snapshot.middle - 1, snapshot.middle / high - 1) if snapshot.middle else 0.0
                if distance > 0.1:
                    continue
            rank = (one.prices.shares(snapshot.top), -distance)
            if best is None or rank > best:
                best, owners[snapshot.number] = rank, name
    return owners
