"""What is in a sample's record, and what is no record of a sample."""

from __future__ import annotations

import pytest

from hlgp_dist.data.record import KEY_LENGTH, Names, pack, sample_of


def test_a_record_holds_a_label_and_a_picture() -> None:
    sample = sample_of(pack([("a.png", b"pixels"), ("a.cls", b"3"), ("a.json", b"{}")]), "a")
    assert (sample.label, sample.suffix, sample.picture) == (3, "png", b"pixels")
    assert sample.members == {"png": b"pixels", "cls": b"3", "json": b"{}"}


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("b.png", b""), ("b.cls", b"0")], "it is b"),
        ([("a.png", b"")], "it has no label"),
        ([("a.cls", b"0"), ("a.txt", b"")], "0 pictures, not one"),
        ([("a.cls", b"0"), ("a.png", b""), ("a.jpg", b"")], "2 pictures, not one"),
        ([("a.cls", b"x"), ("a.png", b"")], "invalid literal"),
    ],
)
def test_what_is_no_sample(members: list[tuple[str, bytes]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        sample_of(pack(members), "a")


def test_keys_have_no_periods_and_a_bounded_length_and_never_change() -> None:
    names = Names("train", "ant", f"sub/photo.1 ü{'x' * 60}.jpg")
    assert len(names.key) == KEY_LENGTH and "." not in names.key
    assert names.key != names._replace(split="test").key
    assert Names("train", "ant", "photo.jpg").key == "photo-0593efff59a72276"
