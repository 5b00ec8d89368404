"""Each benchmark from its original format to verified shards, with small counts in place of the published ones."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from hlgp_dist.benchmarks.catalogue import CATALOGUE, RANDOM, Benchmark, Expected, choose
from hlgp_dist.benchmarks.lists import PACKAGED_LISTS, packaged_list
from hlgp_dist.benchmarks.prepare import prepare
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.source import RangeSource
from hlgp_dist.errors import DataError
from hlgp_dist.shards.verify import verify
from tests.benchmarks import originals
from tests.benchmarks.originals import picture, tar, tree, zipped


def small(name: str, **counts: int) -> Benchmark:
    """The benchmark as it is in the catalogue, but for counts, and without checksums."""
    benchmark = CATALOGUE[name]
    return dataclasses.replace(benchmark, expected=dict.fromkeys(benchmark.expected, Expected(**counts)))


def prepared(benchmark: Benchmark, sources: Path | list[Path], out: Path, **chosen: object) -> Manifest:
    choice = choose(benchmark, **chosen)  # type: ignore[arg-type]
    manifest = prepare(benchmark, sources if isinstance(sources, list) else [sources], out, choice, unverified=True)
    assert verify(out) == []
    assert [file.name for file in out.parent.iterdir() if file.name.startswith(".")] == []
    return manifest


def samples(folder: Path, manifest: Manifest, split: str) -> list[dict[str, bytes]]:
    return list(RangeSource(open_place(folder), manifest, split, np.arange(len(manifest.splits[split])))())


def origins(folder: Path, manifest: Manifest, split: str) -> set[str]:
    """CLASS/NAME of a split's pictures."""
    found = (json.loads(sample["json"]) for sample in samples(folder, manifest, split))
    return {f"{origin['class']}/{origin['path']}" for origin in found}


NAMES = [b"apple", b"aquarium_fish", b"baby"]
LABELS = {"train": [2, 0, 1, 1], "test": [0, 1, 2]}


@pytest.mark.parametrize("make", [originals.cifar_python, originals.cifar_binary])
def test_cifar100_both_versions(make: object, tmp_path: Path) -> None:
    archive = make(tmp_path / "cifar.tar.gz", NAMES, LABELS)  # type: ignore[operator]
    manifest = prepared(small("cifar100", train=4, test=3, classes=3), archive, tmp_path / "out")
    assert manifest.classes == ("apple", "aquarium_fish", "baby")
    assert manifest.splits["train"].counts.tolist() == [1, 2, 1]
    assert origins(tmp_path / "out", manifest, "train") == {
        "apple/00001.png",
        "aquarium_fish/00002.png",
        "aquarium_fish/00003.png",
        "baby/00000.png",
    }
    pixels = originals.cifar_pixels(4)[1].reshape(3, 32, 32).transpose(1, 2, 0)
    first = samples(tmp_path / "out", manifest, "train")[0]
    assert (np.asarray(Image.open(io.BytesIO(first["png"]))) == pixels).all()
    assert manifest.source_hash == prepared_hash(tmp_path)


def prepared_hash(tmp_path: Path) -> str:
    """Of the binary version: both versions are the same data set."""
    archive = originals.cifar_binary(tmp_path / "other.tar.gz", NAMES, LABELS)
    return prepared(small("cifar100", train=4, test=3, classes=3), archive, tmp_path / "other").source_hash


