"""The model card of a trained checkpoint: `README.md` and `training.json`."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from scumble_bench.rooms.progress import RunState


def device_in_words(device: torch.device) -> str:
    """Names the device that work ran on, such as "one NVIDIA H100 80GB HBM3"."""
    if device.type == "cuda":
        return f"one {torch.cuda.get_device_name(device)}"
    return f"{torch.get_num_threads()} CPU cores ({platform.machine()})"


def versions() -> dict[str, str]:
    """Lists the versions of what training and measuring depend on."""
    found = {"python": platform.python_version()}
    for name in ("torch", "diffusers", "transformers", "tokenizers", "numpy", "Pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def write_card(folder: Path, state: RunState, facts: dict[str, Any]) -> None:
    """Writes the card beside a checkpoint.

    Args:
        folder: The checkpoint's folder.
        state: The run that made it.
        facts: What else to tell: device, seconds, whether training is complete.
    """
    training: dict[str, Any] = {
        **facts,
        "seed": state.seed,
        "scenes": state.scenes,
        "calls": state.calls,
        "figures": state.figures,
        "curves": {
            name: [[round(value, 5) for value in point] for point in curve]
            for name, curve in state.curves.items()
        },
        "started_from": state.started_from,
        "versions": versions(),
    }
    text = json.dumps(training, indent=1) + "\n"
    (folder / "training.json").write_text(text, encoding="utf-8")
    rows = "\n".join(
        f"| {stage} | {name.replace('_', ' ')} | {_number(value)} |"
        for stage, figures in state.figures.items()
        for name, value in figures.items()
    )
    complete = "" if facts["complete"] else "\n**Training was not complete when this was saved.**\n"
    (folder / "README.md").write_text(
        f"""# Rooms: the demo checkpoint of Scumble
{complete}
A Stable-Diffusion-shaped text-to-image model for 128x128 pictures of a procedural world: rooms
with a sofa, table, lamp, carpet, picture, vase, ball, cat or dog in ten colours. It exists to
demonstrate and test attention-controlled editing, and knows nothing but this world. Its code,
data and weights are the project's own (Apache-2.0); no other pictures or weights went into it.

Trained by `python -m scumble_bench.rooms.train` on {facts["device"]} in
{facts["seconds"] / 60:.1f} minutes, rendering included, from {state.scenes:,} scenes
(seeds from {facts["first_seed"]}; held-out seeds start at 1,000,000,000), seed {state.seed}.

| stage | figure | value |
|---|---|---|
{rows}

- VAE: deterministic latents with noise of standard deviation 0.1 in training, a penalty on the
  latents' moments instead of a KL term; the posterior's variance is fixed near zero.
- UNet and text encoder, together from scratch: epsilon prediction, levels weighted by the inverse
  root of their signal-to-noise ratio, cells of things up to five times as much as the room; Muon
  for matrices, AdamW for the rest; 10 % empty captions, moving average of the weights, prompts of
  at most 40 tokens.
- **Auxiliary attention loss**: at the 16x16 cross-attention sites the attention of noun and
  colour words, averaged over heads and sites, is trained to lie inside the thing they name,
  with weight {facts["word_weight"]} beside the noise loss. The gate on where words look is
  therefore met by training for it.
- `judge/` holds the classifier that scores edits; it is trained on the same world, some of it
  on pictures that went through this VAE.
- The loss curves, seeds and versions are in `training.json`.
""",
        encoding="utf-8",
    )


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
