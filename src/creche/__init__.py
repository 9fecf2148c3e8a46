"""creche: train a classifier, evaluate it, and promote it only when it is better.

Example:
    >>> import creche
    >>> model = creche.load_model("penguins@champion")
    >>> model.label
    'species'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from creche.api.loaded_model import LoadedModel, load_model
    from creche.api.project import Project
    from creche.errors import (
        ContractError,
        CrecheError,
        DataError,
        ModelError,
        RecipeError,
        RegistryError,
    )
    from creche.pipeline.runner import RunObserver
    from creche.recipe import Recipe
    from creche.records import Evaluation, RunRecord, ScoringManifest, Verdict

__version__ = "0.1.0"
__all__ = [
    "ContractError",
    "CrecheError",
    "DataError",
    "Evaluation",
    "LoadedModel",
    "ModelError",
    "Project",
    "Recipe",
    "RecipeError",
    "RegistryError",
    "RunObserver",
    "RunRecord",
    "ScoringManifest",
    "Verdict",
    "load_model",
]

# Imported when they are first used, so that `import creche` does no work.
_MODULES = {
    "LoadedModel": "creche.api.loaded_model",
    "load_model": "creche.api.loaded_model",
    "Project": "creche.api.project",
    "RunObserver": "creche.pipeline.runner",
    "Recipe": "creche.recipe",
    "Evaluation": "creche.records",
    "RunRecord": "creche.records",
    "ScoringManifest": "creche.records",
    "Verdict": "creche.records",
    "ContractError": "creche.errors",
    "CrecheError": "creche.errors",
    "DataError": "creche.errors",
    "ModelError": "creche.errors",
    "RecipeError": "creche.errors",
    "RegistryError": "creche.errors",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module 'creche' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
