"""Places by their URL: a folder of this machine's disk, or object storage that other machines write to as well."""

from __future__ import annotations

from upath import UPath

LOCAL = ("", "file", "local")


def open_place(url: str) -> UPath:
    """Return the place at a path or URL. Nothing is asked yet; what is missing shows when it is used.

    Object storage is asked anew each time: by default its listings are kept for as long as the process lives, and
    what another worker has written or removed since would not be seen.
    """
    place = UPath(url)
    return place if is_local(place) else UPath(url, use_listings_cache=False)


def is_local(place: UPath) -> bool:
    """Whether a place lies on a disk of this machine."""
    return place.protocol in LOCAL
