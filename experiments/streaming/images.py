#!/usr/bin/env python3
"""Writes PNG files of 64x64 RGB in class folders: images.py FOLDER TRAIN TEST.

Ten classes, each a colour and a direction of a wave under noise, from a fixed seed. Only the standard
library is used.
"""

import math
import random
import struct
import sys
import zlib
from pathlib import Path

SIDE = 64
CLASSES = 10


def png(rows):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def waves(label):
    """For each phase the rows of a class, before noise."""
    angle = math.pi * label / CLASSES
    colour = [128 + 40 * math.cos(2 * math.pi * (label / CLASSES + c / 3)) for c in range(3)]
    for phase in range(8):
        rows = []
        for y in range(SIDE):
            row = bytearray()
            for x in range(SIDE):
                at = 0.4 * (x * math.cos(angle) + y * math.sin(angle)) + phase
                row.extend(int(c + 40 * math.sin(at)) & 0xF0 for c in colour)
            rows.append(int.from_bytes(row, "little"))
        yield rows


def main():
    folder, counts = Path(sys.argv[1]), {"train": int(sys.argv[2]), "test": int(sys.argv[3])}
    rng = random.Random(0)
    clean = [list(waves(label)) for label in range(CLASSES)]
    # Noise in the low four bits, so that adding it carries nothing.
    low = int.from_bytes(b"\x0f" * (3 * SIDE), "little")
    for split, count in counts.items():
        for label in range(CLASSES):
            (folder / split / str(label)).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            label = i % CLASSES
            noise = [rng.getrandbits(24 * SIDE) & low for _ in range(SIDE)]
            rows = [(a | b).to_bytes(3 * SIDE, "little") for a, b in zip(rng.choice(clean[label]), noise)]
            (folder / split / str(label) / f"{i:06}.png").write_bytes(png(rows))


main()
