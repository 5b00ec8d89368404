"""Small archives in the exact formats that the benchmarks' authors distribute."""

from __future__ import annotations

import io
import pickletools
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Files = Mapping[str, bytes]


def picture(seed: int = 0, kind: str = "JPEG", edge: int = 12) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (edge, edge, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=kind)
    return stream.getvalue()


def tree(*places: str) -> dict[str, bytes]:
    """A different picture at each place."""
    return {place: picture(seed) for seed, place in enumerate(places)}


def tar(path: Path, files: Files, mode: str = "w") -> Path:
    """`mode` as tarfile's: `w` or `w:gz`. Folders have entries of their own, as `tar cf` writes them."""
    with tarfile.open(path, mode) as archive:
        for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def zipped(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


class Pickle2:
    """What Python 2's cPickle writes at protocol 2: byte strings, and numpy arrays by numpy's old module names."""

    def __init__(self, document: object) -> None:
        self.content = b"\x80\x02" + self.of(document) + b"."

    def of(self, value: object) -> bytes:
        match value:
            case dict():
                return b"}(" + b"".join(self.of(key) + self.of(item) for key, item in value.items()) + b"u"
            case list():
                return b"](" + b"".join(map(self.of, value)) + b"e"
            case bytes() if len(value) < 256:
                return b"U" + bytes([len(value)]) + value
            case bytes():
                return b"T" + struct.pack("<i", len(value)) + value
            case int():
                return b"J" + struct.pack("<i", value)
            case np.ndarray():
                return self._array(value)
        raise TypeError(value)

    def _array(self, value: NDArray[np.uint8]) -> bytes:
        dtype = (
            b"cnumpy\ndtype\n"
            + self.of(b"u1")
            + b"K\x00K\x01\x87R(K\x03"
            + self.of(b"|")
            + b"NNN"
            + 2 * (b"J" + struct.pack("<i", -1))
            + b"K\x00tb"
        )
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + self.of(b"b") + b"\x87R"
        shape = b"".join(map(self.of, value.shape)) + b"\x86"
        return made + b"(K\x01" + shape + dtype + b"\x89" + self.of(value.tobytes()) + b"tb"


def cifar_pixels(rows: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, 3072), dtype=np.uint8)


def cifar_python(path: Path, names: list[bytes], labels: Mapping[str, list[int]], **more: bytes) -> Path:
    files = {"cifar-100-python/file.txt~": b"", "cifar-100-python/meta": Pickle2({b"fine_label_names": names}).content}
    for seed, (split, of_split) in enumerate(labels.items()):
        batch = {
            b"filenames": [f"a_s_{row:06d}.png".encode() for row in range(len(of_split))],
            b"batch_label": b"training batch 1 of 1",
            b"fine_labels": of_split,
            b"coarse_labels": [0] * len(of_split),
            b"data": cifar_pixels(len(of_split), seed),
        }
        files[f"cifar-100-python/{split}"] = Pickle2(batch).content
    for content in files.values():
        if content:
            pickletools.dis(content, out=io.StringIO())  # a well-formed pickle, whoever reads it
    files |= {f"cifar-100-python/{name}": content for name, content in more.items()}
    return tar(path, files, "w:gz")


def cifar_binary(path: Path, names: list[bytes], labels: Mapping[str, list[int]]) -> Path:
    files = {"cifar-100-binary/fine_label_names.txt": b"\n".join(names) + b"\n"}
    for seed, (split, of_split) in enumerate(labels.items()):
        pixels = cifar_pixels(len(of_split), seed)
        rows = [b"\0" + bytes([label]) + row.tobytes() for label, row in zip(of_split, pixels, strict=True)]
        files[f"cifar-100-binary/{split}.bin"] = b"".join(rows)
    return tar(path, files, "w:gz")


def cub(path: Path, **changed: bytes) -> Path:
    classes = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    places = [f"{name}/Bird_{index:04d}_{index}.jpg" for name in classes for index in range(3)]
    lists = {
        "images.txt": [f"{number} {place}" for number, place in enumerate(places, start=1)],
        "classes.txt": [f"{number} {name}" for number, name in enumerate(classes, start=1)],
        "image_class_labels.txt": [f"{number} {1 + (number > 3)}" for number in range(1, 7)],
        "train_test_split.txt": [f"{number} {number % 2}" for number in range(1, 7)],
    }
    files = {"attributes.txt": b"1 has_bill_shape::curved\n", **tree(*(f"CUB_200_2011/images/{p}" for p in places))}
    files |= {f"CUB_200_2011/{name}": "\n".join(lines).encode() + b"\n" for name, lines in lists.items()}
    files |= {f"CUB_200_2011/{name}.txt": content for name, content in changed.items()}
    return tar(path, {name: content for name, content in files.items() if content != b"absent"}, "w:gz")


def matrix(values: list[int], *, compressed: bool = True) -> bytes:
    """A MATLAB 5 file of one uint8 row vector named `labels`."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    flags, shape = element(6, struct.pack("<II", 9, 0)), element(5, struct.pack("<ii", 1, len(values)))
    whole = element(14, flags + shape + element(1, b"labels") + element(2, bytes(values)))
    if compressed:
        deflated = zlib.compress(whole)
        whole = struct.pack("<II", 15, len(deflated)) + deflated
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + whole
