"""What a command is going to write: checked before the work begins, written whole or not at all."""

import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from PIL import Image

from scumble.errors import OptionError

__all__ = ["check_folder", "check_outputs", "result_paths", "slugs", "write_beside"]


def result_paths(out: Path, count: int) -> list[Path]:
    """Return where `Run.save` puts the pictures of a run."""
    further = [out.with_name(f"{out.stem}-{n}{out.suffix}") for n in range(2, count + 1)]
    return [out, *further]


def check_outputs(outputs: Iterable[tuple[str, Path]], inputs: Iterable[Path | None] = ()) -> None:
    """Refuse what cannot be written, or would overwrite something that is still needed.

    Args:
        outputs: (flag, path) pairs, each a PNG.
        inputs: files that are read.

    Raises:
        OptionError: no .png, no such folder, a folder in the way, or a path named twice.
    """
    taken = {_real(path): f"the file that is read, {path}" for path in inputs if path is not None}
    for flag, path in outputs:
        if path.suffix.lower() != ".png":
            raise OptionError(f"{flag} is '{path}'; name it .png.")
        _check_parent(flag, path)
        if path.is_dir():
            raise OptionError(f"{flag} is '{path}', which is a folder; name a file in it.")
        real = _real(path)
        if real in taken:
            raise OptionError(f"{flag} is '{path}', which is {taken[real]}; name another file.")
        taken[real] = f"written by {flag} too"


def check_folder(flag: str, folder: Path) -> None:
    """Refuse a folder that neither exists nor can be made.

    Raises:
        OptionError: a file in the way, or no folder to make it in.
    """
    if folder.exists():
        if not folder.is_dir():
            raise OptionError(f"{flag} is '{folder}', which is a file; name a folder.")
        _check_parent(flag, folder / "in")
    else:
        _check_parent(flag, folder)


def write_beside(pictures: Mapping[Path, Image.Image], saved: Iterable[Path] = ()) -> None:
    """Write PNGs without recipes, all or none.

    Args:
        pictures: path -> what to write there.
        saved: results they belong to, written already, which go too if this fails.

    Raises:
        OptionError: one cannot be written; those written before it are gone.
    """
    written = list(saved)
    for path, image in pictures.items():
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        encoded = BytesIO()
        image.save(encoded, "PNG")
        try:
            part.write_bytes(encoded.getvalue())
            os.replace(part, path)
            written.append(path)
        except BaseException as error:
            for leftover in (part, *written):
                with suppress(OSError):
                    leftover.unlink()
            if isinstance(error, OSError):
                raise OptionError(f"'{path}' cannot be written ({error.strerror}).") from error
            raise


def slugs(words: Sequence[str]) -> list[str]:
    """Return a file name for each word or phrase, all different, without suffix."""
    names: list[str] = []
    for word in words:
        plain = re.sub(r"[^\w]+", "-", word).strip("-")[:60] or "word"
        same = sum(name == plain or name.startswith(f"{plain}--") for name in names)
        names.append(f"{plain}--{same + 1}" if same else plain)
    return names


def _check_parent(flag: str, path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise OptionError(f"{flag} is '{path}', and there is no folder '{folder}'; make it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OptionError(f"{flag} is '{path}', and you may not write to '{folder}'.")


def _real(path: Path) -> str:
    return os.path.realpath(path)
