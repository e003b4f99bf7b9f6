"""What came of each flow of a demo: the counts its run left, whether they add up, the table and the JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUTCOMES = ("delivered", "rejected", "suppressed", "held", "uncertain")
COUNTS = ("rows_in", *OUTCOMES)
COLUMNS = ("flow", "rows in", *OUTCOMES, "seconds", "verdict")


@dataclass(frozen=True)
class FlowResult:
    """One flow of the night. `counts` is None when its run left no summary; `well` when the run succeeded."""

    flow: str
    dag_id: str
    run_id: str | None
    counts: Mapping[str, int] | None
    seconds: float | None
    verdict: str
    well: bool
    report: str | None = None

    @property
    def accounted(self) -> bool:
        """Whether every row that came in ended in exactly one outcome."""
        return self.counts is not None and self.counts["rows_in"] == sum(
            self.counts[outcome] for outcome in OUTCOMES
        )

    def as_json(self) -> dict[str, Any]:
        """Return the result as `.listkeeper/demo.json` holds it; counts are null without a summary."""
        return {
            "flow": self.flow,
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            **{name: self.counts[name] if self.counts else None for name in COUNTS},
            "seconds": self.seconds,
            "verdict": self.verdict,
            "accounted": self.accounted,
            "report": self.report,
        }


def read_counts(summary: object) -> dict[str, int] | None:
    """Take the counts from the summary a run left, or None when it is not one."""
    if not isinstance(summary, dict):
        return None
    counts = {name: summary.get(name) for name in COUNTS}
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts.values()):
        return None
    return {name: int(summary[name]) for name in COUNTS}


def table(results: Sequence[FlowResult]) -> str:
    """Lay the results out as text: words to the left, numbers to the right."""
    rows = [COLUMNS, *(_cells(result) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if name in ("flow", "verdict") else cell.rjust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cells(result: FlowResult) -> tuple[str, ...]:
    counts = [f"{result.counts[name]:,}" if result.counts else "?" for name in COUNTS]
    seconds = "" if result.seconds is None else f"{result.seconds:.1f}"
    unaccounted = "" if result.accounted or result.counts is None else "rows do not add up; "
    return (result.flow, *counts, seconds, unaccounted + result.verdict)


def write_json(path: Path, results: Sequence[FlowResult], *, night: str, seconds: float) -> bool:
    """Write the results, and return whether all is well: every row accounted for, every run a success."""
    accounted = bool(results) and all(result.accounted for result in results)
    well = accounted and all(result.well for result in results)
    content = {
        "flows": [result.as_json() for result in results],
        "accounted": accounted,
        "ok": well,
        "night": night,
        "seconds": round(seconds, 1),
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return well
