"""The fake engine against what each port is declared to do."""

from typing import Any

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.ports import CONTROL_GROUPS, Group, neutral
from scumble.session import Session
from scumble.testing import fake_engine
from scumble.testing.fake_engine import HEADS, SITES

Ports = dict[str, Any]
FIXED: tuple[Group, ...] = ("route", "mix", "read", "feature", "region", "join", "record")


def batch(rows: int = 3, latent: tuple[int, int] = (8, 8)) -> Ports:
    rng = np.random.default_rng(rows)
    return {
        "sample": rng.standard_normal((rows, 4, *latent)),
        "timestep": np.full(rows, 321),
        "text": rng.standard_normal((rows, 16, 8)),
    }


def noise(session: Session, *ports: Ports) -> Floats:
    together = {name: value for part in ports for name, value in part.items()}
    return session.engine.step(together).noise


def neutral_ports(session: Session, group: Group, rows: int = 3) -> Ports:
    return dict(neutral(group, session.info.sizes((8, 8)), rows))


def read(session: Session, *ports: Ports, weights: Floats, sites: tuple[int, ...]) -> Floats:
    gate = np.zeros(3)
    gate[list(sites)] = 1
    asked = {"read.weights": weights, "read.sites": gate}
    together = {name: value for part in (*ports, asked) for name, value in part.items()}
    (field,) = session.engine.step(together).reads.values()
    return field


def test_it_is_the_same_in_every_process(session: Session):
    """A change here changes what plugin authors have pinned down in their own tests."""
    found = noise(session, batch(1, (2, 2)))
    expected = [[-0.3787569199, -0.0097670262], [-0.4102168237, -1.5986604613]]
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-9)


@pytest.mark.parametrize("group", FIXED)
def test_neutral_ports_change_no_bit(session: Session, group: Group):
    plain = session.engine.step(batch())
    neutrally = session.engine.step({**batch(), **neutral_ports(session, group)})
    np.testing.assert_array_equal(neutrally.noise, plain.noise)
    assert neutrally.bound == {group}
    assert plain.bound == frozenset()


def test_every_group_is_there(session: Session):
    assert session.engine.groups == frozenset(CONTROL_GROUPS)


@pytest.mark.parametrize("latent", [(8, 8), (5, 6), (1, 1), (3, 16)])
def test_rows_do_not_see_one_another(session: Session, latent: tuple[int, int]):
    ports = batch(3, latent)
    together = noise(session, ports)
    for row in range(3):
        alone = noise(session, {name: value[row : row + 1] for name, value in ports.items()})
        np.testing.assert_allclose(alone[0], together[row], atol=1e-12)


@pytest.mark.parametrize("name", ["sample", "timestep", "text"])
def test_noise_depends_on_every_input(session: Session, name: str):
    changed = batch()
    changed[name] = changed[name] + 7
    assert np.abs(noise(session, changed) - noise(session, batch())).max() > 1e-2


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("slot", [0, 1, 2])
def test_noise_depends_on_every_self_site(session: Session, index: int, slot: int):
    ports = neutral_ports(session, "route")
    ports["route"][index, slot, 1] = 0
    moved = np.abs(noise(session, batch(), ports) - noise(session, batch())).max(axis=(1, 2, 3))
    assert moved[1] > 1e-2
    assert moved[[0, 2]].max() == 0


@pytest.mark.parametrize("index", [0, 1, 2])
def test_noise_depends_on_every_cross_site(session: Session, index: int):
    ports = neutral_ports(session, "mix")
    ports["mix.source"][:], ports["mix.own"][:], ports["mix.row"][:] = np.eye(16), 0, 0
    np.testing.assert_array_equal(noise(session, batch(), ports), noise(session, batch()))
    ports["mix.sites"][index, 1] = 1
    moved = np.abs(noise(session, batch(), ports) - noise(session, batch())).max(axis=(1, 2, 3))
    assert moved[1] > 1e-2
    assert moved[[0, 2]].max() == 0


@pytest.mark.parametrize("index", [0, 1])
def test_noise_depends_on_every_resnet(session: Session, index: int):
    ports = neutral_ports(session, "feature")
    ports["feature_route"][index, 1] = 2
    moved = np.abs(noise(session, batch(), ports) - noise(session, batch())).max(axis=(1, 2, 3))
    assert moved[1] > 1e-2
    assert moved[[0, 2]].max() == 0


def test_a_row_that_takes_everything_is_the_other(session: Session):
    """With one text and latents that differ by nothing but the row, everything routed is a copy."""
    ports = batch(2)
    ports["sample"][1] = ports["sample"][0]
    route, features = (neutral_ports(session, group, 2) for group in ("route", "feature"))
    mix = neutral_ports(session, "mix", 2)
    mix["mix.source"][1], mix["mix.own"][1], mix["mix.row"][1] = np.eye(16), 0, 0
    mix["mix.sites"][:, 1] = 1
    ports["text"][1] = ports["text"][0]
    copied = noise(session, ports, route, features, mix)
    np.testing.assert_allclose(copied[1], copied[0], atol=1e-12)


