//! A Python script that counts the broken images with ONNX Runtime alone.

use fgmf_record::AuditRecord;
use serde_json::json;

const SCRIPT: &str = r#"# Counts the images that a model still gets right, with ONNX Runtime alone.
# python check.py model.onnx
import json, pathlib, sys, numpy as np, onnxruntime as ort
CLAIMS, PREPARE, OUTPUT = @CLAIMS@, @PREPARE@, @OUTPUT@
run = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
take, wrong = run.get_inputs()[0], 0
for name, claimed in CLAIMS:
    raw = (pathlib.Path(__file__).parent / name).read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:end])
    def part(key, kind):
        first, last = head[key]["data_offsets"]
        return np.frombuffer(raw[end + first:end + last], kind).reshape(head[key]["shape"])
    x, labels = part("adversarial", "<f4"), part("labels", "<i8")
    if PREPARE:
        mean, std = (np.array(PREPARE[k], "f4").reshape(1, -1, 1, 1) for k in ("mean", "std"))
        x = (x[:, ::-1] if PREPARE["bgr"] else x) * np.float32(PREPARE["scale"])
        x = ((x - mean) / std).astype("f4")
    if take.shape[1] != x.shape[1] == take.shape[-1]:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    step = take.shape[0] if isinstance(take.shape[0], int) else 64
    parts = [run.run(OUTPUT, {take.name: x[i:i + step]})[0] for i in range(0, len(x), step)]
    right = int((np.concatenate(parts).argmax(1) == labels).sum())
    wrong += right != claimed
    print(f"{name}: {right} of {len(x)} right, the audit says {claimed}")
sys.exit(1 if wrong else 0)
"#;

/// The script of an audit. The numbers that it is to find are in it.
pub fn check_script(record: &AuditRecord) -> String {
    let claim = |r: &fgmf_record::RobustnessRow| {
        let figure = record.figure(&format!("robust-accuracy@{}", r.eps));
        json!([r.adversarial, figure.and_then(|f| f.count).unwrap_or(0)])
    };
    let claims: Vec<_> = record.robustness.iter().map(claim).collect();
    // JSON is Python, but for the words of truth and nothing: neither is in these.
    let prepare = record.model.preprocessing.as_ref().map(|p| {
        let bgr = u8::from(p.bgr);
        json!({ "scale": p.scale, "mean": p.mean, "std": p.std, "bgr": bgr }).to_string()
    });
    let output = record
        .model
        .output
        .as_ref()
        .map(|name| json!([name]).to_string());
    let none = || "None".to_owned();
    SCRIPT
        .replace("@CLAIMS@", &json!(claims).to_string())
        .replace("@PREPARE@", &prepare.unwrap_or_else(none))
        .replace("@OUTPUT@", &output.unwrap_or_else(none))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fixture;

    #[test]
    fn the_script_holds_the_claims() {
        let text = check_script(&fixture::audit());
        assert!(
            text.contains(r#"[["adversarial-1.safetensors",720]], None, None"#),
            "{text}"
        );
        assert!(!text.contains('@'));
    }
}
