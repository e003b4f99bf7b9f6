"""Reads the folder of flow files: which kinds there are, the good files, the broken ones and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import yaml
from pydantic import ValidationError

from include import settings
from include.flow_files.base import FlowFile
from include.flow_files.delivery import Delivery
from include.flow_files.house import KeepHouse
from include.flow_files.isales import IsalesFlow
from include.flow_files.ozonetel import OzonetelFlow
from include.flow_files.platform import PlatformPushFlow, PlatformSource
from include.flow_files.problems import problems_of
from include.flow_files.purecallerid import PureCallerIdFlow
from include.flow_files.vicidial import ArchiveFlow

KINDS: Final[dict[str, type[FlowFile]]] = {
    "pull_platform_leads": PlatformSource,
    "load_purecallerid": PureCallerIdFlow,
    "load_ozonetel": OzonetelFlow,
    "push_platform_leads": PlatformPushFlow,
    "import_isales": IsalesFlow,
    "archive_vicidial_leads": ArchiveFlow,
    "keep_house": KeepHouse,
}

AnyFlow = TypeVar("AnyFlow", bound=FlowFile)


class FlowFileError(Exception):
    """A flow file cannot be used. The message names the file and, one a line, each key with the rule it breaks."""

    def __init__(self, file: str, problems: list[str]) -> None:
        self.file, self.problems = file, problems
        super().__init__("\n".join([f"{file} cannot be used:", *(f"- {problem}" for problem in problems)]))


@dataclass(frozen=True)
class BrokenFlow:
    """A flow file with a mistake: the id its DAG would have, and what is wrong."""

    dag_id: str
    error: FlowFileError


class _Loader(yaml.SafeLoader):
    """YAML without its silent surprises: a key that stands twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in written:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value} stands twice", problem_mark=key.start_mark
                )
            written.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises FlowFileError."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise FlowFileError(
            path.name, [f"{where}this is no YAML ({getattr(error, 'problem', error)})"]
        ) from None
    except (ValueError, RecursionError, OSError) as error:  # a date such as 2026-13-45 is a ValueError
        why = str(error) if type(error) is ValueError else type(error).__name__
        raise FlowFileError(path.name, [f"the file cannot be read ({why})"]) from None


def read_flow_file(path: Path) -> FlowFile:
    """Read and check one flow file. Raises FlowFileError."""
    raw = _read_yaml(path)
    if not isinstance(raw, dict):
        raise FlowFileError(path.name, ["the file must hold keys and values, beginning with kind and name"])
    model = KINDS.get(str(raw.get("kind")))
    if model is None:
        raise FlowFileError(path.name, [f"kind: must be one of {', '.join(KINDS)}, not {raw.get('kind')!r}"])
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = [problem for item in error.errors() for problem in problems_of(item, model)]
        raise FlowFileError(path.name, problems) from None


def deliveries(folder: Path | None = None) -> list[Delivery]:
    """Every delivery that there is a good flow file for, by DAG id."""
    read = (flow for kind in KINDS.values() for flow in load_flows(kind, folder)[0])
    found = [flow for flow in read if isinstance(flow, Delivery)]
    return sorted(found, key=lambda flow: flow.dag_id)


def load_flows(kind: type[AnyFlow], folder: Path | None = None) -> tuple[list[AnyFlow], list[BrokenFlow]]:
    """Read every flow file of one kind: the good ones in name order, and the broken ones.

    A second file that claims the name of an earlier one, or writes the same list, is broken. Files whose kind cannot
    be told are reported under the first kind of `KINDS`, so that no file is passed over in silence.
    """
    folder = folder or settings.flows_folder()
    good: dict[str, AnyFlow] = {}
    targets: dict[str, str] = {}
    wrong: list[tuple[str, Path, FlowFileError]] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        claimed, name = _claims(path)
        if KINDS.get(claimed, next(iter(KINDS.values()))) is not kind:
            continue
        prefix = claimed if claimed in KINDS else next(iter(KINDS))
        try:
            flow = cast("AnyFlow", read_flow_file(path))
            if flow.name in good:
                raise FlowFileError(path.name, [f"name: another file already defines {flow.dag_id}"])
            if isinstance(flow, Delivery) and targets.setdefault(flow.target, path.name) != path.name:
                raise FlowFileError(path.name, [f"list: {targets[flow.target]} already writes this list"])
            good[flow.name] = flow
        except FlowFileError as error:
            wrong.append((f"{prefix}__{name}", path, error))
    broken: list[BrokenFlow] = []
    taken = {flow.dag_id for flow in good.values()}
    # After all good ones, so that none of them loses its DAG to a broken file.
    for dag_id, path, mistake in wrong:
        free = dag_id if dag_id not in taken else f"{dag_id}_{_safe(path.name)}"
        taken.add(free)
        broken.append(BrokenFlow(free, mistake))
    return [good[name] for name in sorted(good)], broken


def find_flow(kind: type[AnyFlow], name: str, folder: Path | None = None) -> AnyFlow:
    """Read the flow of one name. Raises FlowFileError when no file defines it or its file is broken."""
    good, broken = load_flows(kind, folder)
    for flow in good:
        if flow.name == name:
            return flow
    for wrong in broken:
        if wrong.dag_id.endswith(f"__{name}"):
            raise wrong.error
    raise FlowFileError(str(folder or settings.flows_folder()), [f"no file defines {name}"])


def _claims(path: Path) -> tuple[str, str]:
    """The kind and name a file claims, as far as they can be read, to name the DAG of a broken one."""
    try:
        raw = _read_yaml(path)
    except FlowFileError:
        raw = None
    raw = raw if isinstance(raw, dict) else {}
    return str(raw.get("kind")), _safe(str(raw.get("name") or path.stem))


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in text.lower())[:60] or "unnamed"
