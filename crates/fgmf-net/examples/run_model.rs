//! Runs a model on images, for `parity/models.py`:
//! `cargo run --release -p fgmf-net --example run_model -- MODEL IMAGES LOGITS`.
//!
//! IMAGES holds whole images and LOGITS gets their logits, both as little-endian float32.

use fgmf_net::{Session, Tensor, onnx};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, images, logits] = args.as_slice() else {
        return Err("usage: run_model MODEL IMAGES LOGITS".into());
    };
    let net = onnx::read(model.as_ref())?;
    let [c, h, w] = net.image_shape();
    let bytes = std::fs::read(images)?;
    let values: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect();
    let n = values.len() / (c * h * w);
    if n == 0 || values.len() != n * c * h * w {
        let found = values.len();
        return Err(
            format!("expected whole images of [{c}, {h}, {w}], found {found} values").into(),
        );
    }
    let out = Session::new(net).logits(&Tensor::new(&[n, c, h, w], values))?;
    let out: Vec<u8> = out.to_f32().iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(logits, out)?;
    Ok(())
}
