"""Where figures come from: versions, machine, threads, commit, weights, load, date."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["commit", "cpu_features", "cpu_model", "provenance", "versions"]

PACKAGES = (
    "scumble", "numpy", "torch", "diffusers", "transformers", "onnx", "onnxruntime",
    "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx",
)  # fmt: skip
HERE = Path(__file__).resolve().parent
BUT_FIGURES = (":/", ":(top,exclude)benchmarks/results")
CPUINFO = Path("/proc/cpuinfo")
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")


def provenance(threads: int | None, weights: Mapping[str, str]) -> dict[str, Any]:
    """Return what a figure depends on beside its settings, taken now.

    Args:
        threads: that the runtimes were given; None is their own choice.
        weights: name -> sha256 of each model that is measured.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions(),
        "cpu": cpu_model(),
        "cpu_features": cpu_features(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": threads if threads is not None else "default",
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "weights_sha256": dict(weights),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package installed that can matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit(folder: Path = HERE) -> str:
    """Return the commit of the checkout around a folder, with a plus sign if files were changed.

    Figures are no such change: one measurement does not taint the next.
    """
    try:
        named = _git(folder, "describe", "--always", "--abbrev=12")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *BUT_FIGURES)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{named}+" if changed else named


def _git(folder: Path, *arguments: str) -> str:
    """Return what git says of the checkout around a folder."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def cpu_model(listing: Path = CPUINFO) -> str:
    """Return the processor's name, as the system gives it."""
    return _listed("model name", listing) or platform.processor() or platform.machine()


def cpu_features(listing: Path = CPUINFO) -> list[str]:
    """Return which of the instruction sets that matter here the processor has, where it says."""
    flags = set(_listed("flags", listing).split())
    return [name for name in FEATURES if name in flags]


def _listed(key: str, listing: Path) -> str:
    """Return the first value of a key of Linux's list of processors; empty elsewhere."""
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
