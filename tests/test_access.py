"""How a cluster is reached: endpoint, TLS files or a profile in; what is looked at before the client connects out."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from engine.config import create_aster_config
from engine.errors import ConfigError, QueueError
from engine.queue.access import Access, Tls, access, preflight
from engine.queue.files import recorded, session_name
from tests.fluvio_standin import standin
from tests.test_fluvio import bridge, finished, until

DOMAIN = "fluvio.test"


def queue(**keys: str) -> Access:
    return access(create_aster_config(queue=keys).queue)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca`, `server` and `client`, `.crt` and `.key`, and a stranger's `other.crt`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("tls")

    def run(*words: str) -> None:
        subprocess.run((openssl, *words), cwd=folder, check=True, capture_output=True)

    ours = "keyUsage=critical,digitalSignature,keyCertSign"
    for name in ("ca", "other"):
        subject = ("-subj", f"/CN=test {name}", "-days", "2", "-addext", ours)
        run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.crt", *subject)
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{DOMAIN},DNS:*.{DOMAIN}\nbasicConstraints=CA:FALSE\n")
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext")
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signed)
    return folder


def server_side(certificates: Path) -> ssl.SSLContext:
    """Wants a certificate of the client's, as a cluster may."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def files(folder: Path, domain: str = DOMAIN, ca: str = "ca.crt") -> Tls:
    return Tls(domain, str(folder / ca), str(folder / "client.crt"), str(folder / "client.key"))


def profile(path: Path, endpoint: str, tls: str) -> None:
    path.write_text(
        f'version = "2.0"\n[profile.far]\ncluster = "c"\n[cluster.c]\nendpoint = "{endpoint}"\n[cluster.c.tls]\n{tls}',
        encoding="utf-8",
    )


# --- settings --------------------------------------------------------------------------------------------------------------


def test_an_endpoint_alone_is_without_tls_and_three_files_turn_it_on() -> None:
    assert queue(endpoint="broker:9003") == Access("broker:9003")
    found = queue(endpoint="broker:9003", tls_ca="/c/ca", tls_cert="/c/cert", tls_key="/c/key")
    assert found.tls == Tls("broker", "/c/ca", "/c/cert", "/c/key")
    assert queue(tls_ca="/a", tls_cert="/b", tls_key="/c", tls_domain="x").tls == Tls("x", "/a", "/b", "/c")


def test_half_of_tls_and_two_ways_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="takes three files"):
        queue(tls_ca="/a", tls_cert="/b")
    with pytest.raises(ConfigError, match="a profile has files of its own"):
        queue(profile="far", tls_ca="/a", tls_cert="/b", tls_key="/c")


CERTS = '[cluster.c.tls.certs]\ndomain = "d"\nkey = "/k"\ncert = "/c"\nca_cert = "/a"\n'
FILES = f'tls_policy = "verified"\ntls_source = "files"\n{CERTS}'


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ('tls_policy = "disabled"', None),
        ("", None),
        ('tls_policy = "anonymous"', Tls()),
        (FILES, Tls("d", "/a", "/c", "/k")),
        (FILES.replace('"files"', '"inline"'), Tls("d", "/a", "/c", "/k", inline=True)),
    ],
)
def test_a_profile_is_read_as_fluvio_writes_it(
    tls: str, expected: Tls | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(tmp_path / "config", "far:9003", tls)
    monkeypatch.setenv("FLV_PROFILE_PATH", str(tmp_path / "config"))
    assert queue(profile="far") == Access("far:9003", expected)


def test_a_profile_that_is_not_there_or_is_broken_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLV_PROFILE_PATH", str(tmp_path / "config"))
    with pytest.raises(QueueError, match="profiles cannot be read"):
        queue(profile="far")
    profile(tmp_path / "config", "far:9003", 'tls_policy = "verified"\ntls_source = "files"')
    with pytest.raises(QueueError, match="there is no profile near; there are far"):
        queue(profile="near")
    with pytest.raises(QueueError, match="'certs' is missing"):
        queue(profile="far")


# --- a handshake -----------------------------------------------------------------------------------------------------------


async def test_the_preflight_shakes_hands_and_says_what_is_wrong(certificates: Path, tmp_path: Path) -> None:
    async with standin(server_side(certificates)) as cluster:
        where = cluster.endpoint
        assert await preflight(Access(where, files(certificates))) == "0.18.1"
        texts = ((certificates / name).read_text() for name in ("ca.crt", "client.crt", "client.key"))
        assert await preflight(Access(where, Tls(DOMAIN, *texts, inline=True))) == "0.18.1"
        with pytest.raises(QueueError, match="its certificate is not accepted"):
            await preflight(Access(where, files(certificates, ca="other.crt")))
        with pytest.raises(QueueError, match=r"its certificate is not accepted .*another\.test"):
            await preflight(Access(where, files(certificates, domain="another.test")))
        with pytest.raises(QueueError, match="does it want TLS"):
            await preflight(Access(where))
        with pytest.raises(QueueError, match=r"certificates cannot be used.*No such file"):
            await preflight(Access(where, files(tmp_path)))
    async with standin() as plain:
        with pytest.raises(QueueError, match=r"no TLS connection|nothing answered|ended the connection"):
            await preflight(Access(plain.endpoint, files(certificates)))


async def test_a_session_is_forwarded_in_tls(certificates: Path, small: Path, tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    shutil.copy(small, tmp_path / "sessions" / small.name)
    async with (
        standin(server_side(certificates)) as cluster,
        bridge(tmp_path, cluster.endpoint, files(certificates)) as (_, said),
    ):
        await until(lambda: finished(tmp_path, session_name(recorded(tmp_path)[0])))
        await until(lambda: said and said[-1].state == "up" and said[-1].behind == 0)
