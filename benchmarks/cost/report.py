"""What a benchmark prints: a table, and its verdict."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that has to be reached, and one to aim at."""

    figure: str
    #: ``None`` where it could not be measured here.
    value: float | None
    bar: float
    aim: float | None = None
    #: The value has to be as large as the bar, and not as small.
    at_least: bool = False
    digits: int = 2

    @property
    def passed(self) -> bool:
        """Whether the bar is reached; what could not be measured is not missed."""
        if self.value is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    @property
    def cells(self) -> list[str]:
        """The cells of its row."""
        sign = ">=" if self.at_least else "<="
        verdict = "ok" if self.passed else "MISSED"
        return [
            self.figure,
            "-" if self.value is None else f"{self.value:.{self.digits}f}",
            f"{sign} {self.bar:g}",
            "" if self.aim is None else f"{self.aim:g}",
            "not measured" if self.value is None else verdict,
        ]


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; all columns but the first are flush right."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join((first, *others)).rstrip(), flush=True)
    print()


def print_verdict(bars: Sequence[Bar]) -> int:
    """Print what was reached, and return the exit status."""
    header = ("figure", "measured", "bar", "aim", "verdict")
    print_table(header, (bar.cells for bar in bars))
    missed = sum(not bar.passed for bar in bars)
    print(f"{len(bars)} figures, {missed} missed\n", flush=True)
    return 1 if missed else 0


def machine() -> str:
    """Return what everything was measured on."""
    return (
        f"{_processor()}, {os.cpu_count()} cores; {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}"
    )


def versions(*names: str) -> str:
    """Return the versions of installed packages."""
    return ", ".join(f"{name} {_version(name)}" for name in names)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    models = [
        line.partition(": ")[2] for line in lines if line.startswith("model name")
    ]
    return next(iter(models), platform.processor() or platform.machine())
