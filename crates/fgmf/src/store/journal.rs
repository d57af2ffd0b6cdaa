//! Journals: what a run has finished, line by line, so that the same command goes on after a kill.
//!
//! The first line says which run the journal belongs to. Each later line is a finished piece of
//! work as JSON. It is on the disk before the next piece begins. A kill can cut the last line
//! short; a line without its end does not count.
//!
//! Each line carries a digest of itself and of all before it. A journal that was changed is
//! refused. So is a journal of another run, and a file that is no journal: nothing of a stranger's
//! is overwritten.

use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::store::{atomic, disk};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Digest of the last line.
    digest: String,
}

/// Of a line, given that of the line before it: lines cannot change, change places, or be missing.
fn chained(before: &str, json: &str) -> String {
    sha256(format!("{before}{json}").as_bytes())
}

/// A line as it stands in the file: `["DIGEST",JSON]`.
fn framed(digest: &str, json: &str) -> String {
    format!("[\"{digest}\",{json}]\n")
}

/// Digest and JSON of a line.
fn unframed(line: &str) -> Option<(&str, &str)> {
    let inside = line.strip_prefix("[\"")?.strip_suffix("]\n")?;
    inside.split_once("\",")
}

impl Journal {
    /// Opens the journal at `path`, or starts it.
    ///
    /// `keep` is given the finished lines in order. It says whether a line counts; the first line
    /// that does not count is dropped with all behind it. It may refuse a line as damaged, with a
    /// reason.
    ///
    /// An error says what was found instead of a journal of the run that `header` names.
    pub(crate) fn open<L: DeserializeOwned>(
        path: &Path,
        header: &impl Serialize,
        mut keep: impl FnMut(L) -> std::result::Result<bool, String>,
    ) -> Result<Self> {
        let refused = |found: &dyn std::fmt::Display| {
            let way = "choose another folder, or delete the file to start over";
            let text = format!("expected the state of this run, found {found}; {way}");
            Error::record(path, text)
        };
        let head = serde_json::to_string(header).map_err(|e| Error::record(path, e))?;
        let mut digest = chained("", &head);
        let mut kept = framed(&digest, &head);
        let bytes = atomic::read_if_there(path)?.unwrap_or_default();
        let text = String::from_utf8(bytes).map_err(|_| refused(&"a file that is no text"))?;
        let mut lines = text.split_inclusive('\n');
        if let Some(first) = lines.next().filter(|l| !kept.starts_with(*l)) {
            let none = || refused(&"a file that is none, or is damaged");
            let (found, json) = unframed(first).ok_or_else(none)?;
            if chained("", json) != found {
                return Err(none());
            }
            // Both as they are read: a number may be read as its neighbour.
            let read = |json| serde_json::from_str(json).map_err(|_| none());
            let others = differences(&read(&head)?, &read(json)?);
            return Err(refused(&format!("one with another {}", others.join(", "))));
        }
        for (number, line) in lines.filter(|l| l.ends_with('\n')).enumerate() {
            let damaged =
                |why: &str| refused(&format!("a damaged line, number {} ({why})", number + 2));
            let (found, json) = unframed(line).ok_or_else(|| damaged("no digest"))?;
            let next = chained(&digest, json);
            if next != found {
                return Err(damaged("its digest is another"));
            }
            let read = serde_json::from_str(json).map_err(|e| damaged(&e.to_string()))?;
            if !keep(read).map_err(|why| damaged(&why))? {
                break;
            }
            digest = next;
            kept.push_str(line);
        }
        if kept != text {
            atomic::write(path, kept.as_bytes())?;
        }
        let file = disk::append(path).map_err(Error::io(path))?;
        Ok(Self {
            path: path.into(),
            file,
            digest,
        })
    }

    /// Adds a finished piece of work. It is on the disk when this returns.
    pub(crate) fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(line).map_err(|e| Error::record(&self.path, e))?;
        let next = chained(&self.digest, &json);
        let mut put = || {
            disk::put(&mut self.file, framed(&next, &json).as_bytes())?;
            disk::sync(&self.file)
        };
        put().map_err(Error::io(&self.path))?;
        self.digest = next;
        Ok(())
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
            Ok(true)
        })?;
        Ok((journal, lines))
    }

    /// A journal with the lines 10 to 13.
    fn four(path: &Path) -> Vec<u8> {
        let (mut journal, lines) = open(path, 1).unwrap();
        assert!(lines.is_empty());
        (10..14u32).for_each(|l| journal.append(&l).unwrap());
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_journal_goes_on_after_a_kill_at_any_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let whole = four(&path);
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let (mut journal, lines) = open(&path, 1).unwrap();
            let ends = whole[..end].iter().filter(|b| **b == b'\n').count();
            let done = ends.saturating_sub(1) as u32;
            assert_eq!(lines, (10..10 + done).collect::<Vec<_>>(), "at byte {end}");
            (10 + done..14).for_each(|l| journal.append(&l).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), whole, "at byte {end}");
        }
    }

    #[test]
    fn a_journal_with_any_bit_flipped_is_refused_or_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let whole = four(&path);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                std::fs::write(&path, &flipped).unwrap();
                // Without its end the last line does not count, and is made again.
                if let Ok((_, lines)) = open(&path, 1) {
                    assert_eq!((at, &lines[..]), (whole.len() - 1, &[10, 11, 12][..]));
                }
            }
        }
    }

    #[test]
    fn lines_cannot_change_places_or_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let whole = String::from_utf8(four(&path)).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        for order in [&[0, 2, 1, 3, 4][..], &[0, 1, 3, 4], &[0, 1, 1, 2, 3, 4]] {
            let text: String = order.iter().map(|&i| lines[i]).collect();
            std::fs::write(&path, &text).unwrap();
            let error = open(&path, 1).unwrap_err().to_string();
            assert!(error.contains("damaged line"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_line_that_does_not_count_ends_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        four(&path);
        let header = json!({"model": "a", "seed": 1});
        let three = Journal::open(&path, &header, |l: u32| Ok(l < 13)).unwrap();
        drop(three);
        assert_eq!(open(&path, 1).unwrap().1, [10, 11, 12]);
        let refused = Journal::open(&path, &header, |_: u32| Err("torn".to_owned()));
        assert!(refused.unwrap_err().to_string().contains("number 2 (torn)"));
    }

    #[test]
    fn a_stranger_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        drop(open(&path, 2).unwrap());
        let other = std::fs::read(&path).unwrap();
        let others: [(&[u8], &str); 4] = [
            (&other, "another seed;"),
            (b"notes without an end of line", "that is none"),
            (b"notes\n", "that is none"),
            (b"\xff\xfe\n", "no text"),
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
