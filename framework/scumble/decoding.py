"""Picture files made into 8-bit RGB: everything that depends on Pillow and on file formats.

Nothing is guessed in silence: what can change the look of a picture leaves a note, and what would
have to be invented (missing data, one frame of many) is refused with one sentence.
"""

import re
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageFile, UnidentifiedImageError

from scumble.errors import ImageError

__all__ = ["MAX_ASPECT", "MAX_MEGAPIXELS", "Decoded", "check_size", "decode"]

MAX_MEGAPIXELS = 64.0
MAX_ASPECT = 32

# An allow-list: among Pillow's other readers is one that starts Ghostscript (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "TIFF", "BMP", "GIF", "PPM")
FORMATS_IN_WORDS = "PNG, JPEG, WebP, AVIF, JPEG 2000, TIFF, BMP, GIF or PPM"

# EXIF orientation: what turns the stored picture upright (EXIF 2.32, tag 0x0112).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION_TAG = 0x0112

# Pillow's names for 16 bits a channel in colour, of which it keeps the upper 8.
SIXTEEN_BITS = re.compile(r"\b(RGB[AaX]?|LA);16[BLN]")

_PILLOW = threading.RLock()


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture in 8-bit RGB, upright.

    Attributes:
        image: mode RGB, no longer tied to any file.
        notes: one sentence for each conversion that can change the look.
    """

    image: Image.Image
    notes: tuple[str, ...]


def decode(
    source: str | Path | Image.Image,
    *,
    what: str = "picture",
    background: int = 255,
    colour: bool = True,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Decoded:
    """Return the picture in 8-bit RGB, upright, with notes on what was converted.

    Args:
        source: a file, or a Pillow image (which is left as it was).
        what: what errors call it, "picture" or "mask".
        background: grey level, 0 to 255, that shows through transparent places.
        colour: whether an embedded ICC profile is applied; a mask is data and has none.
        max_megapixels: larger headers are refused before any pixel is decoded. Pillow's own
            (179, twice `PIL.Image.MAX_IMAGE_PIXELS`) stays in force beside it.

    Raises:
        ImageError: missing, unreadable, no picture, cut off, animated, too large or too narrow.
    """
    if isinstance(source, Image.Image):
        with _strict_pillow():
            return _convert(source, f"the {what} given", background, colour, max_megapixels)
    name = f"{what} {str(source)!r}"
    path = _existing_file(source, name)
    with _strict_pillow():
        Image.init()
        formats = [known for known in FORMATS if known in Image.OPEN]
        try:
            with path.open("rb") as file, Image.open(file, formats=formats) as image:
                return _convert(image, name, background, colour, max_megapixels)
        except ImageError:
            raise
        except UnidentifiedImageError:
            raise ImageError(
                f"{name} is not a picture in a known format; give a {FORMATS_IN_WORDS} file."
            ) from None
        except Image.DecompressionBombError:
            raise ImageError(
                f"{name} claims to be far larger than {max_megapixels:g} megapixels, which is "
                "the limit; scale it down first."
            ) from None
        except PermissionError as error:
            raise ImageError(
                f"{name} cannot be read ({error.strerror}); check its permissions."
            ) from None
        except Exception as error:  # a broken file makes Pillow raise almost anything
            raise _broken(name, error) from error


def check_size(width: int, height: int, name: str, max_megapixels: float = MAX_MEGAPIXELS) -> None:
    """Refuse a picture without pixels, one that is too large, and one that is too narrow.

    Raises:
        ImageError: with the size found and the limit.
    """
    size = f"{width}x{height} pixels"
    if min(width, height) < 1:
        raise ImageError(f"{name} is empty ({size}); give one with at least one pixel.")
    if width * height > max_megapixels * 1e6:
        raise ImageError(
            f"{name} has {size}, more than the limit of {max_megapixels:g} megapixels; "
            "scale it down first."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"{name} has {size}, narrower than 1:{MAX_ASPECT}; crop it to the part to edit."
        )


@contextmanager
def _strict_pillow() -> Generator[None]:
    """Let Pillow neither warn nor fill in missing data, whatever the process has set.

    Both settings belong to the whole process, so pictures are decoded one at a time.
    """
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fill_in = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = fill_in


def _existing_file(source: str | Path, name: str) -> Path:
    """Return the path if a plain file is there, so that no device or pipe is ever opened."""
    if not str(source).strip():
        raise ImageError(f"{name} has an empty path; give the path of a picture file.")
    path = Path(source)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{name} cannot be read ({reason}); check the path.") from None
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no plain file"
        raise ImageError(f"{name} is {kind}; give the path of a picture file.")
    if not size:
        raise ImageError(f"{name} is an empty file; save or download it again.")
    return path


def _broken(name: str, error: Exception) -> ImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name} is damaged or cut off ({reason}); save or download it again.")


def _convert(
    image: Image.Image, name: str, background: int, colour: bool, max_megapixels: float
) -> Decoded:
    """Check what the header says, then decode and convert."""
    check_size(image.width, image.height, name, max_megapixels)
    notes: list[str] = []
    if getattr(image, "is_animated", False) or getattr(image, "n_frames", 1) > 1:
        if getattr(image, "format", None) != "MPO":
            raise ImageError(
                f"{name} holds several frames or pages; save the one to use as a PNG of its own."
            )
        notes.append("Several pictures in one JPEG (MPO): the first was taken.")
    if SIXTEEN_BITS.search(str(getattr(image, "tile", ""))):
        notes.append("Colours reduced from 16 to 8 bits.")
    try:
        image.load()
        upright = UPRIGHT.get(_orientation(image, notes))
        rgb = _rgb(image, name, background, colour, notes)
    except ImageError:
        raise
    except Exception as error:  # see decode; a Pillow image given may be read only now
        raise _broken(name, error) from error
    if upright is not None:
        rgb = rgb.transpose(upright)
        notes.append("Turned upright as its EXIF orientation says.")
    return Decoded(rgb, tuple(notes))


def _orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        value: Any = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged metadata, undamaged picture
        notes.append("EXIF data could not be read and was ignored.")
        return 1
    return value if isinstance(value, int) else 1


def _rgb(
    image: Image.Image, name: str, background: int, colour: bool, notes: list[str]
) -> Image.Image:
    """Return mode RGB: depth first, then colour, then transparency."""
    profile = image.info.get("icc_profile") if colour else None
    alpha = None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image, name, notes)
    elif image.has_transparency_data:
        opaque = image.convert("RGBA")
        alpha = opaque.getchannel("A")
        image = image.convert("L") if image.mode in ("L", "LA") else opaque.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode == "CMYK":
        notes.append("CMYK converted to RGB.")
    rgb = _srgb(image, profile, notes) if profile else image.convert("RGB")
    if alpha is not None and np.asarray(alpha).min() < 255:
        tone = {255: "white", 0: "black"}.get(background, f"grey {background}")
        notes.append(f"Transparent places filled with {tone}.")
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, (background,) * 3), alpha)
    return rgb


def _eight_bits(image: Image.Image, name: str, notes: list[str]) -> Image.Image:
    """Return mode L from a deeper grey picture, scaled over the full range of its kind.

    Full range: 0..65535 for 16 bits, and for 32-bit integers that fit in it; 0..1 for floats that
    fit, else 0..255 if they fit in that; for anything else from its least value to its greatest.
    """
    raw = np.asarray(image)
    values = raw.astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError(f"{name} holds NaN or infinite pixels; repair it and save it again.")
    low, high = float(values.min()), float(values.max())
    candidates = (1.0, 255.0) if raw.dtype.kind == "f" else (65535.0,)
    fitting = [top for top in candidates if low >= 0 and high <= top]
    if fitting:
        low, high = 0.0, fitting[0]
    elif low == high:
        low, high = min(low, 0.0), max(high, 0.0)
    notes.append(f"Grey of mode {image.mode} scaled from {low:g}..{high:g} to 8 bits.")
    return Image.fromarray(np.rint((values - low) / (high - low) * 255).astype(np.uint8))


def _srgb(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    """Return mode RGB in sRGB, or the plain conversion and a note if the profile is of no use."""
    kind = {"1": "GRAY", "L": "GRAY", "CMYK": "CMYK"}.get(image.mode, "RGB")
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        title = ImageCms.getProfileDescription(source).strip()
        space = str(cast("Any", source).profile.xcolor_space).strip()
        if space != kind:
            raise ValueError(f"it describes {space}, the picture is {kind}")
        target = cast("Any", ImageCms).createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        if converted is None:
            raise ValueError("no picture came back")
        plain = image.convert("RGB")
        differences = ImageChops.difference(converted, plain).getextrema()
        if max(cast("Any", differences))[1] <= 1:  # sRGB already: keep its exact values
            return plain
    except Exception as error:  # damaged profiles raise many kinds; the picture is still good
        reason = " ".join(str(error).split()) or type(error).__name__
        notes.append(f"ICC profile not applied: {reason}.")
        return image.convert("RGB")
    notes.append(f"Colours converted from ICC profile {title!r} to sRGB.")
    return converted
