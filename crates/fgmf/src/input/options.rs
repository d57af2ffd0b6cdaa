//! What a model file leaves open, and files beside it say.

use crate::error::Result;
use crate::input::reading::json;
use crate::input::{resampling, settings_file};
use fgmf_net::onnx::ReadOptions;
use serde_json::Value;
use std::path::Path;

/// Reads height and width out of a file of one form.
type SizeOf = fn(&Value) -> Option<[usize; 2]>;

/// The options of a model file: what is stated, else what `fgmf.toml` beside it says. Where the
/// file leaves the size of its images free (`free`), `preprocessor_config.json` or timm's
/// `config.json` may say it, too. Notes name what was found.
///
/// # Errors
/// [`Error::Record`](crate::Error) when a file that is looked at is damaged.
pub fn options_beside(
    model: &Path,
    stated: ReadOptions,
    free: bool,
) -> Result<(ReadOptions, Vec<String>)> {
    let file = model.with_file_name(settings_file::NAME);
    let found = settings_file::options(&file)?;
    let mut notes = Vec::new();
    let output = stated.output.or_else(|| {
        let name = found.output?;
        notes.push(format!(
            "scores as {} says: --output {name}",
            file.display()
        ));
        Some(name)
    });
    let mut size = stated.size;
    if size.is_none() {
        let mut beside = found.size.map(|size| (size, file));
        let forms: [(&str, SizeOf); 2] = [
            ("preprocessor_config.json", resampling::size_of_hugging_face),
            ("config.json", resampling::size_of_timm),
        ];
        for (name, read) in forms {
            if beside.is_none() && free {
                let path = model.with_file_name(name);
                beside = json(&path)?.and_then(|v| read(&v)).map(|size| (size, path));
            }
        }
        if let Some(([h, w], place)) = beside {
            let place = place.display();
            notes.push(format!(
                "size of images as {place} says: --input-size {h}x{w}"
            ));
            size = Some([h, w]);
        }
    }
    Ok((ReadOptions { output, size }, notes))
}
