"""What can be broken in a source file: every small change that a test should notice, as replacements of text."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass, replace

COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
               "is": "is not", "is not": "is", "in": "not in", "not in": "in"}  # fmt: skip
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "*", "**": "*", "|": "&", "&": "|"}
WORDS = {"fan_out": "fan_in", "fan_in": "fan_out", "bilinear": "nearest", "nearest": "bilinear", "mean": "sum",
         "sum": "mean", "pytorch": "caffe", "relu": "sigmoid"}  # fmt: skip
"""Settings that are words. Other texts are names and messages."""
NOT_UNWRAPPED = {
    "all", "any", "bool", "dict", "enumerate", "float", "frozenset", "int", "iter", "len", "list", "max", "min", "next",
    "open", "print", "range", "repr", "reversed", "set", "sorted", "str", "sum", "super", "tuple", "type", "zip",
}  # fmt: skip
"""Functions whose argument is of another type than their result: without the call nothing runs."""
NOT_SWAPPED = {"isinstance", "issubclass", "getattr", "setattr", "hasattr", "max", "min", "zip", "field", "replace"}
NOT_DROPPED = {"strict", "inplace", "encoding", "stacklevel", "copy", "non_blocking", "use_reentrant", "validate_args"}
"""Keyword arguments that guard against bugs elsewhere, or are about speed: without them the same comes out."""
DEFAULTS = {"align_corners=False", "dim=None", "bias=True", "keepdim=False", "stride=1", "dilation=1", "groups=1"}
"""Keyword arguments that say what torch does without them."""


@dataclass(frozen=True)
class Mutant:
    """One change of a file: `source[start:end]` becomes `after`.

    scope: class and function that it is in. number: counts equal changes of a scope.
    """

    path: str
    line: int
    scope: str
    operator: str
    start: int
    end: int
    before: str
    after: str
    number: int = 0

    @property
    def name(self) -> str:
        """What stays the same when lines move."""
        number = f" #{self.number + 1}" if self.number else ""
        change = f"{_one_line(self.before)} -> {_one_line(self.after) or 'nothing'}"
        return f"{self.path} {self.scope} [{self.operator}] {change}{number}"

    def applied(self, source: str) -> str:
        """The file with the change."""
        return source[: self.start] + self.after + source[self.end :]


def mutants(path: str, source: str) -> list[Mutant]:
    """Every change of a file, in order."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    numbered, seen = [], Counter[str]()
    for mutant in sorted(finder.found, key=lambda mutant: (mutant.start, mutant.end, mutant.operator, mutant.after)):
        numbered.append(replace(mutant, number=seen[mutant.name]))
        seen[mutant.name] += 1
    return numbered


def compiles(source: str) -> bool:
    """Whether a changed file is still Python."""
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:40]} ... {text[-15:]}"


