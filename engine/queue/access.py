"""Settings in; how a Fluvio cluster is reached, in the client's words and in our own, and whether one answers there, out.

A profile of Fluvio's own configuration is read here and not by the client, so that what is looked at before the client
connects is what it connects to. The client can do TLS in two ways: verified, with a certificate of its own, or anonymous,
which encrypts and checks nobody.
"""

import asyncio
import os
import ssl
import struct
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from engine.config import QueueSettings
from engine.errors import QueueError

PREFLIGHT_S = 1.5
API_VERSIONS = 18
PLATFORM = "0.17.3"  # that the client speaks; a cluster ends the connection of one whose version it cannot read


class Tls(msgspec.Struct, frozen=True):
    """Paths of PEM files, or the texts themselves where `inline`; all empty: anonymous. `domain` is in the certificate."""

    domain: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""
    inline: bool = False


class Access(msgspec.Struct, frozen=True):
    """Where a cluster's controller is and whether it is spoken to in TLS; told to child processes as JSON on their input."""

    endpoint: str
    tls: Tls | None = None


def access(settings: QueueSettings) -> Access:
    """Of the profile that is named, else of endpoint and TLS files. Raises QueueError."""
    if settings.profile:
        return _profile(settings.profile)
    endpoint = settings.endpoint
    if not settings.tls_ca:
        return Access(endpoint)
    domain = settings.tls_domain or endpoint.rpartition(":")[0]
    ca, cert, key = (str(Path(path).expanduser()) for path in (settings.tls_ca, settings.tls_cert, settings.tls_key))
    return Access(endpoint, Tls(domain, ca, cert, key))


def client_config(found: Access) -> Any:
    """What the client wants. Only for a process that may import it."""
    from fluvio import FluvioConfig

    config, tls = FluvioConfig.new(found.endpoint), found.tls
    if tls is None:
        config.disable_tls()
    elif not tls.ca:
        config.set_anonymous_tls()
    elif tls.inline:
        config.set_inline_tls(tls.domain, tls.key, tls.cert, tls.ca)
    else:
        config.set_tls_file_paths(tls.domain, tls.key, tls.cert, tls.ca)
    return config


async def preflight(found: Access) -> str:
    """Whether a Fluvio cluster answers there, in TLS where that is on: its version. Raises QueueError within PREFLIGHT_S."""
    host, _, port = found.endpoint.rpartition(":")
    name = found.tls.domain or host if found.tls else None
    hint = "" if found.tls else ": does it want TLS?"
    try:
        context = _context(found.tls) if found.tls else None
        async with asyncio.timeout(PREFLIGHT_S):
            reader, writer = await asyncio.open_connection(host or "127.0.0.1", int(port), ssl=context, server_hostname=name)
            try:
                who = b"".join(map(_text, ("barter", PLATFORM, "any", "any")))
                writer.write(_framed(struct.pack(">Hhi", API_VERSIONS, 2, 1) + who))
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                if not 14 <= size <= 65_536:
                    raise QueueError(found.endpoint, f"something else than Fluvio answers there{hint}")
                answer = await reader.readexactly(size)
            finally:
                writer.close()
        (keys,) = struct.unpack_from(">I", answer, 6)
        (length,) = struct.unpack_from(">h", answer, 10 + 6 * keys)
        return answer[12 + 6 * keys : 12 + 6 * keys + length].decode()
    except TimeoutError:
        raise QueueError(found.endpoint, "nothing answered there in time") from None
    except asyncio.IncompleteReadError:
        raise QueueError(found.endpoint, f"the cluster ended the connection{hint}") from None
    except ssl.SSLCertVerificationError as problem:
        raise QueueError(found.endpoint, f"its certificate is not accepted ({problem.verify_message})") from None
    except ssl.SSLError as problem:
        raise QueueError(found.endpoint, f"no TLS connection can be made there ({problem.reason or problem})") from None
    except OSError as problem:
        raise QueueError(found.endpoint, f"no cluster can be reached there ({problem.strerror or problem})") from None
    except (ValueError, struct.error):
        raise QueueError(found.endpoint, "what answers there does not speak Fluvio's protocol") from None


def _context(tls: Tls) -> ssl.SSLContext:
    """Raises QueueError for files that cannot be read or are not what they should be."""
    context = ssl.create_default_context()
    if not tls.ca:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if not tls.inline:
            context.load_verify_locations(cafile=tls.ca)
            context.load_cert_chain(tls.cert, tls.key)
            return context
        context.load_verify_locations(cadata=tls.ca)
        with tempfile.TemporaryDirectory() as folder:  # its owner's alone; Python takes a chain from files only
            cert, key = Path(folder) / "cert", Path(folder) / "key"
            cert.write_text(tls.cert)
            key.write_text(tls.key)
            context.load_cert_chain(cert, key)
    except (OSError, ValueError) as problem:  # ssl's errors are OSErrors
        where = "its profile" if tls.inline else f"{tls.ca}, {tls.cert}, {tls.key}"
        text = getattr(problem, "strerror", None) or str(problem)
        raise QueueError("[queue] tls", f"the certificates cannot be used: {text} (of {where})") from None
    return context


def _profile(name: str) -> Access:
    path = Path(os.environ.get("FLV_PROFILE_PATH") or Path.home() / ".fluvio" / "config")
    try:
        known = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        text = getattr(problem, "strerror", None) or str(problem)
        raise QueueError(str(path), f"Fluvio's profiles cannot be read ({text})") from None
    profiles = known.get("profile", {})
    if name not in profiles:
        raise QueueError(str(path), f"there is no profile {name}; there are {', '.join(profiles) or 'none'}")
    try:
        cluster = known["cluster"][profiles[name]["cluster"]]
        endpoint, tls = str(cluster["endpoint"]), cluster.get("tls", {})
        policy = tls.get("tls_policy", "disabled")
        if policy in ("disabled", "disable"):
            return Access(endpoint)
        if policy == "anonymous":
            return Access(endpoint, Tls())
        certs = tls["certs"]
        domain, ca, cert, key = (str(certs[word]) for word in ("domain", "ca_cert", "cert", "key"))
        return Access(endpoint, Tls(domain, ca, cert, key, tls["tls_source"] == "inline"))
    except (KeyError, TypeError, AttributeError) as problem:
        raise QueueError(str(path), f"the profile {name} cannot be used ({problem} is missing or of another kind)") from None


def _text(word: str) -> bytes:
    return struct.pack(">h", len(word)) + word.encode()


def _framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body
