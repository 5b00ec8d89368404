"""docs/cluster.md and the guides below it name what there is."""

from __future__ import annotations

import re

from cluster.submit import VERBS
from tests.cluster.host import REPOSITORY

OVERVIEW = REPOSITORY / "docs" / "cluster.md"
GUIDES = [OVERVIEW, *sorted((REPOSITORY / "docs" / "cluster").glob("*.md"))]
LAUNCHERS = [path for path in sorted((REPOSITORY / "cluster").iterdir()) if path.suffix in (".yaml", ".sh")]


def test_every_launcher_is_in_the_table_and_every_guide_there_is() -> None:
    text = OVERVIEW.read_text()
    assert [path.name for path in LAUNCHERS if f"| `cluster/{path.name}` |" not in text] == []
    linked = set(re.findall(r"\]\(cluster/(\w+\.md)\)", text))
    assert linked == {path.name for path in GUIDES[1:]}


def test_every_file_that_is_named_exists() -> None:
    named = {
        name
        for path in [*GUIDES, *LAUNCHERS]
        for name in re.findall(r"(?<![\w/.(])(?:configs|cluster|docker|docs)/[\w/-]+\.\w+", path.read_text())
    }
    own = {"configs/NAME.yaml"}
    assert sorted(name for name in named - own if not (REPOSITORY / name).exists()) == []
    assert {"configs/digits.yaml", "cluster/submit.py", "docker/compose.yaml"} <= named


def test_every_job_is_a_verb_of_submit() -> None:
    text = "\n".join(path.read_text() for path in [*GUIDES, *LAUNCHERS])
    verbs = re.findall(r"(?:submit\.py(?: --)?|slurm\.sh|--rm job) (\w+)(?= configs/)", text)
    assert len(verbs) > 10
    assert set(verbs) <= set(VERBS)