@pytest.mark.parametrize(
    ("labels", "changed", "message"),
    [
        ({"train": [0, 1, 3], "test": [0]}, {}, "row 2 has label 3, and there are 3 classes"),
        ({"train": [0, 1, -1], "test": [0]}, {}, "row 2 has label -1"),
        ({"train": [0]}, {}, "no member test in the archive, which holds cifar-100-python/"),
        (
            LABELS,
            {"meta": originals.Pickle2({b"label_names": [b"airplane"]}).content},
            "no fine_label_names; .*CIFAR-10",
        ),
        (LABELS, {"meta": originals.Pickle2({b"fine_label_names": b"apple"}).content}, "no list of names"),
        (LABELS, {"train": originals.Pickle2({b"fine_labels": [b"x"]}).content}, "no list of numbers"),
        (LABELS, {"train": originals.Pickle2({b"fine_labels": [1]}).content}, "train: no data; found b'fine_labels'"),
        (
            LABELS,
            {"train": originals.Pickle2({b"fine_labels": [1], b"data": originals.cifar_pixels(2)}).content},
            "1 labels for 2 pictures",
        ),
        (LABELS, {"train": b"cos\nsystem\n(S'touch made'\ntR."}, r"names os\.system, which no such file needs"),
    ],
)
def test_a_wrong_cifar_is_refused(
    labels: Mapping[str, list[int]], changed: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    archive = originals.cifar_python(tmp_path / "c.tar.gz", NAMES, labels, **changed)
    with pytest.raises(DataError, match=message):
        prepared(small("cifar100"), archive, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_cut_binary_cifar_is_refused(tmp_path: Path) -> None:
    files = {"c/train.bin": bytes(3073), "c/test.bin": bytes(3074), "c/fine_label_names.txt": b"a\n"}
    with pytest.raises(DataError, match=r"train\.bin: 3073 bytes are no whole number of rows of 3074"):
        prepared(small("cifar100"), tar(tmp_path / "c.tar.gz", files, "w:gz"), tmp_path / "out")


RENDITIONS = tree(*(f"imagenet-r/{wnid}/art_{n}.jpg" for wnid in ("n01443537", "n01484850") for n in range(10)))


def imagenet_r(folder: Path) -> Path:
    return tar(folder / "imagenet-r.tar", {"imagenet-r/README.txt": b"renditions", **RENDITIONS})


def test_imagenet_r_by_the_list_of_coda_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = frozenset({"n01443537/art_3", "n01484850/art_0", "n01484850/art_7"})
    monkeypatch.setattr("hlgp_dist.benchmarks.catalogue.packaged_list", lambda name: listed)
    manifest = prepared(small("imagenet_r", train=17, test=3), imagenet_r(tmp_path), tmp_path / "out")
    assert origins(tmp_path / "out", manifest, "test") == {f"{name}.jpg" for name in listed}
    assert manifest.splits["test"].counts.tolist() == [1, 2]
    assert manifest.origin is not None and manifest.origin.split == "coda"


def test_imagenet_r_by_a_yaml_list_whose_folders_mean_nothing(tmp_path: Path) -> None:
    lists = tmp_path / "imagenet-r_test.yaml"
    lists.write_text(
        "data:\n- data/imagenet-r/train/n01443537/art_3.jpg\n- data/imagenet-r/test/n01484850/art_0.jpg\n"
        "targets:\n- 0\n- 1\n"
    )
    manifest = prepared(small("imagenet_r", train=18, test=2), imagenet_r(tmp_path), tmp_path / "out", split_file=lists)
    assert origins(tmp_path / "out", manifest, "test") == {"n01443537/art_3.jpg", "n01484850/art_0.jpg"}
    assert manifest.origin is not None and manifest.origin.split == "file"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "n01443537/art_3\nn01443537/art_99\n",
            "1 of 2 listed pictures are not in the archive, first n01443537/art_99",
        ),
        (
            "\n".join(name.removesuffix(".jpg") for name in RENDITIONS),
            "has 20 of 20 pictures; it must be that of the test",
        ),
        ("", "an empty list"),
        ("n01443537/art_3\nart_4\n", r"list\.txt:2: 'art_4' is not CLASS/NAME"),
        ("\x00\xff", "cannot be read"),
    ],
)
def test_a_wrong_list_is_refused(content: str, message: str, tmp_path: Path) -> None:
    lists = tmp_path / "list.txt"
    lists.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        prepared(small("imagenet_r"), imagenet_r(tmp_path), tmp_path / "out", split_file=lists)


def test_the_packaged_list_is_whole() -> None:
    listed = packaged_list(PACKAGED_LISTS["coda"])
    assert len(listed) == 6_000
    assert len({name.split("/")[0] for name in listed}) == 200


# another version of any library must not deal another split
PINNED = ["n01443537/art_5.jpg", "n01443537/art_7.jpg", "n01484850/art_1.jpg", "n01484850/art_5.jpg"]


def test_a_random_split_is_a_fifth_of_each_class_and_keeps(tmp_path: Path) -> None:
    archive, benchmark = imagenet_r(tmp_path), small("imagenet_r", pictures=20)
    manifest = prepared(benchmark, archive, tmp_path / "out", split=RANDOM)
    assert manifest.splits["test"].counts.tolist() == [2, 2]
    assert sorted(origins(tmp_path / "out", manifest, "test")) == PINNED
    other = prepared(benchmark, archive, tmp_path / "other", split=RANDOM, seed=1)
    assert sorted(origins(tmp_path / "other", other, "test")) != PINNED
    assert manifest.origin is not None and (manifest.origin.split, manifest.origin.seed) == (RANDOM, 0)
    assert other.origin is not None and other.origin.seed == 1


