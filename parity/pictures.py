#!/usr/bin/env python3
"""Right pixel values of the pictures in crates/fgmf/tests/fixtures/pictures, by Pillow.

Writes values.json: for each file its shape (channels, rows, columns) and its bytes. EXIF turns are
made, transparency is blended over white. Pillow cuts 16 bits down; here a value becomes v / 257,
rounded. With --make the pictures that this script makes itself are written first: 16 bits, lossy and
animated WebP, and those that resized.json holds, which are resized by Pillow as ImageNet's usual
preparation does: the shorter side to S, the middle cut out.
"""

import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FOLDER = Path(__file__).parent.parent / "crates/fgmf/tests/fixtures/pictures"


def deep(name, kind, pixels):
    """A PNG of 16 bits a channel: Pillow writes none in colour."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (FOLDER / name).write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return np.round(pixels / 257.0).astype(np.uint8)


def scene(height, width):
    y, x = np.mgrid[:height, :width]
    wave = [np.sin(x / 3.0) * 90 + 128, np.cos(y / 4.0) * 110 + 128, (x * 7 + y * 13) % 256]
    return np.stack(wave, 2).round().astype(np.uint8)


def planes(image):
    if image.ndim == 2:
        image = image[..., None]
    shape = [image.shape[2], image.shape[0], image.shape[1]]
    return [shape, image.transpose(2, 0, 1).flatten().tolist()]


def right(path):
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        grey = image.mode == "LA"
        image = np.asarray(image.convert("RGBA")).astype(int)
        alpha = image[..., 3:]
        image = (image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
        return image[..., 0] if grey else image
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def resized(image, size, to, pillow):
    width, height = image.size
    short = min(width, height)
    scaled = [to * side // short for side in image.size]
    image = image.resize(scaled, pillow)
    corner = [round((a - size) / 2) for a in scaled]
    return image.crop((*corner, corner[0] + size, corner[1] + size))


def main():
    rng = np.random.default_rng(0)
    own = {
        "grey16.png": deep("grey16.png", 0, rng.integers(0, 65536, (6, 5))),
        "rgb16.png": deep("rgb16.png", 2, rng.integers(0, 65536, (4, 7, 3))),
    }
    if "--make" in sys.argv:
        Image.fromarray(scene(21, 34)).save(FOLDER / "lossy.webp", quality=80)
        frames = [Image.fromarray(scene(9, 11)), Image.fromarray(255 - scene(9, 11))]
        first, *more = frames
        first.save(FOLDER / "animated.webp", save_all=True, append_images=more, lossless=True)
        turned = Image.fromarray(scene(5, 8))
        exif = Image.Exif()
        exif[0x0112] = 6
        turned.save(FOLDER / "exif6.webp", lossless=True, exif=exif)
        Image.fromarray(scene(45, 61)).save(FOLDER / "scene.png")
    names = sorted(p.name for p in FOLDER.iterdir() if p.suffix != ".json")
    values = {name: planes(own.get(name, None) if name in own else right(FOLDER / name)) for name in names}
    (FOLDER / "values.json").write_text(json.dumps(values, separators=(",", ":")) + "\n")
    cases = []
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    scene_png = Image.open(FOLDER / "scene.png")
    for name, pillow in filters.items():
        for size, to in [(16, 18), (32, 36), (45, 45), (64, 73)]:
            cut = resized(scene_png, size, to, pillow)
            cases.append({"filter": name, "size": size, "shorter": to, "bytes": planes(np.asarray(cut))[1]})
        exact = scene_png.resize((20, 12), pillow)
        cases.append({"filter": name, "size": [12, 20], "bytes": planes(np.asarray(exact))[1]})
    (FOLDER / "resized.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


main()
