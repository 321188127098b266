"""What is to be run: methods and inversions, by name or as a published protocol has them.

On the command line both are `NAME` or `NAME:{"option": ...}`; a name is a preset's or an installed
plugin's. In options `{source_word}` and `{target_word}` stand for an entry's blended words; where
an entry has none, an option that names one is left out.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from scumble.errors import OptionError
from scumble.options import check_options
from scumble.plugins import Plugin, list_entries, load_class
from scumble_bench.evaluation.entries import Entry

__all__ = [
    "DIRECT",
    "INVERSIONS",
    "METHODS",
    "Method",
    "Named",
    "brings_inversion",
    "crossed",
    "edits",
    "filled",
    "read_named",
]

SOURCE_WORD, TARGET_WORD = "{source_word}", "{target_word}"
DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Method:
    """A method with an inversion: a row of the table.

    Attributes:
        label: in tables; no two rows have the same.
        plugin: that edits.
        options: of the plugin, with placeholders.
        inversion: the plugin that inverts; None where the method brings its own way to noise.
        inversion_options: its options.
        silent: whether the source prompt is left empty.
        negative: text of the unconditional rows.
        masked: whether the entry's mask is given to the method.
        published: names of the rows of the published table that this is to be set beside.
    """

    label: str
    plugin: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inversion: str | None = DIRECT
    inversion_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    silent: bool = False
    negative: str = ""
    masked: bool = False
    published: tuple[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the method as JSON holds it."""
        return json.loads(json.dumps(asdict(self)))

    @staticmethod
    def of(given: Mapping[str, Any]) -> "Method":
        """Return the method that `as_json` made."""
        pair = given["published"]
        fields: dict[str, Any] = {**given, "published": None if pair is None else tuple(pair)}
        return Method(**fields)

    @property
    def slug(self) -> str:
        """A name for files: readable, and different where anything of the method is."""
        text = json.dumps(self.as_json(), sort_keys=True)
        readable = re.sub(r"[^A-Za-z0-9]+", "-", self.label).strip("-")[:60]
        return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Named:
    """A plugin with options, under a name.

    Attributes:
        name: preset or plugin, with its options where some were given.
        plugin: the plugin.
        options: its options.
        more: further fields of `Method`.
    """

    name: str
    plugin: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])


METHODS: dict[str, Named] = {
    # Refine always; reweighting and LocalBlend only where there is a blended word.
    "pie-p2p": Named(
        "pie-p2p",
        "prompt_to_prompt",
        {
            "mode": "refine",
            "cross_window": 0.4,
            "self_window": 0.6,
            "reweight": {TARGET_WORD: 2},
            "blend_words": [SOURCE_WORD, TARGET_WORD],
            "blend_start": 0.2,
            "blend_threshold": 0.3,
            "compat": ["extra_step", "self_32"],
        },
    ),
    # Its defaults are step 4 of 50 and layer 10 of 16, and likewise of other models.
    "pie-masactrl": Named("pie-masactrl", "masactrl", more={"silent": True}),
    "pie-pnp": Named(
        "pie-pnp",
        "plug_and_play",
        {"features": 0.8, "attention": 0.5},
        {"negative": "ugly, blurry, black, low res, unrealistic"},
    ),
}
"""The methods of the published table, with the constants of the runs behind it."""

INVERSIONS: dict[str, Named] = {
    # The published runs never hand the inversion's latents on, so that only the threshold is left.
    "pie-proximal": Named(
        "pie-proximal", "proximal", {"threshold": "soft", "quantile": 0.75, "anchor": "none"}
    ),
}


def read_named(text: str, presets: Mapping[str, Named], what: str) -> Named:
    """Return what `NAME` or `NAME:{...}` names; options are added to a preset's own.

    Args:
        text: as given on the command line.
        presets: by name.
        what: `method` or `inversion`, for messages.

    Raises:
        OptionError: no such preset or plugin, options that are no JSON, or that it refuses.
        PluginError: the plugin cannot be loaded.
    """
    name, colon, rest = text.partition(":")
    given: Any = {}
    if colon:
        try:
            given = json.loads(rest)
        except ValueError as error:
            raise OptionError(
                f"--{what} is {text!r}, and what follows the colon is no JSON ({error}); write "
                f'{name}:{{"option": value}}.'
            ) from None
    if not isinstance(given, dict):
        raise OptionError(f'--{what} is {text!r}; write options as {{"option": value}}.')
    options = cast("dict[str, Any]", given)
    preset = presets.get(name)
    if preset is None and name not in list_entries():
        known = ", ".join((*presets, *list_entries()))
        raise OptionError(f"no {what} {name!r}; there are: {known}.")
    found = preset or Named(name, name)
    kind = load_class(found.plugin)[1]
    if options:
        found = Named(text, found.plugin, {**found.options, **options}, found.more)
    check_options(kind.options_type, dict(found.options), f"plugin {found.plugin!r}")
    return found


def crossed(methods: Sequence[Named], inversions: Sequence[Named]) -> list[Method]:
    """Return every method with every inversion; one that brings its own way stands alone.

    A method whose trial has a mask is given the entry's.

    Raises:
        OptionError: a plugin that edits no picture, an inversion that does not invert, two of a
            name.
    """
    found: list[Method] = []
    for inversion in inversions:
        if not hasattr(load_class(inversion.plugin)[1], "scumble_invert"):
            raise OptionError(f"plugin {inversion.plugin!r} does not invert; name an inversion.")
    for method in methods:
        kind = load_class(method.plugin)[1]
        trial = kind.trial
        if not edits(kind) or not trial.picture:
            raise OptionError(
                f"plugin {method.plugin!r} edits no picture that is given; name another method."
            )
        shared: dict[str, Any] = {
            "plugin": method.plugin,
            "options": method.options,
            "masked": "" in trial.masks,
            **method.more,
        }
        if brings_inversion(kind):
            found.append(Method(method.name, inversion=None, **shared))
            continue
        found += [
            Method(
                f"{method.name}, {inversion.name}",
                inversion=inversion.plugin,
                inversion_options=inversion.options,
                published=(method.name, inversion.name),
                **shared,
            )
            for inversion in inversions
        ]
    labels = [method.label for method in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise OptionError(f"{twice!r} is asked for twice; ask for it once.")
    return found


def edits(kind: type[Plugin]) -> bool:
    """Return whether a plugin has a say in a run beside inverting and making masks."""
    hooks = {name for name in dir(kind) if name.startswith("scumble_")}
    return bool(hooks - {"scumble_invert", "scumble_mask"})


def brings_inversion(kind: type[Plugin]) -> bool:
    """Return whether a method leads the picture to noise by itself."""
    return hasattr(kind, "scumble_invert")


def filled(template: Any, entry: Entry) -> dict[str, Any]:
    """Return a method's options for an entry; those that name words it lacks are left out."""
    if entry.words is None:
        return {name: value for name, value in template.items() if not _names_words(value)}
    return _put(template, {SOURCE_WORD: entry.words[0], TARGET_WORD: entry.words[1]})


def _names_words(value: Any) -> bool:
    text = json.dumps(value)
    return SOURCE_WORD in text or TARGET_WORD in text


def _put(template: Any, known: Mapping[str, str]) -> Any:
    if isinstance(template, str):
        return known.get(template, template)
    if isinstance(template, Mapping):
        given = cast("Mapping[str, Any]", template)
        return {known.get(key, key): _put(value, known) for key, value in given.items()}
    if isinstance(template, Sequence):
        return [_put(one, known) for one in cast("Sequence[Any]", template)]
    return template
