"""Write the recipe of a small table, as `creche init` does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from creche.pipeline.new_recipe import new_recipe
from creche.profile import ProfileOptions
from creche.project import ProjectPaths
from creche.recipe import Recipe, load
from creche.records import ProfiledColumnReport, TableReport


@dataclass(frozen=True)
class WrittenRecipe:
    """A recipe that was written for a table."""

    recipe: Recipe
    text: str
    report: TableReport

    def column(self, header_name: str) -> ProfiledColumnReport:
        """Return what the report says of a column of the file."""
        return next(each for each in self.report.columns if each.header == header_name)

    def left_out(self) -> dict[str, str]:
        """Return the columns that are left out, and why."""
        reasons = {}
        for column in self.report.columns:
            if column.role == "left out":
                reasons[column.header] = str(column.left_out)
        return reasons


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    """Write columns as CSV."""
    table = pa.table({name: [str(cell) for cell in cells] for name, cells in columns.items()})
    pyarrow.csv.write_csv(table, path)
    return path


def init(
    root: Path, table: Path | str | Mapping[str, Sequence[Any]], **options: Any
) -> WrittenRecipe:
    """Write the recipe of a table into a project.

    Args:
        root: of the project.
        table: a file, the URL of a database, or the columns of a file.
        options: of the profile; by default the label is `label`.
    """
    where: Path | str = table if isinstance(table, Path | str) else root / "table.csv"
    if not isinstance(table, Path | str):
        write_csv(root / "table.csv", table)
    options.setdefault("label", "label")
    name = options.pop("name", "written")
    force = options.pop("force", True)
    sheet = options.pop("sheet", None)
    sql = options.pop("sql", None)
    report = new_recipe(
        str(where),
        ProfileOptions(**options),
        ProjectPaths(root, root / "var"),
        name=name,
        sheet=sheet,
        sql=sql,
        force=force,
    )
    text = (root / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    return WrittenRecipe(load(name, root), text, report)
