"""The tree of errors is the one that is drawn, and says what each is for."""

import inspect
import re

import pytest

from scumble import errors

CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}


def drawn() -> dict[str, str | None]:
    """Class -> the class above it, as the module's docstring draws them."""
    above: list[str] = []
    found: dict[str, str | None] = {}
    for line in inspect.cleandoc(errors.__doc__ or "").splitlines():
        branch = re.match(r"((?:│   |    )*(?:[├└]── )?)(\w+Error)\b", line)
        if branch:
            depth = len(branch[1]) // 4
            del above[depth:]
            found[branch[2]] = above[-1] if above else None
            above.append(branch[2])
    return found


def test_the_drawn_tree_is_that_of_the_classes():
    def parent(kind: type) -> str | None:
        return None if kind is errors.ScumbleError else kind.__bases__[0].__name__

    assert drawn() == {name: parent(kind) for name, kind in CLASSES.items()}
    assert set(CLASSES) == set(errors.__all__)


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_catching_scumbles_errors_catches_each(kind: type[Exception]):
    assert issubclass(kind, errors.ScumbleError)
    assert len(kind.__bases__) == 1, "it would be caught as something else too"
    assert str(kind("a sentence.")) == "a sentence."
