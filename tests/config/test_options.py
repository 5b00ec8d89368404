"""The public surface: every option with its default and role, and a package without torch.

`python tests/config/test_options.py` writes the list anew.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.options import all_options
from hlgp_dist.config.section import Section

GOLDEN = Path(__file__).with_name("options.txt")

IMPORT_ALL = """
import importlib, pkgutil, sys
import hlgp_dist.config
for module in pkgutil.iter_modules(hlgp_dist.config.__path__):
    importlib.import_module(f"hlgp_dist.config.{module.name}")
print([name for name in ("torch", "numpy", "ray", "deepspeed", "timm") if name in sys.modules])
"""


def option_list() -> str:
    lines = []
    for option in all_options():
        default = "(section)" if isinstance(option.default, Section) else flow(_plain(option.default))
        lines.append(f"{option.role:<12} {option.key} = {'(required)' if option.required else default}\n")
    return "".join(lines)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_the_options_are_those_of_the_list() -> None:
    assert option_list() == GOLDEN.read_text(), f"if the change is meant: python tests/config/{Path(__file__).name}"


def test_the_configuration_imports_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


HELP = """
import sys
from hlgp_dist.cli import main
sys.argv = ["hlgp", *sys.argv[1:]]
try:
    main()
finally:
    print([name for name in ("torch", "ray", "deepspeed", "timm", "webdataset", "numpy") if name in sys.modules])
"""


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["config", "configs/synthetic.yaml"]], ids=" ".join)
def test_the_command_line_waits_for_no_framework(words: list[str]) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", HELP, *words], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


if __name__ == "__main__":
    GOLDEN.write_text(option_list())
