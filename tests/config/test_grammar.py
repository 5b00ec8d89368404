"""The YAML grammar: numbers, text, lines, and what is refused."""

from __future__ import annotations

import pytest
import yaml

from hlgp_dist.config.grammar import GrammarError, flow, parse_value, read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5e-3", 0.5e-3),
        ("-1.e2", -100.0),
        ("3", 3),
        ("010", 10),
        ("true", True),
        ("null", None),
        ("~", None),
        ("[1, 2e-1]", [1, 0.2]),
        ("{loguniform: [1e-3, 1e-1]}", {"loguniform": [1e-3, 1e-1]}),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-3'", "1e-3"),
        ("s3://bucket/a", "s3://bucket/a"),
    ],
)
def test_values_and_their_types(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text", ["", "# a", "a: b", "- 1", "[1", "&a 1", "{a: 1, a: 2}", "!!set {a}", "!!python/name:os.x", "{1: 2}"]
)
def test_refused_as_an_override(text: str) -> None:
    with pytest.raises(GrammarError):
        parse_value(text)


@pytest.mark.parametrize(
    "value",
    [
        "1e-3",
        "no",
        "",
        "null",
        "0x10",
        "1:30",
        "a: b",
        "a\n\nb",
        "#",
        "<<",
        1e-7,
        1e22,
        -3,
        True,
        None,
        [1, [2.5, "3"]],
        {"a b": ["x\ny"]},
    ],
)
def test_one_line_is_read_back_by_both_grammars(value: object) -> None:
    line = flow(value)
    assert "\n" not in line
    assert parse_value(line) == value
    assert yaml.safe_load(line) == value


def test_a_document_knows_lines_and_repeated_keys() -> None:
    document = read_document("# head\ntrain:\n  epochs: 3\n  epochs: 4\ndata: {path: x,\n  cache_dir: y}\n")
    assert document.values == {"train": {"epochs": 4}, "data": {"path": "x", "cache_dir": "y"}}
    assert document.lines["data", "cache_dir"] == 6
    assert document.repeated == [(("train", "epochs"), 4)]
    assert read_document("# nothing\n").values == {}


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: [1", 2), ("a: 1\n2: x", 2), ("- 1", 1), ("a: &x 1\nb: *x", 1), ("a:\n  b: !!python/object:os.x {}", 2)],
)
def test_a_refused_document_names_its_line(text: str, line: int) -> None:
    with pytest.raises(GrammarError) as raised:
        read_document(text)
    assert raised.value.line == line
