"""Options are frozen, checked, and refused in one sentence."""

import pytest
from pydantic import ValidationError

from scumble import Field, Options
from scumble.errors import OptionError
from scumble.options import Words, check_options
from scumble.requests import REQUESTS


class Inner(Options):
    share: float = Field(default=0.5, ge=0, le=1)


class Settings(Options):
    count: int = 1
    inner: Inner = Inner()


def test_what_is_in_order():
    found = check_options(Settings, {"count": 3, "inner": {"share": 0.2}}, "mine")
    assert (found.count, found.inner.share) == (3, 0.2)
    with pytest.raises(ValidationError, match="frozen"):
        found.count = 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cuont": 3}, r"^mine has no option 'cuont'; it has: count, inner\.$"),
        ({"count": "many"}, r"^mine: count is 'many': "),
        ({"inner": {"share": 2}}, r"^mine: inner.share is 2: .*less than or equal to 1"),
        ({"inner": {"share": float("nan")}}, r"inner.share is nan"),
        ({"count": "x", "inner": 3}, r"\(and 1 more\)"),
        ({"count": "x" * 500}, r"xxx\.\.\.: "),
    ],
)
def test_what_is_refused(given: dict[str, object], message: str):
    with pytest.raises(OptionError, match=message) as caught:
        check_options(Settings, given, "mine")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_one_word_may_be_given_as_text():
    class Blend(Options):
        words: Words = ()

    for given in ("cat", ["cat"], ("cat",)):
        assert check_options(Blend, {"words": given}, "blend").words == ("cat",)
    with pytest.raises(OptionError, match="words"):
        check_options(Blend, {"words": 3}, "blend")


def test_options_of_nothing():
    class Nothing(Options):
        pass

    with pytest.raises(OptionError, match="no option 'a'; it has: none"):
        check_options(Nothing, {"a": 1}, "mine")


def test_the_schema_closes_the_door():
    assert Settings.model_json_schema()["additionalProperties"] is False


class TestDescriptions:
    def test_the_schema_says_what_the_docstring_says(self):
        class Base(Options):
            """Base.

            Attributes:
                first: one
                    and a half.
            """

            first: int = 1

        class Derived(Base):
            """Derived.

            Attributes:
                second: two: and more.
            """

            second: int = 2

        properties = Derived.model_json_schema()["properties"]
        assert properties["first"]["description"] == "one and a half."
        assert properties["second"]["description"] == "two: and more."

    def test_every_request_field_is_described(self):
        for name, request in REQUESTS.items():
            for field, schema in request.model_json_schema()["properties"].items():
                assert schema.get("description"), f"{name}.{field}"
