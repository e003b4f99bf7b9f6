"""The write points, read from the code, and crashes at them.

A write point is a call after which the world is another one: a transaction of the ledger, a change in the staging area,
a call that a vendor acts on, a step of an upload. Whoever adds such a call finds it in this list without writing it
down, and `test_write_points.py` is red until something is killed there.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal
from unittest import mock

from include import staging
from include.ledger import Ledger
from include.staging import RunFolder

When = Literal["before", "after"]

HOOKS = {
    "purecallerid": "PureCallerIdHook",
    "ozonetel": "OzonetelHook",
    "isales": "IsalesHook",
    "vicidial": "VicidialHook",
    "platform": "PlatformHook",
}

ASKS_ONLY = {
    "tasks": "iSales is asked with POST; its query changes nothing",
    "file_servers": "the same",
    "campaign_status": "a GET",
    "test_connection": "every hook's test is made so that it changes nothing",
}
"""Methods of hooks that send a POST and write nothing all the same."""

CHANGES_FILES = ("write_bytes", "write_text", "rename", "unlink", "rmdir", "rmtree", "copyfileobj", "remove")
"""Calls by which files are changed."""


@dataclass(frozen=True)
class Write:
    """A method or a function that writes, and whose it is."""

    owner: type | ModuleType
    name: str

    @property
    def is_receiver(self) -> bool:
        """Whether it is made by the API server, which dies and lives apart from the tasks."""
        return (self.owner, self.name) == (Ledger, "receive")

    def __str__(self) -> str:
        return f"{self.owner.__name__.rpartition('.')[2]}.{self.name}"


@functools.cache
def writes() -> tuple[Write, ...]:
    """Every write there is."""
    return (*_of_ledger(), *_of_staging(), *_of_hooks(), *_of_uploads())


def _methods(owner: type | ModuleType) -> dict[str, ast.FunctionDef]:
    """The methods of a class, or the functions of a module."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(owner)))
    (body,) = [tree] if isinstance(owner, ModuleType) else tree.body
    assert isinstance(body, (ast.Module, ast.ClassDef))
    return {node.name: node for node in body.body if isinstance(node, ast.FunctionDef)}


def _calls(method: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Names of what is called, `name(...)` or `x.name(...)`, with the calls."""
    for node in ast.walk(method):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id, node


def _reaching(owner: type | ModuleType, writes: Callable[[ast.FunctionDef], bool]) -> Iterator[Write]:
    """Public methods of a class (functions of a module) that write, by themselves or by a private one of theirs."""
    methods = _methods(owner)

    def reaches(name: str, seen: frozenset[str] = frozenset()) -> bool:
        method = methods[name]
        inner = {called for called, _ in _calls(method)} & set(methods) - seen
        private = (other for other in inner if other.startswith("_"))
        return writes(method) or any(reaches(other, seen | {name}) for other in private)

    return (Write(owner, name) for name in methods if not name.startswith("_") and reaches(name))


def _of_ledger() -> Iterator[Write]:
    """The public methods that open a write transaction."""
    return _reaching(Ledger, lambda method: any(name == "write" for name, _ in _calls(method)))


def _of_staging() -> Iterator[Write]:
    """What changes run folders, and removes places. `writing` only makes and removes its scratch folder."""
    for owner in (RunFolder, staging):
        found = _reaching(owner, lambda method: any(name in CHANGES_FILES for name, _ in _calls(method)))
        yield from (write for write in found if write.name not in ("writing", "reading"))


def _of_hooks() -> Iterator[Write]:
    """The methods by which a hook has its vendor do something: a POST, or what the endpoint's method says."""
    from include.vendors.platform.endpoints import ENDPOINTS

    def sends(method: ast.FunctionDef) -> bool:
        said = [
            arg.value if isinstance(arg, ast.Constant) else "any method"
            for name, call in _calls(method)
            for arg in call.args[:1]
            if name == "send" or (name in ("_request", "_ask", "_nothing") and isinstance(arg, ast.Constant))
        ]
        return any(ENDPOINTS[one].writes if one in ENDPOINTS else one != "GET" for one in said)

    for module, name in HOOKS.items():
        hook = getattr(importlib.import_module(f"listkeeper.hooks.{module}"), name)
        yield from (write for write in _reaching(hook, sends) if write.name not in ASKS_ONLY)


def _of_uploads() -> Iterator[Write]:
    """The steps of an upload: what is written, what is renamed, what is removed."""
    from listkeeper.hooks.sftp import SftpUploadHook

    changes = ("open", "posix_rename", "rename", "remove", "mkdir")
    for name, method in _methods(SftpUploadHook).items():
        on_server = (
            call.func.value.id
            for called, call in _calls(method)
            if called in changes
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
        )
        if "sftp" in on_server and name not in ("_compared", "_open_part", "_bring", "upload"):
            yield Write(SftpUploadHook, name)
    yield Write(SftpUploadHook, "upload")


class SimulatedCrash(BaseException):
    """The process is gone: no `except Exception` of ours runs, and nothing more of it is written."""


class WorkerGoneError(Exception):
    """What Airflow makes of a task whose process is gone: one more failed try."""


@dataclass(frozen=True)
class Struck:
    """One crash, and how what it struck ended after it."""

    point: str
    where: str
    ended: str


class Crashes:
    """Crashes at the points of a schedule, one after the other: each arms when the one before has struck.

    A point is "before Ledger.intend" or "after RunFolder.put", with " #2" behind it for the second time that it is
    passed. While `watching` it only counts what is passed.
    """

    def __init__(self) -> None:
        self.schedule: list[str] = []
        self.gone = False
        self.passed: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self._patches = [
            mock.patch.object(write.owner, write.name, self._wrapped(write)) for write in writes()
        ]
        self._patches.append(mock.patch.object(shutil, "rmtree", self._clears(shutil.rmtree)))

    def begin(self, schedule: Sequence[str]) -> None:
        """A new night, with these crashes in it."""
        self.schedule, self.gone = list(schedule), False
        self.passed.clear()

    def _wrapped(self, write: Write) -> Any:
        inner = inspect.getattr_static(write.owner, write.name)
        static = isinstance(inner, staticmethod)
        function = inner.__func__ if static else inner

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._strike("before", write)
            result = function(*args, **kwargs)
            self._strike("after", write)
            return result

        return staticmethod(call) if static else call

    def _clears(self, rmtree: Callable[..., None]) -> Callable[..., None]:
        """A process that is gone clears nothing up: its scratch folders stay."""
        return lambda *args, **kwargs: None if self.gone else rmtree(*args, **kwargs)

    def _strike(self, when: When, write: Write) -> None:
        if self.gone and not write.is_receiver:  # a `finally` on the way out writes nothing either
            raise SimulatedCrash
        point = f"{when} {write}"
        self.passed[point] += 1
        if not self.schedule:
            return
        wanted, _, nth = self.schedule[0].partition(" #")
        if wanted == point and self.passed[point] >= int(nth or 1):
            self.gone = not write.is_receiver
            self.struck[point] += 1
            raise SimulatedCrash(self.schedule.pop(0))

    @contextmanager
    def armed(self) -> Iterator[Crashes]:
        """Watch every write while the block runs."""
        for patch in self._patches:
            patch.start()
        try:
            yield self
        finally:
            for patch in reversed(self._patches):
                patch.stop()


def points() -> list[str]:
    """Every write, before and after."""
    return [f"{when} {write}" for write in writes() for when in ("before", "after")]
