import inspect
from typing import Annotated

import pytest
import typer

from scumble.cli.flags import Inverting, Loading, Output, Sampling, grouped, read_size
from scumble.errors import OptionError
from scumble.requests import EngineRequest, InvertRequest


@pytest.mark.parametrize(
    ("text", "size"), [("128x192", (128, 192)), ("128X192", (128, 192)), (" 256 ", (256, 256))]
)
def test_sizes(text: str, size: tuple[int, int]):
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "128x", "128x128x3", "-8", "1e3", "12 8", "٣", "9" * 99])
def test_no_sizes(text: str):
    with pytest.raises(OptionError, match="--size is"):
        read_size(text)


def test_flags_that_were_not_given_are_left_out():
    assert Sampling().fields() == {}
    assert Inverting().fields() == {}
    assert Loading().fields() == {}
    assert Inverting().fields("direct") == {"inversion": "direct"}


def test_every_field_of_a_request_has_a_flag():
    sampling = Sampling(1, 2.0, "no", 3, "8x16", "pad").fields()
    inverting = Inverting("ddim", ["convention=next"]).fields()
    request = InvertRequest(source="a", **sampling, **inverting)
    assert request.model_fields_set == set(InvertRequest.model_fields)
    assert request.size == (8, 16)
    loading = Loading("m", "torch", "bf16", "cpu", 2, "compile", "main", "torch", True).fields()
    assert EngineRequest(**loading).model_fields_set == set(EngineRequest.model_fields)


def test_the_inversion_option_belongs_to_the_default_plugin():
    assert Inverting(None, ["convention=next"]).fields("direct") == {
        "inversion": "direct",
        "inversion_options": {"convention": "next"},
    }


def test_groups_become_flags():
    seen: list[object] = []

    @grouped
    def command(
        *, name: Annotated[str, typer.Argument()], sampling: Sampling, output: Output
    ) -> None:
        """Do it."""
        seen.extend((name, sampling, output))

    flat = inspect.signature(command).parameters
    expected = ["name", "steps", "guidance", "negative", "seed", "size", "fit", "as_json", "quiet"]
    assert list(flat) == expected
    app = typer.Typer()
    app.command()(command)
    typer.main.get_command(app).main(["x", "--seed", "4", "-q"], standalone_mode=False)
    assert seen == ["x", Sampling(seed=4), Output(quiet=True)]
