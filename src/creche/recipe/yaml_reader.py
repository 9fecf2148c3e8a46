"""Read the YAML of a recipe: a key stands once, and a text is the text that was written.

YAML 1.1 makes other values of some texts that are not in quotes: 8 of `010`, 750 of `12:30`, true
of `yes`. Where a recipe wants texts, such a value would name something that no file holds.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from creche.contract.cells import spell_text

STRING_TAG = "tag:yaml.org,2002:str"
# Where a recipe holds texts; `*` stands for any key or position.
TEXT_PATHS = (
    ("description",),
    ("out_of_scope",),
    ("data", "path"),
    ("data", "url"),
    ("data", "md5"),
    ("data", "files", "*"),
    ("data", "folder"),
    ("data", "license"),
    ("data", "citation"),
    ("data", "sql"),
    ("data", "sheet"),
    ("data", "csv", "header"),
    ("data", "csv", "names", "*"),
    ("data", "csv", "comment"),
    ("data", "csv", "encoding"),
    ("data", "csv", "separator"),
    ("data", "csv", "quote"),
    ("columns", "*", "unit"),
    ("columns", "*", "values", "*"),
    ("columns", "*", "missing_values", "*"),
    ("columns", "*", "aliases", "*"),
    ("label",),
    ("table", "fresh", "column"),
    ("table", "reference", "*", "file"),
    ("table", "reference", "*", "column"),
    ("rules", "*"),
    ("rules", "*", "check"),
    ("rules", "*", "when"),
    ("rules", "*", "reason"),
    ("group", "*"),
    ("unique", "*"),
    ("split", "holdout", "*"),
    ("gate", "behavior", "*", "name"),
    ("gate", "behavior", "*", "where", "*"),
    ("gate", "behavior", "*", "expect"),
    ("network", "kind"),
    ("training", "pool"),
)
# Where every scalar is a text as it was written: `yes` among them means these three letters.
WRITTEN_PATHS = (
    ("columns", "*", "true_values", "*"),
    ("columns", "*", "false_values", "*"),
    ("columns", "*", "symbols", "*"),
    ("columns", "*", "formats", "*"),
    ("columns", "*", "time_zone"),
    ("columns", "*", "earliest"),
    ("columns", "*", "latest"),
)
NULL_TAG = "tag:yaml.org,2002:null"


def parse_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        yaml.YAMLError: it is no YAML, or states a key twice.
        ValueError: YAML reads a text as something else; names the key and the way out.
    """
    loader = _UniqueKeyLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        for path in TEXT_PATHS:
            for keys, node in _scalars_at(root, path):
                # A key without a value is not stated; a list has no use for an empty entry.
                if path[-1] == "*" or node.tag != NULL_TAG:
                    _keep_text(keys, node, loader)
        for path in WRITTEN_PATHS:
            for _, node in _scalars_at(root, path):
                _read_as_text(node, loader)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def parse_mapping(text: str) -> dict[str, Any]:
    """Return the keys of a YAML mapping, as `{encoding: latin-1}`.

    Raises:
        ValueError: it is none.
    """
    try:
        mapping = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ValueError(f"it is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(mapping, dict):
        raise ValueError("it is no mapping of keys: write it as '{encoding: latin-1}'")
    return mapping


def _scalars_at(
    node: yaml.Node, path: tuple[str, ...], keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], yaml.ScalarNode]]:
    """Yield the scalars at a path, each with its keys."""
    if not path:
        if isinstance(node, yaml.ScalarNode):
            yield keys, node
        return
    children: list[tuple[str, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(str(key.value), value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(str(position), value) for position, value in enumerate(node.value)]
    for key, child in children:
        if path[0] in ("*", key):
            yield from _scalars_at(child, path[1:], (*keys, key))


def _keep_text(keys: tuple[str, ...], node: yaml.ScalarNode, loader: yaml.SafeLoader) -> None:
    """Make a scalar the text that was written, where YAML's reading of it spells the same."""
    if node.tag == STRING_TAG:
        return
    value = loader.construct_object(node)
    if not _spells_the_same(value, node):
        # The position in a list is not what a reader looks for.
        path = ".".join(key for key in keys if not key.isdigit())
        raise ValueError(
            f"{path}: YAML reads {node.value or 'an empty value'} as {value}: put it in quotes, "
            f'"{node.value}"'
        )
    _read_as_text(node, loader)


def _spells_the_same(value: Any, node: yaml.ScalarNode) -> bool:
    return value is not None and spell_text(str(value)) == spell_text(node.value)


def _read_as_text(node: yaml.ScalarNode, loader: yaml.SafeLoader) -> None:
    node.tag = STRING_TAG
    loader.constructed_objects.pop(node, None)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is stated twice, of which YAML itself takes the last one, and one that
    YAML reads as something else than a text.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self._text_key(key_node)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key '{key}' is stated twice: remove one of them",
                    node.start_mark,
                )
            seen.add(key)
        return dict(super().construct_mapping(node, deep))

    def _text_key(self, node: yaml.Node) -> str:
        key = self.construct_object(node, deep=True)
        if isinstance(key, str):
            return key
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            raise ValueError(f"line {line}: a key is a list or mapping: use a text")
        if not _spells_the_same(key, node):
            raise ValueError(
                f"line {line}: YAML reads the key {node.value or '(empty)'} as {key}: put it in "
                f'quotes, "{node.value}"'
            )
        _read_as_text(node, self)
        return str(node.value)
