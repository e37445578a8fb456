"""Small changes of a module's code, one a mutant: what a test suite has to notice."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change."""

    line: int
    before: str
    after: str
    source: str
    """The whole module, changed."""

    @property
    def change(self) -> str:
        """The change, as a person reads it."""
        return f"{self.before} -> {self.after}"


def seeded_mutants(source: str, *, size: int, seed: int) -> list[Mutant]:
    """Return so many mutants of a module, drawn without replacement, in the order of their lines; all if it has fewer.

    Left alone are annotations, decorators, imports, docstrings, and what is only said: sentences and the log.
    """
    tree = ast.parse(source)
    changes = [(spot, other) for spot in _code(tree) for other in _changed(spot.node)]
    drawn = sorted(random.Random(seed).sample(range(len(changes)), min(size, len(changes))))
    mutants = [_mutant(tree, *changes[number]) for number in drawn]
    return sorted(mutants, key=lambda mutant: mutant.line)


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a node stands in its tree."""

    node: ast.AST
    parent: ast.AST
    field: str
    place: int | None
    """Its number, where the field is a list."""

    def put(self, node: ast.AST) -> None:
        if self.place is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.place] = node

    def excerpt(self, node: ast.AST | None = None) -> str:
        """Return what stands there, a constant in the expression or the assignment that it is a part of."""
        is_part = isinstance(self.node, ast.Constant) and isinstance(self.parent, ast.expr | ast.Assign | ast.AnnAssign)
        return _excerpt(self.parent if is_part else node or self.node)


def _mutant(tree: ast.Module, spot: _Spot, other: ast.AST) -> Mutant:
    before = spot.excerpt()
    spot.put(other)
    source, after = ast.unparse(tree), spot.excerpt(other)
    spot.put(spot.node)
    return Mutant(line=_line(spot.node), before=before, after=after, source=source)


def _line(node: ast.AST) -> int:
    return node.target.lineno if isinstance(node, ast.comprehension) else getattr(node, "lineno", 0)


def _excerpt(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def _code(parent: ast.AST) -> Iterator[_Spot]:
    """Walk over what runs."""
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for place, child in children:
            if isinstance(child, ast.AST) and not _is_silent(child):
                yield _Spot(child, parent, field, place)
                yield from _code(child)


def _is_silent(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.keyword(arg="strict"):
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="log"))):
            return True
        case (
            ast.Assign(targets=[ast.Name(id="log")])
            | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="log"))))
        ):
            return True
    return False


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """Return what may stand in a node's place."""
    match node:
        case ast.Compare(ops=[*ops]):
            for place, op in enumerate(ops):
                for other in _COMPARISONS[type(op)]:
                    yield _with(node, ops=[*ops[:place], other(), *ops[place + 1 :]])
        case ast.BoolOp(op=op, values=values):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            yield from (_without(node, values, place) for place in range(len(values)))
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            yield _with(node, op=_ARITHMETIC[type(op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield _with(node, test=test, body=orelse, orelse=body)
        case ast.If(test=test) | ast.While(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.comprehension(ifs=[_, *_]):
            yield _with(node, ifs=[])
        case ast.Return(value=value) if value is not None and not _is_nothing(value):
            yield _with(node, value=ast.Constant(None))
        case ast.Raise() | ast.AugAssign() | ast.Expr():
            yield ast.Pass()
        case ast.Constant(value=value):
            yield from (ast.Constant(other) for other in _other_values(value))


def _with(node: ast.AST, **fields: object) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def _without(node: ast.AST, values: list[ast.expr], place: int) -> ast.AST:
    left = [*values[:place], *values[place + 1 :]]
    return left[0] if len(left) == 1 else _with(node, values=left)


def _is_nothing(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _other_values(value: object) -> tuple[bool | int | float | str, ...]:
    match value:
        case bool():
            return (not value,)
        case int():
            return (value + 1,)
        case float():
            return (2 * value if value else 1.0,)
        case str() if value and " " not in value:  # with a space it is a part of a sentence
            return (f"{value}_",)
        case "":
            return ("other",)
    return ()
