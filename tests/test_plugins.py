"""What other packages add is used like what is built in; what is broken in them is one warning, never a crash."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_files import REGISTRIES, forget, install

from rate.cli.main import run
from rate.config import Measurement
from rate.errors import EXIT_FAILED, EXIT_USAGE, ConfigError
from rate.export.sources.source_string import FAMILIES, packages_of
from rate.methods import DEFAULT, METHODS
from rate.plugins import PluginWarning


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    forget()
    yield folder
    forget()
    for name in [name for name in sys.modules if name.startswith("of_a_plugin")]:
        del sys.modules[name]


FAULTS = {
    "import": (
        "of_a_plugin_import:X",
        "import a_library_that_is_not_there",
        "ModuleNotFoundError: No module named 'a_l",
    ),
    "exit": ("of_a_plugin_exit:X", "raise SystemExit('bye')", "SystemExit: bye"),
    "absent": ("of_a_plugin_absent:X", "", "AttributeError: .*has no attribute 'X'"),
    "type": ("of_a_plugin_type:X", "X = 3", "TypeError: the entry point names a int; expected a"),
}


@pytest.mark.parametrize("table", REGISTRIES, ids=lambda table: table.group)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_one_is_one_warning_that_names_the_package(packages: Path, table, fault: str) -> None:
    at, text, said = FAULTS[fault]
    install(packages, "of-somebody", "3.1", {table.group: {"mine": at}}, **{at.partition(":")[0]: text})
    warning = rf"mine of of-somebody 3.1 \({table.group}\) cannot be used: {said}"
    with pytest.warns(PluginWarning, match=warning) as caught:
        assert "mine" not in table
    assert len(caught) == 1
    assert "mine" not in list(table)  # without another warning, which would be an error
    assert [(one.package, one.version) for one in table.plugins()] == [("of-somebody", "3.1")]


METHOD = """
from rate.methods import SaliencyMethod
X = SaliencyMethod(name="mine", title="Mine", settings={settings}, kernel="rate.kernels.rise:from_settings")
"""


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("other", (), "called other and the method 'mine'"),
        ("mine", ("gird",), "it reads the setting 'gird'; there are"),
    ],
)
def test_a_method_with_another_name_or_an_unknown_setting_is_broken(packages: Path, name, settings, said) -> None:
    text = METHOD.format(settings=settings)
    install(packages, "mine", "1", {"rate.methods": {name: "of_a_plugin:X"}}, of_a_plugin=text)
    with pytest.warns(PluginWarning, match=said):
        assert name not in METHODS


def test_a_module_that_is_not_there_is_a_fault_before_it_is_needed(packages: Path) -> None:
    family = "from rate.export.sources.source_string import SourceFamily as F; X = F('mine:FILE', 'of_a_plugin_absent')"
    method = METHOD.format(settings=()).replace("rate.kernels.rise:", "of_a_plugin_absent:")
    points = {"rate.sources": {"mine": "of_a_plugin_f:X"}, "rate.methods": {"mine": "of_a_plugin_m:X"}}
    install(packages, "mine", "1", points, of_a_plugin_f=family, of_a_plugin_m=method)
    for table in (FAMILIES, METHODS):
        with pytest.warns(PluginWarning, match="No module named 'of_a_plugin_absent'"):
            assert "mine" not in table


READERS = """
def fails(root: str):
    return root.nothing
def other(root: str):
    return [root]
"""


def test_what_fails_while_it_is_used_names_the_package(
    packages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(packages)
    points = {"rate.layouts": {"fails": "of_a_plugin:fails", "other": "of_a_plugin:other"}}
    install(packages, "mine", "1", points, of_a_plugin=READERS)
    assert run(["data", "index", "fails", "set", "--out", "m.csv"]) == EXIT_FAILED
    assert "a defect of the plug-in fails of mine 1 (rate.layouts), or of its use by rate" in capsys.readouterr().err
    assert list(packages.glob("rate-crash-*"))
    assert run(["data", "index", "other", "set", "--out", "m.csv"]) == EXIT_USAGE
    assert "other read a list; a layout's reader returns a Layout" in capsys.readouterr().err


def test_a_name_that_is_taken_stays_what_it_was(packages: Path) -> None:
    mine, own = METHOD.format(settings=()), METHODS[DEFAULT]
    install(packages, "a-first", "1", {"rate.methods": {"mine": "of_a_plugin:X"}}, of_a_plugin=mine)
    install(packages, "b-second", "2", {"rate.methods": {"mine": "of_a_plugin:X", DEFAULT: "of_a_plugin:X"}})
    with pytest.warns(PluginWarning) as caught:
        assert METHODS["mine"].title == "Mine"
    assert sorted(str(one.message).partition(";")[0] for one in caught) == [
        "the plug-in mine of b-second 2 (rate.methods) cannot be used: the name is taken by a-first",
        f"the plug-in {DEFAULT} of b-second 2 (rate.methods) cannot be used: the name is taken by rate itself",
    ]
    assert METHODS[DEFAULT] is own


def test_an_unknown_name_is_refused_with_those_of_plugins(packages: Path) -> None:
    install(packages, "mine", "1", {"rate.methods": {"mine": "of_a_plugin:X"}}, of_a_plugin=METHOD.format(settings=()))
    with pytest.raises(ConfigError, match="rise-tokens, attention, mine; got 'main'; did you mean mine"):
        Measurement(saliency="main")


def test_commands_print_the_warning_once_and_go_on(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(packages, "broken", "1", {"rate.layouts": {"mine": "of_a_plugin:X"}}, of_a_plugin="import nothing_there")
    assert run(["data", "index", "mine", "set", "--out", "m.csv"]) == EXIT_USAGE
    printed = capsys.readouterr().err
    assert printed.count("the plug-in mine of broken 1 (rate.layouts) cannot be used: ModuleNotFoundError") == 1
    assert "No such command 'mine'" in printed
    assert run(["doctor"]) == 0
    shown = capsys.readouterr()
    assert "mine of broken 1 (rate.layouts)  -> ModuleNotFoundError: No module named 'nothing_there'" in shown.out
    assert not shown.err


def test_what_is_built_in_is_used_without_a_look_at_packages(
    packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("--help", "eval --help", "data --help", "data index voc --help"):
        assert run(line.split()) == 0
    Measurement(masks=100)
    packages_of("timm:resnet18")
    assert not any("_all" in vars(table) for table in REGISTRIES)
    assert run(["data", "index", "--help"]) == 0
    assert [("_all" in vars(table)) for table in REGISTRIES] == [False, True, False]
