"""Serves an ONNX file to fgmf on pipes: fgmf attack 'pipe:python3 serve_onnx.py FILE.onnx' ...

Needs numpy and onnxruntime. FILE takes images [n, c, h, w] of float32. What it expects of them
beyond pixels of 0 to 1 (mean, deviation) is done here, below.
"""
import hashlib, json, sys
import numpy as np
import onnxruntime

path = sys.argv[1]
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
[given] = session.get_inputs()
shape = given.shape[1:]
k = session.run(None, {given.name: np.zeros([1, *shape], np.float32)})[0].shape[1]
digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
say = lambda **line: sys.stdout.buffer.write(json.dumps(line).encode() + b"\n")
say(image_shape=shape, classes=k, scores="logits", id=digest)
sys.stdout.buffer.flush()
for line in iter(sys.stdin.buffer.readline, b""):
    request = json.loads(line)
    size = 4 * int(np.prod(request["shape"]))
    x = np.frombuffer(sys.stdin.buffer.read(size), "<f4").reshape(request["shape"])
    # x = (x - mean) / deviation, each of shape [c, 1, 1], where the model wants it.
    scores = session.run(None, {given.name: x})[0].astype("<f4")
    say(id=request["id"], shape=scores.shape)
    sys.stdout.buffer.write(scores.tobytes())
    sys.stdout.buffer.flush()
