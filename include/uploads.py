"""Files of fixed rejects that people upload: kept in the folder of the run that reads them, and nowhere else.

What it is about (the load, who uploaded it and why) lies beside the file, so that the run needs no parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from include.masking import mask
from include.staging import Manifest, RunFolder, StagingError, run_path

STEP: Final = "fixed"


class UploadError(ValueError):
    """There is no file for this run; the message says how to upload one."""


@dataclass(frozen=True)
class Upload:
    """A file of fixed rejects. :param load: id of the load that rejected the rows."""

    load: str
    name: str
    requested_by: str | None
    reason: str
    content: bytes = field(repr=False)


def folder_of(dag_id: str, run_id: str) -> RunFolder:
    """Where a run's file lies."""
    return RunFolder(run_path(dag_id, run_id, STEP))


def write_upload(dag_id: str, run_id: str, upload: Upload) -> RunFolder:
    """Keep a file for a run that is about to be started, of its name only the ending, and the reason masked."""
    folder = folder_of(dag_id, run_id)
    ending = upload.name.lower().rpartition(".")[2]
    with folder.writing() as scratch:
        (scratch / f"fixed.{ending}").write_bytes(upload.content)
        facts = {"load": upload.load, "requested_by": upload.requested_by, "reason": mask(upload.reason)}
        folder.commit(scratch, Manifest(kind=STEP, rows=0, facts=facts))
    return folder


def read_upload(dag_id: str, run_id: str) -> Upload:
    """The file of a run. Raises UploadError when there is none, or it is not what was uploaded."""
    try:
        folder = folder_of(dag_id, run_id)
        facts = folder.manifest().facts
        with folder.reading("fixed.*") as files:
            return Upload(
                facts["load"], files[0].name, facts["requested_by"], facts["reason"], files[0].read_bytes()
            )
    except (StagingError, IndexError):
        raise UploadError(
            "No file was uploaded for this run (or house-keeping has removed it). Open the load's page under "
            "Listkeeper and upload the fixed rejects there: it starts the run."
        ) from None
