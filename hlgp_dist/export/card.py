"""The model card of an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hlgp_dist.errors import counted
from hlgp_dist.export.description import TENSORS, Description

CARD_TEXT = """---
library_name: hlgp_dist
pipeline_tag: image-classification
---
# {name}

`{kind}` on `{backbone}`: {classes} classes, learned in {stages}. `{tensors}` holds {held}; `model.json` says
everything else, the sha256 of the backbone's weights among it.

| | |
|---|---|
{rows}

Accuracy of each task on {pictures} pictures, after the last one: {accuracies}.

    hlgp predict . PICTURES --top 5{weights}

{sources} `docs/export.md` of hlgp_dist loads it without that package, and says what every field means.

Classes, in the order of the logits: {names}
"""

_SOURCES = {
    "hub": "The weights come from timm's hub.",
    "none": "The weights are random, drawn from the seed.",
}


def card(model: Description, name: str, *, trains_trunk: bool) -> str:
    """As Markdown."""
    source = model.backbone["weights"]
    measured = {key: value for key, value in model.metrics.items() if isinstance(value, float)}
    rows = [
        *((key.replace("_", " ") + ", %", f"{100 * value:.1f}") for key, value in measured.items()),
        ("weights of the backbone", source if source in ("hub", "none") else Path(source).name),
        ("their sha256", model.backbone["sha256"]),
        ("data (digest of the manifest)", model.dataset),
        ("configuration", model.configuration),
        ("versions", ", ".join(f"{package} {version}" for package, version in model.versions.items())),
    ]
    return CARD_TEXT.format(
        name=name,
        kind=model.method["kind"],
        backbone=model.backbone["name"],
        classes=len(model.classes),
        stages=counted(model.learned, "stage"),
        tensors=TENSORS,
        held="the whole trunk, which was trained" if trains_trunk else "no weight of the frozen backbone",
        rows="\n".join(f"| {key} | {_cell(value)} |" for key, value in rows),
        pictures=model.metrics["evaluated_on"],
        accuracies=", ".join(f"{100 * value:.1f} %" for value in model.metrics["accuracy_of_tasks"]),
        weights="" if source in ("hub", "none") else f" --weights {Path(source).name}",
        sources=_SOURCES.get(source, "The weights come from a file, which whoever predicts must have."),
        names=", ".join(model.classes),
    )


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|")
