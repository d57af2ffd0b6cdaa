//! Writes one list of methods for each family, so that a new method needs no line in a list.
//!
//! The face of a family, `src/<family>/mod.rs`, declares its files by plain `mod` lines. Where such
//! a file, or the `method.rs` in such a folder, holds `pub(crate) const METHODS`, it defines
//! methods. For each one the list gets its path, its text and its `METHODS`.
//!
//! Two other ways were turned down. A macro that declares the modules hides their files from
//! rustfmt. A registry that is filled when the program is linked depends on what the linker keeps.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const FAMILIES: [&str; 5] = ["attack", "defend", "explain", "metric", "train"];

/// What a file that defines methods holds.
const MARK: &str = "pub(crate) const METHODS";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    for family in FAMILIES {
        let folder = Path::new("src").join(family);
        println!("cargo:rerun-if-changed={}", folder.display());
        fs::write(out.join(format!("{family}.rs")), list(family, &folder)?)?;
    }
    Ok(())
}

/// The list as an expression: a slice of `MethodFile`.
fn list(family: &str, folder: &Path) -> Result<String, Box<dyn Error>> {
    let face = fs::read_to_string(folder.join("mod.rs"))?;
    let mut out = String::from("&[\n");
    let mut test = false;
    for line in face.lines().map(str::trim) {
        if let Some(module) = declared(line) {
            let places = [
                (format!("{module}.rs"), module.to_owned()),
                (format!("{module}/method.rs"), format!("{module}::method")),
            ];
            for (file, path) in places {
                let text = fs::read_to_string(folder.join(&file)).unwrap_or_default();
                if text.contains(MARK) {
                    // A module of the tests alone is listed in the tests alone.
                    let condition = if test { "#[cfg(test)]\n" } else { "" };
                    let file = format!("{family}/{file}");
                    write!(
                        out,
                        "{condition}crate::method::MethodFile {{\n    file: {file:?},\n    text: \
                            include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/src/{file}\")),\
                            \n    methods: crate::{family}::{path}::METHODS,\n}},\n"
                    )?;
                }
            }
        }
        test = line == "#[cfg(test)]";
    }
    out.push_str("]\n");
    Ok(out)
}

/// The name in a line that declares a module, whatever its visibility.
fn declared(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("mod ")?;
    let declares = before.is_empty() || before.starts_with("pub");
    rest.strip_suffix(';').filter(|_| declares)
}
