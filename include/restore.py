"""Which load a list is put back to, and whether it can be."""

from __future__ import annotations

from include import safe
from include.flow_files import Delivery
from include.ledger import Ledger, Load, UnknownLoadError, UnknownTargetError
from include.safe import Copy


class RestoreError(ValueError):
    """The list cannot be put back; the message says why, and what to do instead."""


def choose(ledger: Ledger, flow: Delivery, load: str | None) -> tuple[Copy, Load, str]:
    """The copy to put back, the load that stands on the list now, and what is asked for as the end of a sentence.

    :param load: id of the load to go back to, or how it begins; None for the newest one that is not on the list now.

    Raises RestoreError.
    """
    if not flow.recipe.replaces:
        raise RestoreError(
            f"{flow.list_name} is only added to, so putting an earlier load back would take nothing off it. Take "
            "what is wrong off the list in the vendor's console; to add what is missing, correct it and send the "
            "rejects again."
        )
    if not flow.released:
        raise RestoreError(f"Flow {flow.name} only plans until its file says `released: true`.")
    if flow.approval.ask == "never":
        raise RestoreError(
            f"Putting a list back always needs a person's approval, and flow {flow.name} asks nobody. Write another "
            "word than never under approval.ask."
        )
    now_on = _on_the_list(ledger, flow)
    copies = [copy for copy in safe.copies(flow.target) if copy.load != now_on.id]
    if load is not None:
        copies = [copy for copy in copies if copy.load.startswith(load)]
    if not copies:
        what = "of another load" if load is None else f"of load {load}, or it is what stands on the list now"
        raise RestoreError(
            f"There is no copy {what}. Copies are kept of the last {safe.KEEP_COPIES} loads of a list that ended "
            "well, for some days, where the connection listkeeper_erasure is set. Deliver another night, or correct "
            "the source."
        )
    copy = copies[0]
    try:
        was = ledger.load(copy.load)
    except UnknownLoadError:
        raise RestoreError(f"The ledger no longer knows load {copy.load}.") from None
    text = (
        f"put back what load {copy.load[:8]} put on the list {flow.list_name} ({_of(was)}, {copy.rows:,} rows, copied "
        f"{copy.kept_at:%Y-%m-%d %H:%M} UTC), instead of load {now_on.id[:8]} ({_of(now_on)}) that is on it now."
    )
    return copy, now_on, text


def _on_the_list(ledger: Ledger, flow: Delivery) -> Load:
    try:
        applied = ledger.target(flow.target).applied_load_id
    except UnknownTargetError:
        applied = None
    if applied is None:
        raise RestoreError(f"Nothing was ever put on the list {flow.list_name} by Listkeeper.")
    return ledger.load(applied)


def _of(load: Load) -> str:
    return f"night {load.night}" if load.night else f"of {load.source_time:%Y-%m-%d %H:%M} UTC"
