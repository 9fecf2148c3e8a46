"""Profile a table, and write the recipe that suits it: what `creche init` does."""

from creche.profile.notes import with_notes
from creche.profile.opening import open_table
from creche.profile.plan import ProfiledColumn, ProfileOptions, TableProfile
from creche.profile.recipe_text import recipe_text
from creche.profile.table_profile import profile_table
from creche.profile.table_sample import TableSample

__all__ = [
    "ProfileOptions",
    "ProfiledColumn",
    "TableProfile",
    "TableSample",
    "open_table",
    "profile_table",
    "recipe_text",
    "with_notes",
]
