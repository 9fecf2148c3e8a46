"""Formulas of an .xlsx workbook that no program has computed: readers take them for empty cells."""

import io
import re
import zipfile
from xml.etree import ElementTree

CHUNK_BYTES = 1 << 20
OVERLAP_BYTES = 8192  # of two chunks, so that a cell on their border is whole in one
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
# A cell with a formula, and with no or an empty value.
FORMULA = re.compile(
    rb'<c r="([A-Z]+[0-9]+)"([^>]*)><f\b[^>]*(?:/>|>[^<]*</f>)(?:<v\s*/>|<v></v>)?</c>'
)
IS_TEXT = b't="str"'  # the formula gave an empty text


def formula_without_value(content: bytes, sheet: str) -> str | None:
    """Return the name of the first cell of a sheet whose formula has no value; None: each has.

    Other formats than .xlsx are not looked into.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        part = _part_of_sheet(archive, sheet)
        if part is None:
            return None
        with archive.open(part) as stream:
            before = b""
            chunk = stream.read(CHUNK_BYTES)
            while chunk:
                for match in FORMULA.finditer(before + chunk):
                    if IS_TEXT not in match[2]:
                        return match[1].decode()
                before = (before + chunk)[-OVERLAP_BYTES:]
                chunk = stream.read(CHUNK_BYTES)
    return None


def _part_of_sheet(archive: zipfile.ZipFile, sheet: str) -> str | None:
    """Return the file in the archive that holds a sheet; None where it is no .xlsx workbook."""
    names = set(archive.namelist())
    if not {"xl/workbook.xml", "xl/_rels/workbook.xml.rels"} <= names:
        return None
    targets = {}
    for relation in _parse(archive, "xl/_rels/workbook.xml.rels"):
        targets[relation.get("Id")] = relation.get("Target", "")
    for element in _parse(archive, "xl/workbook.xml").iter(f"{MAIN}sheet"):
        target = targets.get(element.get(RELATION))
        if element.get("name") == sheet and target:
            part = target.lstrip("/")
            part = part if part.startswith("xl/") else f"xl/{part}"
            return part if part in names else None
    return None


def _parse(archive: zipfile.ZipFile, part: str) -> ElementTree.Element:
    # Expat refuses entities that expand without end.
    return ElementTree.fromstring(archive.read(part))  # noqa: S314
