"""What to say when somebody asks for what house-keeping has removed."""

from __future__ import annotations

from include.ledger import Ledger


def removed(ledger: Ledger, what: str, place: str) -> str | None:
    """A sentence about what is gone; None when house-keeping did not remove it.

    :param what: what it was, as the subject of a sentence in the plural.
    :param place: its place in staging, or one that it was below.
    """
    removal = ledger.removal_of(place)
    if removal is None or removal.gone_at is None:
        return None
    return (
        f"{what} were removed on {removal.gone_at:%Y-%m-%d}, after {removal.days} days: house-keeping keeps "
        f"`{removal.kept}` that long."
    )
