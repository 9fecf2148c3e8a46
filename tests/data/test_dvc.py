"""Folders as DVC sees them: DVC itself is the oracle."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from dvc.data_cloud import DataCloud
from dvc.repo import Repo
from support.images import dots, encoded
from support.projects import edit

from creche.data.dvc_fetch import fetch_version
from creche.data.dvc_ignore import tracked_folder, tracked_version
from creche.data.dvc_store import pull_tracked
from creche.errors import DataError, UnreachableError
from creche.pipeline.pull import describe
from creche.pipeline.steps import is_transient
from creche.project import ProjectPaths
from creche.provenance import version_of

# Of the libraries that DVC uses.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

IGNORED = """\
# notes of people
*.tmp
Thumbs.db
/photos/private/
build/
**/cache/**
!keep.tmp
"""
FILES = (
    "a.png",
    ".hidden",
    "b.tmp",
    "keep.tmp",
    "Thumbs.db",
    "private/c.png",
    "sub/private/d.png",
    "sub/build/e.png",
    "sub/build",
    "cache/f/g.png",
    "sub/cache.png",
    "ümlaut/h.png",
)


def add_files(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if (folder / name).is_dir():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


@pytest.fixture
def dvc_project(tmp_path: Path) -> Path:
    """A DVC project with a cache outside it, and a remote."""
    root = tmp_path / "project"
    root.mkdir()
    Repo.init(str(root), no_scm=True).close()
    (root / ".dvc/config").write_text(
        "[core]\n    no_scm = True\n    remote = near\n"
        f"[cache]\n    dir = {tmp_path / 'moved-cache'}\n"
        f"['remote \"near\"']\n    url = {tmp_path / 'remote'}\n"
    )
    return root


def add(root: Path, *names: str) -> list[str]:
    """Have DVC track folders; the version of each."""
    with Repo(str(root)) as repo:
        repo.add([str(root / name) for name in names])
        repo.push()
    versions = []
    for name in names:
        versions.append(yaml.safe_load((root / f"{name}.dvc").read_text())["outs"][0]["md5"])
    return versions


@pytest.mark.parametrize("ignored", [IGNORED, "", "# nothing\n"])
def test_version_of_a_folder_is_that_of_dvc(dvc_project: Path, ignored: str) -> None:
    (dvc_project / ".dvcignore").write_text(ignored)
    other = dvc_project / "elsewhere"
    add_files(other, ("o.png",))
    names = ("photos", "deep/photos", "deep/more")
    for name in names:
        add_files(dvc_project / name, FILES)
        (dvc_project / name / "linked").symlink_to(other, target_is_directory=True)
    (dvc_project / "deep/.dvcignore").write_text("ümlaut\n" if ignored else "")
    versions = add(dvc_project, *names)
    assert [tracked_version(dvc_project / name, dvc_project) for name in names] == versions
    for name in names:
        assert tracked_folder(dvc_project / name, dvc_project).has_others


def test_folder_of_tracked_files_alone_has_no_others(dvc_project: Path) -> None:
    (dvc_project / ".dvcignore").write_text(IGNORED)
    add_files(dvc_project / "photos", ("a.png", "sub/b.png"))
    folder = tracked_folder(dvc_project / "photos", dvc_project)
    assert (list(folder.md5s), folder.has_others) == (["a.png", "sub/b.png"], False)
    assert folder.version == version_of(dvc_project / "photos")


def test_folder_that_cannot_be_listed_is_not_left_out(
    dvc_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_files(dvc_project / "photos", ("a.png", "closed/b.png"))
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="closed cannot be listed: Permission denied"):
        tracked_folder(dvc_project / "photos", dvc_project)


def test_patterns_without_dvc_are_not_passed_over(
    dvc_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_files(dvc_project / "photos", ("a.png",))
    monkeypatch.setitem(sys.modules, "dvc.ignore", None)
    (dvc_project / ".dvcignore").write_text("# nothing\n")
    assert list(tracked_folder(dvc_project / "photos", dvc_project).md5s) == ["a.png"]
    (dvc_project / ".dvcignore").write_text("*.tmp\n")
    with pytest.raises(
        DataError, match=r"\.dvcignore has patterns.*package dvc.*`pip install .creche"
    ):
        tracked_folder(dvc_project / "photos", dvc_project)


def test_ignored_file_is_neither_a_row_nor_part_of_the_version(dvc_project: Path) -> None:
    folder = dvc_project / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encoded(dots(number)))
    (dvc_project / ".dvcignore").write_text("draft*\n")
    [version] = add(dvc_project, "photos")
    paths = ProjectPaths(dvc_project, dvc_project / "var")
    before = describe(pull_tracked(folder, "photos", dvc_project), paths)
    assert (before.version, before.files) == (version, {})
    (folder / "draft.png").write_bytes(encoded(dots(9)))
    after = describe(pull_tracked(folder, "photos", dvc_project), paths)
    assert (after.version, after.bytes) == (version, before.bytes)
    assert list(after.files) == ["0.png", "1.png", "2.png"]


def test_damaged_object_of_a_moved_cache_is_named_and_nothing_is_to_be_deleted(
    dvc_project: Path,
) -> None:
    add_files(dvc_project / "photos", ("a.png", "b.png"))
    add(dvc_project, "photos")
    md5 = tracked_folder(dvc_project / "photos", dvc_project).md5s["a.png"]
    for store in ("moved-cache", "remote"):
        damaged = dvc_project.parent / store / "files/md5" / md5[:2] / md5[2:]
        damaged.chmod(0o644)
        damaged.write_text("other bytes")
    shutil.rmtree(dvc_project / "photos")
    shutil.rmtree(dvc_project / ".dvc/tmp")
    with pytest.raises(DataError) as error:
        pull_tracked(dvc_project / "photos", "photos", dvc_project)
    message = str(error.value)
    assert "delete" not in message
    assert "rm " not in message
    assert f"{md5[2:]} is damaged" in message, message


def test_changed_folder_is_to_be_moved_aside(dvc_project: Path) -> None:
    add_files(dvc_project / "photos", ("a.png", "b.png"))
    add(dvc_project, "photos")
    (dvc_project / "photos/a.png").chmod(0o644)
    edit(dvc_project / "photos/a.png", "a", "changed")
    with pytest.raises(DataError, match=r"mv photos photos.changed.*dvc checkout photos.dvc"):
        pull_tracked(dvc_project / "photos", "photos", dvc_project)


@pytest.mark.parametrize("lost", ["moved-cache", "remote"])
def test_older_version_of_a_folder_is_fetched(dvc_project: Path, lost: str) -> None:
    (dvc_project / ".dvcignore").write_text("*.tmp\n")
    add_files(dvc_project / "photos", ("a.png", "sub/b.png", "c.tmp"))
    [version] = add(dvc_project, "photos")
    add_files(dvc_project / "photos", ("d.png",))
    assert add(dvc_project, "photos") != [version]
    shutil.rmtree(dvc_project.parent / lost)
    fetched = fetch_version(version, dvc_project / "fetched", dvc_project)
    assert version_of(fetched) == version
    assert (fetched / "sub/b.png").read_text() == "sub/b.png"
    assert not (fetched / "c.tmp").exists()


def test_version_that_is_nowhere_is_said_to_be_so(dvc_project: Path) -> None:
    add_files(dvc_project / "photos", ("a.png",))
    add(dvc_project, "photos")
    for version in ("0" * 32, "0" * 32 + ".dir"):
        with pytest.raises(DataError, match="cannot be restored"):
            fetch_version(version, dvc_project / "fetched", dvc_project)


def test_older_version_is_in_the_cache_where_there_is_no_remote(dvc_project: Path) -> None:
    add_files(dvc_project / "photos", ("a.png",))
    [version] = add(dvc_project, "photos")
    config = dvc_project / ".dvc/config"
    config.write_text(config.read_text().replace("    remote = near\n", ""))
    fetched = fetch_version(version, dvc_project / "fetched", dvc_project)
    assert [path.name for path in fetched.iterdir()] == ["a.png"]
    assert json.loads((dvc_project / "fetched.listing").read_text())


def test_version_is_not_fetched_again_and_again_without_a_remote(dvc_project: Path) -> None:
    remove_remote(dvc_project)
    with pytest.raises(DataError, match=r"no DVC remote is configured.*dvc remote add") as error:
        fetch_version("0" * 32, dvc_project / "fetched", dvc_project)
    assert not is_transient(error.value)


def test_version_is_fetched_again_where_the_remote_does_not_respond(
    dvc_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(DataCloud, "get_remote_odb", refuse)
    with pytest.raises(UnreachableError, match="no route to host") as error:
        fetch_version("0" * 32, dvc_project / "fetched", dvc_project)
    assert is_transient(error.value)


@pytest.mark.parametrize("case", ["damaged", "verified", "no remote"])
def test_data_that_no_remote_has_whole_are_not_pulled_again(dvc_project: Path, case: str) -> None:
    add_files(dvc_project / "photos", ("a.png", "b.png"))
    add(dvc_project, "photos")
    md5 = tracked_folder(dvc_project / "photos", dvc_project).md5s["a.png"]
    remote = dvc_project.parent / "remote"
    for folder in (dvc_project / "photos", dvc_project.parent / "moved-cache"):
        shutil.rmtree(folder)
    shutil.rmtree(dvc_project / ".dvc/tmp")
    if case in ("damaged", "verified"):
        damaged = remote / "files/md5" / md5[:2] / md5[2:]
        damaged.chmod(0o644)
        damaged.write_text("other bytes")
    if case == "verified":
        config = dvc_project / ".dvc/config"
        config.write_text(f"{config.read_text()}    verify = true\n")
    if case == "no remote":
        remove_remote(dvc_project)
    with pytest.raises(DataError) as error:
        pull_tracked(dvc_project / "photos", "photos", dvc_project)
    assert not is_transient(error.value)


def test_data_are_pulled_again_where_the_folder_of_the_remote_is_away(dvc_project: Path) -> None:
    add_files(dvc_project / "photos", ("a.png",))
    add(dvc_project, "photos")
    for folder in (dvc_project / "photos", dvc_project.parent / "moved-cache"):
        shutil.rmtree(folder)
    shutil.rmtree(dvc_project / ".dvc/tmp")
    (dvc_project.parent / "remote").rename(dvc_project.parent / "away")
    with pytest.raises(UnreachableError, match=r"its remote .* does not exist: mount") as error:
        pull_tracked(dvc_project / "photos", "photos", dvc_project)
    assert is_transient(error.value)


def remove_remote(project: Path) -> None:
    edit(project / ".dvc/config", "    remote = near\n", "")
