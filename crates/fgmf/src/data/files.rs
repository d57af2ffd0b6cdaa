//! What every folder reader needs: sorted entries, bounded reads, lists of names.

use crate::error::{Error, Result};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest list of class names, in bytes.
const MAX_NAMES: u64 = 1 << 20;

/// A file or folder that is not hidden.
#[derive(Clone, Debug)]
pub(crate) struct FileEntry {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) is_dir: bool,
}

/// Files and folders in `dir` without the hidden ones, sorted by the bytes of their names; links
/// are followed.
pub(crate) fn entries(dir: &Path) -> Result<Vec<FileEntry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned)
        else {
            return Err(Error::data(&path, "a name in UTF-8", "other bytes"));
        };
        if name.starts_with('.') {
            continue;
        }
        let about = fs::metadata(&path).map_err(Error::io(&path))?;
        if !about.is_file() && !about.is_dir() {
            return Err(Error::data(
                &path,
                "a regular file or a folder",
                "a device, pipe or socket",
            ));
        }
        found.push(FileEntry {
            name,
            path,
            is_dir: about.is_dir(),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The length of a regular file.
pub(crate) fn length(path: &Path) -> Result<u64> {
    let about = fs::metadata(path).map_err(Error::io(path))?;
    if !about.is_file() {
        return Err(Error::data(path, "a regular file", "something else"));
    }
    Ok(about.len())
}

/// The bytes of a regular file of at most `limit` bytes; its length is checked before anything is
/// read.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_first(path, length(path)?, limit)
}

/// The first `count` bytes of a regular file, at most `limit`; nothing is read of more.
pub(crate) fn read_first(path: &Path, count: u64, limit: u64) -> Result<Vec<u8>> {
    if count > limit {
        return Err(Error::data(
            path,
            format!("at most {limit} bytes"),
            format!("{count} bytes"),
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let file = fs::File::open(path).map_err(Error::io(path))?;
    file.take(count)
        .read_to_end(&mut bytes)
        .map_err(Error::io(path))?;
    Ok(bytes)
}

/// Class names, one a line, blank lines left out; `None` when there is no such file.
pub(crate) fn names(path: &Path) -> Result<Option<Vec<String>>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = String::from_utf8(read(path, MAX_NAMES)?)
        .map_err(|error| Error::data(path, "class names in UTF-8, one a line", error))?;
    let names: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        return Err(Error::data(path, "class names, one a line", "none"));
    }
    Ok(Some(names))
}

/// Name of the folder `dir`, for a data set: its last part, never the way to it.
pub(crate) fn name_of(dir: &Path) -> String {
    let last = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    last(dir)
        .or_else(|| last(&dir.canonicalize().ok()?))
        .unwrap_or_else(|| "data".to_owned())
}
