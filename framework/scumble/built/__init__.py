"""The cache of built engines: plans and blobs that a runtime took seconds to minutes to build.

A key names everything that determines the bytes, an entry is one file that proves what is in it,
and whatever is wrong with the cache costs a build and a sentence, never a run.
"""

from scumble.built.folder import cache_budget, cache_folder
from scumble.built.key import BuildKey
from scumble.built.shelf import Entry, Usage
from scumble.built.store import Built, BuiltCache

__all__ = [
    "BuildKey",
    "Built",
    "BuiltCache",
    "Entry",
    "Usage",
    "cache_budget",
    "cache_folder",
]
