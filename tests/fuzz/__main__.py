"""Runs the doors for a while each; see the package. Exit code 1 when one of them failed."""

import argparse
import faulthandler
import hashlib
import importlib.util
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FINDINGS = Path(tempfile.gettempdir()) / "fuzz-findings"
HANGS_S = 20  # one input
MEMORY_MB = 2_048
CHILD = "--within"  # a door's own process


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description="Strangers' bytes at each door of the program.")
    parser.add_argument("--seconds", type=int, default=30, metavar="N", help="for each door (default: 30)")
    parser.add_argument("--door", action="append", metavar="NAME", help="one door; repeat for more (default: all)")
    parser.add_argument("--list", action="store_true", help="the doors, and end")
    parser.add_argument(CHILD, default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.within:
        return guided(given.within, given.seconds) if atheris() else plain(given.within, given.seconds)
    from tests.fuzz.doors import DOORS

    if given.list:
        print("\n".join(DOORS))
        return 0
    if unknown := set(given.door or ()) - set(DOORS):
        parser.error(f"there is no door {', '.join(sorted(unknown))}; see --list")
    if not atheris():
        print("atheris is not installed: hypothesis chooses the inputs, and coverage does not guide it.", flush=True)
    failed = []
    for name in given.door or DOORS:
        # A process each: a hang, a crash of a C library and memory without end are seen from here.
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", CHILD, name, "--seconds", str(given.seconds)], check=False)
        if done.returncode:
            failed.append(name)
            print(f"{name}: FAILED (exit code {done.returncode})", flush=True)
    print(f"{len(failed)} of {len(given.door or DOORS)} doors failed" + (f": {', '.join(failed)}" if failed else ""))
    return bool(failed)


def atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def keep(name: str, raw: bytes) -> Path:
    FINDINGS.mkdir(exist_ok=True)
    path = FINDINGS / f"{name}-{hashlib.sha256(raw).hexdigest()[:12]}"
    path.write_bytes(raw)
    return path


def plain(name: str, seconds: int) -> int:
    """With hypothesis, in turns until the time is over."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    from tests.fuzz.doors import DOORS, alone
    from tests.fuzz.mutate import mutated

    resource.setrlimit(resource.RLIMIT_AS, (4 * MEMORY_MB << 20, resource.RLIM_INFINITY))
    ends, tried = time.monotonic() + seconds, 0
    with alone():
        door = DOORS[name]()
        newest = b""

        @settings(
            max_examples=200,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def turn(data: st.DataObject) -> None:
            nonlocal tried, newest
            newest = mutated(door.seeds, door.form, lambda sides: data.draw(st.integers(0, sides - 1)))
            tried += 1
            faulthandler.dump_traceback_later(HANGS_S, exit=True)
            door.enter(newest)

        while time.monotonic() < ends:
            try:
                turn()
            except Exception:
                path = keep(name, newest)
                print(f"{name}: an input fails, kept in {path}: {newest[:2_000]!r}", flush=True)
                raise
            finally:
                faulthandler.cancel_dump_traceback_later()
    print(f"{name}: {tried:,} inputs, none failed", flush=True)
    return 0


def guided(name: str, seconds: int) -> int:
    """With atheris: libFuzzer chooses by coverage, our mutations beside its own."""
    import atheris

    with atheris.instrument_imports(include=["engine", "console"]):
        from tests.fuzz.doors import DOORS, alone
    from tests.fuzz.mutate import mutated

    tried = 0
    with alone() as folder:
        door = DOORS[name]()
        corpus = folder / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(door.seeds):
            (corpus / str(number)).write_bytes(seed)

        def change(raw: bytes, longest: int, seed: int) -> bytes:
            dice = random.Random(seed)
            if dice.randrange(4) == 0:
                return bytes(atheris.Mutate(raw, longest))
            return mutated((raw, *door.seeds) if dice.randrange(2) else (raw,), door.form, dice.randrange)[:longest]

        def enter(raw: bytes) -> None:
            nonlocal tried
            tried += 1
            try:
                door.enter(raw)
            except BaseException:
                print(f"{name}: an input fails, kept in {keep(name, raw)}: {raw[:2_000]!r}", flush=True)
                raise

        longest = max(65_536, 2 * max(map(len, door.seeds)))
        FINDINGS.mkdir(exist_ok=True)
        flags = [f"-max_total_time={seconds}", f"-timeout={HANGS_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={longest}"]
        flags += [f"-artifact_prefix={FINDINGS}/{name}-", "-verbosity=0"]
        atheris.Setup(["tests.fuzz", *flags, str(corpus)], enter, custom_mutator=change, internal_libfuzzer=True)
        print(f"{name}: guided by coverage for {seconds} s", flush=True)
        atheris.Fuzz()  # ends the process
    return 0


if __name__ == "__main__":
    sys.exit(main())
