"""Pictures to the likeliest classes, as CSV or JSONL. K: how many of them."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hlgp_dist.errors import ConfigError, DataError, NonFiniteLoss, counted
from hlgp_dist.export.pictures import Named, Source
from hlgp_dist.export.predictor import Predictor
from hlgp_dist.files import write_atomically

FORMATS = (".csv", ".jsonl")
COLUMNS = ("class", "probability")
"""Of a CSV, for each of the K."""


@dataclass
class Tally:
    """What has been predicted so far. labelled: pictures of classes that the model has learned; right: of
    those the likeliest class is the true one.
    """

    pictures: int = 0
    labelled: int = 0
    right: int = 0
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, name: str, reason: str) -> None:
        """Told at once, since a long prediction may be waited for."""
        print(f"left out: {name}: {reason}", file=sys.stderr, flush=True)
        self.left_out.append(name)


@dataclass(frozen=True)
class Prediction:
    """Of a picture: its true class where it is known, and (class, probability) of the K likeliest."""

    picture: str
    true_class: str | None
    top: list[tuple[str, float]]


def check_out(out: Path | None) -> None:
    """Raise ConfigError unless the file's name says how it is to be written."""
    if out is not None and out.suffix not in FORMATS:
        raise ConfigError(f"--out={out}: must end with {' or '.join(FORMATS)}")


def write_predictions(
    predictor: Predictor,
    source: Source,
    tally: Tally,
    *,
    top: int,
    out: Path | None,
    progress: Callable[[int, int], None],
) -> None:
    """Into a file, which is whole or absent; as CSV on standard output where there is none.

    Raises:
        DataError: not one picture could be read.
        NonFiniteLoss: logits are not finite.
    """
    rows = _predictions(predictor, source, tally, top, progress)
    lines = _as_jsonl(rows) if out is not None and out.suffix == ".jsonl" else _as_csv(rows, top)
    if out is None:
        sys.stdout.writelines(lines)
    else:
        write_atomically(out, (line.encode() for line in lines))


def _predictions(
    predictor: Predictor, source: Source, tally: Tally, top: int, progress: Callable[[int, int], None]
) -> Iterator[Prediction]:
    known = frozenset(predictor.described.classes)
    for batch in source.batches:
        for prediction in predicted(predictor, batch, top):
            tally.pictures += 1
            if prediction.true_class in known:
                tally.labelled += 1
                tally.right += prediction.true_class == prediction.top[0][0]
            yield prediction
        progress(tally.pictures + len(tally.left_out), source.total)
    if not tally.pictures:
        raise DataError(f"none of {counted(source.total, 'picture')} could be read, {tally.left_out[0]} first")


def predicted(predictor: Predictor, batch: Named, top: int) -> list[Prediction]:
    """Of one batch; probabilities are the softmax of the logits over all classes.

    Raises:
        NonFiniteLoss: logits are not finite.
    """
    logits, classes = predictor.logits(batch.images), predictor.described.classes
    if not logits.isfinite().all():
        broken = batch.names[int((~logits.isfinite().all(1)).int().argmax())]
        raise NonFiniteLoss(f"logits of {broken} are not finite")
    probabilities, labels = torch.softmax(logits, 1).topk(min(top, len(classes)), 1)
    true = batch.classes if batch.classes is not None else [None] * len(batch.names)
    pairs = (zip(row, values, strict=True) for row, values in zip(labels.tolist(), probabilities.tolist(), strict=True))
    found = [[(classes[label], value) for label, value in pair] for pair in pairs]
    return [Prediction(*each) for each in zip(batch.names, true, found, strict=True)]


def _as_jsonl(rows: Iterator[Prediction]) -> Iterator[str]:
    for row in rows:
        record: dict[str, Any] = {"picture": row.picture, "true_class": row.true_class}
        record["top"] = [{"class": name, "probability": value} for name, value in row.top]
        yield json.dumps(record, ensure_ascii=False) + "\n"


def _as_csv(rows: Iterator[Prediction], top: int) -> Iterator[str]:
    yield _line(["picture", "true_class", *(f"{what}_{rank}" for rank in range(1, top + 1) for what in COLUMNS)])
    for row in rows:
        yield _line([row.picture, row.true_class or "", *(cell for pair in row.top for cell in pair)])


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
