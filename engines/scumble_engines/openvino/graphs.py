"""One graph of a pack, compiled by OpenVINO; what it is fed and what really runs are checked."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from scumble.arrays import Array
from scumble.errors import EngineError, OutOfMemoryError
from scumble_engines.openvino.runtime import runtime

__all__ = ["Computed", "Graph"]

Computed = Literal["f32", "bf16"]
"""What a graph computes in, as OpenVINO names it."""

DEVICE = "CPU"
HINT = "INFERENCE_PRECISION_HINT"
NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate", "ould not allocate")
"""How OpenVINO and the C++ library say that memory ran out."""
WAVES = {"Sin", "Cos"}
WEIGHTED = {"Convolution", "GroupConvolution", "MatMul"}


class Graph:
    """A compiled graph.

    Args:
        path: of the ONNX file.
        computed: precision to compute in.
        threads: None leaves OpenVINO's default, one a core.

    Raises:
        EngineError: it cannot be read or compiled, or would run as something else than was asked.
        OutOfMemoryError: there is no memory for it.
    """

    def __init__(self, path: Path, computed: Computed, threads: int | None) -> None:
        self.name = path.name
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned, the threads of two processes share the first cores and leave the others idle.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        core = runtime.Core()
        try:
            model = core.read_model(path)
            self._shapes = {i.node.get_friendly_name(): _shape(i) for i in model.inputs}
            angles = _take_out_angles(model) if computed == "bf16" else None
            parts = [(angles, "f32")] if angles is not None else []
            compiled = [
                (core.compile_model(part, DEVICE, {**options, HINT: precision}), precision)
                for part, precision in (*parts, (model, computed))
            ]
        # openvino raises RuntimeError, and classes of its readers that have no common base.
        except Exception as error:
            what = f"openvino {runtime.__version__} cannot load {path.name}"
            advice = "update openvino, or export the model anew with --opset 21."
            raise _told(error, what, advice) from error
        for part, precision in compiled:
            _require_running(path.name, part, precision)
        self._requests = [part.create_infer_request() for part, _ in compiled]

    @property
    def shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Input name -> shape, None where any size is taken."""
        return self._shapes

    def __call__(self, feed: Mapping[str, object]) -> dict[str, Array]:
        """Run it once.

        Args:
            feed: name -> array.

        Returns:
            Output name -> array, the caller's own.

        Raises:
            EngineError: the feed is not what the graph takes, or running it failed.
            OutOfMemoryError: memory ran out.
        """
        arrays = {name: np.asarray(value) for name, value in feed.items()}
        self._require_fed(arrays)
        try:
            outputs: dict[str, Array] = {}
            for request in self._requests:
                outputs = _infer(request, {**arrays, **outputs})
        except Exception as error:  # as above
            advice = "export the model anew."
            raise _told(error, f"openvino could not run {self.name}", advice) from error
        return outputs

    def _require_fed(self, arrays: Mapping[str, Array]) -> None:
        """Raise unless names and shapes fit.

        OpenVINO computes with what it was fed last where an input is left out, and takes a wrong
        shape without a word.
        """
        odd = sorted(arrays.keys() ^ self._shapes.keys())
        if odd:
            side = "lacks" if odd[0] in arrays else "wants"
            raise EngineError(
                f"{self.name} {side} the port {odd[0]!r}, so it is not the graph that its manifest "
                "describes; export the model anew."
            )
        for name, wanted in self._shapes.items():
            given = arrays[name].shape
            fits = len(given) == len(wanted) and all(
                size in (None, own) for size, own in zip(wanted, given, strict=True)
            )
            if not fits:
                raise EngineError(
                    f"{self.name} takes {name!r} as {wanted}, None being any size, and was given "
                    f"{given}; export the model anew."
                )


def _infer(request: Any, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Run one request with those arrays that it takes; return output name -> array.

    A compiled port carries, beside its own name, those of the casts that were folded into it, in
    no order: which of them `any_name` gives differs between machines.
    """
    fed = {port: arrays[(port.names & arrays.keys()).pop()] for port in request.model_inputs}
    found = request.infer(fed)
    return {name: value for port, value in found.items() for name in port.names}


def _shape(port: Any) -> tuple[int | None, ...]:
    return tuple(None if d.is_dynamic else d.get_length() for d in port.partial_shape)


def _require_running(name: str, compiled: Any, computed: str) -> None:
    """Raise unless a graph was compiled for the device and precision that were asked for."""
    device = ",".join(compiled.get_property("EXECUTION_DEVICES"))
    precision = compiled.get_property(HINT).to_string()
    if (device, precision) != (DEVICE, computed):
        raise EngineError(
            f"openvino runs {name} on {device} in {precision} though {DEVICE} and {computed} were "
            "asked for; use precision 'fp32', or engine 'onnxruntime'."
        )


def _take_out_angles(model: Any) -> Any:
    """Take the sines and cosines of timesteps out of a model; return a model of them, or None.

    In bf16 a timestep of 515 is rounded to 516, and its sine is another number: on a tiny UNet of
    random weights the noise was then off by 7 %, and by 1 % with this done in float32.
    """
    waves = [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() in WAVES and not WEIGHTED & _kinds(_before([node]))
    ]
    if not waves:
        return None
    stand_ins: list[Any] = []
    for number, wave in enumerate(waves):
        output, name = wave.output(0), f"angle.{number}"
        stand_in = runtime.op.Parameter(output.get_element_type(), output.get_partial_shape())
        output.set_names({name})
        stand_in.output(0).set_names({name})
        for taker in output.get_target_inputs():
            taker.replace_source_output(stand_in.output(0))
        stand_ins.append(stand_in)
    needed = _before(waves)
    angles = runtime.Model(
        [wave.output(0) for wave in waves],
        [p for p in model.get_parameters() if p.get_name() in needed],
    )
    model.add_parameters(stand_ins)
    left = _before(model.get_results())
    for parameter in model.get_parameters():
        if parameter.get_name() in needed and parameter.get_name() not in left:
            model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
    return angles


def _before(nodes: Iterable[Any]) -> dict[str, Any]:
    """Return nodes and all that they depend on, by their unique names."""
    found: dict[str, Any] = {}
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node.get_name() not in found:
            found[node.get_name()] = node
            todo += [given.get_source_output().get_node() for given in node.inputs()]
    return found


def _kinds(nodes: Mapping[str, Any]) -> set[str]:
    return {node.get_type_name() for node in nodes.values()}


def _told(error: Exception, what: str, advice: str) -> EngineError:
    """Return what the runtime raised as one of ours; it tells lack of memory by its text alone."""
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY):
        return OutOfMemoryError(
            f"{what}: memory ran out; free some, or edit fewer targets at once."
        )
    return EngineError(f"{what} ({_cause(error)}); {advice}")


def _cause(error: Exception) -> str:
    """Return the first line of an error that says something: openvino begins with its own files."""
    noise = ("Exception from ", "Check '", "FrontEnd API failed", "Model wasn't fully converted")
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(noise)]
    return cast("str", (said or [type(error).__name__])[0]).rstrip(".:")
