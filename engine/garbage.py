"""When a process looks for garbage in cycles: rarely, since each look holds up everything else."""

import gc

EVERY = (20_000, 20, 50)  # objects, and collections of the generation before


def look_rarely() -> None:
    """What is there now stays, and is looked through no more; to be called when all that is large has been imported.

    ccxt leaves 200,000 objects that never die: each full collection would stop the engine for some 70 ms. The small ones cost an
    order a third of a millisecond whenever they met it, and frames and keys 40 ms (2026-11); nearly nothing is garbage in cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*EVERY)
