"""Data are pulled with DVC, from a real remote, and their bytes are checked."""

import json
from hashlib import md5
from pathlib import Path

import pytest
from support.projects import PENGUINS, WINE, edit

from creche.errors import DataError, UnreachableError
from creche.pipeline.pull import pull, run
from creche.project import SOURCE, ProjectPaths, read_record
from creche.provenance import version_of
from creche.recipe import DataSpec, load
from creche.records import SourceInfo

OBJECT = "files/md5/41/6d54adb83e9c38da7a3f3357f74a3e"
TRACKED = DataSpec(path="data/penguins.csv")


def test_data_of_a_fresh_clone_are_pulled_with_their_version(project: Path) -> None:
    source = run(load("penguins", project), ProjectPaths.find(project).at(project / "run"))
    version = PENGUINS.parent.name + PENGUINS.name
    assert source == SourceInfo(path="data/penguins.csv", version=version, bytes=23417)
    assert read_record(project / "run" / SOURCE, SourceInfo) == source
    assert (project / "data/penguins.csv").read_bytes() == PENGUINS.read_bytes()


def test_data_that_are_present_are_used_without_dvc(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(TRACKED, ProjectPaths.find())
    monkeypatch.setattr("creche.data.dvc_store._pull", lambda *_: pytest.fail("DVC was called"))
    assert pull(TRACKED, ProjectPaths.find()) == project / "data/penguins.csv"


def test_edited_data_are_neither_used_nor_overwritten(project: Path) -> None:
    pull(TRACKED, ProjectPaths.find())
    file = project / "data/penguins.csv"
    file.chmod(0o644)
    edit(file, "3750", "3751")
    edited = file.read_text()
    with pytest.raises(
        DataError,
        match=r"data/ holds changes that DVC does not know.*dvc add data.*mv data data.changed",
    ):
        pull(TRACKED, ProjectPaths.find())
    assert file.read_text() == edited


def test_extra_file_in_the_data_folder_is_not_deleted(project: Path) -> None:
    pull(TRACKED, ProjectPaths.find())
    (project / "data/notes.txt").write_text("a note")
    with pytest.raises(DataError, match="data/ holds changes"):
        pull(TRACKED, ProjectPaths.find())
    assert (project / "data/notes.txt").read_text() == "a note"


@pytest.mark.parametrize("verify", ["true", "false"])
def test_corrupt_object_in_the_remote_is_refused(project: Path, verify: str) -> None:
    if verify == "false":
        edit(project / ".dvc" / "config", "verify = true", "verify = false")
    damaged = project / "dvc-remote" / OBJECT
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes().replace(b"Adelie", b"Gentoo", 1))
    with pytest.raises(DataError, match=r"data"):
        pull(TRACKED, ProjectPaths.find())


def test_missing_remote_is_named(project: Path) -> None:
    (project / "dvc-remote" / OBJECT).unlink()
    with pytest.raises(UnreachableError, match=r"DVC cannot pull data.*dvc remote list"):
        pull(TRACKED, ProjectPaths.find())


def test_remote_that_is_away_may_be_back_at_the_next_attempt(project: Path) -> None:
    remote = project / "dvc-remote"
    remote.rename(project / "away")
    with pytest.raises(UnreachableError, match=r"its remote .*dvc-remote.* does not exist: mount"):
        pull(TRACKED, ProjectPaths.find())
    (project / "away").rename(remote)
    assert pull(TRACKED, ProjectPaths.find()).is_file()


def test_path_that_nothing_tracks_is_refused(project: Path) -> None:
    (project / "loose.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"loose.csv is neither tracked by DVC nor pinned"):
        pull(DataSpec(path="loose.csv"), ProjectPaths.find())


def test_untracked_file_is_told_the_commands_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "loose.csv").write_text("a\n1\n")
    paths = ProjectPaths.find(tmp_path)
    with pytest.raises(DataError) as error:
        pull(DataSpec(path="loose.csv"), paths)
    assert "run `git init && dvc init && dvc add loose.csv`" in str(error.value)
    # The other remedy is as good.
    digest = md5(b"a\n1\n").hexdigest()
    assert f"`md5: {digest}`" in str(error.value)
    assert pull(DataSpec(path="loose.csv", md5=digest), paths) == tmp_path / "loose.csv"
    (tmp_path / ".git").mkdir()
    with pytest.raises(DataError, match=r"run `dvc init && dvc add loose.csv`"):
        pull(DataSpec(path="loose.csv"), paths)


