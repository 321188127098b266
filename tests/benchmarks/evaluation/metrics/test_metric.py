"""What is known of the metrics before anything is loaded."""

import subprocess
import sys

from scumble_bench.evaluation.metrics.metric import FILES, METRICS


def test_tables_show_values_as_the_published_one_does():
    scales = {name: facts.scale for name, facts in METRICS.items()}
    assert scales == {
        "structure": 1e3,
        "psnr": 1,
        "lpips": 1e3,
        "mse": 1e4,
        "ssim": 1e2,
        "clip_whole": 1,
        "clip_edited": 1,
    }
    for facts in METRICS.values():
        assert facts.label.endswith(f" x1e{len(str(int(facts.scale))) - 1}") == (facts.scale != 1)


def test_an_edit_is_better_where_distances_are_small():
    small = [name for name, facts in METRICS.items() if facts.better == "lower"]
    assert small == ["structure", "lpips", "mse"]


def test_every_need_is_described():
    assert {need for facts in METRICS.values() for need in facts.needs} == set(FILES)


def test_naming_metrics_loads_no_runtime():
    code = (
        "import sys, scumble_bench.evaluation.metrics.loading, "
        "scumble_bench.evaluation.metrics.averages; "
        "print({'torch', 'torchmetrics', 'transformers'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"
