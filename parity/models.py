"""Which models of torchvision and timm are read as PyTorch exports them, and how well they agree.

Every model has random weights from a fixed seed and batch statistics of random images, runs in
eval mode, and is exported in the ways of `WAYS`: by both exporters, with operator sets 13 to 23,
with the batch fixed at 1 and free. Nothing else is changed, so the default exporter leaves the
weights in a file beside the model. FGMF (`fgmf predict`) and ONNX Runtime see the same two images
of random bytes, ONNX Runtime one at a time. "ok" stands before the largest difference of the
logits, over their largest absolute value; "apart" where that is more than 1e-3. A refusal is given
in FGMF's words.

Each result is a line of RECORD.jsonl as soon as it is there. A second run makes what is missing.
Exported files are deleted at once. Build first: cargo build --release -p fgmf-cli

Usage: python parity/models.py RECORD.jsonl [--binary fgmf] [--seconds N] [NAME ...]
       python parity/models.py RECORD.jsonl --table docs/results/models.md
"""

import argparse
import json
import logging
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
# Small ones first, so that a run that is cut off has many.
TORCHVISION = [
    "squeezenet1_1", "resnet18", "mobilenet_v3_small", "mobilenet_v2", "shufflenet_v2_x1_0",
    "mnasnet1_0", "regnet_y_400mf", "googlenet", "resnet50", "mobilenet_v3_large",
    "efficientnet_b0", "resnext50_32x4d", "densenet121", "inception_v3", "swin_t", "swin_v2_t",
    "convnext_tiny", "maxvit_t", "alexnet", "efficientnet_v2_s", "vit_b_16", "vgg11_bn",
]
TIMM = [
    "levit_128s", "mobilevitv2_050", "deit_tiny_patch16_224", "xcit_nano_12_p16_224",
    "coat_lite_tiny", "mobilevit_xs", "coatnet_pico_rw_224", "convnextv2_atto",
    "edgenext_xx_small", "pvt_v2_b0", "lcnet_050", "pit_ti_224", "ghostnet_100", "mixer_s32_224",
    "efficientvit_b0", "mobilenetv4_conv_small", "fastvit_t8", "mobileone_s0", "rexnet_100",
    "repvgg_a0", "poolformer_s12", "eva02_tiny_patch14_224", "convit_tiny", "crossvit_tiny_240",
    "cait_xxs24_224", "efficientformer_l1", "tf_efficientnet_b0", "resnest14d", "resmlp_12_224",
    "hrnet_w18_small", "res2net50_14w_8s", "seresnet50", "resnetv2_50x1_bit", "tnt_s_patch16_224",
    "vit_tiny_patch16_224", "nest_tiny", "mvitv2_tiny", "davit_tiny", "twins_svt_small",
    "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "volo_d1_224", "tresnet_m",
    "maxvit_rmlp_pico_rw_256", "convmixer_768_32", "xception41", "dm_nfnet_f0",
    "beit_base_patch16_224",
]
NAMES = [name for pair in zip(TORCHVISION, TIMM) for name in pair] + TIMM[len(TORCHVISION) :]
# Exporter, operator set, batch.
WAYS = [
    ("default", 18, "1"), ("default", 20, "free"), ("default", 23, "free"),
    ("legacy", 13, "1"), ("legacy", 17, "free"),
]
LIMIT = 1e-3


def build(name):
    """A model in eval mode and the side of its images."""
    import timm
    import torch
    import torchvision

    torch.manual_seed(0)
    if name in TORCHVISION:
        extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model = torchvision.models.get_model(name, weights=None, **extra)
        side = 299 if name == "inception_v3" else 224
    else:
        model = timm.create_model(name, pretrained=False)
        side = model.pretrained_cfg["input_size"][-1]
    # Heads that are zero at first would give logits that are all alike.
    for weight in model.parameters():
        if weight.dim() > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.02)
    # Statistics of random images: with those of a new model, deep networks overflow.
    model.train()
    with torch.no_grad():
        model(torch.rand(4, 3, side, side))
    return model.eval(), side


def export(model, side, way, path):
    """Write one file, and what its exporter puts beside it."""
    import torch

    exporter, version, batch = way
    if exporter == "default":
        x = torch.rand(1 if batch == "1" else 2, 3, side, side)
        shapes = ({0: torch.export.Dim("batch")},) if batch == "free" else None
        torch.onnx.export(
            model, (x,), path, opset_version=version, dynamic_shapes=shapes, verbose=False
        )
    else:
        axes = {"x": {0: "batch"}} if batch == "free" else None
        torch.onnx.export(
            model, (torch.rand(1, 3, side, side),), path, dynamo=False, input_names=["x"],
            dynamic_axes=axes, opset_version=version,
        )


def images(side, folder):
    """Two pictures of random bytes as files, and as numbers from 0 to 1."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    paths = [folder / f"{i}.png" for i in range(2)]
    for path, picture in zip(paths, pixels):
        Image.fromarray(picture).save(path)
    return paths, pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255


def reference(path, x):
    """Logits of ONNX Runtime, one image at a time."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: i[None]})[0] for i in x])


def logits(path):
    """The only array of a safetensors file."""
    raw = path.read_bytes()
    size = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8 : 8 + size])
    entry = next(v for k, v in header.items() if k != "__metadata__")
    start, end = (8 + size + at for at in entry["data_offsets"])
    return np.frombuffer(raw[start:end], "<f4").reshape(entry["shape"])


