"""A request's headers and raw parameters go in; permission comes out, or the venue's refusal with its limits' headers.

Minutes and seconds are engine time. A signed request may be as late as its `recvWindow` times the clock's speed, because
the network between client and venue does not get faster with the clock.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

import msgspec

from engine.venue.orders import Refusal, missing

WEIGHT_A_MINUTE = 2400
ORDERS_A_MINUTE = 1200
ORDERS_IN_TEN_SECONDS = 300
BAN_AFTER = 10  # refused requests within one minute
BAN_MS = 120_000
DEFAULT_WINDOW_MS = 5_000
LONGEST_WINDOW_MS = 60_000
AHEAD_MS = 1_000

Params = dict[str, str]


def whole(params: Params, name: str, default: int | None = None) -> int | None:
    """An integer parameter, `default` where it is absent."""
    text = params.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.") from None


def flag(params: Params, name: str) -> bool:
    text = params.get(name, "").lower()
    if text not in ("", "true", "false"):
        raise Refusal(-1130, f"Data sent for parameter '{name}' is not valid.")
    return text == "true"


class Call(msgspec.Struct):
    """A REST request as it came: the signature covers the raw text."""

    method: str
    path: str
    query: str = ""
    body: str = ""
    key: str = ""
    headers: Mapping[str, str] = {}

    def params(self) -> Params:
        return dict(parse_qsl(self.query, keep_blank_values=True) + parse_qsl(self.body, keep_blank_values=True))

    def unsigned(self) -> str:
        """What was signed: query and body as sent, without the signature."""
        return "".join("&".join(p for p in part.split("&") if not p.startswith("signature=")) for part in (self.query, self.body))


class Window:
    """Counts within fixed spans of engine time."""

    def __init__(self, span_ms: int, limit: int) -> None:
        self.span_ms, self.limit = span_ms, limit
        self.used, self.started = 0, 0

    def add(self, amount: int, now_ms: int) -> bool:
        """Count; False when that exceeds the limit."""
        self.turn(now_ms)
        self.used += amount
        return self.used <= self.limit

    def turn(self, now_ms: int) -> None:
        start = now_ms // self.span_ms * self.span_ms
        if start != self.started:
            self.started, self.used = start, 0

    def left_ms(self, now_ms: int) -> int:
        return self.started + self.span_ms - now_ms


class Limits:
    """The address's weight and the account's order counts."""

    def __init__(self) -> None:
        self.weight = Window(60_000, WEIGHT_A_MINUTE)
        self.minute = Window(60_000, ORDERS_A_MINUTE)
        self.ten_seconds = Window(10_000, ORDERS_IN_TEN_SECONDS)
        self.refused = Window(60_000, BAN_AFTER)
        self.banned_until_ms = 0

    def spend(self, weight: int, orders: int, now_ms: int) -> None:
        """Raises `Limited` when there is nothing left to spend; repeated attempts then lead to a ban."""
        if now_ms < self.banned_until_ms:
            raise self._ban(now_ms)
        if not self.weight.add(weight, now_ms):
            if not self.refused.add(1, now_ms):
                self.banned_until_ms = now_ms + BAN_MS
                raise self._ban(now_ms)
            limit = f"Too many requests; current limit is {WEIGHT_A_MINUTE} request weight per 1 MINUTE."
            raise Limited(-1003, limit, 429, self.weight.left_ms(now_ms))
        for window, per in ((self.ten_seconds, "10 SECOND"), (self.minute, "1 MINUTE")):
            if orders and not window.add(orders, now_ms):
                limit = f"Too many new orders; current limit is {window.limit} orders per {per}."
                raise Limited(-1015, limit, 429, window.left_ms(now_ms))

    def headers(self, orders: bool, now_ms: int) -> dict[str, str]:
        for window in (self.weight, self.minute, self.ten_seconds):
            window.turn(now_ms)
        counts = {"X-MBX-USED-WEIGHT-1M": str(self.weight.used)}
        if orders:
            counts["X-MBX-ORDER-COUNT-10S"] = str(self.ten_seconds.used)
            counts["X-MBX-ORDER-COUNT-1M"] = str(self.minute.used)
        return counts

    def _ban(self, now_ms: int) -> "Limited":
        until = self.banned_until_ms
        return Limited(-1003, f"Way too many requests; IP(127.0.0.1) banned until {until}.", 418, until - now_ms)


class Limited(Refusal):
    """Too much was asked. `retry_after_s` is engine seconds, at least 1."""

    def __init__(self, code: int, problem: str, status: int, wait_ms: int) -> None:
        self.retry_after_s = max(1, -(-wait_ms // 1000))
        super().__init__(code, problem, status)


class Credentials:
    """The account's key and secret; neither ever leaves this object as text."""

    def __init__(self, api_key: str, secret: str, speed: float, now_ms: Callable[[], int]) -> None:
        self._key, self._secret = api_key, secret.encode()
        self._slack = max(1.0, speed)
        self._now_ms = now_ms

    def check_key(self, key: str) -> None:
        if not key:
            raise Refusal(-2014, "API-key format invalid.", 401)
        if not hmac.compare_digest(key.encode(errors="replace"), self._key.encode()):
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action, request ip: 127.0.0.1", 401)

    def check_signature(self, call: Call, params: Params) -> None:
        """Key, presence, time, then signature: the order in which the venue complains."""
        self.check_key(call.key)
        if not params.get("timestamp"):
            raise missing("timestamp")
        if not params.get("signature"):
            raise missing("signature")
        try:
            stamp, window = int(params["timestamp"]), int(params.get("recvWindow") or DEFAULT_WINDOW_MS)
        except ValueError:
            raise Refusal(-1100, "Illegal characters found in parameter 'timestamp'.") from None
        if not 0 < window <= LONGEST_WINDOW_MS:
            raise Refusal(-1131, "recvWindow must be less than 60000.")
        expected = hmac.new(self._secret, call.unsigned().encode(), hashlib.sha256).hexdigest().encode()
        if not hmac.compare_digest(expected, params["signature"].lower().encode()):
            raise Refusal(-1022, "Signature for this request is not valid.")
        now_ms = self._now_ms()
        if stamp >= now_ms + AHEAD_MS * self._slack:
            raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now_ms - stamp > window * self._slack:
            raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
