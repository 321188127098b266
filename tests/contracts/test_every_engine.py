"""What every engine promises, on one tiny model: checkpoint or pack, whichever it runs."""

import os
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.editor import Editor
from scumble.engine import GUIDED, EngineSettings
from scumble.errors import EngineError, PortError, UnsupportedError
from scumble.models import find_checkpoint
from scumble.plugins import load_entry
from scumble.ports import CONTROL_GROUPS, Group, neutral
from scumble.runs import Run
from scumble.sensitivity import require_effect
from scumble.session import Session

pytestmark = pytest.mark.thorough

RUNS = {"torch": "small", "onnxruntime": "pack", "openvino": "pack", "tensorrt": "pack"}
"""Engine -> the fixture with the model that it runs."""
GPU = frozenset({"tensorrt"})
"""Engines that run on a GPU alone; where there is none, their own error is all that is tested."""
MOST = {"onnxruntime": 8, "openvino": 8, "tensorrt": 8}
"""Engine -> rows that it takes at once, where there is a limit."""
VARIANTS: dict[str, tuple[Group, ...]] = {
    "plain": (),
    "routed": ("route", "mix"),
    "reading": ("route", "mix", "read"),
    "masked": ("route", "mix", "read", "region"),
    "featured": ("route", "feature"),
}
GRADIENTS = ("torch", "onnxruntime", "tensorrt")
"""Engines with gradients of losses on maps; openvino computes them wrongly, and so claims none."""


def engines(names: Iterable[str]) -> pytest.MarkDecorator:
    marked = [pytest.param(name, marks=[pytest.mark.gpu] * (name in GPU)) for name in names]
    return pytest.mark.parametrize("name", marked)


ENGINES = engines(RUNS)


class Sessions:
    """The sessions of each engine on the tiny model; not to be changed."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders
        self._made: dict[str, Session] = {}

    def fresh(self, name: str) -> Session:
        """A session of the test's own."""
        _, kind = load_entry("scumble.engines", name, "engine")
        engine = kind(EngineSettings(device=device_of(name), threads=1))
        return Session(find_checkpoint(self.folders[name]), engine)

    def __getitem__(self, name: str) -> Session:
        if name not in self._made:
            self._made[name] = self.fresh(name)
        return self._made[name]

    def close(self) -> None:
        for session in self._made.values():
            session.engine.close()


def device_of(name: str) -> str:
    return "cuda" if name in GPU else "cpu"


@pytest.fixture(scope="module")
def sessions(request: pytest.FixtureRequest) -> Iterator[Sessions]:
    made = Sessions({name: request.getfixturevalue(model) for name, model in RUNS.items()})
    yield made
    made.close()


