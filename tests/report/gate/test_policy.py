"""gate.toml is read whole or refused with the number of the check and the key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rate
from rate.errors import ConfigError
from rate.report.gate.policy import BOUNDS, METRICS, SEVERITIES, SLICES, USES, read_policy

README = Path(rate.__file__).parent.parent / "README.md"
GUIDE = README.parent / "docs" / "gates.md"
GOOD = {"metric": "pt", "min": 0.8}


def test_what_is_not_said_has_a_default() -> None:
    [pt] = read_policy([GOOD]).checks
    assert (pt.bound, pt.threshold, pt.use, pt.min_samples) == ("min", 0.8, "interval", 1)
    assert (pt.slice, pt.severity, pt.name) == (None, "error", "pt min 0.8")
    [errors] = read_policy([{"metric": "errors", "max": 0.01}]).checks
    assert errors.use == "value", "how many samples failed is counted, not estimated"


def test_a_file_a_mapping_and_a_list_are_one_policy(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('# why\n[[check]]\nmin = 0.8\nmetric = "pt"\n[[check]]\nmetric = "errors"\nmax = 3\nname = "few"\n')
    checks = [GOOD, {"metric": "errors", "max": 3, "name": "few"}]
    read = [read_policy(path), read_policy(str(path)), read_policy({"check": checks}), read_policy(checks)]
    assert len({policy.digest for policy in read}) == 1
    assert all(policy.checks == read[0].checks for policy in read)
    assert read[0].source == str(path)


@pytest.mark.parametrize(
    "change", [{"min": 0.81}, {"severity": "warn"}, {"min_samples": 2}, {"use": "value"}, {"slice": "class"}]
)
def test_the_digest_follows_what_is_checked(change: dict) -> None:
    assert read_policy([GOOD]).digest != read_policy([GOOD | change]).digest
    assert read_policy([GOOD]).digest == read_policy([dict(reversed(GOOD.items()))]).digest


@pytest.mark.parametrize(("bound", "end"), [("min", "ci_low"), ("max", "ci_high"), ("max_drop", "ci_low")])
def test_the_conservative_end_is_another_word_for_the_interval(bound: str, end: str) -> None:
    named = read_policy([{"metric": "pt", bound: 0.5, "use": end}])
    assert named.checks == read_policy([{"metric": "pt", bound: 0.5, "use": "interval"}]).checks
    lenient = ({"ci_low", "ci_high"} - {end}).pop()
    with pytest.raises(ConfigError, match=f"check 1: use = '{lenient}' is the lenient end for {bound}; use '{end}'"):
        read_policy([{"metric": "pt", bound: 0.5, "use": lenient}])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"min": 0.8}, "metric is missing; it is one of pt, ir"),
        ({"metric": "PT", "min": 0.8}, "metric must be one of pt, ir, .* got 'PT'"),
        ({"metric": ["pt"], "min": 0.8}, "metric must be one of"),
        ({"metric": "pt"}, "bound must be exactly one of min, max, max_drop, max_drop_relative; got none"),
        ({"metric": "pt", "min": 0.8, "max": 0.9}, "bound must be exactly one of .*; got min and max"),
        ({"metric": "pt", "min": 80}, "min must be a share from 0 to 1 for pt, got 80; 80 % is 0.8"),
        ({"metric": "pt", "min": -0.1}, "min must be a number from 0 on, got -0.1"),
        ({"metric": "pt", "min": True}, "min must be a number from 0 on, got True"),
        ({"metric": "pt", "min": "0.8"}, "min must be a number from 0 on, got '0.8'"),
        ({"metric": "pt", "min": float("nan")}, "min must be a number from 0 on, got nan"),
        ({"metric": "pt", "min": float("inf")}, "min must be a number from 0 on, got inf"),
        ({"metric": "pt", "min": 1}, 'min = 1 cannot be kept by a whole interval; add use = "value"'),
        ({"metric": "pt", "max": 0}, "max = 0 cannot be kept by a whole interval"),
        ({"metric": "ir", "max_drop_relative": 1.5}, "max_drop_relative must be a share from 0 to 1 for ir"),
        (
            {"metric": "images_per_s", "max_drop_relative": 10},
            "max_drop_relative must be a share below 1 of the baseline's value",
        ),
        (
            {"metric": "errors", "max_drop": 0.1},
            "max_drop does not apply to errors, of which fewer are better; use max",
        ),
        ({"metric": "undefined", "min": 0.1}, "min does not apply to undefined"),
        ({"metric": "forwards", "max_drop": 10}, "max_drop does not apply to forwards"),
        ({"metric": "errors", "max": 1.5}, "max must be a share below 1 or a whole number of samples, got 1.5"),
        ({"metric": "errors", "max": 2, "use": "interval"}, "use must be 'value' for a number of samples"),
        (
            {"metric": "forwards", "max": 200, "use": "ci_high"},
            "use must be 'value' for forwards, which has no interval",
        ),
        ({"metric": "images_per_s", "min": 2, "slice": "class"}, "slice does not apply to images_per_s"),
        ({"metric": "pt", "min": 0}, "min = 0 cannot be broken by pt"),
        ({"metric": "images_per_s", "min": 0}, "min = 0 cannot be broken by images_per_s"),
        ({"metric": "ir", "max": 1.0, "use": "value"}, r"max = 1\.0 cannot be broken by ir"),
        ({"metric": "accuracy", "max_drop": 1}, "max_drop = 1 cannot be broken by accuracy"),
        ({"metric": "forwards", "max": 10**400}, "max must be a number from 0 on"),
        (GOOD | {"slice": "cat"}, "slice must be one of class, group; got 'cat'"),
        (GOOD | {"use": "ci"}, "use must be one of interval, ci_low, ci_high, value; got 'ci'"),
        (GOOD | {"slice": "label"}, "slice must be one of class, group; got 'label'"),
        (GOOD | {"severity": "info"}, "severity must be one of error, warn; got 'info'"),
        (GOOD | {"min_samples": 0}, "min_samples must be a whole number from 1 on, got 0"),
        (GOOD | {"min_samples": 10.0}, "min_samples must be a whole number from 1 on, got 10.0"),
        (GOOD | {"name": " "}, "name must be one line of text, got ' '"),
        (GOOD | {"name": "a\nb"}, "name must be one line of text"),
        (GOOD | {"minimum": 1}, "minimum is not a key of a check; there are metric, min, max, "),
    ],
)
def test_every_mistake_names_the_check_and_the_key(table: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^policy: check 2: {message}"):
        read_policy([GOOD, table])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no checks"),
        ("check = []", "has no checks"),
        ("check = 3", "check must be a list of tables"),
        ("[check]\nmetric = 'pt'", "check must be a list of tables"),
        ("check = [1]", "check must be a list of tables"),
        ("[[checks]]\nmetric = 'pt'", "unknown key 'checks'"),
        ("[[check]", "is not valid TOML"),
    ],
)
def test_a_file_that_is_no_policy_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_policy(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read: No such file"):
        read_policy(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match=r"latin\.toml is not valid TOML"):
        read_policy(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 5000 + "]" * 5000, "a = " + "9" * 5000, "[[check]]\nmetric = 'pt'\nmin = 0.5\n#" + "x" * (1 << 20)],
    ids=["nesting", "digits", "size"],
)
def test_a_hostile_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"gate\.toml"):
        read_policy(path)


def test_two_checks_cannot_be_told_apart_by_one_name() -> None:
    with pytest.raises(ConfigError, match=r"checks 1 and 3 have the same name 'pt min 0\.8'"):
        read_policy([GOOD, {"metric": "ir", "min": 0.8}, GOOD | {"severity": "warn"}])
    assert len(read_policy([GOOD, GOOD | {"severity": "warn", "name": "other"}]).checks) == 2


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=1)
)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.sampled_from(METRICS) | ANYTHING,
        **{bound: st.floats(0, 2) | ANYTHING for bound in BOUNDS},
        "use": st.sampled_from(USES) | ANYTHING,
        "min_samples": ANYTHING,
        "slice": st.sampled_from(SLICES) | ANYTHING,
        "severity": st.sampled_from(SEVERITIES) | ANYTHING,
        "name": ANYTHING,
        "other": ANYTHING,
    },
)


@given(st.lists(TABLES, max_size=3))
def test_whatever_is_written_is_a_policy_or_one_clear_refusal(tables: list[dict]) -> None:
    said, checks = "", ()
    try:
        checks = read_policy(tables).checks
    except ConfigError as error:
        said = str(error)
    assert said.startswith("policy") != (len(checks) == len(tables) > 0)


@pytest.mark.parametrize("page", [GUIDE, README], ids=lambda path: path.name)
def test_every_policy_in_the_documents_is_one(page: Path) -> None:
    snippets = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert snippets
    for snippet in snippets:
        assert read_policy(tomllib.loads(snippet)).checks


def test_the_guide_names_every_key_metric_and_choice() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for word in (*METRICS, *BOUNDS, *USES, *SLICES, *SEVERITIES, "min_samples", "name"):
        assert f"`{word}`" in text, word
