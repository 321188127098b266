"""What an edit is given for what it did, and what is asked of an editor."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scumble
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms.dataset import NOUNS
from scumble_bench.rooms.judge import Judge, Verdict
from scumble_bench.rooms.methods.cases import KINDS, Case, draw_cases
from scumble_bench.rooms.methods.rows import ROWS, Row, Task, cases_of
from scumble_bench.rooms.methods.scoring import ANOTHER, REACH, Made, make, score

SIDE = 128
BOX = (32, 40, 64, 72)


def filled_box(box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def case(pose: str | None = None) -> Case:
    return Case(
        seed=1,
        image=np.full((SIDE, SIDE, 3), 100, np.uint8),
        source="a white cat",
        target="a black cat",
        noun="cat",
        word="black",
        colour="black",
        pose=pose,
        pose_before=pose and "lying",
        mask=filled_box(BOX),
        changed=filled_box((32, 40, 72, 72)),
        box=BOX,
    )


def verdict(colour: str, pose: str, box: tuple[int, int, int, int], seen: float = 1.0) -> Verdict:
    segments = filled_box(box)[::2, ::2] * np.uint8(1 + NOUNS.index("cat"))
    return Verdict({"cat": seen}, {"cat": colour}, {"cat": pose}, segments.astype(np.uint8))


class Told:
    """A judge that says what it is told to, of the picture before and of the result."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts = list(verdicts)

    def __call__(self, images: np.ndarray) -> list[Verdict]:
        assert images.shape == (2, SIDE, SIDE, 3)
        return self.verdicts


# An autoencoder that shifts every level by ten.
ENGINE = SimpleNamespace(
    encode_image=lambda pixels: pixels, decode=lambda latents: latents + 20 / 255
)


def scored(task: Task, of: Case, made: Made, *verdicts: Verdict) -> dict[str, float]:
    editor: Any = SimpleNamespace(session=SimpleNamespace(engine=ENGINE))
    judge: Any = Told(*verdicts)
    return score(task, of, made, judge, editor)


def made(after: np.ndarray) -> Made:
    return Made(np.full((SIDE, SIDE, 3), 100, np.uint8), after, 80, 3)


def test_an_edit_is_measured_outside_what_it_may_change():
    after = np.full((SIDE, SIDE, 3), 100, np.uint8)
    # As far as the true result and the margin reach, and one pixel beyond.
    after[40 - REACH : 72 + REACH, 32 - REACH : 72 + REACH] = 255
    after[0, 0] += 5
    found = scored(
        "colour",
        case(),
        made(after),
        # The judge's masks are compared, whatever is true of the drawing.
        verdict("white", "lying", (32, 40, 64, 88)),
        verdict("black", "lying", (32, 40, 64, 64)),
    )
    outside = SIDE**2 - (32 + 2 * REACH) * (40 + 2 * REACH)
    assert found["psnr"] == pytest.approx(-10 * np.log10((5 / 255) ** 2 / outside), abs=1e-9)
    assert found["vae_psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-6)
    assert found["structure"] == 0.5, "half of the thing's mask is left"
    assert found["success"] == 1
    assert 0.9 < found["ssim"] < 1
    assert (found["rows"], found["gradients"]) == (80, 3)


@pytest.mark.parametrize(
    ("colour", "pose", "seen", "wanted"),
    [
        ("black", "jumping", 1.0, (1, 1, 1)),
        ("black", "lying", 1.0, (0, 1, 0)),
        ("white", "jumping", 1.0, (1, 0, 0)),
        ("black", "jumping", 0.4, (0, 0, 0)),
    ],
)
def test_a_pose_is_one_half_of_success_and_who_is_seen_the_other(
    colour: str, pose: str, seen: float, wanted: tuple[int, int, int]
):
    found = scored(
        "pose",
        case("jumping"),
        made(np.full((SIDE, SIDE, 3), 100, np.uint8)),
        verdict("black", "lying", BOX),
        verdict(colour, pose, BOX, seen),
    )
    assert (found["pose"], found["identity"], found["success"]) == wanted


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (("white", "lying", 1.0), ("white", "jumping", 1.0), (1, 1, 1, 1)),
        (("white", "lying", 1.0), ("black", "jumping", 1.0), (1, 1, 0, 0)),
        (("white", "lying", 1.0), ("white", "lying", 1.0), (1, 0, 1, 0)),
        (("white", "lying", 1.0), ("white", "jumping", 0.4), (1, 0, 0, 0)),
        # A pose that it had is none that was changed.
        (("white", "jumping", 1.0), ("white", "jumping", 1.0), (0, 0, 1, 0)),
        (("white", "lying", 0.4), ("white", "jumping", 1.0), (0, 0, 0, 0)),
    ],
)
def test_of_what_is_generated_the_picture_before_says_what_changed(
    before: tuple[str, str, float], after: tuple[str, str, float], wanted: tuple[int, ...]
):
    (one, first, seen), (two, second, still) = before, after
    found = scored(
        "generated_pose",
        case("jumping"),
        made(np.full((SIDE, SIDE, 3), 100, np.uint8)),
        verdict(one, first, BOX, seen),
        verdict(two, second, BOX, still),
    )
    assert tuple(found[n] for n in ("drawn", "pose", "identity", "success")) == wanted
    assert "vae_psnr" not in found


