"""Pickles are data here, whatever they would like to be."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from hlgp_dist.benchmarks.pickled import byte_rows, unpickle
from hlgp_dist.errors import DataError
from tests.benchmarks.originals import Pickle2

ROWS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_what_python_2_wrote_reads_back() -> None:
    document = unpickle(Pickle2({b"labels": [1, 2], b"name": b"x" * 300, b"data": ROWS}).content, "train")
    assert document[b"labels"] == [1, 2] and document[b"name"] == b"x" * 300
    assert (byte_rows(document[b"data"], 4, "data") == ROWS).all()


def test_a_real_unpickler_agrees() -> None:
    made = pickle.loads(Pickle2({b"data": ROWS}).content, encoding="bytes")
    assert (made[b"data"] == ROWS).all()


class Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_a_function_has_no_effect(protocol: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not a pickle of plain data .*posix\.mkdir, which no such file needs"):
        unpickle(pickle.dumps({"data": Evil(tmp_path / "made")}, protocol), "train")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1/0'\ntR.",
        b"c__builtin__\neval\n(S'1/0'\ntR.",
        b"\x80\x04\x8c\x0anumpy.core\x8c\x14multiarray._reconstr\x93.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"(i__main__\nEvil\n.",
        b"\x80\x02\x82\x01.",  # the extension registry
        b"Pelsewhere\n.",  # a persistent id
        b"cnumpy\nndarray\n}S'name'\nS'os'\nsb.",  # sets what a name stands for
        b"cnumpy\nndarray\n)\x81.",  # a new object of it
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x02]q\x00h\x01.",
        b"",
        b"\x80\x02]",
        b"junk",
        b"\x80\x02](K\x01e.",
    ],
)
def test_what_is_no_plain_dictionary_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="train: "):
        unpickle(content, "train")


@pytest.mark.parametrize("array", [np.zeros((2, 5), np.uint8), np.zeros((0, 3), np.uint8), [1, 2, 3, 4], b"text"])
def test_another_array_is_refused(array: object) -> None:
    document = unpickle(Pickle2({b"data": array}).content, "train")
    with pytest.raises(DataError, match="data: not an array of bytes, 4 a row"):
        byte_rows(document[b"data"], 4, "data")


@pytest.mark.parametrize(
    ("written", "instead"),
    [(b"U\x02u1", b"U\x02f4"), (b"U\x0c" + ROWS.tobytes(), b"U\x0b" + ROWS.tobytes()[1:]), (b"\x86c", b"0c")],
)
def test_an_array_that_contradicts_itself_is_refused(written: bytes, instead: bytes) -> None:
    content = Pickle2({b"data": ROWS}).content.replace(written, instead)
    with pytest.raises(DataError, match=r"not an array|not a pickle"):
        byte_rows(unpickle(content, "train")[b"data"], 4, "data")
