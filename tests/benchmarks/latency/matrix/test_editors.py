from pathlib import Path

import numpy as np
import pytest

from scumble_bench.latency.matrix.editors import Editors


def test_a_model_is_loaded_once_and_freed_at_the_end(small: Path):
    with Editors("cpu", 1) as editors:
        one = editors.of(str(small), "torch", "fp32")
        assert editors.of(str(small), "torch", "fp32") is one
        assert editors.of(str(small), "torch", "fp64") is not one
        engine = one.session.engine
        assert engine.settings.threads == 1
    with pytest.raises(Exception, match="no model"):
        engine.encode_text(np.zeros((1, 40), np.int64))


def test_one_that_cannot_be_loaded_is_tried_once_and_says_why(tmp_path: Path):
    with Editors() as editors:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ModelError: no model"):
                editors.of(str(tmp_path / "nothing"), "torch", "fp32")
