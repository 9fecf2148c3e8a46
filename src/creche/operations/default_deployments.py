"""The deployments of a project that has stated none: they retrain and score each recipe when they
are started, and a schedule prunes every week.
"""

from importlib.metadata import version

from jinja2 import Environment, PackageLoader, StrictUndefined

from creche.operations.service_settings import CONFIG
from creche.project import ProjectPaths, atomic_write, recipe_names


def write_default_deployments(paths: ProjectPaths) -> bool:
    """Write deploy/prefect.yaml where a project has none.

    Returns:
        Whether it was written.
    """
    path = paths.root / CONFIG
    if path.exists():
        return False
    # The file is YAML: nothing in it is to be escaped as in HTML.
    environment = Environment(  # noqa: S701
        loader=PackageLoader("creche.operations"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template("prefect.yaml.j2").render(
        project=paths.root.resolve().name,
        prefect_version=version("prefect"),
        recipes=recipe_names(paths.root),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return True
