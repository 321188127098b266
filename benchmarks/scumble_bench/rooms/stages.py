"""A training run: which stage comes when, what each may take, and what it leaves behind."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import shutil
import time
from functools import partial
from typing import Any

import numpy as np
import torch

from scumble.models import PACK
from scumble_bench.rooms import dataset, models, warm_start, world
from scumble_bench.rooms.autoencoder import (
    AutoencoderLosses,
    DecoderLosses,
    encode_scenes,
    psnr,
)
from scumble_bench.rooms.batches import memory_layout
from scumble_bench.rooms.card import device_in_words, write_card
from scumble_bench.rooms.diffusion import WORD_WEIGHT, DiffusionLosses, TextToNoise, build_losses
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.judge_network import JudgeNetwork, save_network
from scumble_bench.rooms.judge_training import JudgeLosses, judge_accuracy
from scumble_bench.rooms.muon import matrices_of
from scumble_bench.rooms.samples import PROMPTS, generate, save_sheet
from scumble_bench.rooms.shelves import LatentShelf
from scumble_bench.rooms.stepper import Stage, Stepper
from scumble_bench.rooms.workspace import Workspace

VAE_UNTIL = 0.19
JUDGE_SHARE = 0.085
FINISH_SHARE = 0.03


class Run(Workspace):
    """One call of a training run, which goes on where an earlier call stopped."""

    diffusion: Stepper
    _sampled = 0.0

    def __call__(self) -> bool:
        """Runs the stages that are left.

        Returns:
            Whether all that was asked for is done.
        """
        wanted = self.options.stage
        self._sampled = time.monotonic()
        try:
            self.start_rendering()
            done = wanted == "render" and self.await_rendering(float("inf"))
            if wanted in ("vae", "all"):
                done = self.train_vae()
            if wanted == "decoder":
                done = self.encode() and self.train_decoder()
            if wanted in ("diffusion", "all") and (done or wanted != "all"):
                done = self.encode() and self.train_diffusion()
            if wanted in ("judge", "all") and (done or wanted != "all"):
                done = self.train_judge()
            self.export(complete=done and wanted == "all")
            return done
        finally:
            self.close()

    def _stepper(self, module: Any, losses: Any, **settings: Any) -> Stepper:
        names, batch = losses.names, losses.batch
        settings.setdefault("graph", self.options.graph)
        return Stepper(module, losses, names, batch, self.console, **settings)

    def _stage(self, name: str, stepper: Stepper, **settings: Any) -> Stage:
        path = self.work / f"{name}.pt"
        steps = self.options.steps
        stage = Stage(name, stepper, self.state, self.clock, path, steps=steps, **settings)
        stage.resume()
        return stage

    def _vae(self) -> Any:
        return models.build_vae().to(self.device, memory_format=torch.channels_last)

    def _trained_vae(self) -> Any:
        """Loads the averaged autoencoder of `vae.pt`, with the decoder of `decoder.pt` if any."""
        vae = self._load_average(self._vae(), "vae.pt")
        if (self.work / "decoder.pt").exists():
            for part in (vae.decoder, vae.post_quant_conv):
                part.requires_grad_(True)
            vae = self._load_average(vae, "decoder.pt")
        return vae

    def _load_average(self, vae: Any, name: str) -> Any:
        """Copies a stepper's averages over the parameters that it trained."""
        content: dict[str, Any] = torch.load(
            self.work / name, map_location=self.device, weights_only=True
        )
        trained = (parameter for parameter in vae.parameters() if parameter.requires_grad)
        with torch.no_grad():
            for own, saved in zip(trained, content["average"], strict=True):
                own.copy_(saved)
        return vae.eval().requires_grad_(False)

    def train_vae(self) -> bool:
        """Trains the autoencoder while scenes are being rendered."""
        if self.is_done("vae"):
            return True
        self.await_rendering(float("inf"), chunks=8)
        shelf = self.shelf()
        if not shelf.refresh():
            return False
        vae = self._vae()
        window = None if self.on_gpu else 64
        losses = AutoencoderLosses(vae, shelf, self.batch(96, 16), window)
        # Without decay: the fixed log-variance is a weight too.
        stepper = self._stepper(vae, losses, decay=0.998, weight_decay=0.0)

        def every() -> None:
            shelf.refresh()
            self.remember()

        peak = 1.2e-3 if self.on_gpu else 2e-3
        stage = self._stage("vae", stepper, peak=peak, warmup=50, every=every)
        over = stage.run(lambda: self.left(1 - VAE_UNTIL))
        if over:
            found = self._held_out_psnr(stepper.averaged())
            self.state.figures["vae"]["psnr_held_out"] = found
            self.finish("vae")
        return over

    def encode(self) -> bool:
        """Encodes what is rendered by 0.3 of the run, once."""
        if "encode" in self.state.done:
            return True
        everything = self.options.stage != "all" or self.options.steps is not None
        self.await_rendering(float("inf") if everything else 0.3 * self.state.planned)
        if self.clock.call_left() <= 0:
            return False
        if self.renderer is not None:
            self.renderer.stop()
        begun = time.monotonic()
        shelf = self.shelf()
        shelf.refresh()
        figures = encode_scenes(
            self._trained_vae(),
            shelf,
            self.work,
            1024 if self.on_gpu else 32,
            stop=lambda: self.clock.call_left() <= 0,
        )
        if figures is None:
            return False
        figures["latent_deviation"] = self.state.deviation or figures["latent_deviation"]
        figures["encode_seconds"] = round(time.monotonic() - begun, 1)
        self.console.print(f"encoded {figures}")
        self.state.figures["latents"] = figures
        self.finish("encode")
        return True

    def train_decoder(self) -> bool:
        """Trains the decoder further on the encoded scenes; the encoder, and so latents, stay."""
        if self.is_done("decoder"):
            return True
        shelf = self.shelf()
        shelf.refresh()
        vae = self._trained_vae()
        for part in (vae.decoder, vae.post_quant_conv):
            part.requires_grad_(True)
        vae.to(memory_format=torch.channels_last)
        latents = torch.from_numpy(np.load(self.work / "latents.npy", mmap_mode="r")).to(
            self.device
        )
        rows = torch.from_numpy(np.load(self.work / "rows.npy")).to(self.device)
        losses = DecoderLosses(vae, shelf, latents, rows, self.batch(96, 8))
        stepper = self._stepper(vae, losses, decay=0.998, weight_decay=0.0)
        stage = self._stage("decoder", stepper, peak=1e-3, warmup=20, every=self.remember)
        over = stage.run(self.clock.call_left)
        found = self._held_out_psnr(stepper.averaged())
        self.state.figures["decoder"]["psnr_held_out"] = found
        self.finish("decoder")
        return over

    def _held_out_psnr(self, vae: Any) -> float:
        count = 4 if self.options.steps else 64
        shown = [world.scene(world.HELD_OUT + number).image for number in range(count)]
        found = psnr(vae, torch.from_numpy(np.stack(shown)))
        self.console.print(f"vae: {found:.2f} dB on {count} held-out scenes")
        return found

    def train_diffusion(self) -> bool:
        """Trains UNet and text encoder on the latents."""
        if self.is_done("diffusion"):
            return True
        scale = 1 / self.state.figures["latents"]["latent_deviation"]
        make = partial(
            build_losses,
            shelf=LatentShelf.load([self.work, *self.options.further], scale, self.device),
            batch=self.batch(512, 32),
            empty=dataset.load_backend(self.tokenizer).encode("").ids,
            compiles=self.compiles,
        )
        module = self.new_module()
        replicas = self.start_replicas(module, make, len(DiffusionLosses.names))
        matrices = matrices_of(module)
        stepper = self._stepper(module, make(module), matrices=matrices, replicas=replicas)
        self.diffusion = stepper
        peak = 1.5e-3 if self.on_gpu else 1e-3
        stage = self._stage("diffusion", stepper, peak=peak, warmup=200, every=self._sample)
        over = stage.run(lambda: self.left(JUDGE_SHARE + FINISH_SHARE))
        if over:
            self.finish("diffusion")
        return over

    def new_module(self) -> TextToNoise:
        """Builds UNet and text encoder on the device, untrained or as a warm start left them."""
        vocabulary = dataset.load_backend(self.tokenizer).get_vocab_size()
        text_encoder, unet = models.build_text_encoder(vocabulary), models.build_unet()
        warm_start.load_networks(self.work, text_encoder, unet)
        module: Any = TextToNoise(text_encoder, unet)
        return module.to(self.device, memory_format=memory_layout(self.device))

    def _sample(self) -> None:
        self.remember()
        if time.monotonic() - self._sampled > (120 if self.on_gpu else 600):
            self.save_samples()

    def save_samples(self) -> None:
        """Writes the sheet of fixed prompts."""
        self._sampled = time.monotonic()
        steps = self.diffusion.steps
        pipeline = models.pipeline(self.networks(), self.tokenizer).to(self.device)
        shown = 2 if self.options.steps else 30
        pictures = generate(pipeline, PROMPTS, steps=shown, batch=len(PROMPTS))
        save_sheet(pictures, self.work / "samples" / f"{steps:06d}.png")

    def networks(self) -> models.Networks:
        """Returns averaged copies of the networks, with the measured scale of latents."""
        module = self.diffusion.averaged().to(memory_format=torch.contiguous_format)
        vae = self._trained_vae().to(memory_format=torch.contiguous_format)
        scale = 1 / self.state.figures["latents"]["latent_deviation"]
        vae.register_to_config(scaling_factor=scale)
        return models.Networks(vae, module.text_encoder, module.denoiser.unet)

    def train_judge(self) -> bool:
        """Trains the judge, on pictures through the autoencoder too if there is one."""
        if self.is_done("judge"):
            return True
        self.await_rendering(float("inf"), chunks=8)
        shelf = self.shelf()
        shelf.refresh()
        vae = self._trained_vae() if (self.work / "vae.pt").exists() else None
        plain: Any = JudgeNetwork()
        network = plain.to(self.device, memory_format=memory_layout(self.device))
        losses = JudgeLosses(network, shelf, self.batch(256, 32), vae)
        stepper = self._stepper(network, losses, decay=0.998)
        peak = 3e-3 if self.on_gpu else 2e-3
        stage = self._stage("judge", stepper, peak=peak, warmup=50, every=self.remember)
        over = stage.run(lambda: self.left(FINISH_SHARE))
        save_network(stepper.averaged(), self.options.out / "judge")
        judge = Judge.load(self.options.out / "judge")
        found = judge_accuracy(judge, 16 if self.options.steps else 256)
        self.state.figures["judge"] |= {f"{name}_held_out": value for name, value in found.items()}
        self.console.print(f"judge on held-out scenes: {found}")
        if over:
            self.finish("judge")
        return over

    def export(self, complete: bool) -> None:
        """Writes the checkpoint, its card and a sheet of samples, if there is something."""
        if "encode" not in self.state.done:
            return
        if not hasattr(self, "diffusion"):
            if not (self.work / "diffusion.pt").exists():
                return
            module = self.new_module()
            self.diffusion = Stepper(
                module,
                lambda: torch.zeros(1),
                (),
                1,
                self.console,
                graph=False,
                matrices=matrices_of(module),
            )
            self.diffusion.load(self.work / "diffusion.pt")
        # A pack of other weights would be run in place of these.
        shutil.rmtree(self.options.out / PACK, ignore_errors=True)
        models.save_folder(self.options.out, self.networks(), self.tokenizer)
        facts: dict[str, Any] = {
            "complete": complete,
            "device": device_in_words(self.device),
            "seconds": round(self.clock.elapsed(), 1),
            "first_seed": self.cache.first_seed,
            "word_weight": WORD_WEIGHT,
        }
        write_card(self.options.out, self.state, facts)
        self.save_samples()
        self.console.print(f"saved {self.options.out} after {self.clock.elapsed() / 60:.1f} min")
