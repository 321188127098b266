"""Strips: pictures side by side, each with a caption below it."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from scumble.errors import OptionError

__all__ = ["strip", "wrapped"]

PAPER = (255, 255, 255)
INK = (32, 32, 32)

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def strip(
    images: Sequence[Image.Image],
    labels: Sequence[str],
    *,
    scale: int = 1,
    font_size: int = 13,
    gap: int = 8,
) -> Image.Image:
    """Return one RGB picture: the images side by side, tops aligned, a caption below each.

    Captions are wrapped to the width of their image; a word wider than that is broken.

    Args:
        images: of any mode and size; transparent places become white.
        labels: one for each image, may be empty; a newline starts a new line.
        scale: whole factor that images are enlarged by; 2 makes 128 px images readable.
        font_size: height of the captions in pixels, not scaled.
        gap: white around and between images, in pixels.

    Raises:
        OptionError: no images, not as many labels as images, or a number out of range.
    """
    if not images or len(images) != len(labels):
        raise OptionError(
            f"a strip needs one label for each image; got {len(images)} images "
            f"and {len(labels)} labels."
        )
    for name, value, low, high in (
        ("scale", scale, 1, 16),
        ("font_size", font_size, 6, 200),
        ("gap", gap, 0, 200),
    ):
        if not low <= value <= high:
            raise OptionError(f"{name} of a strip is {low} to {high}; got {value}.")
    panels = [_panel(image, scale) for image in images]
    font = ImageFont.load_default(font_size)
    captions = [
        wrapped(label, font, panel.width) for label, panel in zip(labels, panels, strict=True)
    ]
    line = round(font_size * 1.3)
    lines = max(len(caption) for caption in captions)
    top = gap + max(panel.height for panel in panels) + (gap // 2 if lines else 0)
    width = gap + sum(panel.width + gap for panel in panels)
    sheet = Image.new("RGB", (width, top + lines * line + gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    left = gap
    for panel, caption in zip(panels, captions, strict=True):
        sheet.paste(panel, (left, gap))
        for row, text in enumerate(caption):
            spare = panel.width - font.getlength(text)
            draw.text((left + max(0, spare / 2), top + row * line), text, fill=INK, font=font)
        left += panel.width + gap
    return sheet


def _panel(image: Image.Image, scale: int) -> Image.Image:
    """Return the image in RGB, enlarged."""
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*PAPER, 255)), opaque)
    panel = image.convert("RGB")
    if scale == 1:
        return panel
    size = (panel.width * scale, panel.height * scale)
    return panel.resize(size, Image.Resampling.LANCZOS)


def wrapped(label: str, font: Font, width: int) -> list[str]:
    """Return the lines of a caption, none wider than `width` unless one character is."""
    lines: list[str] = []
    for paragraph in label.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if font.getlength(longer) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            line = word
            while len(line) > 1 and font.getlength(line) > width:
                end = _fitting(line, font, width)
                lines.append(line[:end])
                line = line[end:]
        lines.append(line)
    return lines


def _fitting(word: str, font: Font, width: int) -> int:
    """Return how many characters of the word fit, at least one."""
    ends = range(1, len(word))
    return max((end for end in ends if font.getlength(word[:end]) <= width), default=1)
