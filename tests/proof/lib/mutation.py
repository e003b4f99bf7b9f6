"""Small faults for a Python module: each mutant is the module with one place changed, as a syntax tree.

What is changed: comparisons and their boundaries, `and`/`or`, `not`, arithmetic and set operators, numbers, true and
false, words that look like names ("held"), conditions, values returned, and calls, raises and assignments left out.
Left alone is what no run looks at: annotations, docstrings, sentences for people.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType

OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
PLAIN_ENOUGH = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
"""Comparisons whose opposite is made already: a condition of one of them alone needs no `not` before it."""
UNSEEN_ARGUMENTS = {"description", "title", "examples", "frozen", "slots"}


@dataclass(frozen=True)
class Mutant:
    """One fault: where it is, what stood there and what stands there now."""

    path: str
    line: int
    name: str
    """The function or class it is in, `module` outside of any."""
    before: str
    after: str
    lines: range
    """The lines of the statement that it is in: a test that runs none of them cannot tell."""
    code: CodeType = field(repr=False)
    """The whole module with the fault in it."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line} in {self.name}\n  - {self.before}\n  + {self.after}"

    @property
    def id(self) -> str:
        """How it is named where it is explained; stays the same when lines above move."""
        return f"{self.path}::{self.name} | {self.before} -> {self.after}"


def mutants_of(root: Path, spec: str) -> Iterator[Mutant]:
    """All mutants of a module (`include/guards.py`), or of one thing in it (`include/guards.py::check`)."""
    path, _, only = spec.partition("::")
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    for name, statement, node, others in _places(tree, "module", tree):
        if only and name.split(".")[0] != only:
            continue
        before, line = _told(node), _line(node)
        lines = range(_line(statement), (getattr(statement, "end_lineno", None) or line) + 1)
        for other in others:
            if (after := _told(other)) != before:
                undo = _put(tree, node, other)
                code = compile(ast.fix_missing_locations(tree), str(root / path), "exec", dont_inherit=True)
                undo()
                yield Mutant(path, line, name, before, after, lines, code)


Place = tuple[str, ast.AST, ast.AST, list[ast.AST]]


def _places(tree: ast.AST, name: str, statement: ast.AST) -> Iterator[Place]:
    """Each node with what may stand in its stead: (name of the scope, its statement, the node, the others)."""
    for node in _seen(tree):
        scope = name
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            scope = node.name if name == "module" else f"{name}.{node.name}"
        at = _head(node) if isinstance(node, ast.stmt) else statement
        if others := list(_others(node)):
            yield scope, at, node, others
        yield from _places(node, scope, at)


def _head(statement: ast.stmt) -> ast.AST:
    """What of a statement runs when it is reached: of a block its first line only, of a condition the condition."""
    if isinstance(statement, ast.If | ast.While):
        return statement.test
    if isinstance(statement, ast.For):
        return statement.iter
    return statement


def _seen(node: ast.AST) -> Iterator[ast.AST]:
    """The children that a run looks at."""
    skipped: set[int] = set()
    if isinstance(node, ast.AnnAssign | ast.arg):
        skipped.add(id(node.annotation))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        skipped.add(id(node.returns))
    if isinstance(node, ast.Raise):
        skipped.add(id(node.exc))  # what an error says is for people; that it is raised, is for us
    for child in ast.iter_child_nodes(node):
        documents = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        unseen = isinstance(child, ast.keyword) and child.arg in UNSEEN_ARGUMENTS
        is_type = isinstance(child, ast.Subscript) and ast.unparse(child.value) == "Literal"
        text = isinstance(child, ast.JoinedStr)
        if not (id(child) in skipped or documents or unseen or is_type or text):
            yield child


def _others(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand for a node: each a small mistake that a person could make."""
    match node:
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                yield _with(node, ops=[*ops[:at], OTHER[type(op)](), *ops[at + 1 :]])
        case ast.BoolOp(op=op, values=values):
            yield _with(node, op=OTHER[type(op)]())
            if len(values) > 2:
                for at in range(len(values)):
                    yield _with(node, values=[*values[:at], *values[at + 1 :]])
        case ast.BinOp(op=op, left=left, right=right) if type(op) in OTHER:
            if not any(_is_text(side) for side in (left, right)):
                yield _with(node, op=OTHER[type(op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield _with(node, value=not value)
        case ast.Constant(value=int() | float() as value):
            yield _with(node, value=value + 1)
        case ast.Constant(value=str() as value) if re.fullmatch(r"[A-Za-z][a-z_]+", value):
            yield _with(node, value=f"{value}_x")
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not _turned_already(test):
                yield _with(node, test=ast.copy_location(ast.UnaryOp(ast.Not(), test), test))
        case ast.comprehension(ifs=ifs):
            for at in range(len(ifs)):
                yield _with(node, ifs=[*ifs[:at], *ifs[at + 1 :]])
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant)):
            yield _with(node, value=ast.copy_location(ast.Constant(None), value))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign():
            yield ast.copy_location(ast.Pass(), node)
        case ast.Continue():
            yield ast.copy_location(ast.Break(), node)
        case ast.Break():
            yield ast.copy_location(ast.Continue(), node)


def _line(node: ast.AST) -> int:
    return int(getattr(node.target if isinstance(node, ast.comprehension) else node, "lineno", 1))


def _turned_already(test: ast.expr) -> bool:
    if isinstance(test, ast.Compare):
        return len(test.ops) == 1 and isinstance(test.ops[0], PLAIN_ENOUGH)
    return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _with(node: ast.AST, **changes: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _put(tree: ast.AST, old: ast.AST, new: ast.AST) -> Callable[[], None]:
    """Put a node in the place of another; returns what undoes it."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return partial(setattr, parent, name, old)
            for at, item in enumerate(value if isinstance(value, list) else ()):
                if item is old:
                    value[at] = new
                    return partial(value.__setitem__, at, old)
    raise LookupError("the node is not in the tree")


def _told(node: ast.AST) -> str:
    """A node in one line; of a block its head."""
    if isinstance(node, ast.comprehension):
        return " ".join(
            ["for", ast.unparse(node.target), "in", ast.unparse(node.iter)]
            + [f"if {ast.unparse(c)}" for c in node.ifs]
        )
    if isinstance(node, ast.If | ast.While):
        return f"{type(node).__name__.lower()} {ast.unparse(node.test)}"
    return " ".join(ast.unparse(node).split())
