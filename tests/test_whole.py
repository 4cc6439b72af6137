"""Small files: the old one or the new one, never half of either, and readable by their owner only."""

import os
import stat
import threading
from pathlib import Path

import pytest

from engine.whole import write_whole


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_whole_and_only_its_owner_reads_it(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "folder" / "file.json"
    before = os.umask(0)
    try:
        write_whole(path, b"one", durable=durable)
        write_whole(path, lambda beside: beside.write_bytes(b"two"), durable=durable)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"two" and [one.name for one in path.parent.iterdir()] == ["file.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_whole(path, b"old")

    def half(beside: Path) -> None:
        beside.write_bytes(b"ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, half)
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"a folder is in the way")
    assert path.read_bytes() == b"old" and sorted(one.name for one in tmp_path.iterdir()) == ["file.json", "taken"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Settings may lie among somebody's other settings."""
    kept, link = tmp_path / "dotfiles" / "settings.toml", tmp_path / "settings.toml"
    kept.parent.mkdir()
    kept.write_bytes(b"old")
    link.symlink_to(kept)
    write_whole(link, b"new")
    assert link.is_symlink() and kept.read_bytes() == b"new"


def test_a_reader_never_sees_half_of_what_two_writers_write_at_once(tmp_path: Path) -> None:
    path, bodies = tmp_path / "file", [letter * 200_000 for letter in (b"a", b"b")]
    write_whole(path, bodies[0])
    writers = [
        threading.Thread(target=lambda one=one: [write_whole(path, one, durable=False) for _ in range(60)]) for one in bodies
    ]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in bodies
        seen += 1
    assert seen and [one.name for one in tmp_path.iterdir()] == ["file"]
