"""Values that options must refuse, read off their schema."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from scumble.errors import OptionError
from scumble.options import Options, check_options
from scumble.testing.bounds import beyond

Share = Annotated[float, Field(ge=0, le=1)]


class Inner(Options):
    """A nested one."""

    amount: int = 0


class Sample(Options):
    """One of each kind."""

    share: Share = 0.5
    count: Annotated[int, Field(gt=2)] = 3
    most: Annotated[float, Field(lt=4)] = 3
    maybe: Annotated[int, Field(ge=1)] | None = None
    choice: Literal["a", "b"] = "a"
    either: Literal["none"] | Literal["all", "some"] | None = None
    free: float = 0
    half_free: Share | int = 0
    text: str = ""
    names: tuple[str, ...] = ()
    inner: Inner = Inner()


def test_only_what_has_limits_is_tried():
    assert list(beyond(Sample.model_json_schema())) == [
        ("share", -1), ("share", 2), ("count", 1), ("most", 5), ("maybe", 0),
        ("choice", "no such choice"), ("either", "no such choice"),
    ]  # fmt: skip


def test_all_of_them_are_refused():
    for name, value in beyond(Sample.model_json_schema()):
        with pytest.raises(OptionError, match=name):
            check_options(Sample, {name: value}, "a sample")


def test_no_options_have_none():
    assert list(beyond({})) == []
