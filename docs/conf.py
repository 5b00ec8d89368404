"""How Sphinx makes a site of these pages, without a network: `make docs`, then build/docs/index.html.

The pages are plain Markdown that reads on a forge as well. Formulae become MathML, which browsers draw by themselves.
"""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from hlgp_dist import __version__

project = "hlgp_dist"
author = copyright = "The hlgp_dist authors"
version = release = __version__

extensions = ["myst_parser"]
highlight_language = "text"

myst_enable_extensions = ["dollarmath", "html_image"]
myst_dmath_allow_digits = False  # `$1` is no formula
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"hlgp_dist {__version__}"
html_copy_source = False
html_math_renderer = "mathml"


PAGES = {"README.md": "tour.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files beside this folder, and the page that each of them is."""


def lead_from_here(app: Sphinx, path: object, page: str, content: list[str]) -> None:
    """Links and pictures of a file that lies beside this folder."""

    def turned(link: re.Match[str]) -> str:
        file, hash_sign, heading = link[2].partition("#")
        here = file[5:] if file.startswith("docs/") else PAGES.get(file, f"../{file}")
        return link[1] + here + hash_sign + heading

    content[0] = re.sub(r"""(\]\(|src=")(?![a-z]+:|#)([^)"]+)""", turned, content[0])


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """A formula in a line."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own."""
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Sphinx calls it."""
    app.connect("include-read", lead_from_here)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