DIVIDED = tree("imagenet-a/train/n1/a.jpg", "imagenet-a/train/n1/b.jpg", "imagenet-a/test/n1/a.jpg")


def test_imagenet_a_by_the_folders_of_its_archive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shadows = {"__MACOSX/imagenet-a/train/n1/._a.jpg": b"", "imagenet-a/train/n1/._b.jpg": b""}
    ballast = dict.fromkeys(("README.txt", "imagenet-a/.DS_Store", "imagenet-a/train/n1/Thumbs.db", "LICENSE"), b"x")
    archive = zipped(tmp_path / "a.zip", DIVIDED | shadows | ballast)
    manifest = prepared(small("imagenet_a", train=2, test=1, classes=1), archive, tmp_path / "out")
    assert manifest.origin is not None and manifest.origin.split == "published"
    assert caplog.messages == []


def test_imagenet_a_without_a_split_says_how_to_go_on(tmp_path: Path) -> None:
    archive = tar(tmp_path / "imagenet-a.tar", tree(*(f"imagenet-a/n1/0.{n}_a_b_0.9.jpg" for n in range(5))))
    with pytest.raises(DataError, match=r"no published split; --split random-80-20 or --split-file FILE makes one"):
        prepared(small("imagenet_a"), archive, tmp_path / "out")
    manifest = prepared(small("imagenet_a", pictures=5), archive, tmp_path / "out", split=RANDOM)
    assert manifest.splits["test"].counts.tolist() == [1]


def test_vtab_keeps_the_order_of_its_folders(tmp_path: Path) -> None:
    archive = zipped(
        tmp_path / "v.zip",
        tree("vtab-cil/vtab/train/10/a.jpg", "vtab-cil/vtab/train/11/a.jpg", "vtab-cil/vtab/test/10/a.jpg"),
    )
    manifest = prepared(small("vtab", train=2, test=1), archive, tmp_path / "out")
    assert manifest.classes == ("10", "11")


def vtab_parts(folder: Path) -> Path:
    def classes(top: str, names: list[str], number: int = 4) -> dict[str, bytes]:
        return tree(*(f"{top}/{name}/{name}_{n:04d}.jpg" for name in names for n in range(number)))

    folder.mkdir()
    ten = [f"c{n:02d}" for n in range(11)]
    originals.folder(folder, classes("NWPU-RESISC45", ten))
    tar(folder / "dtd-r1.0.1.tar.gz", {"dtd/imdb/imdb.mat": b"x", **classes("dtd/images", ten)}, "w:gz")
    pets = ["Abyssinian", "american_bulldog", "Bengal", *(f"x{letter}" for letter in "abcdefgh")]
    places = {f"images/{pet}_{n}.jpg": picture(n) for pet in pets for n in range(4)}
    tar(folder / "images.tar.gz", {"images/Abyssinian_100.mat": b"x", **places}, "w:gz")
    zipped(folder / "EuroSAT.zip", classes("2750", ten[:10], 80))
    flowers = {f"jpg/image_{n:05d}.jpg": picture(n) for n in range(1, 45)}
    tar(folder / "102flowers.tgz", flowers, "w:gz")
    (folder / "imagelabels.mat").write_bytes(originals.matrix([1 + n % 11 for n in range(44)]))
    return folder


def test_a_rebuild_of_vtab_is_labelled_and_in_order(tmp_path: Path) -> None:
    manifest = prepared(small("vtab_rebuild", classes=50), vtab_parts(tmp_path / "parts"), tmp_path / "out")
    assert manifest.origin is not None
    assert (manifest.origin.benchmark, manifest.origin.split) == ("vtab_rebuild", "rebuild")
    assert [manifest.classes[n].rsplit("_", 1)[0] for n in (0, 10, 30, 40)] == [
        "0_resisc45",
        "1_dtd",
        "3_eurosat",
        "4_flowers102",
    ]
    assert "2_pets_american_bulldog" in manifest.classes and "2_pets_xh" not in manifest.classes
    assert manifest.classes[40] == "4_flowers102_001" and "4_flowers102_011" not in manifest.classes
    train, test = (manifest.splits[split].counts for split in ("train", "test"))
    assert (train[:30] == 2).all() and (test[:30] == 2).all()
    assert (train[30:40] == 36).all() and (test[30:40] == 44).all()


