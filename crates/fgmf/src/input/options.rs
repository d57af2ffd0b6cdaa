//! What a user leaves open of a model file, and files beside it say.

use crate::error::Result;
use crate::input::settings_file;
use fgmf_net::onnx::ReadOptions;
use std::path::Path;

/// The options of a model file: what is stated, else what `fgmf.toml` beside it says; notes name
/// what was found.
///
/// # Errors
/// [`Error::Record`](crate::Error) when a file that is looked at is damaged.
pub fn options_beside(model: &Path, stated: ReadOptions) -> Result<(ReadOptions, Vec<String>)> {
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
    Ok((ReadOptions { output }, notes))
}
