"""Writes the pages that are made of the code, anew: `python -m docs.reference.write`."""

from __future__ import annotations

from pathlib import Path

from docs.reference import commands, configuration

PAGES = {"configuration.md": configuration.page, "commands.md": commands.page}
FOLDER = Path(__file__).parent


def main() -> None:
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())


if __name__ == "__main__":
    main()
