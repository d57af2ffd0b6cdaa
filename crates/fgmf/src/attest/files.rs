//! Files with digests: the one mechanism by which a folder is held to a list.

use crate::error::{Error, Result};
use crate::hash::Hash;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// A file of a folder, and the SHA-256 of its bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Name in the folder.
    pub name: String,
    /// Digest.
    pub sha256: String,
}

/// A file that is not as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
}

/// SHA-256 of a file, read piece by piece.
pub fn digest_of(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
    let mut hash = Hash::default();
    std::io::copy(&mut file, &mut hash).map_err(Error::io(path))?;
    Ok(hash.finish())
}

/// The path of a file of the folder; an error for a name that leads out of it.
pub fn file_at(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(one)), None) if one == name => Ok(folder.join(name)),
        _ => {
            let text = format!("expected names of files in the folder, found `{name}`");
            Err(Error::record(folder, text))
        }
    }
}

/// The digests of these files, in this order.
pub fn digest_files(folder: &Path, names: &[String]) -> Result<Vec<FileDigest>> {
    let digest = |name: &String| {
        Ok(FileDigest {
            name: name.clone(),
            sha256: digest_of(&file_at(folder, name)?)?,
        })
    };
    names.iter().map(digest).collect()
}

/// Every file of the list that is missing or changed, and every file of the folder that neither the
/// list nor `besides` names.
pub fn faults(folder: &Path, list: &[FileDigest], besides: &[&str]) -> Result<Vec<FileFault>> {
    let mut out = Vec::new();
    let mut fault = |name: &str, what: &str| {
        out.push(FileFault {
            name: name.into(),
            what: what.into(),
        });
    };
    for file in list {
        let path = file_at(folder, &file.name)?;
        if !path.is_file() {
            fault(&file.name, "is missing");
        } else if digest_of(&path)? != file.sha256 {
            fault(&file.name, "changed: its SHA-256 is another");
        }
    }
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(folder))?;
        found.push(entry.file_name().to_string_lossy().into_owned());
    }
    found.sort();
    for name in found {
        let listed = list.iter().any(|f| f.name == name) || besides.contains(&name.as_str());
        if !listed {
            fault(&name, "is not covered by the statement");
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        for name in ["a", "b", "c", "statement"] {
            write(name, name.as_bytes());
        }
        let names = ["a", "b", "c"].map(str::to_owned);
        let list = digest_files(folder.path(), &names).unwrap();
        assert_eq!(list[0].sha256, crate::hash::sha256(b"a"));
        assert!(
            faults(folder.path(), &list, &["statement"])
                .unwrap()
                .is_empty()
        );
        write("b", b"B");
        std::fs::remove_file(folder.path().join("c")).unwrap();
        write("d", b"d");
        let found = faults(folder.path(), &list, &["statement"]).unwrap();
        let names: Vec<&str> = found.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["b", "c", "d"]);
    }

    #[test]
    fn a_name_that_leads_out_is_refused() {
        for name in ["../a", "/etc/passwd", "a/b", "", ".", ".."] {
            assert!(file_at(Path::new("folder"), name).is_err(), "{name}");
        }
    }
}
