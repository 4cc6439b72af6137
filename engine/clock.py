"""Engine time: the wall clock at start plus monotonic time elapsed since, times a speed.

Two processes given the same `Clock` agree on the time, since the monotonic clock is one for the whole machine
(Linux and macOS): that is how the simulated venue and the engine share a clock under `--speed`.
The core never sees this module; time reaches it inside events.
"""

import time

import msgspec

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(msgspec.Struct, frozen=True):
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

    def now_ms(self) -> int:
        return self.now_ns() // NS_PER_MS

    def real_seconds(self, engine_seconds: float) -> float:
        """How long to sleep for that much engine time to pass."""
        return engine_seconds / self.speed