class _Finder(ast.NodeVisitor):
    """Collects the changes of a file."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.source = source
        self.scope: list[str] = []
        self.found: list[Mutant] = []
        self.line_starts = [0]
        for line in source.splitlines(keepends=True):
            self.line_starts.append(self.line_starts[-1] + len(line))
        self.lines = source.splitlines(keepends=True)

    # --- Places ---------------------------------------------------------------------------------------------------

    def offset(self, line: int, column: int) -> int:
        """Of a place as syntax trees give it, with columns in bytes."""
        return self.line_starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def text(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        start, end = self.span(node)
        return self.source[start:end]

    def add(self, operator: str, start: int, end: int, after: str) -> None:
        line = self.source.count("\n", 0, start) + 1
        scope = ".".join(self.scope) or "module"
        self.found.append(Mutant(self.path, line, scope, operator, start, end, self.source[start:end], after))

    def swap(self, operator: str, left: ast.expr, right: ast.expr, table: dict[str, str]) -> None:
        """Replaces the sign between two operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        between = self.source[start:end]
        sign = re.search(r"not\s+in|is\s+not|\*\*|//|<=|>=|==|!=|\b(in|is|and|or)\b|[-+*/%<>|&]", between)
        if sign and (after := table.get(" ".join(sign.group().split()))):
            self.add(operator, start + sign.start(), start + sign.end(), after)

    # --- Where nothing is changed -----------------------------------------------------------------------------------

    def visit_Raise(self, node: ast.Raise) -> None:
        """Messages."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """Invariants."""

    def visit_Import(self, node: ast.Import) -> None:
        """Nothing."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Nothing."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """The value, not the annotation."""
        if node.value is not None:
            self.visit(node.value)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """The body, not the decorators and bases; nothing of a protocol."""
        if not any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
            self.inside(node.name, node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Defaults and body, not the annotations; nothing of what is printed for people."""
        if node.name in ("__repr__", "extra_repr", "__str__"):
            return
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.scope.append(node.name)
            self.visit(default)
            self.scope.pop()
        self.inside(node.name, node.body)

    def inside(self, name: str, body: list[ast.stmt]) -> None:
        self.scope.append(name)
        for statement in body:
            self.visit(statement)
        self.scope.pop()

    # --- What is changed --------------------------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> None:
        """A call whose result nobody wants is left out; texts are documentation."""
        if isinstance(node.value, ast.Constant):
            return
        if isinstance(node.value, ast.Call):
            if "super()" not in self.text(node):
                self.add("statement", *self.span(node), "pass")
            self.visit(node.value.func)
            self.change_arguments(node.value)
        else:
            self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """What is added is not."""
        self.add("statement", *self.span(node), "pass")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Signs."""
        for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
            self.swap("compare", left, right, COMPARISONS)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Signs, but for texts."""
        sides = (node.left, node.right)
        if not any(isinstance(side, ast.JoinedStr) or _is_text(side) for side in sides):
            self.swap("arithmetic", *sides, ARITHMETIC)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """And, or."""
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.swap("boolean", left, right, {"and": "or", "or": "and"})
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Left out."""
        self.add("sign", *self.span(node), self.text(node.operand))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Another number, the other truth, another setting."""
        value, after = node.value, None
        if isinstance(value, bool):
            after = repr(not value)
        elif isinstance(value, int):
            after = repr(value + 1)
        elif isinstance(value, float):
            after = repr(value * 2 if value else 1.0)
        elif isinstance(value, str) and value in WORDS:
            after = repr(WORDS[value])
        if after is not None:
            self.add("constant", *self.span(node), after)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Not within annotations that are values, such as `Literal["a", "b"]`."""
        if isinstance(node.value, ast.Name) and node.value.id in ("Literal", "Callable", "Sequence", "Mapping"):
            return
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        """The condition is forced. Where it only guards, a forced error would say nothing."""
        guards = all(isinstance(statement, ast.Raise) for statement in node.body)
        self.force(node.test, ("False",) if guards else ("True", "False"))
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """The condition is forced."""
        self.force(node.test, ("True", "False"))
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Conditions are forced."""
        for condition in node.ifs:
            self.force(condition, ("True",))
        self.generic_visit(node)

    def force(self, condition: ast.expr, values: tuple[str, ...]) -> None:
        for value in values:
            self.add("condition", *self.span(condition), value)

    def visit_Call(self, node: ast.Call) -> None:
        """Without the call; with arguments swapped; without an argument."""
        self.unwrap(node, _called(node))
        self.visit(node.func)
        self.change_arguments(node)

    def change_arguments(self, node: ast.Call) -> None:
        """Swaps the first two, leaves out each that has a keyword, and changes what is in them."""
        name = _called(node)
        first_two = node.args[:2]
        if len(first_two) == 2 and name not in NOT_SWAPPED and not any(isinstance(a, ast.Starred) for a in first_two):
            one, two = first_two
            between = self.source[self.span(one)[1] : self.span(two)[0]]
            if self.text(one) != self.text(two):
                after = self.text(two) + between + self.text(one)
                self.add("arguments", self.span(one)[0], self.span(two)[1], after)
        for keyword in node.keywords:
            alone = len(node.args) + len(node.keywords) == 1
            if not (alone or keyword.arg in {None, *NOT_DROPPED} or self.text(keyword) in DEFAULTS):
                self.drop(node, keyword)
        if name not in ("isinstance", "issubclass", "TypeVar"):
            for argument in (*node.args, *node.keywords):
                self.visit(argument)

    def unwrap(self, node: ast.Call, name: str) -> None:
        """`f(x)` becomes `x`, and `x.f()` too; not for what makes another type, or a class."""
        if name in NOT_UNWRAPPED or name[:1].isupper() or not name:
            return
        start, end = self.span(node)
        if len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp):
            self.add("call", start, end, f"({self.text(node.args[0])})")
        elif not node.args and not node.keywords and isinstance(node.func, ast.Attribute):
            owner = self.text(node.func.value)
            if owner not in ("super()", "self"):
                self.add("call", start, end, owner)

    def drop(self, node: ast.Call, keyword: ast.keyword) -> None:
        """One keyword argument less, with its comma."""
        start, end = self.span(keyword)
        before = re.search(r",\s*$", self.source[:start])
        after = re.match(r"\s*,\s*", self.source[end:])
        if before:
            start = before.start()
        elif after:
            end += after.end()
        self.add("keyword", start, end, "")


def _called(node: ast.Call) -> str:
    """The name of the function or method."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
