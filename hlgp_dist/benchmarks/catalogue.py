"""The public benchmarks: what their authors distribute, what it must hold, and who reads it.

Checksums and counts marked "unverified" come from the named source and were never compared with the real file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hlgp_dist.benchmarks import cifar100, cub200, domainnet, vtab
from hlgp_dist.benchmarks.archive import Members
from hlgp_dist.benchmarks.lists import PACKAGED_LISTS, packaged_list, read_list
from hlgp_dist.benchmarks.members import left_out
from hlgp_dist.benchmarks.split import at_random, by_folders, by_list
from hlgp_dist.benchmarks.spool import Spool
from hlgp_dist.config.protocols import CLASSES
from hlgp_dist.data.manifest import SPLITS
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.shards.listing import Picture

RANDOM = "random-80-20"
FILE = "file"
PUBLISHED = "published"


@dataclass(frozen=True)
class Choice:
    """What the user chose of a benchmark: a split, its seed or list file where it has one, a domain."""

    split: str
    seed: int | None = None
    split_file: Path | None = None
    domain: str | None = None


@dataclass(frozen=True)
class Expected:
    """What a release holds.

    archives: MD5 by file name, None where the publisher gives none. Counts are None where they follow from nothing.
    is_published: the counts are the authors' own; a difference from others' can be accepted with --unverified.
    """

    archives: Mapping[str, str | None] = field(default_factory=dict)
    train: int | None = None
    test: int | None = None
    pictures: int | None = None
    classes: int | None = None
    is_published: bool = True


Read = Callable[[Members, Spool, Choice], list[Picture]]


@dataclass(frozen=True)
class Benchmark:
    """A name of `hlgp data prepare`; its first split and its first domain are the defaults.

    `expected` is by domain where there are any, else by split.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    expected: Mapping[str, Expected]
    read: Read
    domains: tuple[str, ...] = ()

    def expectation(self, choice: Choice) -> Expected:
        """What the chosen split or domain must hold."""
        return self.expected[choice.domain or choice.split]


def _tree(members: Members, spool: Spool, choice: Choice) -> list[Picture]:
    """Folders of classes, by the chosen split."""
    if choice.split == RANDOM:
        return at_random(members, choice.seed or 0)
    if choice.split in PACKAGED_LISTS:
        return by_list(members, packaged_list(PACKAGED_LISTS[choice.split]))
    if choice.split == FILE:
        assert choice.split_file is not None
        return by_list(members, read_list(choice.split_file))
    try:
        return by_folders(members)
    except DataError as error:
        raise DataError(f"{error}; --split {RANDOM} or --split-file FILE makes one, recorded as such") from error


def _whole_tree(members: Members, spool: Spool, choice: Choice) -> list[Picture]:
    """As `_tree`, where no count would tell of a lost picture: only beside train/ and test/ may there be others."""
    found = _tree(members, spool, choice)
    lost = left_out(members, found)
    if choice.split == PUBLISHED:
        lost = [path for path in lost if not set(SPLITS).isdisjoint(path.parts[:-1])]
    if lost:
        place = "SPLIT/CLASS/NAME" if choice.split == PUBLISHED else "CLASS/NAME"
        raise DataError(
            f"{len(lost)} pictures would be lost, first {lost[0]}: only JPEG and PNG pictures {place} are taken; "
            "convert, move or remove the others"
        )
    _check_classes(found)
    return found


def _check_classes(found: Sequence[Picture]) -> None:
    """A run refuses a class that it cannot train or test; nothing published tells that this archive has one."""
    classes = {split: {picture.class_name for picture in found if picture.split == split} for split in SPLITS}
    for split, kind in (("train", "training"), ("test", "test")):
        for name in sorted(set.union(*classes.values()) - classes[split]):
            raise DataError(f"class {name!r} has no {kind} picture; every class needs both kinds")


_CIFAR100 = Expected(
    # The MD5s are on the author's page; 50,000 and 10,000 pictures as well.
    {
        "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
        "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
    },
    train=50_000,
    test=10_000,
    classes=CLASSES["cifar100"],
)
# MD5s of Hendrycks' two archives, unverified: many public loaders have them. The counts are the papers'.
_IMAGENET_R = Expected(
    {"imagenet-r.tar": "a61312130a589d0ca1a8fca1f2bd3337"}, pictures=30_000, classes=CLASSES["imagenet_r"]
)
_IMAGENET_A = Expected(
    {"imagenet-a.tar": "c3e55429088dc681f30d81f4726b6595"}, pictures=7_500, classes=CLASSES["imagenet_a"]
)
_CODA = Expected(_IMAGENET_R.archives, train=24_000, test=6_000, pictures=30_000, classes=CLASSES["imagenet_r"])
# RevisitingCIL's archive of ImageNet-A has no published MD5; its counts are unverified, from works that use it.
_IMAGENET_A_SPLIT = Expected(train=5_981, test=1_519, classes=CLASSES["imagenet_a"], is_published=False)
# MD5 from issue 5 of LAMDA-CL/RevisitingCIL, unverified, and the file's name is ours; the counts are unverified, from
# works that use the archive.
_VTAB = Expected(
    {"vtab.zip": "a9c37bde6105a2516c900b0c33a437c1"},
    train=1_796,
    test=8_619,
    classes=CLASSES["vtab"],
    is_published=False,
)
# MD5s as torchvision has them, unverified; RESISC45's authors give none, nor a release in a format read here.
_VTAB_PARTS = Expected(
    {
        "NWPU-RESISC45.zip": None,
        "dtd-r1.0.1.tar.gz": "fff73e5086ae6bdbea199a49dfb8a4c1",
        "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",
        "EuroSAT.zip": "c8fa014336c82ac7804f0398fcb19387",
        "102flowers.tgz": "52808999861908f626f3c1f4e79d11fa",
        "imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
    },
    classes=CLASSES["vtab_rebuild"],
)
# MD5 as torchvision-style loaders have it, unverified; the counts are of the authors' own lists.
_CUB200 = Expected(
    {"CUB_200_2011.tgz": "97eceeb196236b17998738112f37df78"},
    train=5_994,
    test=5_794,
    pictures=11_788,
    classes=CLASSES["cub200"],
)
# No MD5 is published. The counts of the cleaned lists are unverified, from works that use them; their sums are the
# 409,832 and 176,743 that are often cited. The painting lists are said to lack training pictures of one class.
_DOMAINNET = {
    "clipart": (33_525, 14_604),
    "infograph": (36_023, 15_582),
    "painting": (50_416, 21_850),
    "quickdraw": (120_750, 51_750),
    "real": (120_906, 52_041),
    "sketch": (48_212, 20_916),
}


