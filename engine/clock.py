"""Engine time: the wall clock at start plus monotonic time elapsed since, times a speed.

Two processes given the same `Clock` agree on the time, since the monotonic clock is one for the whole machine
(Linux and macOS): that is how the simulated venue and the engine share a clock under `--speed`.
While the machine sleeps the monotonic clock stands still on both, and so does engine time until it is stepped.
The core never sees this module; time reaches it inside events.
"""

import time

import msgspec

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


# Goes on while the machine sleeps; macOS has no CLOCK_BOOTTIME, but its CLOCK_MONOTONIC does so (`time.monotonic` does not).
_AWAKE_OR_NOT: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Readings(msgspec.Struct, frozen=True):
    """The machine's clocks at one moment, ns: one that rests when it sleeps, one that does not, and the one that people set."""

    mono_ns: int
    boot_ns: int
    wall_ns: int

    @classmethod
    def now(cls) -> "Readings":
        return cls(time.monotonic_ns(), time.clock_gettime_ns(_AWAKE_OR_NOT), time.time_ns())


class Clock(msgspec.Struct):
    """`wall_ns` (UTC) was the time when the monotonic clock read `mono_ns`; `speed` 10 makes a minute pass in six seconds."""

    wall_ns: int
    mono_ns: int
    speed: float = 1.0

    @classmethod
    def start(cls, speed: float = 1.0) -> "Clock":
        return cls(time.time_ns(), time.monotonic_ns(), speed)

    def now_ns(self) -> int:
        """Engine time in nanoseconds UTC; never goes backwards."""
        return self.at_mono(time.monotonic_ns())

    def at_mono(self, mono_ns: int) -> int:
        """The engine time that belongs to a reading of the monotonic clock."""
        return self.wall_ns + int((mono_ns - self.mono_ns) * self.speed)

    def step(self, ns: int) -> None:
        """Engine time goes on from here `ns` later. Raises ValueError for a step back."""
        if ns < 0:
            raise ValueError("engine time does not go backwards")
        self.wall_ns += ns

    def now_ms(self) -> int:
        return self.now_ns() // NS_PER_MS

    def real_seconds(self, engine_seconds: float) -> float:
        """How long to sleep for that much engine time to pass."""
        return engine_seconds / self.speed
