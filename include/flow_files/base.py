"""What every flow file holds, and the kinds of values in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=60)]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]
"""A tag or an owner: what is longer, Airflow refuses for the whole DAG file."""


class FlowFile(BaseModel):
    """What every flow file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    name: Name = Field(description="Name of the flow: small letters, digits and _. It ends the DAG id.")
    title: str = Field("", description="One line for people, shown on the DAG's page.")
    owner: Label = Field("listkeeper", description="Who is asked when the flow fails.")
    tags: tuple[Label, ...] = Field((), description="Extra tags of the DAG in Airflow's UI.")

    @property
    def dag_id(self) -> str:
        """Id of the DAG this file becomes."""
        return f"{self.kind}__{self.name}"
