"""A step's inputs against their declaration: each refusal names its port."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scumble.errors import PortError
from scumble.ports import (
    ADDED,
    CONTROL_GROUPS,
    INPUTS,
    Group,
    PortSizes,
    check_inputs,
    groups_of,
    inputs_of,
    neutral,
)
from scumble.testing.fake_engine import FEATURES, SITES, TOKENS

SIZES = PortSizes((4, 8, 6), TOKENS, FEATURES, SITES)
FIXED: tuple[Group, ...] = ("route", "mix", "read", "feature", "region", "join", "record")
Ports = dict[str, Any]


def plain(rows: int = 2) -> Ports:
    return {
        "sample": np.zeros((rows, 4, 8, 6)),
        "timestep": np.zeros(rows, dtype=np.int64),
        "text": np.zeros((rows, TOKENS, FEATURES)),
    }


def source() -> Ports:
    """A recorded source row: handles are the engine's own, whatever they are."""
    states = {f"source.{site.path}": object() for site in SITES if site.kind != "resnet"}
    return {**states, "source.text": np.zeros((1, TOKENS, FEATURES))}


def loss(rows: int = 2) -> Ports:
    """A loss of three terms; there is no neutral one."""
    return {
        "loss.words": np.zeros((rows, 3, TOKENS)),
        "loss.rest": np.ones((rows, 3, TOKENS)),
        "loss.masks": np.zeros((rows, 3, 8, 6)),
        "loss.weights": np.zeros((rows, 3, 2)),
        "loss.sites": np.zeros(SITES.count("cross")),
    }


def match(rows: int = 2) -> Ports:
    """A wanted noise; there is no neutral one."""
    return {"match.noise": np.zeros((rows, 4, 8, 6)), "match.weight": np.zeros(rows)}


def all_ports() -> Ports:
    ports = {**plain(), **source(), **loss(), **match()}
    for group in FIXED:
        ports |= neutral(group, SIZES, 2, replayed=True)
    return ports


def test_everything_at_once_is_in_order():
    assert check_inputs(all_ports(), SIZES) == 2
    assert check_inputs(plain(5), SIZES) == 5
    assert {port.name for port in INPUTS} <= set(all_ports())


def test_the_inputs_of_a_step_are_in_one_order():
    added = [port.name for port in ADDED]
    plain_names = ["sample", "timestep", "text"]
    assert [port.name for port in inputs_of((), False)] == plain_names
    assert [port.name for port in inputs_of((), True)] == [*plain_names, *added]
    routed = [port.name for port in inputs_of(("route",), True)]
    assert routed == [*plain_names, *added, "route"]
    assert inputs_of((*CONTROL_GROUPS, "loss", "match"), False) == INPUTS
    # A graph's inputs are known by their places: a port that is added comes behind its group.
    assert [port.group for port in INPUTS] == sorted(
        (port.group for port in INPUTS), key=("plain", *CONTROL_GROUPS, "loss", "match").index
    )


def test_added_ports_belong_to_models_that_have_them():
    taking = PortSizes((4, 8, 6), TOKENS, FEATURES, SITES, pooled=5)
    ports = {**all_ports(), "added.text": np.zeros((2, 5)), "added.size": np.zeros((2, 6))}
    assert check_inputs(ports, taking) == 2
    with pytest.raises(PortError, match=r"'added.text' is not declared; declared: sample, [^+]*$"):
        check_inputs({**plain(), "added.text": np.zeros((2, 5))}, SIZES)
    for port in ADDED:
        with pytest.raises(PortError, match=f"'{port.name}' is missing"):
            check_inputs({n: value for n, value in ports.items() if n != port.name}, taking)
        for wrong in (np.zeros((3, 5)), np.zeros((2, 4)), np.zeros((2, 6), int)):
            with pytest.raises(PortError, match=f"'{port.name}' has"):
                check_inputs({**ports, port.name: wrong}, taking)
    with pytest.raises(PortError, match=r"'odd' is not declared; .*added.text, added.size"):
        check_inputs({**ports, "odd": np.zeros(1)}, taking)


def test_groups():
    assert groups_of(all_ports()) == {*CONTROL_GROUPS, "loss", "match"}
    assert not {"loss", "match"} & set(CONTROL_GROUPS), "a step has none"
    assert groups_of(["sample", "route", "nonsense"]) == {"route"}


@pytest.mark.parametrize("name", sorted(port.name for port in INPUTS))
def test_a_wrong_number_of_axes(name: str):
    ports = all_ports()
    ports[name] = ports[name][None]
    with pytest.raises(PortError, match=f"'{name}'"):
        check_inputs(ports, SIZES)


