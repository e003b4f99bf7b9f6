"""The certificate of an erasure: what was removed where, as JSON and as a page; no personal data in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

CERTIFICATE = "certificate"


def places(found: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Folders, files and rows by kind of place: `snapshots/<source>`, `runs/<DAG id>`, ..."""
    counts: dict[str, Counter[str]] = {}
    for folder, one in found.items():
        kind = "/".join(folder.split("/")[:2])
        counts.setdefault(kind, Counter()).update({"folders": 1, "files": one["files"], "rows": one["rows"]})
    return {kind: dict(counts[kind]) for kind in sorted(counts)}


def sent_by(found: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Ids of the DAGs whose plans held the customer: what they delivered may stand at their vendor still."""
    parts = [folder.split("/") for folder in found]
    return sorted({part[1] for part in parts if part[0] == "runs" and part[-1] == "plan"})


def places_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """The counts of `places` as a Markdown table."""
    if not counts:
        return "Nothing staged names the customer."
    lines = ["| where | folders | files | rows |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| `{kind}` | {one['folders']} | {one['files']} | {one['rows']} |" for kind, one in counts.items()
    ]
    return "\n".join(lines)


def page(told: Mapping[str, Any]) -> str:
    """The certificate as Markdown."""
    vendor = [
        "| Platform connection | calls | e-mails | leads | leads taken out one by one |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| `{name}` | {_count(one['calls'])} | {_count(one['emails'])} | {_count(one['leads'])} | "
            f"{one['one_by_one']} |"
            for name, one in told["platform"].items()
        ),
    ]
    notes = [
        *(
            f"`{name}`: the answer to an earlier request was lost, so the counts are those of the last one."
            for name, one in told["platform"].items()
            if one["lost"]
        ),
        *(
            f"{told['ledger']['evidence']} records of the evidence name the customer and cannot be changed: a person "
            "has to decide."
            for _ in range(1)
            if told["ledger"].get("evidence")
        ),
        *(
            f"`{dag_id}` has planned loads with this customer. Listkeeper cannot take a row out of that vendor's list: "
            "a REPLACE leaves it out in its next load, anything else is to be removed there by hand."
            for dag_id in told["sent_by"]
        ),
    ]
    rows = {name: count for name, count in told["ledger"].items() if name != "evidence"}
    parts = [
        "# Certificate of erasure",
        f"Request `{told['request']}`, asked by `{told['requested_by'] or 'nobody named'}`, approved by "
        f"`{told['approved_by']}`, carried out {told['finished_at'][:16]} UTC.",
        "The customer is known by keyed hashes only: "
        + ", ".join(f"{kind} `{value}`" for kind, value in told["hashes"].items())
        + ".",
        "## At the Platform API\n\n" + "\n".join(vendor),
        "## In the staging area\n\n" + places_table(told["staging"]),
        "## In the ledger\n\n"
        + (
            ", ".join(f"{name}: {count} rows" for name, count in rows.items())
            or "Nothing named the customer."
        )
        + f" Searched again after the removal: {told['left']} places name the customer.",
        "## From now on\n\nA lead with this number or address is suppressed as `erased`, in every flow, whatever the "
        "source says.",
    ]
    if notes:
        parts.append("## What a person has to know\n\n" + "\n".join(f"* {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _count(value: int | None) -> str:
    return "not said" if value is None else str(value)
