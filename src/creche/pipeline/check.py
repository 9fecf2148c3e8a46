"""Check a recipe and its data: the steps before the training, in a folder that is removed."""

import shutil
from pathlib import Path

from creche.errors import CrecheError
from creche.model.preprocessor import Preprocessor
from creche.pipeline.steps import expanded_recipe, run_step_with_retries
from creche.project import (
    PREPROCESSOR,
    TMP,
    VALIDATION,
    ProjectPaths,
    RunPaths,
    read_json,
    read_record,
)
from creche.recipe import Recipe
from creche.records import FeatureInputs, NetworkSize, RecipeCheck, ValidationReport


def check(recipe: Recipe, project: ProjectPaths, data: Path | None = None) -> RecipeCheck:
    """Pull and validate the data of a recipe, split them, and describe what would be trained.

    Args:
        recipe: to be checked.
        project: whose home holds the files meanwhile.
        data: a file to read in place of the recipe's; its MD5 must be the same.

    Returns:
        What was found. What creche refuses is in its message.
    """
    paths = project.at(project.home / TMP / ProjectPaths.new_run_id(recipe.name))
    result = RecipeCheck(recipe=recipe.name)
    try:
        _check_steps(recipe, paths, data, result)
    except CrecheError as error:
        result.passed = False
        result.message = _without_folder(str(error), paths)
    finally:
        if result.validation is None and (paths / VALIDATION).is_file():
            # The counts are written even where too many rows are quarantined.
            result.validation = read_record(paths / VALIDATION, ValidationReport)
        shutil.rmtree(paths.folder, ignore_errors=True)
    return result


def _check_steps(recipe: Recipe, paths: RunPaths, data: Path | None, result: RecipeCheck) -> None:
    options = {"data": data} if data else {}
    result.source = run_step_with_retries("pull", recipe, paths, **options)
    recipe = expanded_recipe(recipe, paths)
    result.validation = run_step_with_retries("validate", recipe, paths)
    result.split = run_step_with_retries("preprocess", recipe, paths)
    preprocessor = Preprocessor.from_dict(read_json(paths / PREPROCESSOR))
    for encoder in preprocessor.encoders:
        column = recipe.columns[encoder.column]
        result.features.append(
            FeatureInputs(
                name=encoder.column,
                kind=column.kind,
                encoding=encoder.encoding,
                inputs=encoder.width,
            )
        )
    result.network = _network_size(recipe, preprocessor, paths.root)


def _network_size(recipe: Recipe, preprocessor: Preprocessor, root: Path) -> NetworkSize:
    # They import torch, which the steps before do without.
    from creche.model import networks
    from creche.model.export import check_exportable

    if recipe.network.is_own:
        check_exportable(recipe.network, preprocessor, root)
    net = networks.build(recipe.network, preprocessor, root)
    inputs = 0 if preprocessor.image_encoder is not None else preprocessor.width
    return NetworkSize(
        kind=recipe.network.kind,
        inputs=inputs,
        classes=len(preprocessor.classes),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
    )


def _without_folder(message: str, paths: RunPaths) -> str:
    """Return a message without the hint at a file in the folder, which is removed."""
    return message.partition(f"; see {paths.folder}")[0]
