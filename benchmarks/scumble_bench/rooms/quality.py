"""Measures the gates of the demo checkpoint: `python -m scumble_bench.rooms.quality`.

Exits with 1 when a gate is missed. The gates, on held-out seeds only:

- the autoencoder repeats 256 scenes with at least 27 dB;
- the judge is right on 97 % of presences, colours and poses;
- of 200 prompts, 85 % of the things named with a colour appear, in that colour, to the judge;
- at 16x16, the attention of 80 % of the named things' nouns is greatest inside the thing.

Beside the third stands what the judge finds of the same things in the scenes themselves, once
through the autoencoder: no better sampler could be told from one that reaches it.
"""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from scumble_bench.latency.provenance import commit
from scumble_bench.rooms import CHECKPOINT, dataset, world
from scumble_bench.rooms.attention import Denoiser, token_weights
from scumble_bench.rooms.autoencoder import psnr, repeated
from scumble_bench.rooms.batches import as_bytes, as_pictures
from scumble_bench.rooms.card import device_in_words, versions
from scumble_bench.rooms.judge import Judge, Verdict
from scumble_bench.rooms.judge_training import judge_accuracy
from scumble_bench.rooms.samples import generate

RESULTS = Path(__file__).resolve().parents[2] / "results" / "quality.json"
GATES = {
    "vae_psnr": 27.0,
    "judge_presence": 0.97,
    "judge_colour": 0.97,
    "judge_pose": 0.97,
    "prompt_things": 0.85,
    "word_maxima": 0.80,
}
TIMES = (301, 501, 701)
"""Noise levels at which attention is measured, of 1000."""


def held_out(count: int, first: int = 0) -> list[world.Scene]:
    """Draws scenes that no training has seen."""
    return [world.scene(world.HELD_OUT + first + number) for number in range(count)]


def named_things(verdicts: Sequence[Verdict], scenes: list[world.Scene]) -> dict[str, float]:
    """Tells what a judge finds of the things that the captions of scenes name.

    Returns:
        `things`: the share of things named with their colour that appear in this colour;
        `nouns`: the share of named things that appear in any; `poses`: the share of things named
        with their pose that appear in it.
    """
    coloured: list[bool] = []
    present: list[bool] = []
    poses: list[bool] = []
    for scene, verdict in zip(scenes, verdicts, strict=True):
        named = zip(scene.mentioned, scene.mentioned_colour, scene.words, strict=True)
        for index, with_colour, words in named:
            item = scene.items[index]
            present.append(verdict.sees(item.noun))
            if with_colour:
                coloured.append(verdict.sees(item.noun, item.colour))
            if words.pose is not None:
                poses.append(verdict.sees(item.noun) and verdict.pose[item.noun] == item.pose)
    found = {"things": coloured, "nouns": present, "poses": poses}
    return {name: float(np.mean(values)) for name, values in found.items() if values}


@torch.no_grad()
def word_maxima(
    pipeline: Any, tokenizer_folder: Path, scenes: list[world.Scene], batch: int = 50
) -> float:
    """Returns the share of named things whose noun looks most at a cell of the thing.

    A cell of 8x8 pixels is the thing's if it covers half of it or more. Attention is averaged
    over heads, 16x16 cross-attention sites and `TIMES`.
    """
    backend = dataset.load_backend(tokenizer_folder)
    denoiser = Denoiser(pipeline.unet)
    device = pipeline.device
    hits: list[bool] = []
    maker = torch.Generator().manual_seed(0)
    for start in range(0, len(scenes), batch):
        part = scenes[start : start + batch]
        encoded = [dataset.encode_caption(backend, scene) for scene in part]
        tokens = torch.tensor([ids for ids, _ in encoded], device=device)
        spans = torch.from_numpy(np.stack([spans for _, spans in encoded])).to(device)
        images = torch.from_numpy(np.stack([scene.image for scene in part])).to(device)
        latents = pipeline.vae.encode(as_pictures(images)).latent_dist.mode()
        latents = latents * pipeline.vae.config.scaling_factor
        text = pipeline.text_encoder(tokens)[0]
        total = torch.zeros(len(part), 256, tokens.shape[1], device=device)
        for level in TIMES:
            noise = torch.randn(latents.shape, generator=maker).to(device)
            times = torch.full((len(part),), level, device=device)
            total += denoiser(pipeline.scheduler.add_noise(latents, noise, times), times, text)[1]
        of_noun = torch.einsum("rpt,rjt->rjp", total, token_weights(spans[:, :, 0], total.shape[2]))
        peaks = of_noun.argmax(-1).cpu().numpy()
        for row, scene in enumerate(part):
            for index in scene.mentioned:
                y, x = divmod(int(peaks[row, index]), 16)
                cell = scene.items[index].mask[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
                hits.append(float(cell.mean()) >= 0.5)
    return float(np.mean(hits))


def measure(folder: Path, device: torch.device, prompts: int, scenes: int) -> dict[str, float]:
    """Measures all figures of a checkpoint."""
    from diffusers import StableDiffusionPipeline

    loaded: Any = StableDiffusionPipeline.from_pretrained(folder)
    pipeline = loaded.to(device)
    pipeline.set_progress_bar_config(disable=True)
    judge = Judge.load(folder / "judge")
    figures = {f"judge_{name}": value for name, value in judge_accuracy(judge, scenes).items()}
    shown = held_out(scenes)
    images = torch.from_numpy(np.stack([scene.image for scene in shown]))
    figures["vae_psnr"] = psnr(pipeline.vae, images)
    prompted = shown[:prompts]
    # What a sampler as good as the autoencoder would reach before this judge.
    true = as_bytes(repeated(pipeline.vae, images[:prompts])).cpu().numpy()
    made = generate(pipeline, [scene.caption for scene in prompted])
    for name, pictures in (("truth", true), ("prompt", made)):
        found = named_things(judge(pictures), prompted)
        figures |= {f"{name}_{kind}": share for kind, share in found.items()}
    # Last: it replaces the UNet's attention processors.
    figures["word_maxima"] = word_maxima(pipeline, folder / "tokenizer", shown)
    return figures


def checksum(folder: Path) -> str:
    """Returns one sha256 over the names and contents of a checkpoint's weights."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        found.update(path.relative_to(folder).as_posix().encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, writes, prints; returns 1 if a gate is missed."""
    parser = argparse.ArgumentParser(prog="scumble_bench.rooms.quality", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--scenes", type=int, default=256)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    begun = time.monotonic()
    figures = measure(chosen.checkpoint, device, chosen.prompts, chosen.scenes)
    passed = {name: figures[name] >= gate for name, gate in GATES.items()}
    report: dict[str, Any] = {
        "figures": {name: round(value, 4) for name, value in sorted(figures.items())},
        "gates": GATES,
        "passed": passed,
        "prompts": chosen.prompts,
        "scenes": chosen.scenes,
        "sampling": "DDIM, 50 steps, guidance 7.5",
        "seconds": round(time.monotonic() - begun, 1),
        "device": device_in_words(device),
        "checkpoint_sha256": checksum(chosen.checkpoint),
        "commit": commit(),
        "versions": versions(),
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    table = Table("figure", "measured", "gate", "")
    for name, value in sorted(figures.items()):
        verdict = {True: "passed", False: "MISSED", None: ""}[passed.get(name)]
        table.add_row(name, f"{value:.4f}", str(GATES.get(name, "")), verdict)
    Console().print(table)
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
