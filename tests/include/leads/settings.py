"""How far a setting of a model may go: what it takes and what it refuses, the edges named by the test."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError


def check_edges(
    model: type[BaseModel], rest: dict[str, Any], name: str, allowed: list[Any], refused: list[Any]
) -> None:
    """Assert that beside `rest` the setting takes each of the allowed values and none of the refused ones."""
    for value in allowed:
        assert isinstance(model.model_validate({**rest, name: value}), model)
    for value in refused:
        with pytest.raises(ValidationError):
            model.model_validate({**rest, name: value})