def plain(rows: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    return {
        "sample": rng.standard_normal((rows, 4, 16, 16)).astype(np.float32),
        "timestep": rng.integers(0, 1000, rows),
        "text": rng.standard_normal((rows, 40, 32)).astype(np.float32),
    }


def neutral_ports(session: Session, group: Group, rows: int) -> dict[str, Any]:
    ports = neutral(group, session.info.sizes((16, 16)), rows)
    return {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in ports.items()}


def random_ports(session: Session, groups: tuple[Group, ...], rows: int) -> dict[str, Any]:
    """Ports of groups, all far from neutral, the row beyond never addressed."""
    rng = np.random.default_rng(10 + rows)
    ports = plain(rows)
    for group in groups:
        ports |= neutral_ports(session, group, rows)
    for name in ports.keys() - plain(1).keys():
        shape = ports[name].shape
        if name.startswith("region."):
            ports[name] = rng.integers(0, 2, shape).astype(np.float32)
        elif ports[name].dtype.kind == "i":
            ports[name] = rng.integers(0, rows, shape)
        elif name != "read.sites":
            ports[name] = rng.random(shape).astype(np.float32)
    if "read" in groups:
        sites = session.info.sites
        ports["read.sites"][list(sites.select("cross", strides=(sites.map_stride,)))] = 1
        ports["read.weights"] = rng.random((rows, 2, 40)).astype(np.float32)
    return ports


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_no_engine_is_left_out(repository: Path):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert set(RUNS) == set(project["entry-points"]["scumble.engines"])


@ENGINES
def test_the_model_is_the_same(sessions: Sessions, name: str):
    assert sessions[name].info == sessions["torch"].info
    assert sessions[name].engine.provenance["engine"] == name


@ENGINES
def test_an_undeclared_port_is_refused(sessions: Sessions, name: str):
    engine = sessions[name].engine
    with pytest.raises(PortError, match="port 'attention' is not declared"):
        engine.step({**plain(), "attention": np.zeros(1)})
    with pytest.raises(PortError, match="port 'text' has shape"):
        engine.step({**plain(), "text": np.zeros((3, 41, 32), np.float32)})
    with pytest.raises(PortError, match="port 'timestep' has dtype"):
        engine.step({**plain(), "timestep": np.zeros(3, np.float32)})


@ENGINES
def test_as_many_rows_as_are_promised(sessions: Sessions, name: str):
    engine = sessions[name].engine
    most = MOST.get(name, 9)
    for rows in (1, most):
        assert engine.step(plain(rows)).noise.shape == (rows, 4, 16, 16)
    if name in MOST:
        with pytest.raises(PortError, match=f"{most + 1} rows and this pack runs at most {most}"):
            engine.step(plain(most + 1))


@ENGINES
@pytest.mark.parametrize("group", [g for g in CONTROL_GROUPS if g not in ("record", "replay")])
def test_neutral_ports_change_nothing_or_are_refused(sessions: Sessions, name: str, group: Group):
    session = sessions[name]
    ports = {**plain(), **neutral_ports(session, group, 3)}
    if group not in session.engine.groups:
        with pytest.raises(UnsupportedError, match=f"no ports for: {group}"):
            session.engine.step(ports)
        return
    found = session.engine.step(ports)
    assert group in found.bound
    assert not found.reads
    assert distance(found.noise, session.engine.step(plain()).noise) < 1e-5


@ENGINES
@pytest.mark.parametrize("rows", [1, 2, 4, 8])
@pytest.mark.parametrize("variant", VARIANTS)
def test_engines_agree_with_torch(sessions: Sessions, name: str, variant: str, rows: int):
    session, reference = sessions[name], sessions["torch"]
    ports = random_ports(reference, VARIANTS[variant], rows)
    found, wanted = session.engine.step(ports), reference.engine.step(ports)
    assert distance(found.noise, wanted.noise) < 1e-5
    assert found.reads.keys() == wanted.reads.keys()
    for stride, field in wanted.reads.items():
        assert distance(found.reads[stride], field) < 1e-5
    assert set(VARIANTS[variant]) <= found.bound
    if rows > 1 and variant != "plain":
        unmoved = session.engine.step({k: ports[k] for k in plain(1)})
        assert distance(found.noise, unmoved.noise) > 1e-2


@ENGINES
def test_what_is_recorded_is_replayed_as_torch_does(sessions: Sessions, name: str):
    """Through the host's memory and back, as a source folder does it."""
    groups: tuple[Group, ...] = ("route", "mix", "read")
    alone = plain(2)
    noises, maps = [], []
    for session in (sessions[name], sessions["torch"]):
        engine = session.engine
        recorded = engine.step({**alone, "record.row": np.array([1])}).recorded
        assert len(recorded) == len(session.info.sites.of("self") + session.info.sites.of("cross"))
        stored = {port: engine.to_host(handle) for port, handle in recorded.items()}
        assert sum(a.nbytes for a in stored.values()) == sum(map(engine.size_of, recorded.values()))
        ports = random_ports(session, groups, 3)
        ports["route"][..., 0] = ports["mix.row"][0] = 3  # the row beyond: the replayed one
        ports["read.weights"] = np.random.default_rng(1).random((4, 2, 40)).astype(np.float32)
        ports |= {port: engine.to_handle(array) for port, array in stored.items()}
        found = engine.step({**ports, "source.text": alone["text"][1:]})
        noises.append(found.noise)
        maps.append(found.reads[1])
    assert distance(noises[0], noises[1]) < 1e-5
    assert distance(maps[0], maps[1]) < 1e-5
    assert maps[0].shape[0] == 4


@ENGINES
def test_a_look_gives_the_maps_of_a_step(sessions: Sessions, name: str):
    session = sessions[name]
    ports = random_ports(session, ("read",), 3)
    wanted = session.engine.step(ports).reads
    found = session.engine.look(ports)
    assert found.keys() == wanted.keys() == {1}
    assert distance(found[1], wanted[1]) < 1e-5
    with pytest.raises(PortError, match="not declared"):
        session.engine.look({**ports, "x": np.zeros(1)})


def told(session: Session, seed: int) -> dict[str, Any]:
    """What a source row told of itself, on the session's engine."""
    rng = np.random.default_rng(seed)
    source = {name: rng.permuted(value, axis=-1) for name, value in plain(1).items()}
    recorded = session.engine.step({**source, "record.row": np.zeros(1, np.int64)}).recorded
    return {**recorded, "source.text": source["text"]}


def guided_ports(session: Session, seed: int) -> dict[str, Any]:
    """Random ports of a gradient, of one to six terms."""
    rng = np.random.default_rng(seed)
    sites, terms = session.info.sites, int(rng.integers(1, 7))
    ports = {name: rng.permuted(value, axis=-1) for name, value in plain(1).items()}
    for group in ("route", "mix"):
        ports |= neutral_ports(session, group, 1)
    for name in ("route", "mix.row"):
        ports[name] = rng.integers(0, 2, ports[name].shape)
    ports["mix.source"] = rng.random(ports["mix.source"].shape).astype(np.float32) / 40
    ports["mix.own"] = rng.random(ports["mix.own"].shape).astype(np.float32)
    ports["mix.sites"] = rng.integers(0, 2, ports["mix.sites"].shape).astype(np.float32)
    masks = np.zeros((1, terms, 16, 16), np.float32)
    for mask in masks[0]:
        top, left = rng.integers(0, 12, 2)
        mask[top : top + 4, left : left + 4] = 1
    words = np.zeros((1, terms, 40), np.float32)
    for word in words[0]:
        word[rng.choice(40, 2, replace=False)] = 0.5
    seen = list(sites.select("cross", strides=(sites.map_stride,)))
    gate = np.zeros(sites.count("cross"), np.float32)
    gate[rng.choice(seen, rng.integers(1, len(seen) + 1), replace=False)] = 1
    return {
        **ports,
        "loss.words": words,
        "loss.rest": rng.random((1, terms, 40)).astype(np.float32) + np.float32(0.1),
        "loss.masks": masks,
        "loss.weights": rng.standard_normal((1, terms, 2)).astype(np.float32),
        "loss.sites": gate,
    }


@engines(name for name in GRADIENTS if name != "torch")
def test_a_hundred_gradients_agree_with_torch(sessions: Sessions, name: str):
    session, reference = sessions[name], sessions["torch"]
    assert session.engine.supports(GUIDED)
    sources = [(told(session, seed), told(reference, seed)) for seed in range(5)]
    for case in range(100):
        ports = guided_ports(reference, case)
        mine, theirs = sources[case % len(sources)]
        found = session.engine.gradient({**ports, **mine})
        wanted = reference.engine.gradient({**ports, **theirs})
        assert found.latents.shape == wanted.latents.shape
        assert distance(found.latents, wanted.latents) < 1e-4
        assert distance(found.losses, wanted.losses) < 1e-4


def test_engines_that_get_gradients_wrong_claim_none(sessions: Sessions):
    assert {n for n in RUNS if "loss" in load_entry("scumble.engines", n, "engine")[1].groups} == {
        *GRADIENTS
    }
    ports = {**guided_ports(sessions["torch"], 1), **told(sessions["openvino"], 1)}
    assert not sessions["openvino"].engine.supports(GUIDED)
    with pytest.raises(UnsupportedError, match=r"no ports for: loss; engines that do: .*onnx"):
        sessions["openvino"].engine.gradient(ports)


def test_a_loss_on_maps_that_a_pack_does_not_see_is_refused(sessions: Sessions):
    session = sessions["onnxruntime"]
    ports = {**guided_ports(session, 1), **told(session, 1)}
    ports["loss.sites"] = np.ones_like(ports["loss.sites"])
    with pytest.raises(UnsupportedError, match="reads maps at stride 1, not at"):
        session.engine.gradient(ports)


@ENGINES
def test_text_and_pictures_agree_with_torch(sessions: Sessions, name: str):
    engine, reference = sessions[name].engine, sessions["torch"].engine
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 20, (2, 40))
    pixels = rng.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    latents = rng.standard_normal((2, 4, 16, 16)).astype(np.float32)
    assert distance(engine.encode_text(ids).states, reference.encode_text(ids).states) < 1e-5
    assert distance(engine.encode_image(pixels), reference.encode_image(pixels)) < 1e-5
    assert distance(engine.decode(latents), reference.decode(latents)) < 1e-5


