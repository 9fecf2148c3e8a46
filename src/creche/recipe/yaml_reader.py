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
    ("columns", "*", "values", "*"),
    ("columns", "*", "missing_values", "*"),
    ("columns", "*", "aliases", "*"),
    ("split", "holdout", "*"),
    ("gate", "behavior", "*", "where", "*"),
)


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
                _keep_text(keys, node, loader)
        return loader.construct_document(root)
    finally:
        loader.dispose()


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
    if value is None or spell_text(str(value)) != spell_text(node.value):
        # The position in a list is not what a reader looks for.
        path = ".".join(key for key in keys if not key.isdigit())
        raise ValueError(
            f"{path}: YAML reads {node.value or 'an empty value'} as {value}: put it in quotes, "
            f'"{node.value}"'
        )
    node.tag = STRING_TAG
    loader.constructed_objects.pop(node, None)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is stated twice; YAML itself takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key '{key}' is stated twice: remove one of them",
                    node.start_mark,
                )
            seen.add(key)
        return dict(super().construct_mapping(node, deep))
