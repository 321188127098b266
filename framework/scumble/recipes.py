"""The recipe inside a result: a PNG that says how it was made.

One iTXt chunk named `scumble` holds canonical JSON, so any PNG tool can show it. Reading walks over
the chunks of the file and never decodes its pixels.
"""

import json
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scumble.errors import ImageError, OptionError
from scumble.pixels import described

__all__ = ["FORMAT", "MAX_CHUNK", "MAX_TEXT", "read_recipe", "write_picture"]

FORMAT = 1
MAX_CHUNK = 1 << 20  # bytes; what is longer is not read
MAX_TEXT = MAX_CHUNK - 1024  # leaves room for what the chunk needs beside the text
KEYWORD = "scumble"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
# In an iTXt chunk follow: compressed or not, method, language NUL, translated keyword NUL, text.
PREFIX = KEYWORD.encode() + b"\0"


def write_picture(path: str | Path, pixels: NDArray[np.uint8], recipe: Mapping[str, Any]) -> None:
    """Write a PNG that holds its recipe; on any error the folder is left as it was.

    Args:
        path: a file in an existing folder, ending in `.png`; replaced if it exists.
        pixels: (h, w, 3) uint8.
        recipe: what JSON can hold; `"recipe": 1`, the format, is added.

    Raises:
        OptionError: another suffix, a folder that is missing or cannot be written, or a recipe
            that is no JSON or too long.
        ImageError: pixels of another shape or dtype.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise OptionError(
            f"a result is a PNG, for it holds its recipe; name it .png, not '{path}'."
        )
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ImageError(f"a result is uint8 of shape (h, w, 3); got {described(pixels)}.")
    info = PngInfo()
    info.add_itxt(KEYWORD, _text(recipe))
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", pnginfo=info)
    try:
        _replace(path, encoded.getvalue())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(
            f"'{path}' cannot be written ({reason}); name a file in an existing folder "
            "that you may write to."
        ) from error


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Return the recipe that `write_picture` put into a PNG, with `"recipe": 1` in it.

    Raises:
        ImageError: no file, no PNG, cut off, no recipe in it, or one this version cannot read.
    """
    name = f"'{path}'"
    try:
        if not Path(path).is_file():
            raise ImageError(f"{name} does not exist or is no file; give a PNG that Scumble wrote.")
        with Path(path).open("rb") as file:
            data = _packed_recipe(file, name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{name} cannot be read ({reason}); check the path.") from error
    return _parsed(data, name)


def _text(recipe: Mapping[str, Any]) -> str:
    """Return canonical JSON: sorted keys, no spaces, ASCII (a path may hold half a character)."""
    if recipe.get("recipe", FORMAT) != FORMAT:
        raise OptionError(
            f"the key 'recipe' of a recipe is its format, {FORMAT}; got {recipe['recipe']!r}."
        )
    whole = {**recipe, "recipe": FORMAT}
    try:
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionError(
            f"the recipe cannot be written as JSON ({error}); use plain numbers, strings and lists."
        ) from error
    if len(text) > MAX_TEXT:
        raise OptionError(
            f"the recipe has {len(text)} bytes; the limit is {MAX_TEXT}: leave something out."
        )
    return text


def _replace(path: Path, data: bytes) -> None:
    """Put the bytes at the path whole or not at all, with the permissions of a new file."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _chunks(file: BinaryIO, name: str) -> Iterator[tuple[bytes, int]]:
    """Yield type and length of each chunk, with the file at the start of its data."""
    kind = b""
    while kind != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            raise ImageError(f"{name} is cut off; save or download it again.")
        kind, length = head[4:], int.from_bytes(head[:4], "big")
        end = file.tell() + length + 4
        yield kind, length
        file.seek(end)


def _packed_recipe(file: BinaryIO, name: str) -> bytes:
    """Return the data of the chunk `scumble`, after its keyword."""
    if file.read(8) != SIGNATURE:
        raise ImageError(f"{name} is no PNG, and only a PNG that Scumble wrote holds a recipe.")
    for kind, length in _chunks(file, name):
        left = length - len(PREFIX)
        if kind != b"iTXt" or left < 0 or file.read(len(PREFIX)) != PREFIX:
            continue
        if length > MAX_CHUNK:
            raise _too_long(name)
        data = file.read(left)
        if zlib.crc32(kind + PREFIX + data).to_bytes(4, "big") != file.read(4):
            raise _damaged(name, "its checksum is wrong")
        return data
    raise ImageError(
        f"{name} holds no recipe: Scumble did not write it, or a program that saved it again "
        "dropped the recipe; use the file that Scumble wrote."
    )


def _unpacked(data: bytes, name: str) -> bytes:
    """Return the text; another program may have compressed it, so at most MAX_TEXT of it."""
    compressed = data[:1] == b"\1"
    _, _, text = data[2:].split(b"\0", 2)  # too few parts are a ValueError, as bad JSON is
    if not compressed:
        return text
    text = zlib.decompressobj().decompress(text, MAX_TEXT + 1)
    if len(text) > MAX_TEXT:
        raise _too_long(name)
    return text


def _parsed(data: bytes, name: str) -> dict[str, Any]:
    try:
        recipe: Any = json.loads(_unpacked(data, name), parse_constant=_no_constant)
    except (ValueError, RecursionError, zlib.error) as error:
        raise _damaged(name, str(error)) from error
    version = cast("dict[str, Any]", recipe).get("recipe") if isinstance(recipe, dict) else None
    if type(version) is not int:
        raise _damaged(name, "it names no format")
    if version != FORMAT:
        raise ImageError(
            f"the recipe in {name} has format {version}, this version of Scumble reads {FORMAT}; "
            "update Scumble."
        )
    return cast("dict[str, Any]", recipe)


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _damaged(name: str, reason: str) -> ImageError:
    return ImageError(f"the recipe in {name} is damaged ({reason}); use the file Scumble wrote.")


def _too_long(name: str) -> ImageError:
    return ImageError(
        f"the recipe in {name} has more than {MAX_TEXT} bytes, which is the limit; "
        "use the file Scumble wrote."
    )
