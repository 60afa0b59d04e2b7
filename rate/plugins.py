"""Plug-ins: what installed packages add to the registries of `rate` by entry points.

An entry point is looked for when a name is asked for that is not built in, or when all names are listed. So commands
that use what is built in read nothing about other packages.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rate.errors import first_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class PluginWarning(UserWarning):
    """A plug-in cannot be used; what it adds is as if it were not installed."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of an installed package."""

    group: str
    name: str
    package: str  # name of the distribution
    version: str
    module: str  # first name of the module that the entry point is in
    fault: str = ""  # why it cannot be used

    def __str__(self) -> str:
        """Name the package, its version and what it adds."""
        return f"{self.name} of {self.package} {self.version} ({self.group})"


class Registry(Mapping[str, T], Generic[T]):
    """What goes by a name in one group: built in, or of a plug-in.

    A broken plug-in is left out with one `PluginWarning` a process.
    """

    def __init__(self, group: str, built_in: dict[str, T], accept: Callable[[str, Any], T]) -> None:
        """Describe the registry.

        Args:
            group: name of the group of entry points, such as `rate.methods`.
            built_in: what `rate` itself has, by name; a plug-in cannot replace it.
            accept: makes an entry of a name and what its entry point names; its exception is the plug-in's fault.
        """
        self.group, self.built_in = group, built_in
        self._accept = accept
        self._loaded: dict[str, tuple[Plugin, T | None]] = {}

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        entry = self._load(name)[1] if name in self._points else None
        if entry is None:
            raise KeyError(name)
        return entry

    def __iter__(self) -> Iterator[str]:
        yield from self.built_in
        yield from (name for name in self._points if self._load(name)[1] is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def plugin(self, name: str) -> Plugin | None:
        """Return the plug-in that an entry is of; None of what is built in, or is not there."""
        return None if name in self.built_in or name not in self else self._load(name)[0]

    def plugins(self) -> list[Plugin]:
        """Load all plug-ins of this group, usable or not, without warnings."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PluginWarning)
            return [*self._taken, *(self._load(name)[0] for name in self._points)]

    def loaded(self) -> list[Plugin]:
        """Return the plug-ins that have been asked for so far."""
        return [plugin for plugin, _ in self._loaded.values()]

    def packages(self) -> dict[str, str]:
        """Map the packages with entry points of this group to their versions, without importing them."""
        return {plugin.package: plugin.version for plugin in map(_plugin, self._all)}

    @cached_property
    def _all(self) -> list[EntryPoint]:
        from importlib.metadata import entry_points  # which the help of a command does not need

        return sorted(entry_points(group=self.group), key=lambda point: (point.name, _plugin(point).package))

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:
        """The entry points by name; of two packages with the same one, the first by its own name."""
        for plugin in self._taken:
            _warn(plugin)
        return {point.name: point for point in reversed(self._all) if point.name not in self.built_in}

    @cached_property
    def _taken(self) -> list[Plugin]:
        owners, taken = dict.fromkeys(self.built_in, "rate itself"), []
        for point in self._all:
            plugin = _plugin(point)
            if point.name in owners:
                taken.append(_plugin(point, f"the name is taken by {owners[point.name]}"))
            owners.setdefault(point.name, plugin.package)
        return taken

    def _load(self, name: str) -> tuple[Plugin, T | None]:
        if name not in self._loaded:
            self._loaded[name] = self._open(self._points[name])
        return self._loaded[name]

    def _open(self, point: EntryPoint) -> tuple[Plugin, T | None]:
        try:
            return _plugin(point), self._accept(point.name, point.load())
        except (Exception, SystemExit) as error:  # whatever the module of somebody else raises while it is imported
            plugin = _plugin(point, f"{type(error).__name__}: {first_line(error)}")
            _warn(plugin)
            return plugin, None


def of_type(kind: type[T], value: object) -> T:
    """Return ``value`` if it is a ``kind``.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, kind):
        raise TypeError(f"the entry point names a {type(value).__name__}; expected a {kind.__module__}.{kind.__name__}")
    return value


def require_module(place: str) -> None:
    """Check that the module of MODULE or MODULE:FUNCTION is there, without importing it; its packages are imported.

    Raises:
        ModuleNotFoundError: it is not.
    """
    module = place.partition(":")[0]
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}")


def plugin_behind(error: BaseException, plugins: Iterable[Plugin]) -> Plugin | None:
    """Return the plug-in whose code an error came through last; None if it came through none."""
    modules = {plugin.module: plugin for plugin in plugins}
    names = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    return next((modules[name] for name in reversed(names) if name in modules), None)


def _plugin(point: EntryPoint, fault: str = "") -> Plugin:
    package, version = ("", "") if point.dist is None else (point.dist.name, point.dist.version)
    return Plugin(point.group, point.name, package, version, point.module.partition(".")[0], fault)


def _warn(plugin: Plugin) -> None:
    text = f"the plug-in {plugin} cannot be used: {plugin.fault}; repair or uninstall {plugin.package}"
    warnings.warn(text, PluginWarning, stacklevel=2)