@ENGINES
def test_every_group_that_an_engine_claims_moves_the_output(sessions: Sessions, name: str):
    for group in sorted(sessions[name].engine.groups):
        require_effect(sessions[name], group)


@ENGINES
def test_a_step_leaves_nothing_behind(sessions: Sessions, name: str):
    session = sessions[name]
    before = session.engine.step(plain()).noise
    for groups in VARIANTS.values():
        session.engine.step(random_ports(session, groups, 4))
    with pytest.raises(PortError):
        session.engine.step({**plain(), "x": np.zeros(1)})
    assert np.array_equal(session.engine.step(plain()).noise, before)


@ENGINES
def test_a_closed_engine_says_so(sessions: Sessions, name: str):
    session = sessions.fresh(name)
    session.engine.step(plain())
    session.engine.close()
    session.engine.close()
    with pytest.raises(EngineError, match="call load first"):
        session.engine.step(plain())
    with pytest.raises(EngineError, match="call load first"):
        session.engine.decode(np.zeros((1, 4, 16, 16), np.float32))


@pytest.fixture(scope="module")
def edits(sessions: Sessions) -> Callable[[str], list[Run]]:
    """Edits a picture twice with an engine; the second time, its source is known."""
    picture = np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)
    picture = picture.repeat(4, axis=0).repeat(4, axis=1)

    @cache
    def made(name: str) -> list[Run]:
        folder = sessions.folders[name]
        with Editor.load(folder, engine=name, device=device_of(name), threads=1) as editor:
            return [
                editor.edit(
                    picture,
                    source="a red cat on a sofa",
                    target=f"a {colour} cat on a sofa",
                    steps=4,
                    options={"blend_words": "cat"},
                )
                for colour in ("blue", "purple")
            ]

    return made