def _domain(*names: str) -> Expected:
    train, test = (sum(_DOMAINNET[name][side] for name in names) for side in (0, 1))
    return Expected(train=train, test=test, classes=CLASSES["domainnet"], is_published=False)


def _read_domainnet(members: Members, spool: Spool, choice: Choice) -> list[Picture]:
    domains = tuple(_DOMAINNET) if choice.domain == "all" else (str(choice.domain),)
    return domainnet.read(members, domains)


_ALL = (
    Benchmark(
        "cifar100",
        "CIFAR-100",
        (PUBLISHED,),
        {PUBLISHED: _CIFAR100},
        lambda members, spool, choice: cifar100.read(members, spool),
    ),
    Benchmark(
        "imagenet_r",
        "ImageNet-R",
        ("coda", RANDOM, FILE),
        {"coda": _CODA, RANDOM: _IMAGENET_R, FILE: _IMAGENET_R},
        _tree,
    ),
    Benchmark(
        "imagenet_a",
        "ImageNet-A",
        (PUBLISHED, RANDOM, FILE),
        {PUBLISHED: _IMAGENET_A_SPLIT, RANDOM: _IMAGENET_A, FILE: _IMAGENET_A},
        _tree,
    ),
    Benchmark("vtab", "VTAB, 5-task subset", (PUBLISHED,), {PUBLISHED: _VTAB}, _tree),
    Benchmark(
        "vtab_rebuild",
        "VTAB, 5-task subset, a rebuild from its parts",
        ("rebuild",),
        {"rebuild": _VTAB_PARTS},
        lambda members, spool, choice: vtab.read(members),
    ),
    Benchmark(
        "cub200",
        "CUB-200-2011",
        (PUBLISHED,),
        {PUBLISHED: _CUB200},
        lambda members, spool, choice: cub200.read(members),
    ),
    Benchmark(
        "domainnet",
        "DomainNet",
        (PUBLISHED,),
        {"all": _domain(*_DOMAINNET), **{name: _domain(name) for name in _DOMAINNET}},
        _read_domainnet,
        domains=("all", *_DOMAINNET),
    ),
    Benchmark(
        "folder",
        "any archive of train/CLASS and test/CLASS",
        (PUBLISHED, RANDOM, FILE),
        {PUBLISHED: Expected(), RANDOM: Expected(), FILE: Expected()},
        _whole_tree,
    ),
)
CATALOGUE: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}


def benchmark_named(name: str) -> Benchmark:
    """Of the catalogue; a hyphen is as good as an underscore.

    Raises:
        ConfigError: there is none of that name.
    """
    known = name.lower().replace("-", "_")
    if known not in CATALOGUE:
        raise ConfigError(f"{name}: no such benchmark; known are {', '.join(CATALOGUE)}")
    return CATALOGUE[known]


def choose(
    benchmark: Benchmark,
    *,
    split: str | None = None,
    seed: int | None = None,
    split_file: Path | None = None,
    domain: str | None = None,
) -> Choice:
    """The choice with the benchmark's defaults filled in.

    Raises:
        ConfigError: it has no such split or domain, or a setting would have no effect.
    """
    chosen = split or (FILE if split_file is not None else benchmark.splits[0])
    if chosen not in benchmark.splits:
        raise ConfigError(f"--split {chosen}: {benchmark.name} has {', '.join(benchmark.splits)}")
    if (chosen == FILE) != (split_file is not None):
        raise ConfigError(
            f"--split {chosen}: --split {FILE} and --split-file FILE go together, and with no other split"
        )
    if seed is not None and chosen != RANDOM:
        raise ConfigError(f"--seed {seed}: has no effect on --split {chosen}, only on {RANDOM}")
    if domain is not None and domain not in benchmark.domains:
        has = ", ".join(benchmark.domains) or "no domains"
        raise ConfigError(f"--domain {domain}: {benchmark.name} has {has}")
    default_domain = benchmark.domains[0] if benchmark.domains else None
    return Choice(chosen, (seed or 0) if chosen == RANDOM else None, split_file, domain or default_domain)