def check(binary, path, paths, x, folder):
    """What becomes of one file."""
    out = folder / "out"
    command = [binary, "predict", path, *paths, "--out", out, "--as-it-is", "--quiet"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = run.stderr.strip().splitlines()
        reason = next((line for line in lines if "rror" in line), lines[0] if lines else "?")
        return {"status": "refused", "reason": reason.replace(f"error: {path}: ", "")[:300]}
    ours = logits(out / "logits.safetensors")
    try:
        theirs = reference(path, x)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises anything
        return {"status": "no reference", "reason": str(error).splitlines()[0][:300]}
    if ours.shape != theirs.shape:
        return {"status": "apart", "reason": f"shapes {ours.shape} and {theirs.shape}"}
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    status = "ok" if difference < LIMIT else "apart"
    return {"status": status, "difference": difference}


def run(names, record, binary, seconds):
    """Append the results that are missing, until the time is up."""
    import torch

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    start = time.monotonic()
    done = {(r["model"], tuple(r["way"])) for r in rows(record)}
    for name in names:
        missing = [way for way in WAYS if (name, way) not in done]
        if not missing:
            continue
        if time.monotonic() - start > seconds:
            return
        note = lambda way, result: record.open("a").write(  # noqa: E731
            json.dumps({"model": name, "way": way, **result}) + "\n"
        )
        try:
            model, side = build(name)
        except Exception as error:  # noqa: BLE001 - one model must not end the run
            for way in missing:
                note(way, {"status": "not built", "reason": type(error).__name__})
            continue
        for way in missing:
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                paths, x = images(side, folder)
                try:
                    with torch.no_grad():
                        export(model, side, way, folder / "model.onnx")
                except Exception as error:  # noqa: BLE001 - exporters raise anything
                    result = {"status": "not exported", "reason": type(error).__name__}
                else:
                    result = check(binary, folder / "model.onnx", paths, x, folder)
            note(way, result)
            print(name, way, result, flush=True)


def rows(record):
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def cell(result):
    if result is None:
        return "–"
    if result["status"] == "ok":
        return f"{result['difference']:.0e}"
    if "difference" in result:
        return f"**apart** {result['difference']:.0e}"
    return f"**{result['status']}**"


def table(record, path):
    """The page."""
    import onnxruntime
    import timm
    import torch
    import torchvision

    found = {(r["model"], tuple(r["way"])): r for r in rows(record)}
    others = "ok", "not exported", "not built"
    names = [name for name in NAMES if any((name, way) in found for way in WAYS)]
    title = ["%s, set %d, batch %s" % way for way in WAYS]
    page = [
        "# Models as PyTorch exports them", "",
        "Are the files read that PyTorch writes of common models, and are the logits those of",
        f"ONNX Runtime? {len(names)} models of torchvision and timm, of the {len(NAMES)} in the "
        "list of the script",
        f"(a run that is cut off leaves out the later ones), each exported in {len(WAYS)} ways:",
        "by both exporters, with several operator sets, and with the batch "
        "fixed at 1 or free.", "Weights are random from a fixed seed. Nothing is changed in the "
        "files.", "",
        "A number is the largest difference of the logits of two images from those of ONNX "
        "Runtime,", f"over the largest logit; it counts as agreeing below {LIMIT:g}.", "",
        "| way | exported | read | read and agreeing |", "| --- | --- | --- | --- |",
    ]
    for way, head in zip(WAYS, title):
        tried = [found[name, way] for name in names if (name, way) in found]
        there = [r for r in tried if r["status"] not in ("not exported", "not built")]
        read = [r for r in there if r["status"] != "refused"]
        good = [r for r in read if r["status"] == "ok"]
        page.append(f"| {head} | {len(there)} of {len(tried)} | {len(read)} | {len(good)} |")
    page += ["", "## Each model", "", "| model | " + " | ".join(title) + " |"]
    page.append("| --- " * (len(title) + 1) + "|")
    for name in names:
        page.append(f"| `{name}` | " + " | ".join(cell(found.get((name, w))) for w in WAYS) + " |")
    page += ["", "## What is not read, or differs, and why", ""]
    for (name, way), r in found.items():
        if r["status"] in others:
            continue
        reason = r.get("reason", f"difference {r.get('difference', 0):.1e}").replace("|", "/")
        page.append(f"- `{name}`, %s, set %d, batch %s: {r['status']}: {reason}" % way)
    if all(r["status"] in others for r in found.values()):
        page.append("Nothing of what was tried.")
    failed = [f"`{n}` (%s, set %d, batch %s)" % w for (n, w), r in found.items()
              if r["status"] in ("not exported", "not built")]
    page += ["", "Not written by PyTorch itself: " + (", ".join(failed) or "none") + ".", ""]
    page += [
        "## How to get it", "",
        "```sh", "cargo build --release -p fgmf-cli", "python parity/models.py RECORD.jsonl",
        "python parity/models.py RECORD.jsonl --table docs/results/models.md", "```", "",
        f"torch {torch.__version__.split('+')[0]}, torchvision "
        f"{torchvision.__version__.split('+')[0]}, timm {timm.__version__}, ONNX Runtime "
        f"{onnxruntime.__version__}.", "",
    ]
    path.write_text("\n".join(page))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("record", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--binary", default=ROOT / "target/release/fgmf")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("names", nargs="*", default=NAMES)
    given = parser.parse_intermixed_args()
    if given.table:
        table(given.record, given.table)
    else:
        run(given.names, given.record, given.binary, given.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
