"""An engine that answers at once, with the shapes of Stable Diffusion 1.5: what is left is ours.

`make test` runs what is here once, untimed; `make speed` times it.
"""

import json
from collections.abc import Mapping
from typing import ClassVar, cast

import numpy as np
import pytest

from scumble.arrays import Array, Floats, Indices
from scumble.embeddings import Embedding
from scumble.engine import EngineSettings, ModelInfo, StepOutput
from scumble.hookspecs import RunView
from scumble.models import Checkpoint
from scumble.plans import Plan
from scumble.ports import groups_of
from scumble.schedule import Job
from scumble.schedulers import DDIM
from scumble.session import Session
from scumble.sites import Kind, Place, Site, SiteTable
from scumble.testing import FakeEngine, fake_checkpoint
from scumble_plugins.prompt_to_prompt import PromptToPrompt, PromptToPromptOptions

STEPS, SIDE, TOKENS, FEATURES = 50, 64, 77, 768
SOURCE = "a photo of a room with a red carpet and a white sofa"
TARGET = "a photo of a room with a blue carpet and a white sofa"
# (place, stride, channels) of each block with attention, in the order in which they run.
BLOCKS: tuple[tuple[Place, int, int], ...] = (
    ("down", 1, 320), ("down", 1, 320), ("down", 2, 640), ("down", 2, 640),
    ("down", 4, 1280), ("down", 4, 1280), ("mid", 8, 1280),
    ("up", 4, 1280), ("up", 4, 1280), ("up", 4, 1280), ("up", 2, 640), ("up", 2, 640),
    ("up", 2, 640), ("up", 1, 320), ("up", 1, 320), ("up", 1, 320),
)  # fmt: skip
KINDS: tuple[tuple[Kind, str], ...] = (("self", "attn1"), ("cross", "attn2"))
SITES = SiteTable(
    tuple(
        Site(index, f"block.{index}.{name}", kind, place, stride, channels, 8)
        for index, (place, stride, channels) in enumerate(BLOCKS)
        for kind, name in KINDS
    ),
    native=(SIDE, SIDE),
)


class StillEngine(FakeEngine):
    """Gives the same noise to every row, and reads that are high in one corner."""

    name: ClassVar[str] = "still"

    def encode_text(self, *ids: Indices) -> Embedding:
        """Return (prompts, tokens, features) that differ by prompt."""
        (given,) = ids
        row = given[..., None].astype(self.dtype) / 1000
        return Embedding(np.repeat(row, FEATURES, axis=-1))

    def _load(self, checkpoint: Checkpoint) -> ModelInfo:
        super()._load(checkpoint)
        return ModelInfo(SITES, 4, 8, TOKENS, FEATURES)

    def _step(self, ports: Mapping[str, object]) -> StepOutput:
        given = cast("Mapping[str, Array]", ports)
        rows = len(given["sample"])
        reads: dict[int, Floats] = {}
        if "read.weights" in given:
            strides = {site.stride for site in SITES.of("cross") if given["read.sites"][site.index]}
            for stride in strides:
                cells = SIDE // stride
                shape = (rows, given["read.weights"].shape[1], cells, cells)
                reads[stride] = np.full(shape, 0.1, dtype=self.dtype)
                reads[stride][..., : cells // 4, : cells // 4] = 1
        noise = np.broadcast_to(still_noise(), (rows, 4, SIDE, SIDE)).astype(self.dtype)
        return StepOutput(noise, reads, {}, groups_of(given))


def still_noise() -> Floats:
    return np.random.default_rng(5).standard_normal((4, SIDE, SIDE), dtype=np.float32)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("still")
    checkpoint = fake_checkpoint(folder)
    settings = folder / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": TOKENS}))
    return Session(checkpoint, StillEngine(EngineSettings("fp32")))


@pytest.fixture(scope="module")
def view(session: Session) -> RunView:
    encode = session.tokenizer.encode
    return RunView(
        STEPS, 7.5, encode(SOURCE), (encode(TARGET),), SITES, (SIDE, SIDE),
        DDIM(session.checkpoint.scheduler, STEPS), 0, None, None, {}, session.predict,
        session.look, encode,
    )  # fmt: skip


@pytest.fixture
def plugin() -> PromptToPrompt:
    """With LocalBlend; new for each test, for it counts up what it reads."""
    return PromptToPrompt(PromptToPromptOptions(mode="replace", blend_words=("carpet",)))


@pytest.fixture
def plan(plugin: PromptToPrompt, view: RunView) -> Plan:
    return plugin.scumble_plan(view)


@pytest.fixture(scope="module")
def job() -> Job:
    """A given picture under direct inversion, guided."""
    off = np.zeros(STEPS, dtype=bool)
    return Job(STEPS, (SOURCE, TARGET), "", frozenset({1}), True, True, True, off, off)
