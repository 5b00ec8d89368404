"""Methods of other packages, found by their entry points in the group `hlgp_dist.methods`.

An entry point's name is the method's `kind`; it leads to a class whose attribute `Options` is its section of the
configuration. A plug-in is loaded when a configuration names it, so that its torch does not slow the others down.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from hlgp_dist.config.section import MethodOptions
from hlgp_dist.errors import ConfigError

GROUP = "hlgp_dist.methods"


@cache
def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def plugin_names() -> tuple[str, ...]:
    """The kinds that installed plug-ins add."""
    return tuple(sorted(_found()))


def load_plugin(kind: str) -> Any:
    """The class that the plug-in's entry point leads to.

    Raises:
        ConfigError: it cannot be imported.
    """
    point = _found()[kind]
    try:
        return point.load()
    except Exception as error:  # whatever importing foreign code may raise
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"method.kind = {kind}: the plug-in {point.value} cannot be loaded ({reason})") from error


def plugin_options(kind: str) -> type[MethodOptions] | None:
    """The options of the plug-in of that name, None where there is none.

    Raises:
        ConfigError: it has no section of options of its kind, or another name than they say.
    """
    if kind not in _found():
        return None
    options = getattr(load_plugin(kind), "Options", None)
    if not (isinstance(options, type) and issubclass(options, MethodOptions) and "kind" in options.model_fields):
        raise ConfigError(f"method.kind = {kind}: {_found()[kind].value}.Options is no MethodOptions with a `kind`")
    if get_args(options.model_fields["kind"].annotation) != (kind,):
        said = f"{_found()[kind].value}.Options: kind must be Literal[{kind!r}], the name of its entry point"
        raise ConfigError(f"method.kind = {kind}: {said}")
    return options
