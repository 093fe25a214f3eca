"""Source code → its mutants: copies of its syntax tree that differ in one place."""

import ast
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
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_FUNCTIONS = {
    old: new
    for pair in (("min", "max"), ("any", "all"), ("floor", "ceil"), ("minimum", "maximum"))
    for old, new in (pair, pair[::-1])
}
_SKIPPED = frozenset({"annotation", "returns", "decorator_list", "bases"})
"""Fields of nodes that only tools and the interpreter read."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to a module: which of the module's changes it is, the line, the code before and after."""

    module: str
    number: int
    line: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class _Edit:
    """`node.field` becomes `value`; `shown` is the smallest piece of code in which this can be read."""

    node: ast.AST
    field: str
    value: object
    shown: ast.expr | ast.stmt


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Return all mutants of a module, in an order that depends on its source alone."""
    tree = ast.parse(source)
    return [
        Mutant(module, number, edit.shown.lineno, *_before_and_after(edit))
        for number, edit in enumerate(list(_edits(tree)))
    ]


def mutated(source: str, number: int) -> ast.Module:
    """Return the syntax tree of one mutant."""
    tree = ast.parse(source)
    edit = list(_edits(tree))[number]
    setattr(edit.node, edit.field, edit.value)
    return ast.fix_missing_locations(tree)


def _before_and_after(edit: _Edit) -> tuple[str, str]:
    before, kept = ast.unparse(edit.shown), getattr(edit.node, edit.field)
    if isinstance(kept, list) and edit.shown in kept:
        return before, "pass"
    setattr(edit.node, edit.field, edit.value)
    after = ast.unparse(edit.value if isinstance(edit.value, ast.UnaryOp) else edit.shown)
    setattr(edit.node, edit.field, kept)
    return before, after


def _edits(node: ast.AST) -> Iterator[_Edit]:
    """Messages of errors and our own invariants (`raise`, `assert`) stay as they are: tests should not quote them."""
    for rule in (_operators, _values, _negations, _removals):
        yield from rule(node)
    for field, child in ast.iter_fields(node):
        for part in child if isinstance(child, list) else [child]:
            kept = field in _SKIPPED or isinstance(part, ast.Raise | ast.Assert)
            if isinstance(part, ast.AST) and not kept:
                yield from _edits(part)


def _operators(node: ast.AST) -> Iterator[_Edit]:
    match node:
        case ast.Compare(ops=operators):
            for place, old in enumerate(operators):
                for new in _COMPARISONS[type(old)]:
                    changed = [*operators[:place], new(), *operators[place + 1 :]]
                    yield _Edit(node, "ops", changed, node)
        case ast.BinOp(op=old) | ast.AugAssign(op=old) if type(old) in _ARITHMETIC:
            yield _Edit(node, "op", _ARITHMETIC[type(old)](), node)
        case ast.BoolOp(old):
            yield _Edit(node, "op", ast.Or() if isinstance(old, ast.And) else ast.And(), node)
        case ast.UnaryOp(old, operand):
            yield _Edit(node, "operand", ast.UnaryOp(type(old)(), operand), operand)


def _values(node: ast.AST) -> Iterator[_Edit]:
    match node:
        case ast.Constant(bool() as old):
            yield _Edit(node, "value", not old, node)
        case ast.Constant(int() as old):
            yield _Edit(node, "value", old + 1, node)
        case ast.Constant(float() as old):
            yield _Edit(node, "value", old * 2 or 1.0, node)
        case ast.Compare(left, _, others):
            yield from _strings(left, *others)
        case ast.Set(parts) | ast.Dict(parts):
            yield from _strings(*parts)
        case ast.Call(ast.Name(old) | ast.Attribute(attr=old) as function) if old in _FUNCTIONS:
            field = "id" if isinstance(function, ast.Name) else "attr"
            yield _Edit(function, field, _FUNCTIONS[old], node)


def _strings(*nodes: ast.expr | None) -> Iterator[_Edit]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield _Edit(node, "value", f"not {node.value}", node)


def _negations(node: ast.AST) -> Iterator[_Edit]:
    """Turn conditions round that have no operator which another rule changes."""
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(
        node.test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant
    ):
        negated = ast.UnaryOp(ast.Not(), node.test)
        yield _Edit(node, "test", negated, node.test)


def _removals(node: ast.AST) -> Iterator[_Edit]:
    for field in ("body", "orelse", "finalbody"):
        block: object = getattr(node, field, None)
        if isinstance(block, list):
            for place, statement in enumerate(block):
                if _has_effect(statement):
                    rest = [*block[:place], ast.Pass(), *block[place + 1 :]]
                    yield _Edit(node, field, rest, statement)


def _has_effect(statement: ast.stmt) -> bool:
    """Whether the statement does something besides giving a new name a value."""
    match statement:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("logger")))):
            return False
        case ast.Expr(ast.Call() | ast.Await()):
            return True
        case ast.Assign(targets):
            return any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets)
        case _:
            return isinstance(
                statement, ast.AugAssign | ast.Raise | ast.Delete | ast.Break | ast.Continue
            )
