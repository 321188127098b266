"""Torch's many ways of saying that memory ran out, as one error."""

import re
from collections.abc import Generator
from contextlib import contextmanager

import torch

from scumble.errors import OutOfMemoryError

__all__ = ["is_out_of_memory", "typed_memory_errors"]

# The CPU allocator's, on Linux and on Windows; CUDA's, cuBLAS's and cuDNN's.
SAID = re.compile(
    r"can't allocate memory|not enough memory|CUDA(?: error:|.*) out of memory"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
)
AMOUNT = re.compile(r"allocate ([\d.]+ ?(?:[KMGT]iB|bytes))")


@contextmanager
def typed_memory_errors() -> Generator[None]:
    """Raise OutOfMemoryError where torch, or numpy, says in its own way that memory ran out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        amount = AMOUNT.search(str(error))
        wanted = f" of {amount[1]}" if amount else ""
        raise OutOfMemoryError(
            f"torch found no memory for a tensor{wanted}; use a smaller size or a lower precision."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, or came from one that does.

    A CUDA graph that runs out of memory while it is captured fails once more when it is ended.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(seen, RuntimeError) and SAID.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
