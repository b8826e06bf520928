"""Arithmetic as a calculator does it: numbers, operators and a few functions; nothing else is ever evaluated."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

_LONGEST: Final = 1000  # characters
_OPERATORS: Final[Mapping[type[ast.AST], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: math.fmod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log10": math.log10,
    "log2": math.log2,
    "ln": math.log,
    "log": math.log,
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "round": round,
    "min": min,
    "max": max,
    "pow": operator.pow,
}
_CONSTANTS: Final = {"pi": math.pi, "e": math.e}


def calculated(expression: str) -> str:
    """The value of an expression, written as JavaScript writes numbers. Raises ValueError for what is none."""
    if len(expression) > _LONGEST:
        raise ValueError(f"the expression is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
        return number(_value(tree.body))
    except (SyntaxError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ValueError(f"{expression!r} cannot be calculated: {error}") from None


def _value(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)  # as in JavaScript; and no power of whole numbers can fill the memory
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _real(_OPERATORS[type(sign)](_value(left), _value(right)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name.lower() in _FUNCTIONS:
            function = _FUNCTIONS[name.lower()]
            return _real(function(*map(_value, arguments)))
        case ast.Name(id=name) if name.lower() in _CONSTANTS:
            return _CONSTANTS[name.lower()]
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is no arithmetic")


def _real(value: float | complex) -> float:
    if isinstance(value, complex):
        raise ValueError("the result is not a real number")
    return float(value)


def number(value: float) -> str:
    """A number as JavaScript writes it: whole ones without a point."""
    if math.isinf(value) or math.isnan(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(value).replace("e-0", "e-")