def test_a_read_of_all_tokens_is_one_everywhere(session: Session):
    field = read(session, batch(), weights=np.ones((3, 1, 16)), sites=(0, 2))
    assert field.shape == (3, 1, 8, 8)
    np.testing.assert_allclose(field, 1, atol=1e-12)


def test_reads_are_linear_in_their_weights_and_averaged_over_sites(session: Session):
    weights = np.random.default_rng(0).random((3, 2, 16))
    both = read(session, batch(), weights=weights, sites=(0, 2))
    each = [read(session, batch(), weights=weights, sites=(site,)) for site in (0, 2)]
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=1e-12)
    total = read(session, batch(), weights=weights.sum(1, keepdims=True), sites=(0, 2))
    np.testing.assert_allclose(total[:, 0], both.sum(1), atol=1e-12)
    assert read(session, batch(), weights=weights, sites=(1,)).shape == (3, 2, 4, 4)


def test_a_read_sees_the_maps_after_the_mix(session: Session):
    """A_source S w + A_own (d w), at the first site, where no mix has yet changed the input."""
    rng = np.random.default_rng(1)
    matrix, own, vector = rng.random((16, 16)), rng.random(16), rng.random(16)
    mix = neutral_ports(session, "mix")
    mix["mix.source"][1], mix["mix.own"][1], mix["mix.row"][1] = matrix, own, 2
    mix["mix.sites"][:, 1] = 1
    weights = np.tile(vector, (3, 1, 1))
    mixed = read(session, batch(), mix, weights=weights, sites=(0,))
    apart = np.zeros((3, 1, 16))
    apart[2], apart[1] = matrix @ vector, own * vector
    plain = read(session, batch(), weights=apart, sites=(0,))
    np.testing.assert_allclose(mixed[1], plain[2] + plain[1], atol=1e-12)
    untouched = read(session, batch(), weights=weights, sites=(0,))
    np.testing.assert_allclose(mixed[[0, 2]], untouched[[0, 2]], atol=1e-12)


class TestRegions:
    def regions(self, session: Session, query: Floats, key: Floats) -> Ports:
        ports = neutral_ports(session, "region")
        ports["region.query"][1], ports["region.key"][1] = query, key
        ports["region.sites"][:, 1] = 1
        return ports

    def test_one_region_is_none(self, session: Session):
        ones = np.ones((8, 8))
        for mask in (ones, 0 * ones):
            ports = self.regions(session, mask, mask)
            np.testing.assert_array_equal(noise(session, batch(), ports), noise(session, batch()))

    def test_two_regions_change_their_row_only(self, session: Session):
        left = np.zeros((8, 8))
        left[:, :4] = 1
        ports = self.regions(session, left, left)
        moved = np.abs(noise(session, batch(), ports) - noise(session, batch()))
        assert moved[1].max() > 1e-2
        assert moved[[0, 2]].max() == 0

    def test_a_query_that_sees_one_key_takes_its_value(self, session: Session):
        """All queries see cell 0 alone: then Q and K no longer matter."""
        lone = np.zeros((8, 8))
        lone[0, 0] = 1
        ports = self.regions(session, np.ones((8, 8)), lone)
        route = neutral_ports(session, "route")
        route["route"][:, :2, 1] = 0
        np.testing.assert_allclose(
            noise(session, batch(), ports, route), noise(session, batch(), ports), atol=1e-12
        )

    def test_a_query_without_keys_sees_all(self, session: Session):
        ports = self.regions(session, np.ones((8, 8)), np.zeros((8, 8)))
        np.testing.assert_array_equal(noise(session, batch(), ports), noise(session, batch()))


