"""The kinds of traffic that the judge is tried on: healthy canaries in all weathers, and canaries with faults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the canary alone. The default is: nothing."""

    error_factor: float = 1.0
    """Multiplies stable's error ratio."""
    error_ratio: float | None = None
    """Error ratio (0-1) instead of stable's."""
    scale: float = 1.0
    """Multiplies every latency."""
    tail: tuple[float, float] = (0.0, 1.0)
    """Share of the requests (0-1) that is slower, and by what factor."""
    leak: float = 0.0
    """Growth of the latency a minute, compounded: 0.03 is 3 % a minute."""
    onset: float = 0.0
    """Seconds after the canary's first traffic."""

    @property
    def harms(self) -> bool:
        """Whether this is a fault at all."""
        return self != Fault()


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to both tracks alike, or to the measuring. The default is: nothing, independent requests."""

    diurnal: float = 0.0
    """Amplitude (0-1) of the daily swing of the rate; errors swing by half of it, latency by a quarter."""
    rho: float = 0.0
    """Correlation of errors within one track and scrape: beta-binomial instead of binomial."""
    bursts_a_minute: float = 0.0
    """Bursts of errors in one pod, over ten pods; each lasts 10 s and spoils 30 % of that pod's answers."""
    jitter: float = 0.0
    """Standard deviation of the log of a latency scale that each track draws anew for each scrape."""
    outage: float = 0.0
    """Seconds of a common outage at a random moment: 20 % errors and three times the latency on both tracks."""
    mismatch: float = 0.0
    """The canary gets this share (0-1) less traffic than was configured."""
    lost: float = 0.0
    """Chance (0-1) that a track's scrape is missing."""


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of rollout to simulate."""

    name: str
    rps: float = 100.0
    """Requests a second, both tracks together."""
    error_ratio: float = 0.001
    """Stable's, 0-1."""
    fault: Fault = Fault()
    weather: Weather = Weather()
    duration: float = 1800.0
    """Seconds that the canary is watched."""
    steps: tuple[tuple[float, float], ...] = ((0.0, 0.2), (900.0, 0.5))
    """When each canary share begins, in seconds."""
    scrape: float = 5.0
    """Seconds between scrapes."""
    pods: int = 0
    """Pods of stable whose own counters are recorded too; 0 for none."""


BURSTS = Weather(bursts_a_minute=1.0)
BETA_BINOMIAL = Weather(rho=0.005)

HEALTHY = (
    *(
        Family(f"A/A {rps:g} rps {ratio:.2%}", rps=rps, error_ratio=ratio)
        for rps in (1, 10, 100, 1000)
        for ratio in (0.0001, 0.001, 0.005)
    ),
    Family("diurnal", weather=Weather(diurnal=0.8)),
    Family("beta-binomial", weather=BETA_BINOMIAL),
    Family("pod bursts", weather=BURSTS, pods=8),
    Family("latency jitter", weather=Weather(jitter=0.1)),
    Family("common outage", weather=Weather(outage=60.0)),
    Family("sample-ratio mismatch", weather=Weather(mismatch=0.3)),
    Family("lost scrapes", weather=Weather(lost=0.05)),
)
"""Nothing is wrong with the canary: every rollback here is a false one."""

FAULTY = (
    Family("errors x2", fault=Fault(error_factor=2)),
    Family("errors x5", fault=Fault(error_factor=5)),
    Family("errors x10", fault=Fault(error_factor=10)),
    Family("errors 1 %", fault=Fault(error_ratio=0.01)),
    Family("errors 5 %", fault=Fault(error_ratio=0.05)),
    Family("errors x2, 1000 rps", rps=1000, fault=Fault(error_factor=2)),
    Family("errors x5, 10 rps", rps=10, fault=Fault(error_factor=5)),
    Family("errors 5 %, 10 rps", rps=10, fault=Fault(error_ratio=0.05)),
    Family("latency +20 %", fault=Fault(scale=1.2)),
    Family("latency +50 %", fault=Fault(scale=1.5)),
    Family("tail 2 % x10", fault=Fault(tail=(0.02, 10.0))),
    Family("leak 3 %/min", fault=Fault(leak=0.03)),
    Family("onset 10 min, x5", fault=Fault(error_factor=5, onset=600.0)),
    Family("errors 5 % amid pod bursts", fault=Fault(error_ratio=0.05), weather=BURSTS, pods=8),
    Family("errors x5, beta-binomial", fault=Fault(error_factor=5), weather=BETA_BINOMIAL),
)
"""Something is wrong with the canary: it should be rolled back, soon."""

PROMOTABLE = (
    Family("healthy 0.05 %", error_ratio=0.0005, duration=3600.0, steps=((0.0, 0.2),)),
    Family("healthy 0.01 %", error_ratio=0.0001, duration=3600.0, steps=((0.0, 0.2),)),
    Family("healthy, no errors, 10 rps", rps=10, error_ratio=0.0, duration=7200.0, steps=((0.0, 0.2),)),
)
"""Healthy canaries that have to be promotable in time, at the first step."""
