"""The worker: what it asks of the editor, what it measures, and what it leaves."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scumble import Editor
from scumble.recipes import read_recipe
from scumble.requests import EngineRequest
from scumble.testing import fake_session
from scumble_bench.evaluation import worker as worker_module
from scumble_bench.evaluation.entries import Entry
from scumble_bench.evaluation.methods import METHODS, Method, Named, crossed
from scumble_bench.evaluation.run_lengths import decode
from scumble_bench.evaluation.worker import EditWorker, compared, make_worker, measured
from scumble_bench.work.pieces import Piece

SETTINGS = {"steps": 4, "guidance": 7.5, "seed": 1234, "measured_at": "published"}


class Said:
    """A metric that notes what it was given."""

    name, needs, scale = "said", (), 1.0

    def __init__(self, value: float = 2.5) -> None:
        self.value = value
        self.given: list[tuple[Any, ...]] = []

    def __call__(self, source: Any, edited: Any, mask: Any, prompt: str) -> float:
        self.given.append((source, edited, mask, prompt))
        return self.value


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    with Editor(fake_session(tmp_path / "model"), EngineRequest()) as made:
        yield made


def piece(method: Method, id: str = "100000000001") -> Piece:
    return Piece(f"{id}.x", {"entry": id, "method": json.loads(json.dumps(method.as_json()))})


def worker(editor: Editor, entry: Entry, metric: Said, folder: Path, **settings: Any) -> EditWorker:
    given = {**SETTINGS, "pictures": str(folder), **settings}
    return EditWorker(editor, {entry.id: entry}, [metric], given)


def test_an_edit_is_made_and_measured_at_the_published_size(
    editor: Editor, entry: Callable[..., Entry], tmp_path: Path
):
    metric, one = Said(), entry()
    (method,) = crossed([METHODS["pie-p2p"]], [Named("direct", "direct")])
    row = worker(editor, one, metric, tmp_path / "out")(piece(method))
    ((source, edited, mask, prompt),) = metric.given
    assert source.shape == edited.shape == (512, 512, 3)
    assert (source == one.read()).all()
    assert mask.sum() == 512 * 256 + 256 * 2 + 510, "the mask, and its border"
    assert prompt == "a blue sofa"
    assert row["metrics"] == {"said": 2.5}
    assert (row["kind"], row["method"]) == ("1", "pie-p2p, direct")
    assert row["rows"] > 0
    recipe = read_recipe(tmp_path / "out" / row["picture"])
    assert recipe["request"]["options"]["mode"] == "refine"
    assert recipe["request"]["options"]["reweight"] == {"blue": 2}


def test_the_model_s_size_is_another(editor: Editor, entry: Callable[..., Entry], tmp_path: Path):
    metric = Said()
    doer = worker(editor, entry(), metric, tmp_path / "out", measured_at="model")
    doer(piece(Method("m", "masactrl", {"start_step": 1, "start_layer": 0})))
    ((source, edited, mask, _),) = metric.given
    assert source.shape == edited.shape != (512, 512, 3)
    assert mask.shape == edited.shape[:2]
    height = mask.shape[0]
    assert mask[1 : height // 2, 1:-1].all()
    assert not mask[height // 2 : -1, 1:-1].any()


class Heard:
    """An editor that notes what it was asked."""

    def __init__(self, editor: Editor) -> None:
        self.asked: dict[str, Any] = {}
        self.editor = editor
        self.session = editor.session

    def edit(self, image: Any, **asked: Any) -> Any:
        self.asked = asked
        return self.editor.edit(
            image, source="a sofa", target="a blue sofa", steps=2, method="prompt_to_prompt"
        )


def test_what_the_protocol_says_is_asked(
    editor: Editor, entry: Callable[..., Entry], tmp_path: Path
):
    heard: Any = Heard(editor)
    doer = worker(heard, entry(), Said(), tmp_path / "out")
    (silent,) = crossed([METHODS["pie-masactrl"]], [Named("ddim", "ddim", {"a": 1})])
    doer(piece(silent))
    assert (heard.asked["source"], heard.asked["target"]) == ("", "a blue sofa")
    assert (heard.asked["seed"], heard.asked["steps"], heard.asked["guidance"]) == (1234, 4, 7.5)
    assert (heard.asked["inversion"], heard.asked["inversion_options"]) == ("ddim", {"a": 1})
    assert heard.asked["mask"] is None
    (negative,) = crossed([METHODS["pie-pnp"]], [Named("direct", "direct")])
    doer(piece(negative))
    assert heard.asked["negative"].startswith("ugly, blurry")
    own = Method("b", "blended_latent_diffusion", inversion=None, masked=True)
    doer(piece(own))
    assert "inversion" not in heard.asked
    assert (heard.asked["mask"] == entry().mask).all()


def test_a_picture_of_another_size_is_brought_to_the_published(
    editor: Editor, entry: Callable[..., Entry], tmp_path: Path
):
    metric = Said()
    wide = entry(read=lambda: np.zeros((300, 700, 3), np.uint8))
    worker(editor, wide, metric, tmp_path / "out")(piece(Method("m", "prompt_to_prompt")))
    assert metric.given[0][0].shape == (512, 512, 3)


def test_compared_at_512_leaves_a_result_of_512_alone():
    picture = np.zeros((512, 512, 3), np.uint8)
    result = np.random.default_rng(1).integers(0, 255, picture.shape, dtype=np.uint8)
    before, after, mask = compared(picture, picture, result, decode([]), published=True)
    assert after is result
    assert before is picture
    assert mask.sum() == 4 * 511


def test_what_is_not_defined_is_null():
    nothing = np.zeros((4, 4, 3), np.uint8)
    mask = np.zeros((4, 4), bool)
    metrics: list[Any] = [Said(float("nan"))]
    assert measured(metrics, nothing, nothing, mask, "") == {"said": None}
    metrics = [Said(float("inf"))]
    assert measured(metrics, nothing, nothing, mask, "") == {"said": "inf"}


def test_what_measures_has_the_engine_s_threads(
    made_set: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: dict[str, Any] = {}

    class Fake:
        @staticmethod
        def load(**given: Any) -> Editor:
            asked.update(given)
            return Editor(fake_session(tmp_path / "model"), EngineRequest())

    monkeypatch.setattr(worker_module, "Editor", Fake)
    settings: dict[str, Any] = {
        **SETTINGS,
        "data": str(made_set["folder"]),
        "pictures": str(tmp_path / "out"),
        "metrics": ["mse"],
        "files": {},
        "protocol": "plain",
        "model": {"threads": 2},
    }
    before = torch.get_num_threads()
    try:
        make_worker(settings).close()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert asked == {"threads": 2, "source_memory": 0}
