//! Writes the zoo as ONNX files with inputs, for `parity/zoo_onnxruntime.py`:
//! `cargo run --release -p fgmf-net --example export_zoo -- DIR`.

use fgmf_net::onnx;
use fgmf_testkit::zoo::{CASES, case};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: export_zoo DIR")?;
    std::fs::create_dir_all(&folder)?;
    for (architecture, activation) in CASES {
        let c = case(architecture, activation)?;
        let file = Path::new(&folder).join(format!("{}.onnx", c.name));
        std::fs::write(file, onnx::to_bytes(&c.net)?)?;
        let logits = c.net.logits(&c.x)?.to_f32();
        let json = serde_json::json!({ "input_shape": c.x.shape(), "input": c.x.to_f32(),
            "logits": logits });
        std::fs::write(
            Path::new(&folder).join(format!("{}.input.json", c.name)),
            json.to_string(),
        )?;
    }
    Ok(())
}
