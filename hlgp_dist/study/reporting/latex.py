"""Tables for a paper, in booktabs."""

from __future__ import annotations

from collections.abc import Iterable

from hlgp_dist.terminal import Grid

ESCAPES = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"${sign}$" for sign in "<>|"},
    "±": r"$\pm$",
    "²": r"$^2$",
    "×": r"$\times$",
    "≈": r"$\approx$",
}


def booktabs(grids: Iterable[Grid]) -> str:
    r"""A `table` each; the document needs \usepackage{booktabs}."""
    return "\n".join(["% \\usepackage{booktabs}", *(_table(grid) for grid in grids)])


def _table(grid: Grid) -> str:
    alignment = "l" + "r" * (len(grid.columns) - 1)
    head, *rows = [" & ".join(map(escaped, row)) + r" \\" for row in [grid.columns, *grid.rows]]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escaped(grid.title)}}}",
            rf"  \begin{{tabular}}{{{alignment}}}",
            r"    \toprule",
            f"    {head}",
            r"    \midrule",
            *(f"    {row}" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escaped(text: str) -> str:
    return "".join(ESCAPES.get(sign, sign) for sign in text)
