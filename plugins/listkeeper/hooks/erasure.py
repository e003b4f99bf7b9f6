"""The erasure key as Airflow's processes reach it: the password of the connection `listkeeper_erasure`."""

from __future__ import annotations

from typing import Final

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from include.erasure.erased import Erased, names_of_erased, read_erased
from include.erasure.keys import ErasureKey, ErasureKeyError

CONNECTION: Final = "listkeeper_erasure"


def erasure_key() -> ErasureKey:
    """The installation's key. Raises ErasureKeyError when there is none."""
    try:
        secret = BaseHook.get_connection(CONNECTION).password or ""
    except AirflowNotFoundException:
        raise ErasureKeyError(
            f"There is no connection {CONNECTION}: make one of type generic, with at least 16 random characters as its "
            "password, and keep a copy of them in a safe place."
        ) from None
    if secret:
        mask_secret(secret)
    return ErasureKey(secret)


def erased_customers() -> Erased | None:
    """Everybody who was erased; None when nobody was. Raises ErasureKeyError when they could not be known again."""
    return read_erased(erasure_key()) if names_of_erased() else None
