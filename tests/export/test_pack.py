"""What lies in a pack, what is refused, and that nothing is left behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from safetensors.torch import load_file, save_file

from scumble.editor import Editor
from scumble.errors import ModelError, OptionError
from scumble.models import find_checkpoint
from scumble.packs import check_files, read_manifest
from scumble_export import pack as exporter
from scumble_export import tracing
from scumble_export.pack import VARIANTS, export_pack
from scumble_export.probing import LEAST

pytestmark = pytest.mark.thorough
PARTS = ("unet", "vae", "text_encoder")


def weight_bytes(folder: Path) -> int:
    return sum(
        tensor.nbytes
        for part in PARTS
        for path in (folder / part).glob("*.safetensors")
        for tensor in load_file(path).values()
    )


def test_a_pack_says_what_it_is(pack: Path, small: Path):
    manifest = read_manifest(pack)
    assert set(manifest.variants) == set(VARIANTS)
    for name, variant in manifest.variants.items():
        assert variant.groups == VARIANTS[name]
        assert 0 < variant.parity <= tracing.TOLERANCE["fp32"]
        assert variant.truncated == (name in ("looking", "guiding"))
    assert (manifest.latent, manifest.native, manifest.factor) == ((16, 16), (16, 16), 2)
    assert (manifest.rows, manifest.words, manifest.read_strides) == ((1, 8), 2, (1,))
    assert manifest.terms == 4
    assert manifest.versions["torch"]
    assert manifest.source == find_checkpoint(small).fingerprint()
    check_files(pack, manifest)
    held = {p.relative_to(pack).as_posix() for p in pack.rglob("*") if p.is_file()}
    assert held == {"manifest.json", *manifest.files}


def test_every_port_was_seen_to_move_the_outputs(pack: Path):
    variants = read_manifest(pack).variants
    probed = [port for variant in variants.values() for port in variant.sensitivity]
    taken = {
        value.name
        for variant in variants.values()
        for value in onnx.load(pack / variant.file, load_external_data=False).graph.input
    }
    assert sorted(probed) == sorted(taken)  # each of them, once
    assert all(moved > LEAST for v in variants.values() for moved in v.sensitivity.values())


def test_the_truncated_graph_is_shorter(pack: Path):
    looking, reading = (
        onnx.load(pack / f"unet.{name}.onnx", load_external_data=False).graph
        for name in ("looking", "reading")
    )
    assert [output.name for output in looking.output] == ["read.1"]
    convolutions = [sum(n.op_type == "Conv" for n in g.node) for g in (looking, reading)]
    assert convolutions[0] < convolutions[1]


def test_a_gradient_is_of_one_row_without_operators_that_race(pack: Path):
    graph = onnx.load(pack / "unet.guiding.onnx", load_external_data=False).graph
    assert [output.name for output in graph.output] == ["gradient", "losses"]
    assert all(dim.dim_value for value in graph.input for dim in value.type.tensor_type.shape.dim)
    assert not {"ScatterND", "GatherND", "ScatterElements"} & {n.op_type for n in graph.node}


def test_weights_are_stored_once(pack: Path, small: Path):
    assert (pack / "weights.bin").stat().st_size < 1.1 * weight_bytes(small)
    graphs = sum(path.stat().st_size for path in pack.glob("*.onnx"))
    assert graphs < 2e6


def test_every_weight_of_the_unet_is_in_the_graph_to_the_bit(pack: Path, small: Path):
    held: set[bytes] = set()
    for tensor in onnx.load(pack / "unet.plain.onnx").graph.initializer:
        array = numpy_helper.to_array(tensor)
        held |= {np.sort(array.astype(np.float32), axis=None).tobytes()}
    (path,) = (small / "unet").glob("*.safetensors")
    lost = [
        name
        for name, weight in load_file(path).items()
        if np.sort(weight.float().numpy(), axis=None).tobytes() not in held
    ]
    assert not lost


def test_graphs_say_nothing_of_this_machine(pack: Path):
    here = [str(Path(exporter.__file__).parents[1]), str(Path(onnx.__file__).parents[1])]
    for path in pack.glob("*.onnx"):
        data = path.read_bytes()
        for text in (*here, ".py", "site-packages", "pkg.torch.onnx", "stack_trace"):
            assert text.encode() not in data, (path.name, text)


@pytest.mark.usefixtures("untraced")
def test_graphs_of_other_weights_are_refused(small: Path, tmp_path: Path):
    folder = Path(shutil.copytree(small, tmp_path / "half"))
    for part in PARTS:
        (path,) = (folder / part).glob("*.safetensors")
        weights = load_file(path)
        halved = {n: w.half().float() if w.is_floating_point() else w for n, w in weights.items()}
        save_file(halved, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="differs from torch"):
        export_pack(find_checkpoint(folder), tmp_path / "out", variants=("plain",))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("untraced")
def test_a_graph_that_differs_from_torch_is_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(tracing.TOLERANCE, "fp32", 0.0)
    with pytest.raises(ModelError, match=r"unet\.plain\.onnx differs from torch by"):
        export_pack(find_checkpoint(small), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
@pytest.mark.usefixtures("untraced")
def test_an_interrupted_export_leaves_nothing(
    small: Path, tmp_path: Path, error: BaseException | type[BaseException]
):
    def progress(what: str, share: float) -> None:
        if what == "unet, routed":
            assert any(path.name.startswith(".out.") for path in tmp_path.iterdir())
            raise error

    with pytest.raises(BaseException, match=r"disk full|^$"):
        export_pack(find_checkpoint(small), tmp_path / "out", progress=progress)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("untraced")
def test_a_pack_of_chosen_variants(small: Path, tmp_path: Path):
    told: list[tuple[str, float]] = []
    asked = ("reading", "plain", "reading")
    checkpoint = find_checkpoint(small)
    out = tmp_path / "out"
    made = export_pack(
        checkpoint, out, variants=asked, progress=lambda what, share: told.append((what, share))
    )
    assert list(made.variants) == ["reading", "plain"]
    assert [what for what, _ in told] == [
        "loading",
        "unet, reading: torch",
        "unet, plain: torch",
        "unet, reading",
        "unet, plain",
        "text encoder and autoencoder",
    ]
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 == shares[0] < shares[-1] < 1
    assert made == read_manifest(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert made.variant_for(frozenset()) == "plain"
    assert made.variant_for(frozenset(("route",))) == "reading"
    assert made.variant_for(frozenset(("region",))) is None
    assert made.looking is None
    assert set(made.variants["plain"].sensitivity) == set()
    assert set(made.variants["reading"].sensitivity) >= {"sample", "route", "read.sites"}


def existing(out: Path) -> None:
    out.mkdir()


def dangling(out: Path) -> None:
    out.symlink_to(out.with_name("nowhere"))


@pytest.mark.parametrize("make", [existing, dangling, Path.touch])
def test_what_exists_is_never_written_over(
    small: Path, tmp_path: Path, make: Callable[[Path], None]
):
    make(tmp_path / "out")
    with pytest.raises(OptionError, match="exists; name a folder that does not"):
        export_pack(find_checkpoint(small), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_asked_for(small: Path, pack: Path, tmp_path: Path):
    checkpoint, out = find_checkpoint(small), tmp_path / "out"
    with pytest.raises(OptionError, match="no variant odd; there are plain, routed"):
        export_pack(checkpoint, out, variants=("plain", "odd"))
    with pytest.raises(OptionError, match="no variant given"):
        export_pack(checkpoint, out, variants=())
    with pytest.raises(OptionError, match="opset is 22, want 21 or 23"):
        export_pack(checkpoint, out, opset=22)
    with pytest.raises(OptionError, match="size is 33x32; this model needs multiples of 4"):
        export_pack(checkpoint, out, size=(33, 32))
    with pytest.raises(OptionError, match="is no folder; make it first"):
        export_pack(checkpoint, tmp_path / "none" / "out")
    with pytest.raises(ModelError, match="is a pack already"):
        export_pack(find_checkpoint(pack), out)
    assert not list(tmp_path.iterdir())


def test_the_manifest_is_plain_json(pack: Path):
    told = json.loads((pack / "manifest.json").read_text())
    assert told["format"] == 1
    assert told["opset"] == 23
    graph = onnx.load(pack / "unet.reading.onnx", load_external_data=False)
    assert [o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")] == [23]
    outside = [t for t in graph.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    places = {e.value for t in outside for e in t.external_data if e.key == "location"}
    assert places == {"weights.bin"}


@pytest.mark.slow
def test_an_older_opset(small: Path, tmp_path: Path):
    asked = ("plain", "reading")
    made = export_pack(find_checkpoint(small), tmp_path / "out", opset=21, variants=asked)
    assert made.opset == 21
    graph = onnx.load(tmp_path / "out" / "unet.reading.onnx", load_external_data=False)
    assert [o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")] == [21]
    assert "Attention" not in {node.op_type for node in graph.graph.node}


@pytest.mark.slow
def test_a_size_of_its_own(small: Path, tmp_path: Path):
    """Higher than wide; the pack's pictures have that size if nothing is said."""
    made = export_pack(
        find_checkpoint(small), tmp_path / "out", size=(48, 32), variants=("reading",)
    )
    assert made.latent == (24, 16)
    picture = np.random.default_rng(0).integers(0, 256, (48, 32, 3), np.uint8)
    with Editor.load(tmp_path / "out", engine="onnxruntime") as editor:
        words = {"source": "a red cat", "target": "a blue cat", "steps": 2}
        run = editor.edit(picture, **words, options={"blend_words": "cat"})
    with Editor.load(small, engine="torch") as editor:
        wanted = editor.edit(picture, **words, options={"blend_words": "cat"}, size=(48, 32))
    assert run.image.size == (32, 48)
    np.testing.assert_allclose(run.latents[1], wanted.latents[1], rtol=0, atol=1e-3)


@pytest.mark.slow
def test_half_precision(small: Path, tmp_path: Path):
    """Ports that the host fills stay float32; weights and recorded state are halves."""
    asked = ("plain", "recording", "replaying", "guiding")
    made = export_pack(find_checkpoint(small), tmp_path / "out", precision="fp16", variants=asked)
    assert made.precision == "fp16"
    for variant in made.variants.values():
        assert 1e-5 < variant.parity <= tracing.TOLERANCE["fp16"]
    graph = onnx.load(tmp_path / "out" / "unet.recording.onnx", load_external_data=False).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
    halves = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT16}
    assert halves == {v.name for v in graph.output if v.name.startswith("source.")}
    outside = [t for t in graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert {t.data_type for t in outside} == {TensorProto.FLOAT16}
