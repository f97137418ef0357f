"""Reads a run's config.yml without running anything that it names.

Nerfstudio stores configs as YAML that names Python objects, and reads them with a loader that imports and calls
whatever a file names. This loader accepts a closed set of tags, and builds plain data, paths and config dataclasses:

!!python/object:CLASS         a config dataclass of this package, or one of `NERFSTUDIO`
!!python/name:CALLABLE        only as the value of a field whose default it is, so no file chooses what is called
!!python/object/apply:CLASS   a path, or an event of Nerfstudio's writer, from strings; an event also by getattr, as
                              Python 3.11.0 to 3.11.3 write members of enumerations
!!python/tuple                a tuple
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import typeguard
import yaml

from privhead_ns.errors import UserError

PACKAGE = "privhead_ns."
NERFSTUDIO = {
    "nerfstudio.configs.base_config.LocalWriterConfig",
    "nerfstudio.configs.base_config.LoggingConfig",
    "nerfstudio.configs.base_config.MachineConfig",
    "nerfstudio.configs.base_config.ViewerConfig",
    "nerfstudio.engine.optimizers.AdamOptimizerConfig",
}
"""Nerfstudio's config dataclasses that a config of ours can hold."""
PATHS = {f"pathlib.{kind}" for kind in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")}
EVENT, GETATTR = "nerfstudio.utils.writer.EventName", "builtins.getattr"
LARGEST = 1_000_000
"""Bytes of the largest file that is read; a config has seven thousand."""

TAG = "tag:yaml.org,2002:"
OBJECT, NAME, APPLY = (f"{TAG}python/{kind}:" for kind in ("object", "name", "object/apply"))


def _event(words: list[str]) -> Any:
    from nerfstudio.utils.writer import EventName  # its modules import each other: not before ns-train has

    if words in [[event.value] for event in EventName]:
        return EventName(words[0])
    raise Refused(f"names an event {words} that Nerfstudio's writer does not know")


def _event_named(name: str) -> Any:
    from nerfstudio.utils.writer import EventName  # see above

    if name in EventName.__members__:
        return EventName[name]
    raise Refused(f"names an event {name!r} that Nerfstudio's writer does not know")


def read_config_file(path: Path) -> Any:
    """Builds the object that a config.yml describes; the caller checks that it is a run's config.

    Fields that a class does not have any more are left out, and those that it did not have yet get their defaults.

    Raises:
        UserError: if there is no such file, it cannot be read, names anything that no config of this package holds, or
            a field holds a value of another type than its own.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}; --load-config needs the config.yml that ns-train wrote.")
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} is larger than any config.yml of `ns-train privhead`: give that of a run.")
        return yaml.load(path.read_text("utf8"), Loader=ConfigLoader)
    except Refused as error:
        raise UserError(
            f"{path} {error.problem}, so it was not loaded: give it as ns-train wrote it, and trust no run that "
            "somebody changed."
        ) from None
    except (yaml.YAMLError, OSError, ValueError, RecursionError, OverflowError) as error:
        raise UserError(f"{path} cannot be read; copy it again from where ns-train wrote it.") from error


class Refused(yaml.constructor.ConstructorError):
    """A node that no config of this package holds; `problem` continues a sentence that begins with the file's name."""

    problem: str

    def __init__(self, problem: str) -> None:
        super().__init__(problem=problem)


class ConfigLoader(yaml.SafeLoader):
    """YAML loader that builds configs of this package and no other object."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuses merge keys (`<<`): no config has them, and nested ones grow exponentially."""
        if any(key.tag == f"{TAG}merge" for key, _ in node.value):
            raise Refused("merges mappings, which no config.yml of ns-train does")

    def construct_unknown(self, node: yaml.Node) -> Any:
        """Refuses a tag that is in no table."""
        raise Refused(f"holds {_shown(node.tag)}, which no config.yml of `ns-train privhead` does")

    def construct_config(self, name: str, node: yaml.Node) -> Any:
        """Builds a config dataclass from its fields, without calling it."""
        kind = _config_class(name)
        if kind is None or not isinstance(node, yaml.MappingNode):
            raise Refused(f"holds {name}, which is no setting of `ns-train privhead`")
        fields, hints, values = {field.name: field for field in dataclasses.fields(kind)}, _hints(kind), {}
        self.flatten_mapping(node)
        for key, value in node.value:
            field = self.construct_object(key, deep=True)
            if not isinstance(field, str) or field not in fields:
                self.construct_object(value, deep=True)  # refused if it is more than plain
                continue
            if value.tag.startswith(NAME):
                values[field] = _default_callable(fields[field], value.tag.removeprefix(NAME))
            else:
                values[field] = self.construct_object(value, deep=True)
            try:
                typeguard.check_type(
                    values[field],
                    hints[field],
                    collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS,
                )
            except typeguard.TypeCheckError:
                raise Refused(f"gives {field} of {kind.__name__} a value that it cannot have") from None
        config = object.__new__(kind)
        vars(config).update({name: _default(field) for name, field in fields.items() if name not in values} | values)
        return config

    def construct_applied(self, name: str, node: yaml.Node) -> Any:
        """Builds a path or an event from strings."""
        if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
            words = [item.value for item in node.value]
            if name in PATHS and not any("\0" in word for word in words):
                return Path(*words)
            if name == EVENT:
                return _event(words)
            if name == GETATTR and len(words) == 2 and node.value[0].tag == NAME + EVENT:
                return _event_named(words[1])
        raise Refused(f"calls {name}, which no config.yml of `ns-train privhead` does")

    def construct_tuple(self, node: yaml.Node) -> tuple[Any, ...]:
        """Builds a tuple."""
        return tuple(self.construct_sequence(node, deep=True))  # type: ignore[arg-type]


ConfigLoader.add_constructor(None, ConfigLoader.construct_unknown)  # pyright: ignore
ConfigLoader.add_constructor(f"{TAG}python/tuple", ConfigLoader.construct_tuple)
ConfigLoader.add_multi_constructor(OBJECT, ConfigLoader.construct_config)
ConfigLoader.add_multi_constructor(APPLY, ConfigLoader.construct_applied)


def _config_class(name: str) -> type | None:
    """Returns the config dataclass of a name; None if it is not one that a config may hold."""
    module, _, kind = name.rpartition(".")
    if name not in NERFSTUDIO and not (name.startswith(PACKAGE) and re.fullmatch(r"[a-z0-9_.]+\.[A-Z]\w*", name)):
        return None
    try:
        found = getattr(importlib.import_module(module), kind, None)
    except ImportError:
        return None
    own = isinstance(found, type) and dataclasses.is_dataclass(found) and found.__module__ == module
    return found if own else None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _default(field: dataclasses.Field) -> Any:
    """Returns a field's default.

    Raises:
        Refused: if it has none.
    """
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is dataclasses.MISSING:
        raise Refused(f"lacks {field.name}")
    return field.default_factory()


def _default_callable(field: dataclasses.Field, name: str) -> Any:
    """Returns a field's default, which a file may name, and no other callable.

    Raises:
        Refused: if the name is another's.
    """
    default = _default(field)
    if f"{getattr(default, '__module__', '')}.{getattr(default, '__qualname__', '')}" != name:
        raise Refused(f"names {name} as the {field.name} of a setting")
    return default


def _shown(tag: str) -> str:
    """Returns a tag as it stands in a file, on one line and not too long."""
    return f"the tag !!{tag.removeprefix(TAG)}"[:120]
