"""What a PromQL expression asks for: the metrics by name with the labels that it picks, and those that it groups by."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser as promql

VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}
"""What Grafana puts in place of its own variables; those of a dashboard stand in strings, where they are text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One selector: a metric, and the labels that it matches on."""

    name: str
    labels: frozenset[str]


def parsed(text: str) -> promql.Expr:
    """Parse an expression of a rule or a dashboard. Raises ValueError as Prometheus would refuse it."""
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    assert not re.search(r"\$__", text), f"an unknown variable of Grafana's in {text}"
    return promql.parse(text)


def asked_for(text: str) -> list[Asked]:
    """Return every selector of an expression."""
    return [_asked(node) for node in _nodes(parsed(text)) if isinstance(node, promql.VectorSelector)]


def grouped_by(text: str) -> set[str]:
    """Return every label that an expression groups by or matches on."""
    found: set[str] = set()
    for node in _nodes(parsed(text)):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            found.update(node.modifier.labels)
        if isinstance(node, promql.BinaryExpr) and node.modifier is not None and node.modifier.matching is not None:
            found.update(node.modifier.matching.labels)
    return found


def _asked(selector: promql.VectorSelector) -> Asked:
    assert selector.name, "a selector without a name asks for everything"
    return Asked(name=selector.name, labels=frozenset(each.name for each in selector.matchers.matchers))


def _nodes(node: object) -> Iterator[object]:
    """Yield an expression and all that it is made of."""
    yield node
    match node:
        case promql.BinaryExpr():
            children = [node.lhs, node.rhs]
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            children = [node.expr]
        case promql.Call():
            children = list(node.args)
        case promql.MatrixSelector():
            children = [node.vector_selector]
        case promql.VectorSelector() | promql.NumberLiteral() | promql.StringLiteral():
            children = []
        case _:
            raise AssertionError(f"what is {type(node).__name__}?")
    for child in children:
        yield from _nodes(child)
