"""Starts the retention of old sessions beside the engine, in a process of low priority, and says what it did."""

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec

from engine.config import QueueSettings
from engine.errors import BarterError
from engine.events import Alert, Level
from engine.queue.retention import Tidied

AFTER_S = 20.0  # the engine's own start comes first
WITHIN_S = 1800.0


async def tidy(settings: QueueSettings, folder: Path, own: str, now_ns: int) -> Alert | None:
    """Once; None where nothing was due. Raises BarterError. Cancelled, it ends its process: every session stays readable."""
    if not settings.keep_days and not settings.keep_gb:
        return None
    await asyncio.sleep(AFTER_S)
    words = (str(folder), str(settings.keep_days), str(settings.keep_gb), own, str(now_ns))
    pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "engine.queue.retention", *words), stdin=none, stdout=pipe, stderr=none
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            said, _ = await worker.communicate()
        done = msgspec.json.decode(said, type=Tidied)
    except TimeoutError:
        text = f"it took longer than {WITHIN_S / 60:.0f} minutes and was ended; the rest waits for the next start"
        raise BarterError(text) from None
    except (ValueError, RecursionError):  # msgspec's are ValueErrors
        raise BarterError(f"its process ended with code {worker.returncode} and said nothing") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()
    if done.problems:
        return Alert(now_ns, Level.WARNING, f"Old sessions were left as they are: {'; '.join(done.problems)}.")
    if not done.condensed:
        return None
    freed = f"{done.freed_bytes / 1e6:,.1f} MB"
    text = f"The market data of {done.condensed} old sessions were removed ({freed}); their money records stay."
    return Alert(now_ns, Level.INFO, text)
