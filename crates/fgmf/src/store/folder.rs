//! The folder of a run: made, and claimed for one process.

use crate::error::{Error, Result};
use crate::store::disk;
use std::fs::{File, TryLockError};
use std::path::Path;

/// A folder that this process writes to. Another process is refused until this is dropped, or the
/// process ends in whatever way.
#[derive(Debug)]
pub struct Folder {
    _lock: Option<File>,
}

impl Folder {
    /// Makes the folder if it is not there, and claims it.
    ///
    /// An error says that another process is writing there. File systems that know no locks are
    /// taken as they are.
    pub fn claim(path: &Path) -> Result<Self> {
        disk::create_folder(path).map_err(Error::io(path))?;
        if cfg!(not(unix)) {
            // A folder cannot be opened there.
            return Ok(Self { _lock: None });
        }
        let folder = File::open(path).map_err(Error::io(path))?;
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let text = "expected a folder that no other process writes to, found one in use; \
                            wait for it, or choose another folder";
                Err(Error::record(path, text))
            }
            _ => Ok(Self {
                _lock: Some(folder),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_claimed_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = Folder::claim(&path).unwrap();
        let error = Folder::claim(&path).unwrap_err().to_string();
        assert!(error.contains("found one in use"), "{error}");
        drop(first);
        drop(Folder::claim(&path).unwrap());
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(Folder::claim(&folder.path().join("file")).is_err());
    }
}