def test_what_is_generated_is_measured_outside_the_thing_before_and_after():
    after = np.full((SIDE, SIDE, 3), 100, np.uint8)
    after[40 - REACH : 72 + REACH, 32 - REACH : 88 + REACH] = 255
    after[0, 0] += 5
    moved = (56, 40, 88, 72)
    found = scored(
        "generated_pose",
        case("jumping"),
        made(after),
        verdict("white", "lying", BOX),
        verdict("white", "jumping", moved),
    )
    outside = SIDE**2 - (32 + 2 * REACH) * (56 + 2 * REACH)
    assert found["psnr"] == pytest.approx(-10 * np.log10((5 / 255) ** 2 / outside), abs=1e-9)
    assert found["structure"] == pytest.approx(8 / 56)


@pytest.mark.parametrize(
    ("box", "seen", "overlap", "success"),
    [
        (BOX, 1.0, 1.0, 1),
        ((32, 40, 64, 56), 1.0, 0.5, 1),
        ((32, 40, 64, 54), 1.0, 14 / 32, 0),
        (BOX, 0.4, 0.0, 0),
        ((0, 0, 0, 0), 1.0, 0.0, 0),
    ],
)
def test_a_layout_is_met_where_the_thing_lies_in_its_box(
    box: tuple[int, int, int, int], seen: float, overlap: float, success: int
):
    after = np.full((SIDE, SIDE, 3), 100, np.uint8)
    shown = verdict("black", "lying", box, seen)
    # A speck far away is not the thing.
    shown.segments[60, 60] = 1 + NOUNS.index("cat") if box != (0, 0, 0, 0) else 0
    found = scored("layout", case(), made(after), verdict("white", "lying", BOX), shown)
    assert found["box_iou"] == pytest.approx(overlap)
    assert found["success"] == success
    assert "vae_psnr" not in found


def test_repainting_is_measured_outside_its_box():
    after = np.full((SIDE, SIDE, 3), 100, np.uint8)
    after[40 - REACH : 72 + REACH, 32 - REACH : 64 + REACH] = 255
    after[0, 0] += 5
    shown = verdict("black", "lying", BOX)
    found = scored("repaint", case(), made(after), shown, shown)
    outside = SIDE**2 - (32 + 2 * REACH) ** 2
    assert found["psnr"] == pytest.approx(-10 * np.log10((5 / 255) ** 2 / outside), abs=1e-9)
    assert found["success"] == 1


class Asked:
    """An editor that notes what it is asked for."""

    def __init__(self, **masks: np.ndarray) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.masks = {"" if name == "only" else name: mask for name, mask in masks.items()}

    def run(self, level: int) -> Any:
        one, two = (Image.new("RGB", (SIDE, SIDE), (shade,) * 3) for shade in (level, level + 1))
        facts = {"row_count": 40, "gradient_count": level, "masks": self.masks}
        return SimpleNamespace(source=one, image=two, **facts)

    def generate(self, prompt: str, **given: Any) -> Any:
        self.calls.append(("generate", {"prompt": prompt, **given}))
        return self.run(len(self.calls))

    def edit(self, **given: Any) -> Any:
        self.calls.append(("edit", given))
        return self.run(len(self.calls))


def asked(name: str, task: Task) -> tuple[Asked, Made]:
    (row,) = (row for row in ROWS if (row.name, row.task) == (name, task))
    editor: Any = Asked()
    return editor, make(editor, row, case(), 7, 4)


