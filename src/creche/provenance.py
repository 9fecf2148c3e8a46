"""Digests of code, libraries and data: equal ones reproduce a result."""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

# The libraries that can change a trained model's bytes.
LIBRARIES = (
    "numpy",
    "onnx",
    "onnxscript",
    "pandas",
    "pillow",
    "pyarrow",
    "great-expectations",
    "torch",
)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file's bytes, by which DVC names it.

    It detects damage, and does not protect against manipulation.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def version_of(target: Path) -> str:
    """Return the version of a file or folder, by which DVC names it.

    That is the MD5 of a file, and of a folder the MD5 of its sorted listing, with `.dir`.
    """
    if target.is_file():
        return md5_of(target)
    md5s = {}
    for path in target.rglob("*"):
        if path.is_file():
            md5s[path.relative_to(target).as_posix()] = md5_of(path)
    return version_of_listing(md5s)


def version_of_listing(md5s: Mapping[str, str]) -> str:
    """Return the version of a folder of these files.

    Args:
        md5s: path below the folder → MD5 of its bytes.
    """
    listing = [{"md5": md5s[name], "relpath": name} for name in sorted(md5s)]
    # These are the bytes of DVC's own listing.
    text = json.dumps(listing)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def is_unchanged(path: Path, version: str, files: Mapping[str, str]) -> bool:
    """Whether a file or folder is as it was recorded.

    Args:
        version: the recorded one.
        files: name below the folder → recorded MD5; where empty, the version alone counts.
    """
    if not files:
        return path.exists() and version_of(path) == version
    return all(_has_md5(path / name, md5) for name, md5 in files.items())


def _has_md5(path: Path, md5: str) -> bool:
    return path.is_file() and md5_of(path) == md5


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_version() -> str:
    """Return the SHA-256 of the package's source files.

    An installed wheel and a checkout of the same code have the same one. The flows only start the
    steps, and a checkout has them behind a link.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if root / "flows" in path.parents:
            continue
        name = path.relative_to(root).as_posix().encode()
        digest.update(name + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def libraries_digest() -> str:
    """Return the SHA-256 of the installed versions of the libraries that training depends on."""
    # The import takes 5 ms, which `creche predict` need not spend.
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()


def fingerprint(data_version: str, recipe_digest: str) -> str:
    """Return the digest of data, recipe, code and libraries.

    Together they determine the weights and their metrics, so equal fingerprints need no second
    training. The verdict depends on the champion too.
    """
    parts = [data_version, recipe_digest, code_version(), libraries_digest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def git_commit(root: Path) -> str:
    """Return the current commit, `none` outside git.

    It ends in `-dirty` where tracked files differ from it.
    """
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        # The command is fixed but for the folder.
        result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return result.stdout.strip()
