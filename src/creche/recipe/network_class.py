"""Where the class of a network of one's own is: its module, and the digest of its source.

Nothing is imported here, so that a recipe is read without torch.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from creche.errors import RecipeError

# A class as an entry point names it: `package.module:Class`.
CLASS_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class NetworkClass:
    """A class by name, and where its source is."""

    module: str  # as in `mypackage.nets`
    name: str
    folder: Path  # that holds the package, or the module
    files: tuple[Path, ...]  # of the package, or the one of the module

    @property
    def package(self) -> str:
        """The first part of the module's name."""
        return self.module.partition(".")[0]

    def digest(self) -> str:
        """Return the SHA-256 of all Python files of the package, or of the module."""
        digest = hashlib.sha256()
        for path in self.files:
            name = path.relative_to(self.folder).as_posix().encode()
            digest.update(name + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()


def find_network_class(reference: str, root: Path) -> NetworkClass:
    """Find the source of a class: in the project's folder, else among the installed packages.

    Args:
        reference: `package.module:Class`.
        root: folder of the project.

    Raises:
        RecipeError: there is no such module.
    """
    module, _, name = reference.partition(":")
    package = module.partition(".")[0]
    folder = _folder_of(package, root)
    if folder is None:
        raise RecipeError(
            f"network.kind: there is no module {package} in {root} or among the installed "
            f"packages: create {package}.py there, or install the package"
        )
    files = [folder / f"{package}.py"]
    if (folder / package).is_dir():
        files = sorted((folder / package).rglob("*.py"))
    path = folder.joinpath(*module.split("."))
    if path.with_suffix(".py") not in files and path / "__init__.py" not in files:
        raise RecipeError(
            f"network.kind: {folder} has no module {module}: create {path.with_suffix('.py')}, or "
            "correct the name"
        )
    return NetworkClass(module, name, folder, tuple(files))


def _folder_of(package: str, root: Path) -> Path | None:
    """Return the folder that holds a package of Python files, or a module."""
    if (root / f"{package}.py").is_file() or any((root / package).glob("**/*.py")):
        return root
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    is_source = spec.origin is not None and spec.origin.endswith(".py")
    return Path(str(spec.origin)).parent if is_source else None