def test_a_picture_is_edited_with_its_mask_only_where_the_row_says():
    editor, result = asked("MAG-Edit", "crowded")
    ((kind, given),) = editor.calls
    assert kind == "edit"
    assert np.array_equal(given.pop("image"), case().image)
    assert np.array_equal(given.pop("mask"), case().mask)
    assert given == {
        "source": "a white cat",
        "target": "a black cat",
        "method": "mag_edit",
        "options": {"words": ["black"]},
        "inversion": "direct",
        "steps": 4,
    }
    assert (result.rows, result.gradients) == (40, 1)
    assert (result.before[0, 0, 0], result.after[0, 0, 0]) == (1, 2)
    editor, _ = asked("Prompt-to-Prompt, swap, DDIM inversion", "colour")
    assert editor.calls[0][1]["mask"] is None
    assert editor.calls[0][1]["inversion"] == "ddim"


def test_further_fields_are_asked_for():
    row = Row("a", "colour", "ledits_pp", asked={"source": "", "inversion_options": {"a": 1}})
    editor: Any = Asked()
    make(editor, row, case(), 7, 4)
    assert editor.calls[0][1]["source"] == ""
    assert editor.calls[0][1]["inversion_options"] == {"a": 1}
    assert editor.calls[0][1]["inversion"] == "direct"


def test_a_mask_that_was_made_is_compared_and_one_that_was_given_is_not():
    # At latent size the thing is 4x4 of 16x16 cells; half of these are in the mask, and no other.
    cells = np.zeros((16, 16))
    cells[5:9, 4:6] = 1
    editor: Any = Asked(only=cells)
    free = make(editor, Row("a", "colour", "diffedit"), case(), 7, 4)
    assert free.mask is not None
    cat = verdict("black", "lying", BOX)
    assert scored("colour", case(), free, cat, cat)["mask_iou"] == 0.5
    given = make(editor, Row("a", "colour", "diffedit", masked=True), case(), 7, 4)
    assert "mask_iou" not in scored("colour", case(), given, cat, cat)


def test_what_is_generated_has_the_cases_seed_and_no_picture():
    editor, result = asked("layout swap", "layout")
    assert editor.calls == [
        (
            "edit",
            {
                "source": "a white cat",
                "target": "a black cat",
                "method": "initial_noise",
                "options": {"layout": {"cat": BOX}},
                "seed": 7,
                "steps": 4,
            },
        )
    ]
    editor, _ = asked("MasaCtrl", "generated_pose")
    ((_, given),) = editor.calls
    assert (given["source"], given["target"], given["seed"]) == ("a white cat", "a black cat", 7)
    assert not given.keys() & {"image", "mask", "inversion"}
    editor, result = asked("plain sampling", "layout")
    assert editor.calls == [("generate", {"prompt": "a black cat", "seed": 7, "steps": 4})]
    assert result.rows == 40
    editor, result = asked("a new seed", "repaint")
    assert [given["seed"] for _, given in editor.calls] == [7, 7 + ANOTHER]
    assert result.rows == 80
    assert (result.before[0, 0, 0], result.after[0, 0, 0]) == (2, 3), "the first one's result"


@pytest.mark.thorough
def test_every_row_can_be_made_and_scored():
    """In one step, on the engines that it would run on; both sides of a claim see one picture."""
    judge = Judge.load(CHECKPOINT / "judge")
    before: dict[str, np.ndarray] = {}
    with (
        scumble.Editor.load("rooms", "onnxruntime", source_memory=0) as quick,
        scumble.Editor.load("rooms", "torch", source_memory=0, device="cpu") as slow,
    ):
        cases = {kind: draw_cases(kind, 1, judge).cases[0] for kind in KINDS}
        for row in ROWS:
            one = cases[cases_of(row.task)]
            editor = slow if row.gradients else quick
            # Windows and guides of half the steps need two.
            result = make(editor, row, one, 0, 2)
            found = score(row.task, one, result, judge, editor)
            assert all(np.isfinite(value) for value in found.values()), row.name
            assert found["rows"] >= 4
            assert (found["gradients"] > 0) is row.gradients
            if row.task != "layout":
                same = before.setdefault(row.task, result.before)
                assert np.array_equal(same, result.before), f"{row.name} edits another picture"


@pytest.mark.thorough
def test_a_layout_starts_from_the_noise_of_plain_sampling(tmp_path: Path):
    row = Row("layout swap", "layout", "initial_noise", {"layout": {"{noun}": "{box}"}})
    plain = Row("plain sampling", "layout", None)
    with scumble.Editor.load("rooms", "onnxruntime", source_memory=0) as editor:
        (one,) = draw_cases("layout", 1, Judge.load(CHECKPOINT / "judge")).cases
        moved = make(editor, row, one, 5, 2)
        sampled = make(editor, plain, one, 5, 2)
    assert np.array_equal(moved.before, sampled.after)
    assert not np.array_equal(moved.after, sampled.after)
