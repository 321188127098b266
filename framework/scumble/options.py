"""The base of every user-facing request and option: frozen, checked, unknown keys refused."""

import inspect
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from scumble.errors import OptionError

__all__ = ["Options", "Words", "check_options", "described"]


def _listed(given: object) -> object:
    return (given,) if isinstance(given, str) else given


Words: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Words or phrases of a prompt; one alone may be given as plain text."""


class Options(BaseModel):
    """Base of a plugin's options and of every request; its JSON schema is `model_json_schema()`.

    What the class docstring says of a field under `Attributes:` is its description in the schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, meaning in described(cls.__doc__ or "").items():
            if name in cls.model_fields:
                cls.model_fields[name].description = meaning
        cls.model_rebuild(force=True)


def described(docstring: str) -> dict[str, str]:
    """Return name -> meaning from the `Attributes:` section of a docstring."""
    _, _, section = inspect.cleandoc(docstring).partition("\nAttributes:\n")
    found = re.findall(r"^    (\w+): (.+(?:\n     .+)*)", section, flags=re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


Model = TypeVar("Model", bound=Options)


def check_options(model: type[Model], given: Mapping[str, Any], of: str) -> Model:
    """Return validated options, or raise OptionError in one sentence.

    Args:
        model: the options' class.
        given: what the user set.
        of: whose options these are, for the message.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole"
        if first["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields) or "none"
            raise OptionError(f"{of} has no option {key!r}; it has: {known}.") from None
        shown = repr(first.get("input"))
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        more = len(error.errors()) - 1
        tail = f" (and {more} more)" if more else ""
        raise OptionError(f"{of}: {key} is {shown}: {first['msg']}{tail}.") from None
