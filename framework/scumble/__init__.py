"""Scumble edits pictures by controlling attention inside a diffusion UNet.

An edit is data: plugins return plans, the planner compiles them into port values, and an engine
carries them out. Everything a user or a plugin needs is exported here.
"""

from importlib.metadata import version as _version

from pydantic import Field

from scumble.alignment import refine_alignment, refine_matrix, replace_matrix
from scumble.arrays import Array, Bools, Floats, Indices
from scumble.attention_maps import RunMaps
from scumble.controls import (
    Also,
    Branch,
    Control,
    FeatureRoute,
    Guide,
    Join,
    Mix,
    Read,
    Region,
    Route,
    Term,
    Watch,
)
from scumble.editor import Editor
from scumble.engine import Engine, EngineSettings, ModelInfo, StepOutput
from scumble.errors import (
    ControlError,
    EngineError,
    ImageError,
    InputError,
    ModelError,
    NumericalError,
    OptionError,
    OutOfMemoryError,
    PluginError,
    PortError,
    PromptError,
    ScumbleError,
    UnsupportedError,
)
from scumble.grids import above_share_of_maximum, dilate, resize_nearest
from scumble.hookspecs import (
    BeforeView,
    GuidedNoise,
    RunView,
    StepView,
    Trajectory,
    hookimpl,
)
from scumble.inversion import InversionOptions, ddim_trajectory
from scumble.maps import AttentionMap
from scumble.noising import noised_trajectory
from scumble.options import Options, Words
from scumble.plans import Plan, steps_between
from scumble.plugins import Plugin, Trial
from scumble.rerun import rerun
from scumble.runs import Run
from scumble.sampler import Progress
from scumble.schedulers import Convention
from scumble.sites import Site, SiteTable
from scumble.stochastic import deviation, noised, step_mean
from scumble.tendency import BlockGrid, Box
from scumble.words import Prompt, Word

__version__ = _version("scumble")

__all__ = [
    "Also",
    "Array",
    "AttentionMap",
    "BeforeView",
    "BlockGrid",
    "Bools",
    "Box",
    "Branch",
    "Control",
    "ControlError",
    "Convention",
    "Editor",
    "Engine",
    "EngineError",
    "EngineSettings",
    "FeatureRoute",
    "Field",
    "Floats",
    "Guide",
    "GuidedNoise",
    "ImageError",
    "Indices",
    "InputError",
    "InversionOptions",
    "Join",
    "Mix",
    "ModelError",
    "ModelInfo",
    "NumericalError",
    "OptionError",
    "Options",
    "OutOfMemoryError",
    "Plan",
    "Plugin",
    "PluginError",
    "PortError",
    "Progress",
    "Prompt",
    "PromptError",
    "Read",
    "Region",
    "Route",
    "Run",
    "RunMaps",
    "RunView",
    "ScumbleError",
    "Site",
    "SiteTable",
    "StepOutput",
    "StepView",
    "Term",
    "Trajectory",
    "Trial",
    "UnsupportedError",
    "Watch",
    "Word",
    "Words",
    "__version__",
    "above_share_of_maximum",
    "ddim_trajectory",
    "deviation",
    "dilate",
    "hookimpl",
    "noised",
    "noised_trajectory",
    "refine_alignment",
    "refine_matrix",
    "replace_matrix",
    "rerun",
    "resize_nearest",
    "step_mean",
    "steps_between",
]
