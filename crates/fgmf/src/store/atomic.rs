//! Files that are whole or absent.
//!
//! The bytes go to a temporary file in the same folder. They reach the disk, the file takes its
//! place in one step, and the folder reaches the disk. A kill or a loss of power leaves the old
//! file or the new one. A temporary file that a kill left is overwritten by the next try.

use crate::error::{Error, Result};
use crate::store::disk;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes a file in one piece. An error names the file and leaves what was there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = Whole::create(path)?;
    disk::put(&mut file, bytes).map_err(Error::io(path))?;
    file.finish()
}

/// The bytes of a file; `None` if it is not there.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(Error::io(path)),
    }
}

/// Opens a file; `None` if it is not there.
pub(crate) fn open_if_there(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(Error::io(path)),
    }
}

/// Removes a file, if it is there, and what a kill left of writing it.
pub fn remove(path: &Path) -> Result<()> {
    let files = [path, &temporary(path)];
    files
        .iter()
        .try_for_each(|p| disk::remove(p).map_err(Error::io(p)))
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// A file that is written piece by piece. It appears when it is [finished](Self::finish); if it is
/// dropped before, nothing is left of it.
#[derive(Debug)]
pub struct Whole {
    file: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Whole {
    /// Starts a file that will stand at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let temporary = temporary(path);
        let file = disk::create(&temporary).map_err(Error::io(path))?;
        Ok(Self {
            file: Some(BufWriter::new(file)),
            temporary,
            path: path.into(),
        })
    }

    /// Puts the file in its place.
    pub fn finish(mut self) -> Result<()> {
        self.put().map_err(Error::io(&self.path))
    }

    fn put(&mut self) -> std::io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.flush()?;
        disk::sync(file.get_ref())?;
        disk::rename(&self.temporary, &self.path)?;
        self.file = None;
        Ok(())
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |f| f.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if self.file.is_some() {
            // The error that ended the writing is the one to report.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"first").unwrap();
        let mut half = Whole::create(&path).unwrap();
        half.write_all(b"sec").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        drop(half);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        write(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn neighbours_of_one_stem_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("m.json"), folder.path().join("m.onnx"));
        let (mut first, mut second) = (Whole::create(&a).unwrap(), Whole::create(&b).unwrap());
        first.write_all(b"json").unwrap();
        second.write_all(b"onnx").unwrap();
        first.finish().unwrap();
        second.finish().unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), b"json");
        assert_eq!(std::fs::read(&b).unwrap(), b"onnx");
    }

    #[test]
    fn an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent/a.json");
        let error = write(&absent, b"x").unwrap_err().to_string();
        assert!(error.contains("absent/a.json"), "{error}");
        // A folder stands where the file belongs.
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(write(&taken, b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