def test_a_rebuild_without_a_part_names_it(tmp_path: Path) -> None:
    parts = vtab_parts(tmp_path / "parts")
    (parts / "EuroSAT.zip").unlink()
    with pytest.raises(DataError, match="eurosat: 0 classes, a rebuild needs 10"):
        prepared(small("vtab_rebuild"), parts, tmp_path / "out")
    (parts / "imagelabels.mat").write_bytes(b"not a matrix")
    with pytest.raises(DataError, match=r"imagelabels\.mat: no vector of labels"):
        prepared(small("vtab_rebuild"), parts, tmp_path / "out")
    (parts / "imagelabels.mat").unlink()
    with pytest.raises(DataError, match=r"no member imagelabels\.mat"):
        prepared(small("vtab_rebuild"), parts, tmp_path / "out")


def test_another_part_of_a_rebuild_is_compared_with_the_one_of_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared(CATALOGUE["vtab_rebuild"], vtab_parts(tmp_path / "parts"), tmp_path / "out")
    name, published = r"102flowers\.tgz", "52808999861908f626f3c1f4e79d11fa"
    assert re.fullmatch(rf"vtab_rebuild: {name}: MD5 is \w+, published is {published} \({name}\)", caplog.messages[0])


def test_cub200_by_its_lists(tmp_path: Path) -> None:
    manifest = prepared(
        small("cub200", train=3, test=3, classes=2), originals.cub(tmp_path / "c.tgz"), tmp_path / "out"
    )
    assert manifest.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    assert manifest.splits["train"].counts.tolist() == [2, 1]
    assert "001.Black_footed_Albatross/Bird_0000_0.jpg" in origins(tmp_path / "out", manifest, "train")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_test_split": b"absent"}, r"no member train_test_split\.txt in the archive, which holds"),
        ({"train_test_split": b"1 1\n2 0\n"}, r"train_test_split\.txt: nothing for 3"),
        ({"train_test_split": b"1 1\n1 0\n"}, "a number is there twice"),
        ({"train_test_split": b"1 7\n"}, "0 and 1: nothing for 7"),
        ({"image_class_labels": b"1 3\n"}, r"classes\.txt: nothing for 3"),
        ({"image_class_labels": b"1 2\n"}, "is not in the folder of its class 002.Laysan_Albatross"),
        ({"images": b"1 001.Black_footed_Albatross/gone.jpg\n"}, r"nothing for 001\.Black_footed_Albatross/gone\.jpg"),
        ({"images": b"1\n"}, r"images\.txt:1: 1 columns, not 2"),
        ({"images": b"\xff\xfe"}, "not a text file"),
    ],
)
def test_a_wrong_cub200_is_refused(changed: dict[str, bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        prepared(small("cub200"), originals.cub(tmp_path / "c.tgz", **changed), tmp_path / "out")


def domain(folder: Path, name: str, train: str | None = None) -> list[Path]:
    places = [f"{name}/{thing}/{name}_{n:03d}.jpg" for thing in ("airplane", "The_Mona_Lisa") for n in range(3)]
    archive = zipped(folder / f"{name}.zip", tree(*places))
    lines = [f"{place} {int('Mona' in place)}\n" for place in places]
    (folder / f"{name}_train.txt").write_text("".join(lines[:2] + lines[3:5]) if train is None else train)
    (folder / f"{name}_test.txt").write_text("".join(lines[2:3] + lines[5:]))
    return [archive, folder / f"{name}_train.txt", folder / f"{name}_test.txt"]


def test_domainnet_one_domain_and_all_in_the_order_of_labels(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    real = domain(tmp_path, "real")
    one = prepared(small("domainnet", train=4, test=2, classes=2), real, tmp_path / "one", domain="real")
    assert one.classes == ("000_airplane", "001_The_Mona_Lisa")
    assert one.origin is not None and one.origin.domain == "real"
    for name in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"):
        domain(tmp_path / "all", name)
    everything = prepared(small("domainnet", train=24, test=12, classes=2), tmp_path / "all", tmp_path / "out")
    assert everything.origin is not None and everything.origin.domain == "all"
    assert "000_airplane/sketch/sketch_002.jpg" in origins(tmp_path / "out", everything, "test")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            "real/airplane/gone.jpg 0\n",
            r"real_train\.txt: real/airplane/gone\.jpg is not in the archives; is real\.zip",
        ),
        ("real/airplane/real_000.jpg zero\n", "is not DOMAIN/CLASS/NAME and a label"),
        ("../etc/passwd 0\n", r"\.\./etc/passwd is not in the archives"),
        ("real/airplane/real_000.jpg 0\nreal/The_Mona_Lisa/real_000.jpg 0\n", "label 0 is The_Mona_Lisa and airplane"),
    ],
)
def test_wrong_domainnet_lists_are_refused(train: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        prepared(small("domainnet"), domain(tmp_path, "real", train), tmp_path / "out", domain="real")


def test_domainnet_without_a_list_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no list clipart_train\.txt, which the authors distribute beside clipart\.zip"
    ):
        prepared(small("domainnet"), domain(tmp_path, "real"), tmp_path / "out")