def test_file_that_is_absent_and_untracked_is_no_such_file(project: Path) -> None:
    with pytest.raises(DataError, match=r"gone.csv: no such file, .*correct data.path"):
        pull(DataSpec(path="gone.csv"), ProjectPaths.find())


def test_folder_without_tables_is_refused_before_it_is_tracked(project: Path) -> None:
    (project / "tables").mkdir()
    (project / "tables" / "README.md").write_text("# Nothing\n")
    with pytest.raises(DataError, match=r"tables: no file of observations there"):
        pull(DataSpec(path="tables"), ProjectPaths.find())
    # One that DVC tracks already is a table.
    assert pull(DataSpec(path="data"), ProjectPaths.find()) == project / "data"


def test_folder_beside_which_dvc_ignores_files_is_whole_with_a_moved_cache(project: Path) -> None:
    pull(TRACKED, ProjectPaths.find())
    with (project / ".dvc/config").open("a") as config:
        config.write("[cache]\n    dir = ../../moved\n")
    (project / ".dvc/cache").rename(project.parent / "moved")
    (project / ".dvcignore").write_text("notes.txt\n")
    (project / "data/notes.txt").write_text("a note")
    assert pull(TRACKED, ProjectPaths.find()) == project / "data/penguins.csv"


def test_pinned_file_of_other_bytes_is_refused(project: Path) -> None:
    (project / "x.csv").write_text("a\n1\n")
    with pytest.raises(
        DataError, match=r"x.csv is not the file that the recipe pins: md5 [0-9a-f]{32}"
    ):
        pull(DataSpec(path="x.csv", md5="0" * 32), ProjectPaths.find())


def test_url_is_downloaded_once_and_checked(project: Path) -> None:
    origin = project / "origin.csv"
    origin.write_text("a\n1\n")
    expected_md5 = md5(b"a\n1\n").hexdigest()
    first = pull(DataSpec(url=origin.as_uri(), md5=expected_md5), ProjectPaths.find())
    origin.unlink()
    assert pull(DataSpec(url=origin.as_uri(), md5=expected_md5), ProjectPaths.find()) == first
    origin.write_text("a\n2\n")
    with pytest.raises(DataError, match="no longer gives the file that the recipe pins"):
        pull(DataSpec(url=origin.as_uri(), md5="1" * 32), ProjectPaths.find())
    assert not list((project / "var/downloads").rglob("*.part"))


def test_unreachable_url_is_an_error_with_the_remedy(project: Path) -> None:
    gone = DataSpec(url=(project / "gone.csv").as_uri(), md5="1" * 32)
    with pytest.raises(DataError, match=r"cannot be downloaded .* pass --data FILE"):
        pull(gone, ProjectPaths.find())


def test_version_of_a_folder_is_that_of_dvc(project: Path) -> None:
    pull(TRACKED, ProjectPaths.find())
    assert f"md5: {version_of(project / 'data')}\n" in (project / "data.dvc").read_text()
    assert json.loads(
        (project / "dvc-remote/files/md5/12/2149f4e8e6abbb3fb809e1244f0af0.dir").read_text()
    )


@pytest.mark.skipif(not WINE.is_file(), reason="the red-wine table is not beside this checkout")
def test_data_option_replaces_the_url_when_the_bytes_are_the_same(project: Path) -> None:
    assert pull(load("wine-course", project).data, ProjectPaths.find(), WINE) == WINE
    with pytest.raises(DataError, match="is not the file that the recipe pins"):
        pull(load("wine-course", project).data, ProjectPaths.find(), PENGUINS)
