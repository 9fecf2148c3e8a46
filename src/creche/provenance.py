"""Which code, which libraries, which bytes: what makes a result the same result again."""

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
    """MD5 of a file's bytes, which is what DVC calls a file by. Not a protection against malice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def version_of(target: Path) -> str:
    """What DVC calls a file or a folder by: the MD5, and for a folder the MD5 of its sorted
    listing, with `.dir`.
    """
    if target.is_file():
        return md5_of(target)
    files = sorted(p for p in target.rglob("*") if p.is_file())
    listing = [{"md5": md5_of(p), "relpath": p.relative_to(target).as_posix()} for p in files]
    text = json.dumps(sorted(listing, key=lambda f: f["relpath"]))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def is_unchanged(path: Path, version: str, files: Mapping[str, str]) -> bool:
    """Whether a file or folder still has the version, or its files the MD5s, that were recorded of
    it.
    """
    if not files:
        return path.exists() and version_of(path) == version
    return all(_has_md5(path / name, md5) for name, md5 in files.items())


def _has_md5(path: Path, md5: str) -> bool:
    return path.is_file() and md5_of(path) == md5


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_version() -> str:
    """SHA-256 of the package's own source, so that an installed wheel and a checkout of the same
    code agree.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(
            path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
        )
    return digest.hexdigest()


def lock_digest() -> str:
    """SHA-256 of the versions in use of the libraries that training stands on."""
    # Imported here, since it takes 5 ms, and `creche predict` does not need it.
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def fingerprint(data_version: str, recipe_digest: str) -> str:
    """What decides a run's outcome: data, recipe, code and libraries. Equal fingerprints need no
    second training.
    """
    parts = [data_version, recipe_digest, code_version(), lock_digest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def git_commit(root: Path) -> str:
    """The commit checked out, `-dirty` where tracked files differ from it, `none` outside git."""
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "none"
