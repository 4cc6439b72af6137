"""The asyncio shell around the core: sockets and timers in, the core's requests carried out.

`async with Engine(...) as engine` collects, decides and trades until it is left; `view()` and `summary()` tell, `command()`
steers. Everything that awaits is here; everything that decides is in the core.
"""

from engine.places import Endpoints
from engine.runtime.engine import Engine

__all__ = ["Endpoints", "Engine"]
