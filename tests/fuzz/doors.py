"""Every door through which a stranger's bytes come: what real ones look like, and what reads them.

A door's function returns for a value and for the error that its reader documents; whatever else is raised is a finding.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import files, links, venues
from tests.fuzz.mutate import JSON, MSGPACK, Form


class Door(NamedTuple):
    seeds: tuple[bytes, ...]
    enter: Callable[[bytes], None]
    form: Form | None = None


def _of(seeds: Callable[[], tuple[bytes, ...]], enter: Callable[[bytes], None], form: Form | None = None) -> Callable[[], Door]:
    return functools.cache(lambda: Door(seeds(), enter, form))


DOORS: dict[str, Callable[[], Door]] = {
    "binance-market": _of(venues.binance_frames, venues.binance_market, JSON),
    "binance-rest": _of(venues.binance_bodies, venues.binance_rest, JSON),
    "binance-account": _of(venues.binance_reports, venues.binance_account, JSON),
    "binance-account-rest": _of(venues.binance_replies, venues.binance_account_rest, JSON),
    "okx-market": _of(venues.okx_frames, venues.okx_market, JSON),
    "okx-rest": _of(venues.okx_bodies, venues.okx_rest, JSON),
    "okx-account": _of(venues.okx_reports, venues.okx_account, JSON),
    "okx-account-rest": _of(venues.okx_replies, venues.okx_account_rest, JSON),
    "paper-feed": _of(venues.paper_frames, venues.paper, JSON),
    "paper-feed-okx": _of(venues.paper_okx_frames, venues.paper_okx, JSON),
    "venue-headers": _of(venues.headers, venues.budget, JSON),
    "settings-file": _of(files.settings_files, files.settings_file),
    "settings-words": _of(files.settings_words, files.settings_words_read, JSON),
    "command-line": _of(files.command_lines, files.command_line, JSON),
    "keys-file": _of(files.keys_files, files.keys_file, JSON),
    "session-file": _of(files.session_files, files.session_file),
    "session-records": _of(files.session_records, files.session_record, MSGPACK),
    "session-tail": _of(files.session_tails, files.session_tail),
    "theme-file": _of(files.themes, files.theme_file),
    "latch-file": _of(files.latches, files.latch_file, JSON),
    "capture-file": _of(files.capture_files, files.capture_file),
    "bars-file": _of(files.bars_files, files.bars_file),
    "order-line": _of(files.order_lines, files.order_line),
    "judgment": _of(links.answers, links.judgment, JSON),
    "model-server": _of(links.replies, links.model_server, JSON),
    "link-to-engine": _of(links.to_engine, links.engine, MSGPACK),
    "link-to-console": _of(links.to_console, links.console, MSGPACK),
    "far-views": _of(links.records, links.far_views, MSGPACK),
    "far-commands": _of(links.commands, links.far_commands, MSGPACK),
    "fluvio-greeting": _of(links.greetings, links.greeting),
}


@contextlib.contextmanager
def alone() -> Iterator[Path]:
    """A folder that the doors may write to, with nothing of the user's environment in sight."""
    kept, memory = dict(os.environ), Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for name in [name for name in os.environ if name.startswith("BARTER_")]:
            del os.environ[name]
        os.environ |= {"HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_STATE_HOME": folder, "XDG_DATA_HOME": folder}
        files.place = Path(folder)
        try:
            yield Path(folder)
        finally:
            os.environ.clear()
            os.environ.update(kept)
