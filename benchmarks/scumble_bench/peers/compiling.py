"""`torch.compile` for a peer's UNet, told to fail where it would give up in silence."""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable
from typing import Any

import torch
from torch._dynamo import config

__all__ = ["BACKEND", "torch_compiled"]

BACKEND = "inductor"
FORMS = 256
"""Of one code object. Attention is one code object at every site, and each form of it is one of a
shape; torch gives up after 8 and goes on uncompiled, which no figure would show."""


def torch_compiled(function: Callable[..., Any], backend: str = BACKEND) -> Callable[..., Any]:
    """Return what is called in place of a module or function; it compiles for what it is given.

    Whatever hinders that is raised at the call, and nothing is run uncompiled in its place.

    Args:
        function: is left as it is, and shares its weights.
        backend: of `torch.compile`.
    """
    made = torch.compile(function, backend=backend)

    def run(*args: Any, **named: Any) -> Any:
        with config.patch(
            recompile_limit=FORMS,
            accumulated_recompile_limit=8 * FORMS,
            fail_on_recompile_limit_hit=True,
        ):
            return made(*args, **named)

    return run
