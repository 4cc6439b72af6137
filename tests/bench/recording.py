"""The recording that the benches play, or its synthetic twin where it is absent; in, out: frames as a collector reads them."""

import gzip
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

RECORDED = Path(__file__).resolve().parents[3] / "shared/data/market/hftbacktest/usdm_btcusdt_20240808.gz"
SYMBOL, MARKET = "BTCUSDT", "BTC/USDT:USDT"
TIMES = re.compile(rb'"([ET])":(\d{13})(?!\d)')  # ms, in frames and snapshots
TWIN_FRAMES, TWIN_START_MS = 90_000, 1_790_000_000_000
TWIN_STEP_MS, TWIN_LEVELS, TWIN_CHANGES = 52, 1_000, 40
QUOTES_A_STEP, TRADES_A_STEP = 10, 3


class Frame(NamedTuple):
    """One message as it came: `kind` is quote, delta, trade or snapshot."""

    at: int  # ns
    kind: str
    raw: bytes


class Recording(NamedTuple):
    path: Path
    words: str  # what it is, for the first line of an output
    real: bool


def find(folder: Path) -> Recording:
    """The real recording, or its twin, which is written into `folder`."""
    if RECORDED.is_file():
        return Recording(RECORDED, f"the real recording {RECORDED.name}", True)
    path = folder / "twin.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.writelines(_twin())
    return Recording(path, "a SYNTHETIC twin of the recording, which is absent on this machine", False)


def frames(recording: Recording) -> list[Frame]:
    """The whole of it in memory, without the streams' envelopes. Trades are turned into aggTrade frames, as the venue does."""
    found = []
    with gzip.open(recording.path) as file:
        for line in file:
            stamp, _, body = line.rstrip(b"\n").partition(b" ")
            if not body.startswith(b'{"stream"'):
                found.append(Frame(int(stamp), "snapshot", body))
                continue
            raw = body[body.index(b'"data":') + 7 : -1]
            if b'"bookTicker"' in raw[:20]:
                found.append(Frame(int(stamp), "quote", raw))
            elif b'"depthUpdate"' in raw[:20]:
                found.append(Frame(int(stamp), "delta", raw))
            elif b'"trade"' in raw[:20]:
                trade = msgspec.json.decode(raw, type=dict[str, object])
                number = trade.pop("t")
                trade |= {"e": "aggTrade", "a": number, "f": number, "l": number, "st": 1}
                trade.pop("X")
                found.append(Frame(int(stamp), "trade", msgspec.json.encode(trade)))
    return found


def squeezed(recording: Recording, times: float, folder: Path) -> Recording:
    """The same frames in less time, the venue's times in them too: a faster market for a clock that is not."""
    path = folder / "squeezed.gz"
    with gzip.open(recording.path) as whole, gzip.open(path, "wb", compresslevel=1) as file:
        first = 0
        for line in whole:
            stamp, _, body = line.partition(b" ")
            first = first or int(stamp)
            first_ms = first // 1_000_000

            def sooner(found: "re.Match[bytes]", first_ms: int = first_ms) -> bytes:
                return b'"%b":%d' % (found[1], first_ms + int((int(found[2]) - first_ms) / times))

            file.write(b"%d %b" % (first + int((int(stamp) - first) / times), TIMES.sub(sooner, body)))
    return recording._replace(path=path)


# --- the twin ---------------------------------------------------------------------------------------------------------


def _twin() -> Iterator[bytes]:
    """The recording's mix: ten quotes and three trades for each depth update of some forty levels, 19 updates a second."""
    chance = random.Random(7)
    mid, now_ms, update, trade = 618_000, TWIN_START_MS, 5_000_000_000, 1_000_000
    bids = {mid - n: chance.randint(1, 3000) for n in range(1, TWIN_LEVELS + 1)}
    asks = {mid + n: chance.randint(1, 3000) for n in range(1, TWIN_LEVELS + 1)}
    snapshot: dict[str, object] = {"lastUpdateId": update, "E": now_ms, "T": now_ms}
    snapshot |= {"bids": _levels(dict(sorted(bids.items(), reverse=True))), "asks": _levels(dict(sorted(asks.items())))}
    yield _line(now_ms, b"", snapshot)
    written = 1
    while written < TWIN_FRAMES:
        now_ms += TWIN_STEP_MS
        previous, changed = update, ({}, {})
        for _ in range(TWIN_CHANGES):
            side = chance.randrange(2)
            book, price = (bids, max(bids) - chance.randrange(300)) if side == 0 else (asks, min(asks) + chance.randrange(300))
            book[price] = changed[side][price] = chance.randint(1, 3000)
        for n in range(QUOTES_A_STEP):
            update += chance.randint(100, 900)
            if n == 0:
                _drift(chance, bids, asks, changed)
            side = chance.randrange(2)
            book, price = (bids, max(bids)) if side == 0 else (asks, min(asks))
            book[price] = changed[side][price] = chance.randint(1, 3000)
            yield _line(now_ms - QUOTES_A_STEP + n, b"bookTicker", _quote(now_ms - QUOTES_A_STEP + n, update, bids, asks))
        for _ in range(TRADES_A_STEP):
            trade, sells = trade + 1, chance.random() < 0.5
            price = max(bids) if sells else min(asks)
            body = {"e": "trade", "E": now_ms, "T": now_ms, "s": SYMBOL, "t": trade, "p": _price(price)}
            yield _line(now_ms, b"trade", body | {"q": _size(chance.randint(1, 400)), "X": "MARKET", "m": sells})
        delta: dict[str, object] = {"e": "depthUpdate", "E": now_ms, "T": now_ms, "s": SYMBOL, "U": previous + 1, "u": update}
        yield _line(now_ms, b"depth@0ms", delta | {"pu": previous, "b": _levels(changed[0]), "a": _levels(changed[1])})
        written += QUOTES_A_STEP + TRADES_A_STEP + 1


def _drift(
    chance: random.Random, bids: dict[int, int], asks: dict[int, int], changed: tuple[dict[int, int], dict[int, int]]
) -> None:
    """Sometimes the price moves by a tick: a side loses its best level and the other one gains it."""
    step = chance.choices((-1, 0, 1), (1, 4, 1))[0]
    if step:
        losing, gaining, price = (asks, bids, min(asks)) if step > 0 else (bids, asks, max(bids))
        lost, gained = (1, 0) if step > 0 else (0, 1)
        del losing[price]
        changed[lost][price] = 0
        gaining[price] = changed[gained][price] = chance.randint(1, 3000)


def _quote(now_ms: int, update: int, bids: dict[int, int], asks: dict[int, int]) -> dict[str, object]:
    bid, ask = max(bids), min(asks)
    best = {"b": _price(bid), "B": _size(bids[bid]), "a": _price(ask), "A": _size(asks[ask])}
    return {"e": "bookTicker", "u": update, "s": SYMBOL, **best, "T": now_ms, "E": now_ms}


def _line(now_ms: int, stream: bytes, body: dict[str, object]) -> bytes:
    raw = msgspec.json.encode(body)
    if stream:
        raw = b'{"stream":"' + SYMBOL.lower().encode() + b"@" + stream + b'","data":' + raw + b"}"
    return b"%d %s\n" % (now_ms * 1_000_000 + 1_500_000, raw)


def _levels(sizes: dict[int, int]) -> list[list[str]]:
    return [[_price(price), _size(size)] for price, size in sizes.items()]


def _price(ticks: int) -> str:
    return f"{ticks // 10}.{ticks % 10}0"


def _size(steps: int) -> str:
    return f"{steps // 1000}.{steps % 1000:03d}"
