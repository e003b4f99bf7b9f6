"""Flow files: one YAML file per source, list or campaign. Adding a list is adding a file.

Each file says its `kind`; the models below are the schema. A mistake is reported with file, key and rule, and
breaks only the flow of that file.
"""

from include.flow_files.base import FlowFile
from include.flow_files.delivery import Column, Delivery, Recipe
from include.flow_files.files import (
    KINDS,
    BrokenFlow,
    FlowFileError,
    deliveries,
    find_flow,
    load_flows,
    read_flow_file,
)
from include.flow_files.house import KeepHouse
from include.flow_files.isales import IsalesFlow
from include.flow_files.ozonetel import OzonetelFlow
from include.flow_files.platform import LeadFilters, PlatformPushFlow, PlatformSource
from include.flow_files.purecallerid import PureCallerIdFlow
from include.flow_files.vicidial import ArchiveFlow

__all__ = [
    "KINDS",
    "ArchiveFlow",
    "BrokenFlow",
    "Column",
    "Delivery",
    "FlowFile",
    "FlowFileError",
    "IsalesFlow",
    "KeepHouse",
    "LeadFilters",
    "OzonetelFlow",
    "PlatformPushFlow",
    "PlatformSource",
    "PureCallerIdFlow",
    "Recipe",
    "deliveries",
    "find_flow",
    "load_flows",
    "read_flow_file",
]
