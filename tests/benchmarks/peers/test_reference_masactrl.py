"""MasaCtrl the reference way, in its forms; `test_peer.py` has the plain one."""

from pathlib import Path
from typing import Any

import pytest

from scumble import Editor
from scumble.arrays import Array
from scumble.errors import OptionError
from scumble_bench.peers import mutual_control
from scumble_bench.peers.peer import PEERS, Work, agreement
from scumble_bench.peers.reference_masactrl import ReferenceMasaCtrl

(ENTRY,) = (entry for entry in PEERS if entry.name == "reference masactrl")
FORMS: dict[str, dict[str, Any]] = {
    "window": {"options": {"start_step": 2, "start_layer": 5}},
    "lists": {"options": {"steps": (3, 1), "layers": (6, 2)}},
    "everywhere": {"options": {"start_step": 0, "start_layer": 0}},
    "silent": {"source": ""},
    "silent ddim": {"source": "", "inversion": "ddim"},
}


@pytest.fixture(scope="module")
def masactrl(tiny: Path) -> ReferenceMasaCtrl:
    return ReferenceMasaCtrl.load(tiny, "fp64")


def apart(peer: ReferenceMasaCtrl, exact: Editor, work: Work, picture: Array | None) -> float:
    return agreement(peer.run(work, picture).latents, ENTRY.ours(exact, work, picture))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_scumbles(
    masactrl: ReferenceMasaCtrl, exact: Editor, picture: Array, work: Any, form: str
):
    assert apart(masactrl, exact, work("masactrl", **FORMS[form]), picture) <= 1e-9


def test_a_generated_pair_is_scumbles(masactrl: ReferenceMasaCtrl, exact: Editor, work: Any):
    asked = work("masactrl", seed=5)
    assert apart(masactrl, exact, asked, None) <= 1e-9
    assert masactrl.run(asked).rows == {"edit": 16}


@pytest.mark.parametrize("fault", ["a step late", "a layer late", "own rows"])
def test_a_reference_with_a_fault_does_not_agree(
    masactrl: ReferenceMasaCtrl,
    exact: Editor,
    picture: Array,
    work: Any,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
):
    asked = work("masactrl", options={"start_step": 1, "start_layer": 4})
    if fault == "own rows":
        asks = mutual_control._asked_of_source  # pyright: ignore[reportPrivateUsage]
        monkeypatch.setattr(
            mutual_control,
            "_asked_of_source",
            lambda *heads: asks(*(part.flip(0) for part in heads)).flip(0),
        )
        done = masactrl.run(asked, picture)
    else:
        late = {"a step late": "start_step", "a layer late": "start_layer"}[fault]
        wrong = {**asked.options, late: asked.options[late] + 1}
        done = masactrl.run(work("masactrl", options=wrong), picture)
    assert agreement(done.latents, ENTRY.ours(exact, asked, picture)) > 10 * ENTRY.tolerance


@pytest.mark.parametrize(
    "asked",
    [
        {"options": {"proximal": "soft"}},
        {"options": {"text_keys": "joint"}},
        {"mask": "mask.png"},
        {"guidance": 1.0},
        {"inversion": "null_text"},
        {"source": None},
    ],
)
def test_what_it_cannot_do_is_refused(
    masactrl: ReferenceMasaCtrl, picture: Array, work: Any, asked: dict[str, Any]
):
    with pytest.raises(OptionError):
        masactrl.run(work("masactrl", **asked), picture)
