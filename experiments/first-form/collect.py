"""Gathers the records of run.sh into one table (standard library only): python experiments/first-form/collect.py OUT"""
import json, pathlib, sys

out = pathlib.Path(sys.argv[1])
rows = []
for path in sorted(out.glob("*/attack.json")):
    attack, run = json.loads(path.read_text()), json.loads((path.parent / "run.json").read_text())
    variant, seed = path.parent.name.rsplit("-", 1)
    rows.append({
        "variant": variant, "seed": int(seed), "version": run["version"], "model_sha256": run["model_sha256"],
        "clean": attack["clean"]["accuracy"], "robust": attack["overall"]["robust_accuracy"], "interval": attack["overall"]["interval"],
        "n": attack["overall"]["n"], "suite": attack["suite"], "eps": attack["threat"]["eps"],
        "train_seconds": round(sum(e["seconds"] for e in run["log"]), 1),
        "right": "".join("1" if e["robust"] else "0" for e in attack["examples"]),
    })
print(json.dumps({"command": "experiments/first-form/run.sh OUT", "rows": rows}, indent=1))
