//! Which files of a folder are ours: a list beside them.

use anyhow::Result;
use fgmf::Error;
use fgmf::store::{remove, write};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The list, in the folder of the results.
const LIST: &str = "explain.files.txt";

/// Files of this run and of those before it in the same folder.
pub(super) struct WrittenFiles {
    folder: PathBuf,
    earlier: BTreeSet<String>,
    own: BTreeSet<String>,
}

impl WrittenFiles {
    /// Takes the list of the runs before. Lines that are no file of ours are left out.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let list = folder.join(LIST);
        let text = match std::fs::read_to_string(&list) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(&list)(e).into()),
        };
        let lines = text.lines().filter(|line| is_ours(line));
        Ok(Self {
            folder: folder.to_owned(),
            earlier: lines.map(str::to_owned).collect(),
            own: BTreeSet::new(),
        })
    }

    /// Lists the files that this run will write, before it writes them: a run that is killed
    /// leaves no file that the next one does not know.
    pub(super) fn expect(&mut self, files: impl IntoIterator<Item = String>) -> Result<()> {
        self.own.extend(files);
        self.list(self.earlier.union(&self.own))
    }

    /// Removes what earlier runs wrote and this one did not.
    pub(super) fn finish(self) -> Result<()> {
        for stale in self.earlier.difference(&self.own) {
            let path = self.folder.join(stale);
            if path.is_file() {
                remove(&path)?;
            }
        }
        self.list(self.own.iter())
    }

    fn list<'a>(&self, files: impl Iterator<Item = &'a String>) -> Result<()> {
        let text: String = files.map(|file| format!("{file}\n")).collect();
        Ok(write(&self.folder.join(LIST), text.as_bytes())?)
    }
}

/// Whether a line names a file that a run may have written, and nothing outside its folder.
fn is_ours(line: &str) -> bool {
    let plain = |name: &str| !name.contains(['/', '\\', ':']) && !name.starts_with('.');
    match line.split_once('/') {
        None => ["gallery.html", "gallery.json"].contains(&line),
        Some((folder, name)) => ["maps", "pages"].contains(&folder) && plain(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_files_of_ours_go_and_those_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        for name in ["maps", "pages"] {
            std::fs::create_dir_all(out.join(name)).unwrap();
        }
        let put = |name: &str| std::fs::write(out.join(name), "").unwrap();
        let is = |name: &str| out.join(name).exists();
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        put("maps/theirs.png");
        put("../outside.png");
        let run = |files: &[&str], whole: bool| {
            let mut written = WrittenFiles::open(&out).unwrap();
            written.expect(names(files)).unwrap();
            files.iter().for_each(|name| put(name));
            if whole {
                written.finish().unwrap();
            }
        };
        run(&["gallery.html", "maps/a.png", "pages/a.png"], true);
        // This one is killed; the next knows its files none the less.
        run(&["gallery.html", "maps/b.png"], false);
        assert!(is("maps/a.png") && is("maps/b.png"));
        let list = out.join(LIST);
        let text = std::fs::read_to_string(&list).unwrap();
        std::fs::write(&list, text + "../outside.png\nmaps/../../outside.png\n").unwrap();
        run(&["gallery.html", "maps/c.png"], true);
        assert!(!is("maps/a.png") && !is("pages/a.png") && !is("maps/b.png"));
        assert!(is("maps/c.png") && is("gallery.html") && is("maps/theirs.png"));
        assert!(is("../outside.png"));
        assert_eq!(
            std::fs::read_to_string(&list).unwrap(),
            "gallery.html\nmaps/c.png\n"
        );
    }
}
