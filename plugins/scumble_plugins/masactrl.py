"""MasaCtrl (Cao et al. 2023, arXiv:2304.08465): change pose and action, keep who is seen.

From some step on, the target's self-attention in the decoder keeps its own queries and takes keys
and values from the source: it asks the source's picture what the thing it draws looks like. Masks
keep foreground from asking background (section 3.3). ProxMasaCtrl (Han et al. 2023,
arXiv:2306.05414) adds joint keys and shrinks what guidance adds.

Changes: the targets' self-attention, with `proximal` their guidance. Leaves alone: source, text.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np

from scumble import (
    BeforeView,
    Bools,
    Branch,
    Control,
    Field,
    Floats,
    GuidedNoise,
    Join,
    OptionError,
    Options,
    Plan,
    Plugin,
    Prompt,
    Read,
    Region,
    Route,
    RunView,
    Trial,
    Watch,
    Words,
    hookimpl,
    resize_nearest,
)

Share = Annotated[float, Field(ge=0, le=1)]
Index = Annotated[int, Field(ge=0)]
Keys = Literal["source", "joint", "none"]
START_STEP = 4 / 50
START_LAYER = 10 / 16


class MasaCtrlOptions(Options):
    """Options of MasaCtrl; steps and layers count from 0, the noisiest and the first.

    Attributes:
        start_step: S, the first step that is controlled; None is 4 of 50, and likewise of others.
            The number of steps itself controls none.
        start_layer: L, the first self-attention that is; None is 10 of 16, and likewise of others.
        steps: these steps, in place of start_step.
        layers: these self-attentions, in place of start_layer.
        keep: `identity` takes keys and values from the source; `layout`, its mirror image, takes
            queries and keys, which keeps the layout and lets the look change.
        text_keys: what the row with text sees: the source's keys, both pictures', or its own.
        plain_keys: likewise, the row without text.
        source_words: words of the source whose attention is its foreground.
        target_words: words of the targets, likewise; with both, masks come from attention.
        mask_threshold: share of the range of the words' map from which a cell is foreground.
        mask_stride: of the maps that masks come from; None is 16x16 of the native picture.
        masks: `previous` takes masks from the maps of the step before, a departure from the paper
            that costs at most one row; `exact` from this step's, of what lies before the first
            controlled layer: a cut-short row a picture and step.
        proximal: shrinks what guidance adds: `soft` (what the published code calls l0) or `hard`
            threshold, or `none`.
        proximal_quantile: share of what guidance adds that is below the threshold.
    """

    start_step: Index | None = None
    start_layer: Index | None = None
    steps: tuple[Index, ...] = ()
    layers: tuple[Index, ...] = ()
    keep: Literal["identity", "layout"] = "identity"
    text_keys: Keys = "source"
    plain_keys: Keys = "source"
    source_words: Words = ()
    target_words: Words = ()
    mask_threshold: Share = 0.1
    mask_stride: Annotated[int, Field(ge=1)] | None = None
    masks: Literal["previous", "exact"] = "previous"
    proximal: Literal["none", "soft", "hard"] = "none"
    proximal_quantile: Share = 0.6


def foreground(field: Floats, threshold: float, latent: tuple[int, int]) -> Floats:
    """Return (height, width) 0 or 1 at latent size: where a map lies high in its own range.

    A flat map says nothing, and all of it is foreground.
    """
    above = field - field.min() >= threshold * np.ptp(field)
    return resize_nearest(above.astype(np.float32), latent)


def shrunk(change: Floats, kind: Literal["soft", "hard"], quantile: float) -> Floats:
    """Return what guidance adds, thresholded at a quantile of its sizes (ProxMasaCtrl)."""
    size = np.abs(change)
    limit = np.quantile(size, quantile)
    if kind == "hard":
        return np.where(size > limit, change, 0)
    return np.sign(change) * np.maximum(size - limit, 0)


def chosen(named: Sequence[int], start: int | None, share: float, count: int) -> list[int]:
    """Return the indices that are named, or else all from a start on, by default a share; rising.

    Raises:
        OptionError: an index is beyond the count.
    """
    first = round(share * count) if start is None else start
    found = sorted(set(named)) if named else list(range(first, count))
    beyond = found[-1] >= count if named else first > count
    if beyond:
        odd = found[-1] if named else first
        raise OptionError(f"masactrl is to control number {odd} of 0 to {count - 1}; name another.")
    return found


class MasaCtrl(Plugin):
    """MasaCtrl: change pose and action, keep who is seen; with masks, joint keys and proximal."""

    options_type = MasaCtrlOptions
    trial = Trial(neutral={"start_step": 4})
    options: MasaCtrlOptions

    def takes_mask(self, name: str) -> bool:
        """Keep foregrounds apart by one mask, or by one a picture."""
        return name in ("", "source", "target")

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan the routes of every target's two rows, their regions, and what masks are read of."""
        options, keys = self.options, {True: self.options.text_keys, False: self.options.plain_keys}
        if not run.targets:
            raise OptionError("masactrl needs a target prompt.")
        if run.guidance == 1:
            raise OptionError("masactrl needs guidance, and 1 is none; try 7.5.")
        if set(keys.values()) == {"none"}:
            raise OptionError("text_keys and plain_keys are both 'none'; set one to 'source'.")
        on, layers, given = self._steps(run), self._layers(run), self._given(run)
        masked = self._automatic or given is not None
        if options.keep == "layout" and ("joint" in keys.values() or masked):
            raise OptionError("keep='layout' goes with keys 'source' or 'none', and without masks.")
        if masked and "joint" in keys.values():
            raise OptionError("joint keys go without masks.")
        if not on.any():
            return Plan()
        controls = self._maps(run, on) if self._automatic else []
        # The first step of all has no map before it; the published code begins unmasked too.
        blind = self._automatic and options.masks == "previous"
        known = on & (np.arange(run.steps) > 0) if blind else on
        for picture in range(1, len(run.targets) + 1):
            query, key = given or (f"foreground.{picture}", "foreground.0")
            for text, kind in keys.items():
                branch, source = Branch(picture, text), Branch(0, text)
                if kind == "joint":
                    controls.append(Join(branch, source, layers, on))
                elif kind == "source" and options.keep == "layout":
                    controls.append(Route(branch, on, layers, query=source, key=source))
                elif kind == "source":
                    controls.append(Route(branch, on, layers, key=source, value=source))
                    if masked:
                        controls.append(Region(branch, query, key, layers, known))
        return Plan(tuple(controls))

    @hookimpl
    def scumble_before_step(self, run: RunView, step: BeforeView) -> Mapping[str, Floats] | None:
        """Return foreground masks: of the source's words, and of each target's."""
        if not self._automatic or not self._steps(run)[step.index]:
            return None
        masks: dict[str, Floats] = {}
        for name, (picture, prompt, weights) in self._words(run).items():
            maps = step.reads.get(name)
            if self.options.masks == "exact":
                latent, text = step.latents[picture], prompt.text
                maps = run.look(latent, step.timestep, text, weights, self._sites(run))
            if maps is not None:
                masks[name] = foreground(maps[0], self.options.mask_threshold, run.latent)
        return masks

    @hookimpl
    def scumble_guidance(self, run: RunView, noise: GuidedNoise) -> Floats | None:
        """Return u + w shrink(c - u) for a target, if asked for.

        Raises:
            OptionError: a plugin asked before has changed guidance, which this would undo.
        """
        if self.options.proximal == "none" or noise.picture == 0:
            return None
        change = noise.conditional - noise.unconditional
        plain = noise.unconditional + run.guidance * change
        if not np.allclose(noise.guided, plain, rtol=1e-4, atol=1e-5):
            raise OptionError(
                "masactrl's proximal takes the place of what another plugin makes of guidance; use "
                "one of the two."
            )
        kept = shrunk(change, self.options.proximal, self.options.proximal_quantile)
        return noise.unconditional + run.guidance * kept

    @property
    def _automatic(self) -> bool:
        given = (self.options.source_words, self.options.target_words)
        if any(given) and not all(given):
            raise OptionError("masks from words need both source_words and target_words.")
        return all(given)

    def _steps(self, run: RunView) -> Bools:
        """Return (steps,) True where the targets are controlled."""
        found = chosen(self.options.steps, self.options.start_step, START_STEP, run.steps)
        return np.isin(np.arange(run.steps), found)

    def _layers(self, run: RunView) -> tuple[int, ...]:
        """Return the self-attention sites that are controlled, rising."""
        count = run.sites.count("self")
        found = chosen(self.options.layers, self.options.start_layer, START_LAYER, count)
        if not found:
            raise OptionError(f"masactrl controls no layer; this model has 0 to {count - 1}.")
        return tuple(found)

    def _given(self, run: RunView) -> tuple[Floats, Floats] | None:
        """Return the user's masks: of the targets' queries, and of the source's keys."""
        if run.mask is None and not run.masks:
            return None
        if self._automatic:
            raise OptionError("give masks, or source_words and target_words; not both.")
        if run.mask is not None and not run.masks:
            return run.mask, run.mask
        if run.mask is not None or set(run.masks) != {"source", "target"}:
            raise OptionError(
                "masactrl takes one mask without a name for both pictures, or two that are named "
                f"source and target; got the names {', '.join(map(repr, sorted(run.masks)))}."
            )
        return run.masks["target"], run.masks["source"]

    def _maps(self, run: RunView, on: Bools) -> list[Control]:
        """Return what must be known before the controlled steps: the words' maps, or latents."""
        before, sites = np.append(on[1:], False), self._sites(run)
        words = self._words(run)
        if self.options.masks == "exact":
            return [Watch(picture, before) for picture, *_ in words.values()]
        return [
            Read(name, Branch(picture), weights, sites, before)
            for name, (picture, _, weights) in words.items()
        ]

    def _words(self, run: RunView) -> dict[str, tuple[int, Prompt, Floats]]:
        """Return mask name -> picture, its prompt and (1, tokens) weights of its words."""
        found: dict[str, tuple[int, Prompt, Floats]] = {}
        for picture, prompt in enumerate((run.source, *run.targets)):
            weights = np.zeros((1, len(prompt.ids)))
            for word in self.options.target_words if picture else self.options.source_words:
                weights[0, list(prompt.tokens_of(word))] = 1
            found[f"foreground.{picture}"] = picture, prompt, weights
        return found

    def _sites(self, run: RunView) -> tuple[int, ...]:
        """Return the cross-attentions whose maps make masks."""
        stride = self.options.mask_stride or run.sites.map_stride
        sites = run.sites.select("cross", strides=(stride,))
        if self.options.masks == "exact":
            # What lies behind a controlled layer depends on the masks.
            sites = tuple(site for site in sites if site < self._layers(run)[0])
        if not sites:
            raise OptionError(
                f"no map of stride {stride} is there to be read; set another mask_stride"
                f"{', or masks to previous' * (self.options.masks == 'exact')}."
            )
        return sites
