"""The commands whose results `guard.py` compares, and the files that they read."""

import random
import shutil
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

FIXTURES = "crates/fgmf/tests/fixtures/autoattack"
MODELS = {"cnn": "adversarial", "standard": "standard", "vit": "vit"}  # our names, and theirs
CNN, PLAIN, VIT = (f"models/{name}.onnx" for name in MODELS)
SLICE = ("--data", "fashion-mnist-mini")
ZOO = ("cnn-tiny", "cnn-small", "vit-tiny", "convvit-tiny", "preact-resnet18", "wrn-28-10")
LARGE = ZOO[4:]  # only the full level trains them
CHEAP = "deletion,insertion,lerf-minus-morf,road,sparseness,entropy,sufficiency"
STRONG = (
    *("fgsm", "pgd-20", "mi-fgsm", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "apgd-ce-5"),
    *("apgd-dlr-5", "fab-5", "apgd-ce-eot", "apgd-dlr-eot", "apgd-ce-smooth", "apgd-dlr-smooth"),
    *("deepfool", "fmn", "square", "nes", "spsa", "evolution"),
)
WEAK = ("carlini-wagner", "ddn", "hop-skip-jump", "random-search")
# Radii at which attacks alone break part of the images: strong ones, weak ones.
RADII = {"linf": ("0.05", "0.2"), "l2": ("0.8", "2"), "l1": ("8", "20")}
CIFAR, PICTURES = "data/cifar", "data/pictures"
APGD = ("--attack", "apgd", "--norm", "l2", "--eps", "0.5", "--seed", "4")


@dataclass
class Step:
    """A command; what it leaves behind makes rows."""

    name: str  # rows begin with it, and it is the folder of the results
    words: list  # of `fgmf`; or package, name and arguments of an example
    full: bool = False  # whether the quick level leaves it out
    needs: list = field(default_factory=list)  # steps that make what it reads
    status: int = 0  # with which the command ends
    environment: dict = field(default_factory=dict)
    example: bool = False

    @property
    def level(self):
        return "full" if self.full else "quick"

    @property
    def command(self):
        """As a person would type it."""
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        if not self.example:
            return " ".join([*settings, "fgmf", *self.words])
        package, name, *arguments = self.words
        run = f"cargo run --release -p {package} --example {name}"
        return " ".join([*settings, run, *(["--", *arguments] if arguments else [])])


