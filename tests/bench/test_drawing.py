"""Drawn pictures: the same ones each time, and like photographs to a decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hlgp_dist.bench.drawing import CLASSES, draw, draw_folder


def test_the_same_files_each_time_for_any_number_of_workers(tmp_path: Path) -> None:
    for name, workers in (("once", 1), ("again", 3)):
        draw_folder(tmp_path / name, pictures=CLASSES + 2, pixels=64, workers=workers)
    once, again = ({path.name: path.read_bytes() for path in (tmp_path / n).rglob("*.jpg")} for n in ("once", "again"))
    assert once == again
    assert len(set(once.values())) == CLASSES + 2
    assert len(list((tmp_path / "once").iterdir())) == CLASSES


def test_another_seed_draws_other_pictures() -> None:
    assert not np.array_equal(draw(3, 64, seed=0), draw(3, 64, seed=1))


def test_landscape_and_portrait_of_a_photographs_size(tmp_path: Path) -> None:
    draw_folder(tmp_path / "drawn", pictures=4, pixels=500)
    files = sorted((tmp_path / "drawn").rglob("*.jpg"))
    assert [Image.open(file).size for file in files] == [(500, 375), (375, 500)] * 2
    assert all(40_000 < file.stat().st_size < 100_000 for file in files)
