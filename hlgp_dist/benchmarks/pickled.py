"""Python 2 pickles of dictionaries, lists, byte strings and numpy byte arrays, read without running what they name.

A pickle may name any function of any module and have it called. Here only the three names that a numpy array
needs are known, and each stands for an object that writes down what it is called with.
"""

from __future__ import annotations

import pickle
from io import BytesIO
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.errors import DataError

_NAMES = frozenset({("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})


class _Recorded:
    """A call that was not made, with the state it would have got."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Name:
    """Stands for something of numpy's; the slots leave a pickle nothing to set."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> _Recorded:
        return _Recorded(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"it changes {self.name}")


class _Inert(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no such file needs")
        return _Name(name)

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside")


def unpickle(content: bytes, where: str) -> dict[bytes, Any]:
    """The dictionary, its arrays as what `byte_rows` takes.

    Raises:
        DataError: it is no such dictionary, is cut off, or names anything but a numpy array.
    """
    try:
        document = _Inert(BytesIO(content), encoding="bytes").load()
    except Exception as error:  # damaged bytes can be any opcodes, and those fail in every way there is
        raise DataError(f"{where}: not a pickle of plain data ({type(error).__name__}: {error})") from error
    if not isinstance(document, dict):
        raise DataError(f"{where}: a pickled {type(document).__name__}, not a dictionary")
    return document


def byte_rows(recorded: object, columns: int, where: str) -> NDArray[np.uint8]:
    """The uint8 array [N, columns] that a pickle would have made.

    Raises:
        DataError: it is something else.
    """
    try:
        _require(isinstance(recorded, _Recorded) and recorded.name == "_reconstruct")
        _, shape, dtype, is_fortran, content = cast(_Recorded, recorded).state
        _require(isinstance(dtype, _Recorded) and dtype.name == "dtype" and dtype.arguments[0] in (b"u1", "u1"))
        number, width = shape
        _require(width == columns and isinstance(content, bytes))
        return np.frombuffer(content, np.uint8).reshape(number, width, order="F" if is_fortran else "C")
    except (IndexError, TypeError, ValueError) as error:
        raise DataError(f"{where}: not an array of bytes, {columns} a row") from error


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError
