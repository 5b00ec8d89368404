"""Every text in the code, with `…` where it has a value put in."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

GAP = "…"


def templates(files: Iterable[Path]) -> set[str]:
    """Of Python files; of others each line."""
    found: set[str] = set()
    for file in files:
        if file.suffix == ".py":
            found |= set(texts(ast.parse(file.read_text())))
        else:
            found |= set(file.read_text().splitlines())
    return found


def texts(tree: ast.AST) -> Iterator[str]:
    """Constants, and formatted ones; no docstrings."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
