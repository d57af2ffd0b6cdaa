//! Journals: what a run has finished, line by line, so that the same command goes on after a kill.
//!
//! The first line says which run the journal belongs to. Each later line is a finished piece of
//! work as JSON. It is on the disk before the next piece begins. A kill can cut the last line
//! short; a line without its end does not count. A journal of another run is refused, and so is a
//! file that is no journal: nothing of a stranger's is overwritten.

use crate::error::{Error, Result};
use crate::store::atomic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the journal at `path`, or starts it.
    ///
    /// `keep` is given the finished lines in order. It says whether a line counts; the first line
    /// that does not count is dropped with all behind it.
    ///
    /// An error says what was found instead of a journal of the run that `header` names.
    pub(crate) fn open<L: DeserializeOwned>(
        path: &Path,
        header: &impl Serialize,
        mut keep: impl FnMut(L) -> bool,
    ) -> Result<Self> {
        let refused = |found: &dyn std::fmt::Display| {
            let way = "choose another folder, or delete the file to start over";
            let text = format!("expected the state of this run, found {found}; {way}");
            Error::record(path, text)
        };
        let first = serde_json::to_string(header).map_err(|e| Error::record(path, e))? + "\n";
        // Read as the other is: a number may be read as its neighbour.
        let own = serde_json::from_str(&first).map_err(|e| Error::record(path, e))?;
        let bytes = match std::fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(Error::io(path))?,
        };
        let text = String::from_utf8(bytes).map_err(|_| refused(&"a file that is no text"))?;
        let mut lines = text.split_inclusive('\n');
        let mut kept = first.clone();
        if let Some(found) = lines.next().filter(|l| !first.starts_with(*l)) {
            let found = serde_json::from_str(found)
                .map_err(|e| refused(&format!("a file that is none ({e})")))?;
            let others = differences(&own, &found);
            if !others.is_empty() {
                return Err(refused(&format!("one with another {}", others.join(", "))));
            }
        }
        for line in lines.filter(|l| l.ends_with('\n')) {
            let read = serde_json::from_str(line);
            let read = read.map_err(|e| refused(&format!("a damaged line ({e})")))?;
            if !keep(read) {
                break;
            }
            kept.push_str(line);
        }
        if kept != text {
            atomic::write(path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self {
            path: path.into(),
            file: file.map_err(Error::io(path))?,
        })
    }

    /// Adds a finished piece of work. It is on the disk when this returns.
    pub(crate) fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(line).map_err(|e| Error::record(&self.path, e))? + "\n";
        let mut put = || {
            self.file.write_all(line.as_bytes())?;
            self.file.sync_data()
        };
        put().map_err(Error::io(&self.path))
    }
}

/// Names of the fields of `own` that `found` has otherwise or not at all.
pub(crate) fn differences(own: &Value, found: &Value) -> Vec<String> {
    let Some(fields) = own.as_object() else {
        let differs = own != found;
        return if differs {
            vec!["content".into()]
        } else {
            Vec::new()
        };
    };
    let mut out = Vec::new();
    for (name, value) in fields {
        let other = found.get(name).unwrap_or(&Value::Null);
        if value.is_object() && other.is_object() {
            let inside = differences(value, other);
            out.extend(inside.iter().map(|n| format!("{name}.{n}")));
        } else if value != other {
            out.push(name.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn open(path: &Path, seed: u64) -> Result<(Journal, Vec<u32>)> {
        let mut lines = Vec::new();
        let header = json!({"model": "a", "seed": seed});
        let journal = Journal::open(path, &header, |l| {
            lines.push(l);
            true
        })?;
        Ok((journal, lines))
    }

    #[test]
    fn a_journal_goes_on_after_a_kill_at_any_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let (mut journal, lines) = open(&path, 1).unwrap();
        assert!(lines.is_empty());
        (10..14u32).for_each(|l| journal.append(&l).unwrap());
        let whole = std::fs::read(&path).unwrap();
        let head = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let (mut journal, lines) = open(&path, 1).unwrap();
            let done = (end.saturating_sub(head) / 3) as u32;
            assert_eq!(lines, (10..10 + done).collect::<Vec<_>>(), "at byte {end}");
            (10 + done..14).for_each(|l| journal.append(&l).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), whole, "at byte {end}");
        }
    }

    #[test]
    fn a_line_that_does_not_count_ends_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let (mut journal, _) = open(&path, 1).unwrap();
        (0..5u32).for_each(|l| journal.append(&l).unwrap());
        let header = json!({"model": "a", "seed": 1});
        drop(Journal::open(&path, &header, |l: u32| l < 3).unwrap());
        assert_eq!(open(&path, 1).unwrap().1, [0, 1, 2]);
    }

    #[test]
    fn a_stranger_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let others: [(&[u8], &str); 6] = [
            (b"{\"model\":\"a\",\"seed\":2}\n7\n", "another seed;"),
            (b"{\"seed\":1}\n", "another model;"),
            (b"notes without an end of line", "that is none"),
            (b"notes\n", "that is none"),
            (b"\xff\xfe\n", "no text"),
            (b"{\"model\":\"a\",\"seed\":1}\nseven\n", "damaged line"),
        ];
        for (bytes, expected) in others {
            std::fs::write(&path, bytes).unwrap();
            let error = open(&path, 1).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("state.jsonl"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}