@pytest.mark.parametrize(
    ("name", "axis"),
    [(p.name, i) for p in INPUTS for i, symbol in enumerate(p.axes)
     if symbol != "words" and (p.name, i) != ("sample", 0)],
)  # fmt: skip
def test_a_wrong_size(name: str, axis: int):
    ports = all_ports()
    ports[name] = np.concatenate([ports[name], ports[name]], axis=axis)
    with pytest.raises(PortError, match=f"'{name}' has shape .* want"):
        check_inputs(ports, SIZES)


def test_any_number_of_words_may_be_read():
    ports = {**plain(), **neutral("read", SIZES, 2)}
    ports["read.weights"] = np.zeros((2, 7, TOKENS))
    check_inputs(ports, SIZES)


@pytest.mark.parametrize("port", INPUTS, ids=lambda port: port.name)
def test_a_wrong_dtype(port: Any):
    ports = all_ports()
    other = np.float32 if port.dtype == "index" else np.int64
    ports[port.name] = ports[port.name].astype(other)
    with pytest.raises(PortError, match=f"'{port.name}' has dtype .* want {port.dtype}"):
        check_inputs(ports, SIZES)


@pytest.mark.parametrize("name", ["text", "route", "source.text"])
def test_what_is_no_array(name: str):
    ports = all_ports()
    ports[name] = ports[name].tolist()
    with pytest.raises(PortError, match=f"'{name}' is a list"):
        check_inputs(ports, SIZES)


@pytest.mark.parametrize(
    "name",
    sorted(p.name for p in INPUTS if p.name not in ("sample", "source.text")),
)
def test_a_port_whose_fellows_are_there(name: str):
    """Of a group that was begun; alone in its group, it is simply not asked for."""
    ports = all_ports()
    del ports[name]
    (port,) = (port for port in INPUTS if port.name == name)
    if port.group != "plain" and sum(p.group == port.group for p in INPUTS) == 1:
        check_inputs(ports, SIZES)
        return
    with pytest.raises(PortError, match=f"'{name}' is missing"):
        check_inputs(ports, SIZES)


def test_no_sample():
    ports = plain()
    del ports["sample"]
    with pytest.raises(PortError, match="'sample'"):
        check_inputs(ports, SIZES)


@pytest.mark.parametrize("name", ["routes", "read.1", "source.nowhere", "mix", ""])
def test_a_name_that_is_not_declared(name: str):
    with pytest.raises(PortError, match=f"'{name}' is not declared; declared: sample"):
        check_inputs({**plain(), **source(), name: np.zeros(1)}, SIZES)


def test_a_source_state_without_its_text():
    states = source()
    del states["source.text"]
    with pytest.raises(PortError, match=r"'source\..*' is not declared"):
        check_inputs({**plain(), **states}, SIZES)


def set_to(name: str, index: int) -> Callable[[Ports], None]:
    def change(ports: Ports) -> None:
        ports[name] = ports[name].copy()
        ports[name].flat[-1] = index

    return change


@pytest.mark.parametrize("index", [-1, 2, 99])
@pytest.mark.parametrize("name", ["route", "mix.row", "join.row", "feature_route", "record.row"])
def test_a_row_that_is_not_there(name: str, index: int):
    ports = plain()
    for group in FIXED:
        ports |= neutral(group, SIZES, 2)
    set_to(name, index)(ports)
    with pytest.raises(PortError, match=rf"'{name}' addresses row .*{index}.*rows are 0 to 1"):
        check_inputs(ports, SIZES)


@pytest.mark.parametrize("name", ["route", "mix.row", "join.row"])
def test_the_replayed_row_is_one_beyond(name: str):
    ports = all_ports()
    set_to(name, 2)(ports)
    check_inputs(ports, SIZES)
    set_to(name, 3)(ports)
    with pytest.raises(PortError, match="rows are 0 to 2"):
        check_inputs(ports, SIZES)


@pytest.mark.parametrize("name", ["feature_route", "record.row"])
def test_a_replayed_row_has_no_features_and_is_not_recorded_again(name: str):
    ports = all_ports()
    set_to(name, 2)(ports)
    with pytest.raises(PortError, match="rows are 0 to 1"):
        check_inputs(ports, SIZES)


@pytest.mark.parametrize("group", ["plain", "replay", "loss", "match"])
def test_what_has_no_neutral_value(group: Group):
    with pytest.raises(PortError, match=group):
        neutral(group, SIZES, 2)
