"""What the documentation tells to type is what the program takes."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hlgp_dist.config import plugins
from tests.documentation.lines import Command, commands, plain_keys, wrong
from tests.documentation.pages import DOCS, ROOT, Block, blocks, inline_code, markdown_files

MENTIONED = re.compile(r"([a-z_]+(?:\.[a-z_0-9]+)+)(?:=.+|: .+)?")
FREE = ("search.space.", "study.cells.", "study.axes.", "backbone.kwargs.")
"""Below these keys anything may stand."""


@pytest.fixture(scope="module", autouse=True)
def _example_plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """docs/plugin as if it were installed."""
    installed = tmp_path_factory.mktemp("installed")
    record = installed / "one_prompt-0.1.dist-info"
    record.mkdir()
    project = tomllib.loads((DOCS / "plugin" / "pyproject.toml").read_text())["project"]
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"][plugins.GROUP].items())
    (record / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{points}")
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: one_prompt\nVersion: 0.1\n")
    with pytest.MonkeyPatch.context() as patch:
        for folder in (installed, DOCS / "plugin"):
            patch.syspath_prepend(folder)
        plugins._found.cache_clear()
        yield
    plugins._found.cache_clear()


def wrong_commands(text: str) -> list[str]:
    found = [(command.line, wrong(command)) for command in commands(text)]
    return [f"{line}: {told}" for line, told in found if told]


@pytest.mark.parametrize("file", markdown_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_exist(file: Path) -> None:
    assert wrong_commands(file.read_text()) == []


def unknown_keys(text: str) -> list[str]:
    """Dotted keys in sentences, with or without a value, that no option has."""
    keys = plain_keys()
    sections = {key.split(".")[0] for key in keys} - {"seed"}
    found = []
    for line, code in inline_code(text):
        mentioned = MENTIONED.fullmatch(code)
        key = mentioned[1] if mentioned else ""
        is_known = key in keys or any(other.startswith(f"{key}.") for other in keys) or key.startswith(FREE)
        if key.split(".")[0] in sections and not is_known and not key.endswith((".py", ".md", ".yaml", ".jsonl")):
            found.append(f"{line}: {code}")
    return found


@pytest.mark.parametrize("file", markdown_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_keys_exist(file: Path) -> None:
    assert unknown_keys(file.read_text()) == []


def parse(block: Block) -> None:
    """As what it says it is; raises where it is not."""
    match block.language:
        case "python":
            compile(block.text, "block", "exec")
        case "yaml":
            list(yaml.safe_load_all(block.text))
        case "json":
            json.loads(block.text)
        case "toml":
            tomllib.loads(block.text)


@pytest.mark.parametrize("file", markdown_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_blocks_are_of_their_language(file: Path) -> None:
    for block in blocks(file.read_text()):
        parse(block)


WRONG = """# Page

    hlgp trian configs/digits.yaml
    hlgp train configs/gone.yaml
    hlgp train configs/digits.yaml method.prompt_lenght=3     # a comment
    hlgp train configs/digits.yaml method.num_group=N
    hlgp plan configs/digits.yaml --gpu 3
    ray exec cluster/onprem.yaml 'cd x && hlgp report'
    hlgp bench step --compare other

```sh
ray submit cluster/onprem.yaml cluster/submit.py -- tune configs/digits.yaml search.num_sample=3
```

`hlgp data share` and `hlgp predict --tops 3`
"""


def test_what_is_wrong_is_found() -> None:
    told = wrong_commands(WRONG)
    assert [int(line.partition(":")[0]) for line in told] == [3, 4, 5, 6, 7, 8, 9, 12, 15, 15]
    assert "did you mean prompt_length" in told[2]
    assert "no such key: method.num_group=N" in told[3]


RIGHT = """
    hlgp train configs/digits.yaml launch.num_workers=N seed=S && hlgp report runs   # then
    hlgp tune configs/NAME.yaml search.num_samples=8
    hlgp data shard SOURCE DIR [--resize PIXELS [--quality 90]] [--workers N]
    ray exec -p 6006 cluster/onprem.yaml 'hlgp tensorboard $HLGP_STORAGE/runs/NAME'
    hlgp: configs/x.yaml: a message

`hlgp train` and `hlgp data verify --decode all`, `hlgp VERB --help`
"""


def test_what_is_right_passes() -> None:
    found = list(commands(RIGHT))
    assert [command.words[0] for command in found] == [
        "train",
        "report",
        "tune",
        "data",
        "tensorboard",
        "train",
        "data",
        "VERB",
    ]
    assert wrong_commands(RIGHT) == []
    assert found[0] == Command(2, ("train", "configs/digits.yaml", "launch.num_workers=N", "seed=S"), True)


def test_a_key_that_no_option_has_is_found() -> None:
    text = "`method.num_groups=4`, `data.md`, `engine.zero_stage: 2`, `method.groups`, `launch.workers=3`"
    assert unknown_keys(text) == ["1: method.groups", "1: launch.workers=3"]


@pytest.mark.parametrize(("language", "text"), [("python", "x ="), ("yaml", "a: ["), ("json", "{"), ("toml", "a =")])
def test_a_block_of_another_language_is_found(language: str, text: str) -> None:
    (block,) = blocks(f"```{language}\n{text}\n```\n")
    with pytest.raises((SyntaxError, ValueError, yaml.YAMLError)):
        parse(block)
