"""What a case of the benchmark showed, as a row of its table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.race.barrage import Answer

HEADER: Final = (
    f"{'':<3}{'case':<58} {'rounds':>6} {'calls':>5} {'out':>6} {'cookies':>7} "
    f"{'worst':>6}  verdict"
)


@dataclass
class Row:
    """What a case showed."""

    grace: str
    case: str
    calls: list[int] = field(default_factory=list)
    signed_out: int = 0
    #: The most session cookies that one round brought.
    cookies: int = 0
    problems: list[str] = field(default_factory=list)
    #: Of the slowest request, in seconds.
    slowest: float = 0.0
    remark: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything that was promised held."""
        return not self.problems and bool(self.calls)

    def add(self, calls: int, answers: Sequence[Answer]) -> None:
        """Add a round."""
        self.calls.append(calls)
        self.signed_out += sum(answer.signed_out for answer in answers)
        cookies = {answer.cookie for answer in answers if answer.cookie}
        self.cookies = max(self.cookies, len(cookies))
        self.slowest = max([self.slowest, *(answer.seconds for answer in answers)])
        self.expect(all(answer.status != 500 for answer in answers), "a 500")
        self.expect(not any(answer.hung for answer in answers), "a request hung")

    def add_exact(self, calls: int, answers: Sequence[Answer], expected: int) -> None:
        """Add a round in which one call has to serve everybody the same session."""
        self.add(calls, answers)
        got = [answer.cookie for answer in answers]
        self.expect(len(answers) == expected, f"{len(answers)} answers")
        self.expect(calls == 1, f"{calls} calls in a round")
        self.expect(all(answer.signed_in for answer in answers), "not all signed in")
        self.expect(None not in got and len(set(got)) == 1, "not one new cookie")

    def expect(self, condition: bool, problem: str) -> None:
        """Note a problem unless a condition holds."""
        if not condition and problem not in self.problems:
            self.problems.append(problem)

    def __str__(self) -> str:
        calls = f"{min(self.calls)}/{max(self.calls)}" if self.calls else "-"
        verdict = "ok" if self.passed else "FAILED: " + "; ".join(self.problems)
        return (
            f"{self.grace}  {self.case:<58} {len(self.calls):>5} {calls:>6} "
            f"{self.signed_out:>6} {self.cookies:>7} {self.slowest:>6.2f}  {verdict}"
            f"{'  ' + self.remark if self.remark else ''}"
        )


def listed(values: Iterable[object]) -> str:
    """Return values as a list to read, in order."""
    return ", ".join(str(value) for value in sorted(values, key=str))
