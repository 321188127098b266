"""What can go wrong, as one small tree.

Every message is one sentence: what was given, what is wanted, what to do.

ScumbleError
├── InputError          something the user gave cannot be used
│   ├── ImageError      a picture or mask file
│   ├── PromptError     a prompt, or a word asked for in it
│   ├── OptionError     a setting: unknown, out of range, contradictory
│   └── ModelError      a model folder, pack or name
├── PluginError         a plugin cannot be loaded, or broke during a run
├── EngineError         an engine is not installed or failed
│   ├── OutOfMemoryError    the device has no memory left for a call
│   ├── UnsupportedError    the plan needs what this engine cannot do
│   └── PortError       a step was fed an undeclared name, shape or dtype
├── ControlError        a control was asked for and had no effect
└── NumericalError      NaN or Inf in text, latents, noise, reads or pixels
"""

__all__ = [
    "ControlError",
    "EngineError",
    "ImageError",
    "InputError",
    "ModelError",
    "NumericalError",
    "OptionError",
    "OutOfMemoryError",
    "PluginError",
    "PortError",
    "PromptError",
    "ScumbleError",
    "UnsupportedError",
]


class ScumbleError(Exception):
    """Base of every error that Scumble raises on purpose; the command line exits with code 2."""


class InputError(ScumbleError):
    """Something the user gave cannot be used."""


class ImageError(InputError):
    """A picture or mask file cannot be used."""


class PromptError(InputError):
    """A prompt, or a word asked for in it, cannot be used."""


class OptionError(InputError):
    """A setting is unknown, out of range or contradicts another."""


class ModelError(InputError):
    """A model folder, pack or name cannot be used."""


class PluginError(ScumbleError):
    """A plugin cannot be loaded, or broke during a run."""


class EngineError(ScumbleError):
    """An engine is not installed, or failed."""


class OutOfMemoryError(EngineError):
    """The device has no memory left for a call; what it held before is as it was."""


class UnsupportedError(EngineError):
    """The plan needs an operation that this engine does not have."""


class PortError(EngineError):
    """A step was fed a port of an undeclared name, shape or dtype."""


class ControlError(ScumbleError):
    """A control was asked for and had no effect."""


class NumericalError(ScumbleError):
    """NaN or Inf appeared in text, latents, noise, reads or pixels."""
