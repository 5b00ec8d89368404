"""The pages that are made of the code are those of this code, and tell of every option."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveInt

from docs.reference.configuration import json_schema_of, meanings, summary, words
from docs.reference.write import FOLDER, PAGES
from hlgp_dist.config.options import all_options
from hlgp_dist.config.section import Section


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_of_this_code(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "if the change is meant: python -m docs.reference.write"


def rows() -> list[list[str]]:
    lines = (FOLDER / "configuration.md").read_text().splitlines()
    return [[cell.strip() for cell in line.split(" | ")] for line in lines if line.startswith("| `")]


def test_every_option_is_in_the_table_and_has_a_meaning() -> None:
    plain = {"".join(part.split("<")[0] for part in option.key.split(">")) for option in all_options()}
    listed = {row[0].strip("| `") for row in rows()}
    elsewhere = {key for key in plain if key.startswith("method.matching.classifier.")}  # where it is a method
    assert {key.removesuffix(".kind") for key in plain - elsewhere} <= listed
    assert [row[0] for row in rows() if not row[-1].strip("| ")] == []


class Some(Section):
    """What it is: a section.

    first: a number; null: none. second and third (in pixels): two more.
    """

    first: PositiveInt | None = None
    second: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    third: tuple[Literal["a", "b"], ...] = ()


def test_meanings_are_those_of_the_docstring() -> None:
    assert summary(Some) == "What it is: a section."
    assert meanings(Some) == {"first": "a number; null: none", "second": "two more", "third": "(in pixels) two more"}


def test_types_in_words() -> None:
    told = {name: words(json_schema_of(field)) for name, field in Some.model_fields.items()}
    assert told == {
        "first": "whole number > 0 or `null`",
        "second": "number ≥ 0, < 1",
        "third": "list of `a`, `b`",
    }
