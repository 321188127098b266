"""From a graph of a pack to a built engine: parse, set the profile and the target, build.

Networks are strongly typed, so the precisions are those that the exporter wrote. Nothing here needs
a GPU unless the target is the GPU at hand, or the weights are to be left out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scumble.errors import EngineError, ModelError
from scumble_engines.tensorrt.library import Library, Log, make_log
from scumble_engines.tensorrt.monitoring import make_monitor
from scumble_engines.tensorrt.orders import Order, flags_of
from scumble_engines.tensorrt.profiles import Profile

__all__ = ["build"]

Tell = Callable[[str, float], None]


def build(library: Library, order: Order, tell: Tell = lambda _what, _share: None) -> memoryview:
    """Return a built engine, serialized.

    TensorRT can crash, and after a build that failed it is not to be used again; `worker` calls
    this in a process of its own. The parser reads the weights from the pack's one file.

    Args:
        library: what builds.
        order: which graph, and for what.
        tell: called with what is done now and the share of it that is done.

    Raises:
        ModelError: TensorRT does not read the graph.
        EngineError: it reads the graph and cannot build it for this target.
    """
    api = library.api
    logger, log = make_log(library)
    builder = _made(lambda: api.Builder(logger), order, log)
    # 10.12 needs to be told; 11 knows no other networks and ignores it.
    typed = 1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    tell("reading the graph", 0.0)
    parser = _parse(library, network, logger, order.path)
    _allow_decomposition(library, network)
    config = builder.create_builder_config()
    config.flags = sum(1 << int(getattr(api.BuilderFlag, f)) for f in flags_of(library, order))
    if order.target.capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(order.target.capability, 0)
    config.add_optimization_profile(_profiled(builder, network, order.profile))
    # Kept in a name: TensorRT does not keep it alive.
    monitor = make_monitor(library, lambda share: tell("building", share))
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{order.path.name} cannot be built for {_reason(order, log)}.")
    del network, parser, config, builder
    return memoryview(plan)


def _made(make: Callable[[], Any], order: Order, log: Log) -> Any:
    """Return a builder; `tensorrt` has none where there is no GPU, and says so in its own words."""
    try:
        return make()
    # pybind11 raises TypeError for a null pointer, and other releases RuntimeError.
    except Exception as error:
        raise EngineError(
            f"{order.path.name} cannot be built here, as TensorRT has no builder ({log.first}); "
            "tensorrt needs an NVIDIA GPU to build, tensorrt_rtx does not."
        ) from error


def _parse(library: Library, network: Any, logger: Any, path: Path) -> Any:
    """Fill the network, and return the parser, which holds its weights as long as it lives."""
    parser = library.api.OnnxParser(network, logger)
    if parser.parse_from_file(str(path)):
        return parser
    error = parser.get_error(0) if parser.num_errors else None
    if error is None or not error.node_operator():
        reason = "" if error is None else f": {_first_line(error.desc())}"
        raise ModelError(f"TensorRT cannot read {path.name}{reason}; export the model anew.")
    raise ModelError(
        f"TensorRT refuses {path.name} at node {error.node_name()!r} ({error.node_operator()}): "
        f"{_first_line(_told(error.desc()))}."
    )


def _told(text: str) -> str:
    """Return what says most in a parser's error: the line after one that only names the node."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 and lines[0].startswith("Invalid Node") else text


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].strip().rstrip(".!") if lines else "it does not say why"


def _allow_decomposition(library: Library, network: Any) -> None:
    """Let an attention be several kernels where no fused one exists, as there is none in fp32.

    Where one exists it is taken all the same: plans in fp16 come out as large with and without.
    """
    api = library.api
    kind = getattr(api, "IAttentionOutputLayer", None)
    if kind is None:
        return  # before 10.14, attention is always taken apart
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == api.LayerType.ATTENTION_OUTPUT:
            layer.__class__ = kind  # the network gives out the base class
            layer.attention.decomposable = True


def _profiled(builder: Any, network: Any, rows: Profile) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        port = network.get_input(index)
        shape = tuple(port.shape)
        axes = [port.get_dimension_name(axis) for axis in range(len(shape))]
        shapes = rows.shapes(port.name, shape, axes)
        if shapes is not None:
            profile.set_shape(port.name, *shapes)
    return profile


def _reason(order: Order, log: Log) -> str:
    """Return the target, and what went wrong there."""
    if order.stripped and "CUDA_SUCCESS" in log.first:
        return (
            f"{order.target.name} without its weights, for which TensorRT needs a GPU; build it "
            "with them"
        )
    return f"{order.target.name}: {log.first.rstrip('.')}"