class Plan:
    """All steps, by name."""

    def __init__(self, isa):
        self.steps = {}
        self.kernels(isa)
        self.trainings()
        self.suites()
        self.single_attacks()
        self.explanations()
        self.scores()
        self.facts()
        self.add("demo", "demo", "--seed", "0", "--out", "demo", full=True)

    def add(self, name, *words, needs=(), **more):
        # Models named `train/…` are results of the steps of that name.
        needs = [*needs, *(w.removesuffix("/model.onnx") for w in words if is_result(w))]
        self.steps[name] = Step(name, list(words), needs=needs, **more)

    def train(self, name, *words, arch="cnn-tiny", limit=640, epochs=1, data=SLICE, **more):
        name = f"train/{name}"
        size = ("--arch", arch, "--limit", str(limit), "--epochs", str(epochs))
        self.add(name, "train", *data, *size, *words, "--out", name, **more)
        return f"{name}/model.onnx"

    def attack(self, name, model, suite, limit, *words, **more):
        name = f"attack/{name}"
        size = ("--suite", suite, "--limit", str(limit))
        self.add(name, "attack", model, *SLICE, *size, *words, "--out", name, **more)

    def explain(self, name, model, n, *words, **more):
        name = f"explain/{name}"
        self.add(name, "explain", model, *SLICE, "-n", str(n), *words, "--out", name, **more)

    def evaluate(self, name, model, n, explainers, metrics, *words, **more):
        name = f"evaluate/{name}"
        chosen = ("-n", str(n), "--explainers", explainers, "--metrics", metrics)
        self.add(name, "evaluate", model, *SLICE, *chosen, *words, "--out", name, **more)

    def info(self, name, model, **more):
        self.add(f"info/{name}/text", "info", model, **more)
        self.add(f"info/{name}/json", "info", model, "--json", **more)

    def kernels(self, isa):
        for isa in (isa, "portable"):
            words = ("fgmf-kernels", "digest")
            self.add(f"kernels/{isa}", *words, example=True, environment={"FGMF_ISA": isa})

    def trainings(self):
        """Every network of the zoo, every objective, and what else a training can be told."""
        standard, scor_pio = ("--objective", "standard"), ("--objective", "scor-pio")
        self.zoo = {}
        for arch in ZOO:
            size = {"arch": arch, "limit": 64 if arch == "wrn-28-10" else 640}
            self.zoo[arch] = self.train(f"zoo/{arch}", *standard, **size, full=arch in LARGE)
        self.sgam = self.train("sgam", *scor_pio, "--sgam", epochs=8)
        self.k_wta = self.train("k-wta", *standard, "--k-wta", "0.1", epochs=6)
        self.train("pgd-at", "--objective", "pgd-at")
        self.train("pgd-at-l1", "--objective", "pgd-at", "--norm", "l1", "--eps", "8")
        self.train("scor-pio-l2", *scor_pio, "--norm", "l2", "--eps", "1")
        self.train("scor-pio-gelu", *scor_pio, "--activation", "gelu", "--seed", "3")
        self.train("scor-pio-vit", *scor_pio, "--batch", "16", arch="vit-tiny", limit=32)
        self.train("resize-pad", *standard, "--resize-pad", "0.9", "--activation", "softplus")
        sgd = ("--optimiser", "sgd", "--schedule", "cosine", "--batch", "64")
        self.train("sgd", *standard, *sgd, epochs=2)
        distilled = ("--objective", "distillation", "--temperature", "20")
        teacher = self.train("teacher", *distilled)
        self.train("distilled", *distilled, "--teacher", teacher)
        data = ("--data", CIFAR)
        self.colour = self.train("colour", "--objective", "pgd-at", data=data, limit=64)

    def suites(self):
        """Suites on few images, and at the full level on 200."""
        weaker = ("--eps", "0.05")
        self.attack("standard/cnn", CNN, "standard", 24)
        self.attack("standard/vit", VIT, "standard", 24)
        self.attack("adaptive/cnn", CNN, "adaptive", 8)
        self.attack("adaptive/sgam", self.sgam, "adaptive", 24)
        self.attack("adaptive/k-wta", self.k_wta, "adaptive", 24, *weaker)
        self.attack("standard-l2/cnn", CNN, "standard", 8, "--norm", "l2", "--eps", "1.5")
        self.attack("standard-l1/cnn", CNN, "standard", 8, "--norm", "l1", "--eps", "8")
        self.attack("plus/standard", PLAIN, "plus", 8, *weaker, "--seed", "1")
        self.attack("rand/standard", PLAIN, "rand", 8, *weaker)
        self.attack("transfer/cnn", PLAIN, "fgsm", 24, "--eps", "0.15", "--surrogate", CNN)
        self.attack("transfer/vit", VIT, "fgsm", 24, "--surrogate", CNN)
        self.attack("quick/vit-tiny", self.zoo["vit-tiny"], "quick", 16, "--eps", "0.2")
        self.attack("curve/standard", PLAIN, "quick", 24, *weaker, "--curve", "0.01,0.02,0.06")
        self.attack("train-split/sgam", self.sgam, "pgd-20", 64, "--split", "train")
        early = ("--eps", "0.03", "--min-robust", "0.9", "--stop-early")
        self.attack("stop-early/standard", PLAIN, "quick", 600, *early, status=1)
        for name, model in (("cnn", CNN), ("sgam", self.sgam), ("vit", VIT)):
            self.attack(f"standard-200/{name}", model, "standard", 200, full=True)
        self.attack("adaptive-200/sgam", self.sgam, "adaptive", 200, full=True)
        self.attack("adaptive-200/k-wta", self.k_wta, "adaptive", 200, *weaker, full=True)

    def single_attacks(self):
        """Every attack alone, so that no other has broken the images before."""
        for norm, (near, far) in RADII.items():
            for attack in (*STRONG, *WEAK):
                ball = ("--norm", norm, "--eps", far if attack in WEAK else near)
                self.attack(f"alone/{norm}/{attack}", PLAIN, attack, 12, *ball, full=norm != "linf")
        for tag in ("frozen-mask", "straight-through"):
            self.attack(f"alone/linf/pgd-20-{tag}", self.sgam, f"pgd-20-{tag}", 16)

    def explanations(self):
        """All methods, clean and attacked; other ways to name images and classes."""
        every = ("--methods", "all", "--attack", "pgd")
        self.explain("cnn", CNN, 2, *every)
        self.explain("sgam", self.sgam, 2, *every)
        self.explain("vit", VIT, 2, *every)
        self.explain("convvit-tiny", self.zoo["convvit-tiny"], 1, *every, full=True)
        some = ("--methods", "pgca,transformer-attribution", "--attack", "pgd")
        self.explain("vit-tiny", self.zoo["vit-tiny"], 1, *some)
        found = "attack/standard/cnn"
        kept = ("--adversarial", f"{found}/adversarial.safetensors", "--explain", "own")
        self.explain("kept", CNN, 6, *kept, needs=[found])
        some = ("--methods", "contrast,grad-cam,saliency", "--class", "3", "--cap", "16")
        self.explain("class", PLAIN, 2, *some, *APGD)
        some = ("--methods", "pgca,lrp-alpha-beta,integrated-gradients", "--metrics", "none")
        files = [f"{PICTURES}/{name}.png" for name in "ab"]
        name = "explain/pictures"
        self.add(name, "explain", self.colour, *files, *some, "--out", name)

    def scores(self):
        """All explainers by cheap metrics, few explainers by all metrics; clean and attacked."""
        self.evaluate("explainers/cnn", CNN, 2, "all", CHEAP)
        self.evaluate("explainers/vit", VIT, 2, "all", CHEAP)
        self.evaluate("explainers/sgam", self.sgam, 4, "all", CHEAP, full=True)
        self.evaluate("metrics/cnn", CNN, 2, "saliency,grad-cam", "all")
        self.evaluate("metrics/vit", VIT, 2, "attention-rollout,integrated-gradients", "all")
        self.evaluate("metrics/sgam", self.sgam, 4, "pgca,deep-shap,occlusion", "all", full=True)
        alone = ("saliency", "certified-top-k", "--attack", "none")
        self.evaluate("metrics/certified", CNN, 1, *alone)
        some = ("saliency,lrp-epsilon", "deletion,relative-stability,infidelity")
        self.evaluate("metrics/own", PLAIN, 3, *some, *APGD, "--explain", "own")

    def facts(self):
        for name in MODELS:
            self.info(name, f"models/{name}.onnx")
        self.info("sgam", self.sgam)
        self.info("k-wta", self.k_wta)
        for arch, model in self.zoo.items():
            self.info(arch, model, full=arch in LARGE)