class TestJoins:
    def joined(self, session: Session, sites: tuple[int, ...] = (0, 1, 2), row: int = 0) -> Ports:
        """Row 1 sees the keys of another beside its own."""
        ports = neutral_ports(session, "join")
        ports["join.row"][1] = row
        ports["join.sites"][list(sites), 1] = 1
        return ports

    @pytest.mark.parametrize("site", [0, 1, 2])
    def test_noise_depends_on_every_site(self, session: Session, site: int):
        moved = np.abs(
            noise(session, batch(), self.joined(session, (site,))) - noise(session, batch())
        )
        assert moved[1].max() > 1e-2
        assert moved[[0, 2]].max() == 0

    def test_keys_seen_twice_are_seen_once(self, session: Session):
        found = noise(session, batch(), self.joined(session, row=1))
        np.testing.assert_allclose(found, noise(session, batch()), atol=1e-12)

    def test_a_row_that_is_joined_at_no_site_is_not_seen(self, session: Session):
        ports = self.joined(session, ())
        np.testing.assert_array_equal(noise(session, batch(), ports), noise(session, batch()))

    @pytest.mark.parametrize("divided", [False, True])
    def test_attention_written_out(self, session: Session, divided: bool):
        """softmax(q [k; k']) [v; v'], K and V after the route, regions on the own keys alone."""
        site = SITES.of("self")[0]
        ports = {**batch(), **self.joined(session), **neutral_ports(session, "route")}
        ports["route"][:, 1:, 1] = 2
        sees = np.ones((64, 128), bool)
        if divided:
            ports |= neutral_ports(session, "region")
            left = np.repeat([[1.0] * 3 + [0.0] * 5], 8, axis=0)
            ports["region.query"][1], ports["region.key"][1] = left, 1 - left
            ports["region.sites"][:, 1] = 1
            sees[:, :64] = left.reshape(-1, 1) != left.reshape(1, -1)
        state = np.random.default_rng(8).standard_normal((3, 64, 8))
        weights = fake_engine.made_weights()
        found = fake_engine.Pass(ports, weights)._self(site, state)
        q, k, v = (state @ weights[f"{site.path}.{part}"] for part in "qkv")
        keys, values = (np.concatenate([given[2], given[0]]) for given in (k, v))
        wanted = np.zeros((64, 8))
        for head in np.split(np.arange(8), HEADS):
            raised = np.exp(q[1][:, head] @ keys[:, head].T / len(head) ** 0.5) * sees
            wanted[:, head] = raised / raised.sum(1, keepdims=True) @ values[:, head]
        np.testing.assert_allclose(found[1], wanted @ weights[f"{site.path}.out"], atol=1e-12)


class TestReplay:
    def replayed(self, session: Session) -> tuple[Ports, Ports]:
        """A batch whose row 0 was recorded, and the same without it."""
        whole = batch(3)
        recorded = session.engine.step({**whole, "record.row": np.zeros(1, np.int64)}).recorded
        assert set(recorded) == {f"source.{s.path}" for s in SITES if s.kind != "resnet"}
        rest = {name: value[1:] for name, value in whole.items()}
        return whole, {**rest, **recorded, "source.text": whole["text"][:1]}

    def test_route_and_mix_and_read_as_if_it_were_there(self, session: Session):
        whole, rest = self.replayed(session)
        rng = np.random.default_rng(2)
        matrix, own, weights = rng.random((16, 16)) / 16, rng.random(16), rng.random((3, 2, 16))

        def controls(rows: int, target: int, source: int) -> Ports:
            ports = {**neutral_ports(session, "route", rows), **neutral_ports(session, "mix", rows)}
            ports |= neutral_ports(session, "join", rows)
            ports["route"][:, 1:, target] = source
            ports["join.row"][rows - 1], ports["join.sites"][:, rows - 1] = source, 1
            ports["mix.source"][target], ports["mix.own"][target] = matrix, own
            ports["mix.row"][target] = source
            ports["mix.sites"][:, target] = 1
            return ports

        expected = noise(session, whole, controls(3, 1, 0))
        found = noise(session, rest, controls(2, 0, 2))
        np.testing.assert_allclose(found, expected[1:], atol=1e-12)
        order = [1, 2, 0]  # the replayed row comes last
        maps = read(session, whole, controls(3, 1, 0), weights=weights, sites=(0, 2))
        again = read(session, rest, controls(2, 0, 2), weights=weights[order], sites=(0, 2))
        np.testing.assert_allclose(again, maps[order], atol=1e-12)

    def test_unused_it_changes_nothing(self, session: Session):
        whole, rest = self.replayed(session)
        np.testing.assert_allclose(noise(session, rest), noise(session, whole)[1:], atol=1e-12)


def test_pictures_come_back(session: Session, picture: Any):
    pixels = np.moveaxis(picture[None] / 127.5 - 1, -1, 1)
    latent = session.engine.encode_image(pixels)
    assert latent.shape == (1, 4, 8, 8)
    np.testing.assert_allclose(session.engine.decode(latent), pixels, atol=1e-12)


def test_texts_differ_by_word_and_by_place(session: Session):
    ids = np.array([[1, 2, 3, 2], [1, 2, 4, 2]])
    found = session.engine.encode_text(ids).states
    assert found.shape == (2, 4, 8)
    np.testing.assert_array_equal(found[0, :2], found[1, :2])
    assert np.abs(found[0, 2] - found[1, 2]).max() > 0.1
    assert np.abs(found[0, 1] - found[0, 3]).max() > 0.1
