"""OKX's signed headers and login in; permission, or the venue's refusal, out.

What is signed is timestamp + method + path with query + body (REST) or epoch seconds + "GET/users/self/verify" (websocket),
by HMAC-SHA256 in base64. A request is good for 30 s of engine time, times the clock's speed.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from engine.venue.gate import Call
from engine.venue.okx.refusals import Wrong

WINDOW_MS = 30_000
VERIFY = "GET/users/self/verify"


class Login(msgspec.Struct):
    """The argument of `login` on the private socket."""

    apiKey: str = ""
    passphrase: str = ""
    timestamp: str = ""
    sign: str = ""


class OkxCredentials:
    """The account's key, secret and passphrase; none of them ever leaves this object as text."""

    def __init__(self, api_key: str, secret: str, passphrase: str, speed: float, now_ms: Callable[[], int]) -> None:
        self._key, self._secret, self._passphrase = api_key.encode(), secret.encode(), passphrase.encode()
        self._slack = max(1.0, speed)
        self._now_ms = now_ms

    def check(self, call: Call) -> None:
        """A request's headers: presence, key, passphrase, time, then signature."""
        found = {name: _header(call.headers, name) for name in ("KEY", "PASSPHRASE", "SIGN", "TIMESTAMP")}
        for name, code in (("KEY", "50103"), ("PASSPHRASE", "50104"), ("SIGN", "50106"), ("TIMESTAMP", "50107")):
            if not found[name]:
                raise Wrong(code, f'Request header "OK-ACCESS-{name}" can not be empty.', 401)
        if not _same(found["KEY"], self._key):
            raise Wrong("50111", "Invalid OK-ACCESS-KEY.", 401)
        if not _same(found["PASSPHRASE"], self._passphrase):
            raise Wrong("50105", 'Request header "OK-ACCESS-PASSPHRASE" incorrect.', 401)
        stamp = _iso_ms(found["TIMESTAMP"])
        if stamp is None:
            raise Wrong("50112", "Invalid OK-ACCESS-TIMESTAMP.", 401)
        if abs(self._now_ms() - stamp) > WINDOW_MS * self._slack:
            raise Wrong("50102", "Timestamp request expired.", 401)
        path = f"{call.path}?{call.query}" if call.query else call.path
        if not _same(found["SIGN"], self._signed(found["TIMESTAMP"] + call.method + path + call.body)):
            raise Wrong("50113", "Invalid Sign.", 401)

    def check_login(self, login: Login) -> None:
        if not _same(login.apiKey, self._key):
            raise Wrong("60005", "Invalid apiKey")
        if not _same(login.passphrase, self._passphrase):
            raise Wrong("60024", "Wrong passphrase")
        try:
            stamp_ms = float(login.timestamp) * 1000
        except ValueError:
            raise Wrong("60004", "Invalid timestamp") from None
        if not abs(self._now_ms() - stamp_ms) <= WINDOW_MS * self._slack:
            raise Wrong("60006", "Timestamp request expired")
        if not _same(login.sign, self._signed(login.timestamp + VERIFY)):
            raise Wrong("60007", "Invalid sign")

    def _signed(self, text: str) -> bytes:
        return base64.b64encode(hmac.new(self._secret, text.encode(), hashlib.sha256).digest())


def _header(headers: Mapping[str, str], name: str) -> str:
    return headers.get(f"OK-ACCESS-{name}", "")


def _same(given: str, expected: bytes) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected)


def _iso_ms(text: str) -> int | None:
    """Milliseconds of `2026-11-22T06:05:09.019Z`."""
    try:
        return round(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None
