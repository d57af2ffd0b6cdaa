"""A linear classifier on pipes, for tests; the standard library alone.

serve.py FOLDER SCORES [FAULT [N]]: FOLDER/weights.json has the rows of weights. Each image is a
line of FOLDER/asked.txt. From the Nth request of this process on FAULT happens: die, hang, shape,
nan, slow, error (once, at the Nth). mute and chat happen before the first line.
"""
import json, math, os, struct, sys, time
folder, scores = sys.argv[1], sys.argv[2]
fault, at = (sys.argv[3:] + ["none"])[0], int((sys.argv[4:] + ["1"])[0])
weights = json.load(open(os.path.join(folder, "weights.json")))
out, inp = sys.stdout.buffer, sys.stdin.buffer
def say(line, numbers=()):
    out.write(json.dumps(line).encode() + b"\n" + struct.pack("<%df" % len(numbers), *numbers))
    out.flush()
if fault == "mute":
    time.sleep(1000)
if fault == "chat":
    print("loading the model", flush=True)
    sys.exit()
say({"image_shape": [1, 8, 8], "classes": len(weights), "scores": scores})
def answer(image):
    z = [sum(map(float.__mul__, row, image)) for row in weights]
    if scores == "label":
        return [z.index(max(z))]
    if scores == "probabilities":
        e = [math.exp(v - max(z)) for v in z]
        return [v / sum(e) for v in e]
    return z
for count, line in enumerate(iter(inp.readline, b""), 1):
    request = json.loads(line)
    n, c, h, w = request["shape"]
    x = struct.unpack("<%df" % (n * c * h * w), inp.read(4 * n * c * h * w))
    with open(os.path.join(folder, "asked.txt"), "a") as log:
        log.write("x\n" * n)
    if fault == "slow":
        time.sleep(0.1)
    rows = [v for i in range(n) for v in answer(list(x[i * 64:i * 64 + 64]))]
    if count >= at and fault == "die":
        sys.exit(3)
    if count >= at and fault == "hang":
        time.sleep(1000)
    if count >= at and fault == "nan":
        rows[0] = float("nan")
    if count == at and fault == "error":
        say({"id": request["id"], "error": "the card fell out"})
        continue
    k = len(rows) // n + (1 if count >= at and fault == "shape" else 0)
    if k * n != len(rows):
        rows = [0.0] * (k * n)
    say({"id": request["id"], "shape": [n, k]}, rows)
