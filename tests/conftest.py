"""What several test modules share."""

import gc
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """A job in a shell's background ignores Ctrl-C, and so would every program that a test starts to stop it so."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was imported and collected, some 400,000 objects, stays: looking through it again and again was a third of the work
    of a test that draws a screen."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recorded market data, kept in `../shared/data` beside the repository; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no recorded market data: ../shared/data is absent beside the repository")
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded session that keeps its state every 50 inputs; read it only."""
    from engine.runtime import recorder
    from tests.recordings import record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "STATE_EVERY", 50)
        return record(tmp_path_factory.mktemp("small"))
