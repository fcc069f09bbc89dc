"""Timing by turns: every case once a round, in an order that is drawn anew.

What the machine does meanwhile then hits all cases alike, and a difference is taken
within a round before the median is.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

#: Does something so many times and returns the microseconds that each took.
Run: TypeAlias = Callable[[int], float]

#: Calls to see how long one takes.
_TRIAL: Final = 30


class Timings:
    """Microseconds of each case, one for every round."""

    def __init__(self, samples: Mapping[str, Sequence[float]]) -> None:
        self._samples = samples

    def __contains__(self, case: str) -> bool:
        return case in self._samples

    def median(self, case: str) -> float:
        """Return the median of a case."""
        return statistics.median(self._samples[case])

    def over(self, case: str, baseline: str) -> float:
        """Return the median of what a case takes more than another one."""
        pairs = zip(self._samples[case], self._samples[baseline], strict=True)
        return statistics.median(one - other for one, other in pairs)

    def spread(self, case: str) -> float:
        """Return how far the middle half of the samples is apart, of the median."""
        return spread(self._samples[case])


def spread(samples: Sequence[float]) -> float:
    """Return how far the middle half of samples is apart, as a part of the median."""
    if len(samples) < 2:
        return 0.0
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / median


def alternate(
    cases: Mapping[str, Run], *, rounds: int, seconds: float, warm_up: int
) -> Timings:
    """Time all cases by turns.

    :param seconds: That a case gets of a round.
    :param warm_up: Calls of each before anything counts.
    """
    counts = {name: _count(run, seconds, warm_up) for name, run in cases.items()}
    samples: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for _ in range(rounds):
        random.shuffle(names)
        gc.collect()
        for name in names:
            # The processor's caches are full of the case before.
            cases[name](max(1, counts[name] // 10))
            samples[name].append(cases[name](counts[name]))
    return Timings(samples)


def _count(run: Run, seconds: float, warm_up: int) -> int:
    run(warm_up)
    return max(_TRIAL, round(seconds * 1e6 / run(_TRIAL)))