def test_pictures_that_no_list_names_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As in DomainNet, whose archives hold more than its cleaned lists."""
    lines = "real/airplane/real_000.jpg 0\nreal/The_Mona_Lisa/real_000.jpg 1\n"
    prepared(small("domainnet"), domain(tmp_path, "real", lines), tmp_path / "out", domain="real")
    assert caplog.messages == [
        "domainnet: 2 pictures of the archive not taken, first real.zip/real/The_Mona_Lisa/real_001.jpg"
    ]


@pytest.mark.parametrize("place", ["train/a/3.webp", "test/a/4.gif", "train/x.jpg", "train/./x.jpg", "test/a/5.NPY"])
def test_a_picture_that_would_be_lost_is_refused(place: str, tmp_path: Path) -> None:
    files = tree("train/a/1.jpg", "train/a/2.jpg", "test/a/1.jpg", place, "train/z.tiff")
    message = rf"folder: 2 pictures would be lost, first {re.escape(str(PurePosixPath(place)))}: only JPEG and PNG"
    with pytest.raises(DataError, match=message):
        prepared(CATALOGUE["folder"], tar(tmp_path / "m.tar", files), tmp_path / "out")


def test_a_random_split_takes_pictures_of_any_folder(tmp_path: Path) -> None:
    files = tree("a/1.jpg", "a/2.jpg", "b/a/3.jpg")
    manifest = prepared(CATALOGUE["folder"], tar(tmp_path / "m.tar", files), tmp_path / "out", split=RANDOM)
    assert sum(map(len, manifest.splits.values())) == 3
    with pytest.raises(DataError, match=r"1 pictures would be lost, first a/3\.webp: .* CLASS/NAME are taken"):
        source = tar(tmp_path / "n.tar", files | {"a/3.webp": picture()})
        prepared(CATALOGUE["folder"], source, tmp_path / "other", split=RANDOM)


def test_pictures_beside_train_and_test_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = tree("train/a/1.jpg", "test/a/1.jpg", "val/a/3.jpg", "C:/x.jpg") | {"__MACOSX/val/a/._3.jpg": b"x"}
    prepared(CATALOGUE["folder"], zipped(tmp_path / "m.zip", files), tmp_path / "out")
    assert caplog.messages == ["folder: 2 pictures of the archive not taken, first C:/x.jpg"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_any_archive_of_a_divided_folder(mode: str, tmp_path: Path) -> None:
    source = tar(
        tmp_path / "mine.tgz", tree("train/cat/a.jpg", "train/dog/b.png", "test/cat/c.jpeg", "test/dog/d.jpg"), mode
    )
    manifest = prepared(CATALOGUE["folder"], source, tmp_path / "out")
    assert manifest.classes == ("cat", "dog")
    assert origins(tmp_path / "out", manifest, "test") == {"cat/c.jpeg", "dog/d.jpg"}


@pytest.mark.parametrize(("lacking", "kind"), [("train/dog/b.jpg", "test"), ("test/dog/b.jpg", "training")])
def test_a_class_that_cannot_be_trained_or_tested_is_refused(lacking: str, kind: str, tmp_path: Path) -> None:
    source = tar(tmp_path / "mine.tar", tree("train/cat/a.jpg", "test/cat/c.jpg", lacking))
    with pytest.raises(DataError, match=f"folder: class 'dog' has no {kind} picture; every class needs both kinds"):
        prepared(CATALOGUE["folder"], source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


def test_a_picture_in_another_format_becomes_a_png(tmp_path: Path) -> None:
    files = {**tree("train/cat/a.jpg", "test/cat/a.jpg"), "train/cat/gif.jpg": picture(5, "GIF")}
    manifest = prepared(CATALOGUE["folder"], tar(tmp_path / "m.tar", files), tmp_path / "out")
    suffixes = [{"jpg", "png"} & set(sample) for sample in samples(tmp_path / "out", manifest, "train")]
    assert sorted(map(str, suffixes)) == ["{'jpg'}", "{'png'}"]
