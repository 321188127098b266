"""Steps made for one shape: compiled with inductor, or captured as CUDA graphs.

A form is made when its ports and shapes come for the second time, so that what runs once (a probe,
the first step) costs no compilation. When it is made, it is compared with the plain step on random
inputs, every port in force: one that it left out, or took for a constant, would differ.
"""

import contextlib
import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx import Node

from scumble.engine import Mode
from scumble.errors import ControlError, EngineError
from scumble_engines.torch.memory import is_out_of_memory
from scumble_engines.torch.ported import PortedUNet, Visits

__all__ = ["CapturedStep", "FastSteps", "compiled_step"]

Function: TypeAlias = Callable[..., tuple[Tensor, ...]]

BACKEND = "inductor"
MOST = 16
"""Forms kept; the one used longest ago goes first."""
WARM_UPS = 3
# Largest difference to the plain step, as a share of its size, by the UNet's precision. A compiler
# rounds at other places: two bf16 UNets are 1.4e-2 apart; TF32 has 10 bits where bf16 has 8.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True, slots=True)
class _Form:
    run: Function
    visits: Visits


class FastSteps:
    """The steps of one loaded UNet in the forms that were made of them.

    Args:
        mode: `compile` or `graph`.
        make: makes a form of a module and example inputs; None takes what the mode says.
        most: forms kept.
    """

    def __init__(
        self,
        mode: Mode,
        make: Callable[[PortedUNet, tuple[Tensor, ...]], Function] | None = None,
        most: int = MOST,
    ) -> None:
        self._mode = mode
        self._make = make or (compiled_step if mode == "compile" else self._captured)
        self._most = most
        self._seen: set[object] = set()
        self._forms: OrderedDict[object, _Form] = OrderedDict()
        self._pool: Any = None

    def __len__(self) -> int:
        return len(self._forms)

    def clear(self) -> None:
        """Drop every form; what comes next runs as it is once more."""
        self._seen.clear()
        self._forms.clear()
        self._pool = None

    def run(
        self, module: PortedUNet, inputs: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], Visits]:
        """Return the outputs of a step, and what its sites applied.

        Args:
            module: the step as it is.
            inputs: of the module.

        Raises:
            EngineError: the form cannot be made.
            ControlError: it computes something else than the step.
        """
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        key = (module.signature, shapes)
        form = self._forms.get(key)
        if form is not None:
            self._forms.move_to_end(key)
            return form.run(*inputs), form.visits
        outputs = module(*inputs)
        visits = module.visits
        if key in self._seen:
            run = self._made(module, inputs)
            if run is not None:
                self._forms[key] = _Form(run, visits)
            while len(self._forms) > self._most:
                self._forms.popitem(last=False)
        self._seen.add(key)
        return outputs, visits

    def _made(self, module: PortedUNet, inputs: tuple[Tensor, ...]) -> Function | None:
        """Return the form for inputs like these, or None where the plain step gives NaN."""
        given = _in_force(module.signature.inputs, inputs)
        wanted = module(*given)
        if not all(bool(output.isfinite().all()) for output in wanted):
            return None
        try:
            run = self._make(module, inputs)
            found = run(*given)
        except ControlError:
            raise
        # Compilers raise classes of their own, with no common base but this.
        except Exception as error:
            if is_out_of_memory(error):
                raise
            said = str(error).strip().partition("\n")[0].rstrip(".")
            raise EngineError(
                f"mode {self._mode!r} could not make a form of this step ({said}); use mode "
                "'eager'."
            ) from error
        allowed = TOLERANCE[next(module.unet.parameters()).dtype]
        for name, mine, theirs in zip(module.signature.outputs, found, wanted, strict=True):
            size, apart = theirs.float().norm(), (mine - theirs).float().norm()
            if not apart <= allowed * size:
                raise ControlError(
                    f"mode {self._mode!r} computes {name!r} otherwise than mode 'eager', by "
                    f"{float(apart / size):.1e} of its size, so that a control may have no effect; "
                    "use mode 'eager'."
                )
        return run

    def _captured(self, module: PortedUNet, inputs: tuple[Tensor, ...]) -> Function:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return CapturedStep(module, inputs, self._pool)


def compiled_step(module: PortedUNet, inputs: tuple[Tensor, ...]) -> Function:
    """Return the module compiled for these shapes.

    Traced first, as for an export, and not by the compiler: that would compile the bookkeeping of
    the processors too, and give up on a code object after a few shapes.
    """
    with _hushed():
        # A trace cannot hold tensors of inference mode; what it gives runs in that mode.
        with torch.inference_mode(False), torch.no_grad():
            examples = tuple(tensor.clone() for tensor in inputs)
            program = torch.export.export(module, examples, strict=False)
        _require_used(program, module)
        compiled: Function = torch.compile(
            program.module(), dynamic=False, fullgraph=True, backend=BACKEND
        )
        compiled(*inputs)
    return compiled


class CapturedStep:
    """A module as a CUDA graph: inputs are copied into its buffers, outputs out of them.

    Args:
        module: on a CUDA device.
        inputs: examples; every later call has their shapes.
        pool: memory shared with other graphs; they run one after the other, on one stream, and
            keep nothing there between calls.
    """

    def __init__(self, module: PortedUNet, inputs: tuple[Tensor, ...], pool: Any) -> None:
        device = inputs[0].device
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        with torch.cuda.device(device):
            side = torch.cuda.Stream(device)
            side.wait_stream(torch.cuda.current_stream(device))
            # Libraries choose kernels and take workspaces in their first runs, which a capture
            # cannot hold; on another stream, for a capture is not made on the default one.
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    module(*self._inputs)
            torch.cuda.current_stream(device).wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=pool):
                self._outputs = module(*self._inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the module's outputs for inputs of the shapes it was made for."""
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


def _require_used(program: torch.export.ExportedProgram, module: PortedUNet) -> None:
    """Raise ControlError if an input does not reach an output: it was ignored, or is a constant."""
    nodes = {node.name: node for node in program.graph.nodes}
    reached: set[Node] = set()
    waiting = [node for node in program.graph.nodes if node.op == "output"]
    while waiting:
        reached.update(waiting)
        waiting = list({n for node in waiting for n in node.all_input_nodes} - reached)
    names = zip(module.signature.inputs, program.graph_signature.user_inputs, strict=True)
    # A read of no site has nothing to give.
    exempt = () if module.signature.read_sites else ("read.weights", "read.sites")
    for port, name in names:
        if nodes[str(name)] not in reached and port not in exempt:
            raise ControlError(
                f"port {port!r} has no effect on the compiled step; use mode 'eager'."
            )


def _in_force(names: tuple[str, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return random inputs of the same shapes: weights and gates from 0 to 1, indices of rows."""
    rows = len(inputs[0])
    random = torch.Generator(inputs[0].device).manual_seed(0)
    made: list[Tensor] = []
    for name, given in zip(names, inputs, strict=True):
        one = torch.rand(given.shape, generator=random, device=given.device)
        if not given.is_floating_point():
            # What attention can address has the replayed source after the rows.
            replayed = name in ("route", "mix.row") and "source.text" in names
            one = one * (rows + replayed)
        made.append(one.to(given.dtype))
    return tuple(made)


@contextlib.contextmanager
def _hushed() -> Generator[None]:
    """Keep what the tracer and the compiler say of themselves off the user's terminal."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their own deprecations, none of them ours
            yield
    finally:
        log.setLevel(level)
