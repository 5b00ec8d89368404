"""Writes scikit-learn's 1,797 digits as a tar of PNG files, `SPLIT/digitN/INDEX.png`, the same bytes each time."""

import argparse
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 1993
TEST_FRACTION = 0.2
STORED_SIZE = 32
BRIGHTEST = 16  # a pixel counts the ink dots, 0 to 16, in a 4x4 block of the scanned 32x32 bitmap


def png(counts: NDArray[np.float64]) -> bytes:
    """One 8x8 digit as a grayscale PNG of 32x32 pixels, bright stroke on a dark ground."""
    grey = np.rint(counts * (255 / BRIGHTEST)).astype(np.uint8)
    buffer = io.BytesIO()
    picture = Image.fromarray(grey).resize((STORED_SIZE, STORED_SIZE), Image.Resampling.BICUBIC)
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def members() -> dict[str, bytes]:
    """Name in the tar -> file content, for both splits, sorted by name; INDEX is the row in scikit-learn's array."""
    digits = load_digits()
    rows = np.arange(len(digits.target))
    _, test = train_test_split(rows, test_size=TEST_FRACTION, random_state=SPLIT_SEED, stratify=digits.target)
    is_test = np.isin(rows, test)
    named = {
        f"{'test' if is_test[row] else 'train'}/digit{digits.target[row]}/{row:04d}.png": png(digits.images[row])
        for row in rows
    }
    return dict(sorted(named.items()))


def write_tar(path: Path, contents: dict[str, bytes]) -> None:
    """Writes the members with fixed owner, mode and time, aside first and then renamed into place."""
    aside = path.with_suffix(".part")
    with tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    aside.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the tar to write")
    out: Path = parser.parse_args().out
    contents = members()
    write_tar(out, contents)
    written = out.read_bytes()
    print(f"{len(contents)} pictures, {len(written)} bytes, sha256 {hashlib.sha256(written).hexdigest()}")


if __name__ == "__main__":
    main()
