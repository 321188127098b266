"""What is to be built, and the key under which it is kept."""

from dataclasses import replace
from pathlib import Path

import pytest

from scumble.errors import ModelError
from scumble.packs import Manifest
from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.orders import Order, flags_of, parts_of
from scumble_engines.tensorrt.targets import Target


@pytest.fixture
def order(pack: Path, manifest: Manifest) -> Order:
    return Order(pack, manifest, "routed", Target("sm89", 2), stripped=False)


def test_a_key_says_what_is_built(order: Order, fake: Library, manifest: Manifest):
    key = order.key(fake)
    assert order.path.name == "unet.routed.onnx"
    assert key.graph == manifest.files["unet.routed.onnx"]
    assert key.weights == manifest.files["weights.bin"]
    assert (key.variant, key.engine, key.runtime) == ("routed", "tensorrt_rtx", "1.7.1")
    assert (key.target, key.precision, key.stripped) == ("sm89", "fp32", False)
    assert (key.rows, key.picture) == (((1, 3, 8),), (32, 32))
    assert dict(key.options)["flags"] == "REQUIRE_USER_ALLOCATION"


def test_whatever_differs_is_another_key(order: Order, fake: Library, fake_tensorrt: Library):
    other = order.manifest.model_copy(update={"rows": (1, 4)})
    keys = [
        order.key(fake),
        order.key(fake_tensorrt),
        order.key(replace(fake, version="1.8")),
        replace(order, part="plain").key(fake),
        replace(order, target=Target("sm120")).key(fake),
        replace(order, stripped=True).key(fake),
        replace(order, manifest=other).key(fake),
    ]
    assert len({key.digest for key in keys}) == len(keys)
    assert replace(order, folder=Path("/elsewhere")).key(fake) == keys[0]


def test_weights_are_left_out_where_they_come_back_alike(
    order: Order, fake: Library, fake_tensorrt: Library
):
    assert flags_of(fake_tensorrt, order) == ()
    bare = replace(order, stripped=True)
    assert flags_of(fake_tensorrt, bare) == ("STRIP_PLAN", "REFIT_IDENTICAL")
    assert flags_of(fake, bare) == ("REQUIRE_USER_ALLOCATION", "STRIP_PLAN", "REFIT_IDENTICAL")


def test_every_graph_of_a_pack_is_a_part(manifest: Manifest):
    parts = parts_of(manifest)
    assert list(parts) == [*manifest.variants, *manifest.components]
    assert parts["vae_decoder"] == "vae_decoder.onnx"
    assert set(parts.values()) == {name for name in manifest.files if name.endswith(".onnx")}


def test_several_files_of_weights_count_together(order: Order, fake: Library):
    found = [order.key(fake).weights]
    for digest in ("a" * 64, "b" * 64):
        files = {**order.manifest.files, "unet.safetensors": digest}
        several = replace(order, manifest=order.manifest.model_copy(update={"files": files}))
        found.append(several.key(fake).weights)
    assert len(set(found)) == 3


def test_a_pack_without_weights_is_refused(order: Order, fake: Library):
    files = {n: d for n, d in order.manifest.files.items() if n != "weights.bin"}
    bare = replace(order, manifest=order.manifest.model_copy(update={"files": files}))
    with pytest.raises(ModelError, match="lists no file of weights"):
        bare.key(fake)