@ENGINES
def test_a_whole_edit_and_the_next_agree_with_torch(edits: Callable[[str], list[Run]], name: str):
    wanted = edits("torch")
    latents = [run.latents for run in wanted]
    scale = max(float(np.abs(latent).max()) for latent in latents[0].values())
    assert np.abs(latents[0][1] - latents[0][0]).max() > 0.01 * scale
    assert np.abs(latents[0][1] - latents[1][1]).max() > 0.01 * scale
    assert wanted[1].row_count == 2 * 4
    for found, expected in zip(edits(name), wanted, strict=True):
        assert found.latents.keys() == expected.latents.keys()
        for row, latent in expected.latents.items():
            assert np.abs(found.latents[row] - latent).max() < 1e-3 * scale
        assert found.rows == expected.rows


@pytest.mark.parametrize("name", sorted(GPU))
def test_an_engine_without_its_gpu_says_so(request: pytest.FixtureRequest, name: str):
    """On any machine: none has so many."""
    checkpoint = find_checkpoint(request.getfixturevalue(RUNS[name]))
    _, kind = load_entry("scumble.engines", name, "engine")
    with kind(EngineSettings(device="cuda:63")) as engine:
        for _ in range(2):
            with pytest.raises(EngineError, match=r"needs an NVIDIA GPU .* finds no GPU 63"):
                engine.load(checkpoint)
        with pytest.raises(EngineError, match="no model; call load first"):
            engine.step(plain())


@ENGINES
def test_twenty_edits_of_one_picture_take_the_memory_of_a_few(sessions: Sessions, name: str):
    picture = np.random.default_rng(5).integers(0, 256, (32, 32, 3), np.uint8)
    colours = ("blue", "purple", "fluffy", "sleepy")
    used: list[int] = []
    folder = sessions.folders[name]
    with Editor.load(folder, engine=name, device=device_of(name), threads=1) as editor:
        for index in range(20):
            target = f"a {colours[index % 4]} cat on a sofa"
            editor.edit(picture, source="a red cat on a sofa", target=target, steps=3)
            used.append(resident())
        held = editor.session.sources.size
    assert held > 0
    # What one edit records is far more than what allocators keep back.
    assert max(used[10:]) - used[5] < held // 2 + 4_000_000


def resident() -> int:
    """Bytes of this process that lie in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
