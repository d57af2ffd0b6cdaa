"""Cut the class-balanced Fashion-MNIST slice that the library embeds.

    python3 parity/make_fashion_slice.py /usr/share/datasets/fashion-mnist [assets/fashion-mnist-mini]

The first 600 training and the first 100 test images of every class, in the order of the official files.
The gzip headers carry no time and no name, so the same input gives the same IDX bytes; the compressed bytes can
differ with another zlib.
"""

import gzip
import hashlib
import io
import struct
import sys
from pathlib import Path

CLASSES = 10


def read(path, magic, header):
    with gzip.open(path, "rb") as file:
        raw = file.read()
    fields = struct.unpack_from(f">{header}I", raw)
    if fields[0] != magic:
        sys.exit(f"{path}: magic {fields[0]}, expected {magic}")
    size = 1
    for field in fields[1:]:
        size *= field
    body = raw[4 * header :]
    if len(body) != size:
        sys.exit(f"{path}: {len(body)} bytes after the header, expected {size}")
    return fields[1:], body


def packed(raw):
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as file:
        file.write(raw)
    return out.getvalue()


def cut(source, target, official, name, per_class):
    (count, height, width), pixels = read(source / f"{official}-images-idx3-ubyte.gz", 2051, 4)
    (labelled,), labels = read(source / f"{official}-labels-idx1-ubyte.gz", 2049, 2)
    if count != labelled:
        sys.exit(f"{official}: {count} images, {labelled} labels")
    seen, kept = [0] * CLASSES, []
    for index, label in enumerate(labels):
        if seen[label] < per_class:
            seen[label] += 1
            kept.append(index)
    if seen != [per_class] * CLASSES:
        sys.exit(f"{official}: not enough images of each class: {seen}")
    area = height * width
    images = b"".join(pixels[i * area : (i + 1) * area] for i in kept)
    files = {
        f"{name}-images.idx.gz": struct.pack(">4I", 2051, len(kept), height, width) + images,
        f"{name}-labels.idx.gz": struct.pack(">2I", 2049, len(kept)) + bytes(labels[i] for i in kept),
    }
    for file, raw in files.items():
        data = packed(raw)
        (target / file).write_bytes(data)
        print(f"{file}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
        print(f"  unpacked: {len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")
    print(f"  first image: byte sum {sum(images[:area])}, label {labels[kept[0]]}")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    default = Path(__file__).resolve().parent.parent / "assets" / "fashion-mnist-mini"
    target = Path(sys.argv[2]) if len(sys.argv) == 3 else default
    target.mkdir(parents=True, exist_ok=True)
    cut(Path(sys.argv[1]), target, "train", "train", 600)
    cut(Path(sys.argv[1]), target, "t10k", "test", 100)


if __name__ == "__main__":
    main()
