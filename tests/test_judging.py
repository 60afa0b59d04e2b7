"""The settings of given maps: the usual rule, and what excludes what."""

from __future__ import annotations

import pytest

from rate.errors import ConfigError
from rate.judging import Judging


def test_the_rule_is_absolute_unless_a_blur_is_declared() -> None:
    assert Judging().measurement.valid == "absolute"
    assert Judging(blur="cells:7").measurement.valid == "midpoint"
    assert Judging(blur="cells:7", valid="absolute").measurement.valid == "absolute"
    assert Judging(blur="cells:7", evidence="minmax").measurement.valid == "absolute"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"valid": "midpoint"}, "needs their --blur"),
        ({"valid": "midpoint", "blur": "cells:7", "evidence": "minmax"}, "has no floor and ceiling"),
        ({"blur": "cells"}, "blur must be such as cells:7"),
        ({"blur": "cells:7.5"}, "blur must be such as"),
        ({"blur": "cells:7:2"}, "blur must be such as"),
        ({"blur": "gaussian:0"}, "blur must be such as"),
        ({"blur": "window:40:0"}, "moves by at least one pixel"),
        ({"resize": 256}, "only a central crop has one"),
        ({"crop": "center", "resize": 128}, "resize must be at least size = 224"),
        ({"crop": "middle"}, "crop must be one of"),
        ({"tau": 1.0}, "tau must lie strictly between 0 and 1"),
        ({"explain": "class"}, "explain must be one of"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Judging(**settings)
