"""What the tests of this engine need of the machine."""

import pytest

from scumble_engines.openvino.runtime import runtime


@pytest.fixture(scope="session")
def needs_bf16() -> None:
    """Skip where the CPU does not compute in bf16."""
    if "BF16" not in runtime.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in bf16")
