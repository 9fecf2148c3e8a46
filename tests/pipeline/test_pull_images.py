"""Images that a recipe pins: in a folder, or in an archive that is downloaded and unpacked."""

import tarfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.image_recipes import PrepareImages

from creche.errors import DataError, UnreachableError
from creche.pipeline import run_step
from creche.provenance import md5_of

UNSET_FOLDER = "$NO_SUCH_VARIABLE"


def write_archive(folder: Path, path: Path) -> str:
    """Pack the folder as the official archive is packed, and return the archive's MD5."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "cifar-10-batches-bin")
    return md5_of(path)


def test_archive_is_downloaded_once_checked_and_unpacked(
    prepare_images: PrepareImages, project: Path
) -> None:
    prepare_images()
    md5 = write_archive(project / "cifar", project / "small.tar.gz")
    recipe, paths = prepare_images(data={"md5": md5, "folder": UNSET_FOLDER})
    version = run_step("pull", recipe, paths).version
    (project / "small.tar.gz").unlink()
    source = run_step("pull", recipe, paths)
    assert source.version == version == md5
    assert (project / source.path / "test_batch.bin").is_file()
    # The version is the same in a folder of the user's, whatever other files are there.
    recipe, _ = prepare_images(data={"md5": md5})
    assert run_step("pull", recipe, paths).version == version


def test_truncated_or_altered_archive_is_not_used(
    prepare_images: PrepareImages, project: Path
) -> None:
    prepare_images()
    archive = project / "small.tar.gz"
    md5 = write_archive(project / "cifar", archive)
    archive.write_bytes(archive.read_bytes()[:-1000])
    recipe, paths = prepare_images(data={"md5": md5, "folder": UNSET_FOLDER})
    with pytest.raises(DataError, match=r"no longer gives the file that the recipe pins \(md5"):
        run_step("pull", recipe, paths)
    assert not list((paths.home / "downloads" / md5).iterdir())
    archive.unlink()
    message = (
        r"cannot be downloaded .*download it elsewhere and pass --data FILE: its md5 is checked"
    )
    with pytest.raises(DataError, match=message):
        run_step("pull", recipe, paths)
    write_archive(project / "cifar", project / "brought.tar.gz")
    with pytest.raises(DataError, match=r"brought.tar.gz is not the archive that the recipe pins"):
        run_step("pull", recipe, paths, data=project / "brought.tar.gz")


class TruncatedResponse(BaseHTTPRequestHandler):
    """Announces more bytes than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(bytes(500))

    def log_message(self, *_: object) -> None:
        pass


def test_truncated_download_is_an_unreachable_error(prepare_images: PrepareImages) -> None:
    server = HTTPServer(("127.0.0.1", 0), TruncatedResponse)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/small.tar.gz"
        recipe, paths = prepare_images(data={"url": url, "folder": UNSET_FOLDER})
        message = r"cannot be downloaded \(500 of 1000 bytes were received\)"
        with pytest.raises(UnreachableError, match=message):
            run_step("pull", recipe, paths)
    finally:
        server.shutdown()
        server.server_close()


def test_folder_with_a_truncated_or_missing_file_is_refused(
    prepare_images: PrepareImages, project: Path
) -> None:
    recipe, paths = prepare_images()
    file = project / "cifar" / "data_batch_2.bin"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"data_batch_2.bin is not the file that the recipe pins"):
        run_step("pull", recipe, paths)
    file.unlink()
    with pytest.raises(DataError, match=r"data_batch_2.bin is missing .*: put the whole .* there"):
        run_step("pull", recipe, paths)