def is_result(word):
    return word.startswith("train/") and word.endswith("/model.onnx")


def prepare(tree, folder):
    """Models and data that steps name: fixtures of the tree, and files written here."""
    for name in ("models", CIFAR, PICTURES):
        (folder / name).mkdir(parents=True)
    for name, file in MODELS.items():
        shutil.copyfile(Path(tree, FIXTURES, f"{file}.onnx"), folder / "models" / f"{name}.onnx")
    draw = random.Random(0)
    for batch in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        records = (bytes([i % 10]) + square(draw, i % 10) for i in range(16))
        (folder / CIFAR / f"{batch}.bin").write_bytes(b"".join(records))
    for label, name in enumerate("ab"):
        (folder / PICTURES / f"{name}.png").write_bytes(png(square(draw, label)))


def square(draw, label):
    """Bytes `[3, 32, 32]`: a bright square on noise, its place told by the label."""
    top, left = 4 + 4 * (label % 5), 6 + 12 * (label // 5)
    cells = ((y, x) for _ in range(3) for y in range(32) for x in range(32))
    inside = (top <= y < top + 8 and left <= x < left + 8 for y, x in cells)
    return bytes(draw.randrange(64) + 160 * bright for bright in inside)


def png(planes):
    """The picture of bytes `[3, 32, 32]`."""

    def chunk(kind, data):
        ends = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(kind + data))
        return ends[0] + kind + data + ends[1]

    pixels = [bytes(planes[c * 1024 + i] for c in range(3)) for i in range(1024)]
    lines = [b"\0" + b"".join(pixels[y : y + 32]) for y in range(0, 1024, 32)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(lines)))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")
