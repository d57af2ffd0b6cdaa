//! The code keeps to the rules of `docs/architecture.md`: the edges of its tables, no circle of
//! files, faces that define nothing.

mod source;

use source::{Crate, circles, is_face};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rooms that are open to all, as the document says.
const GROUND: [&str; 4] = ["error", "rng", "settings", "method"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn crates() -> Vec<(String, Crate)> {
    let entries = std::fs::read_dir(root().join("crates")).unwrap();
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, Crate::read(&entry.path().join("src")))
    };
    let mut out: Vec<(String, Crate)> = entries.map(read).collect();
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

/// Rooms and what each may use, from the table of the document.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let section = text.split("## Rooms of `fgmf`").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let uses = cells[3].split(',').map(str::trim).filter(|u| *u != "–");
        let uses = uses.map(str::to_owned).collect();
        (cells[1].trim_matches('`').to_owned(), uses)
    };
    let rows = section.lines().filter(|l| l.starts_with("| `"));
    rows.map(row).collect()
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Edges between rooms that the table does not have.
fn strangers(
    uses: &BTreeMap<String, BTreeSet<String>>,
    allowed: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut out = Vec::new();
    for (file, used) in uses {
        let from = room(file);
        if from == "lib" {
            continue;
        }
        let Some(may) = allowed.get(from) else {
            out.push(format!("room `{from}` is not in the table"));
            continue;
        };
        for other in used {
            let to = room(other);
            if to != from && !may.contains(to) && !GROUND.contains(&to) {
                out.push(format!("{file}: `{from}` uses `{to}` ({other})"));
            }
        }
    }
    out
}

#[test]
fn rooms_use_only_what_the_architecture_allows() {
    let allowed = allowed();
    let fgmf = Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let wrong = strangers(&fgmf.uses(), &allowed);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let rooms: BTreeSet<&str> = fgmf.files().map(room).collect();
    let gone = allowed.keys().filter(|r| !rooms.contains(r.as_str()));
    let gone: Vec<_> = gone.collect();
    assert!(gone.is_empty(), "in the table, not in the code: {gone:?}");
}

#[test]
fn no_crate_has_a_circle_of_files() {
    for (name, files) in crates() {
        let found = circles(&files.uses());
        let text: Vec<String> = found.iter().map(|c| c.join(" ↔ ")).collect();
        assert!(found.is_empty(), "{name}:\n{}", text.join("\n"));
    }
}

/// What the table allows is no circle either.
#[test]
fn the_rooms_have_an_order() {
    let found = circles(&allowed());
    let text: Vec<String> = found.iter().map(|c| c.join(" ↔ ")).collect();
    assert!(found.is_empty(), "{}", text.join("\n"));
}

#[test]
fn a_name_stands_for_one_thing_in_a_crate() {
    for (name, files) in crates() {
        let twice: Vec<String> = files
            .types()
            .into_iter()
            .filter(|(_, files)| files.len() > 1)
            .map(|(name, files)| format!("{name}: {}", files.join(", ")))
            .collect();
        assert!(twice.is_empty(), "{name}:\n{}", twice.join("\n"));
    }
}

#[test]
fn faces_define_nothing() {
    for (name, files) in crates() {
        let found = files.defined_in_faces();
        assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
    }
}

/// A method is a leaf: it imports no other method of its family, and neither its list nor its face.
#[test]
fn methods_are_leaves() {
    let fgmf = Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let methods: BTreeSet<&str> = fgmf::registry::METHODS.iter().map(|m| m.file).collect();
    let mut wrong = Vec::new();
    for (file, used) in fgmf.uses() {
        if !methods.contains(file.as_str()) {
            continue;
        }
        let siblings = used.iter().filter(|u| methods.contains(u.as_str()));
        for other in siblings.filter(|u| room(u) == room(&file)) {
            wrong.push(format!("{file} imports {other}"));
        }
        let list = format!("{}/list.rs", room(&file));
        if used.contains(&list) {
            wrong.push(format!("{file} imports {list}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_line_is_longer_than_100_columns() {
    let mut wrong = Vec::new();
    let mut open = vec![root().join("crates")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let long = text.lines().enumerate();
                let long = long.filter(|(_, l)| l.chars().count() > 100);
                wrong.extend(long.map(|(i, _)| format!("{}:{}", path.display(), i + 1)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The checks see what was planted for them.
mod planted {
    use super::*;

    fn planted(files: &[(&str, &str)]) -> Crate {
        let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        Crate::new(files.iter().map(own).collect())
    }

    fn table(rows: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        let row = |(room, uses): &(&str, &[&str])| {
            let uses = uses.iter().map(|u| (*u).to_owned()).collect();
            ((*room).to_owned(), uses)
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn a_circle_of_two_files() {
        let files = planted(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::g; pub fn f() { g() }"),
            ("b.rs", "pub fn g() { crate::a::f() }"),
        ]);
        assert_eq!(circles(&files.uses()), [["a.rs", "b.rs"]]);
    }

    /// The list's edges to its methods are in no source: the build script writes them.
    #[test]
    fn a_method_that_imports_the_list() {
        let list = r#"pub const LIST: u8 = include!(concat!(env!("OUT_DIR"), "/a.rs"));"#;
        let files = planted(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod leaf; mod list; mod wrapper;"),
            ("a/list.rs", list),
            ("a/leaf.rs", "pub const METHODS: u8 = 0;"),
            (
                "a/wrapper.rs",
                "use crate::a::list::LIST; pub const METHODS: u8 = LIST;",
            ),
        ]);
        assert_eq!(circles(&files.uses()), [["a/list.rs", "a/wrapper.rs"]]);
        assert!(files.uses()["a/list.rs"].contains("a/leaf.rs"));
    }

    /// `pub(crate)` names the root, and uses nothing of it.
    #[test]
    fn a_visibility_is_no_edge() {
        let files = planted(&[
            ("main.rs", "mod a; fn main() { a::f() }"),
            ("a.rs", "pub(crate) fn f() {}"),
        ]);
        assert!(circles(&files.uses()).is_empty());
    }

    #[test]
    fn a_circle_through_a_face() {
        let files = planted(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; mod c; pub use b::f; pub use c::g;"),
            ("a/b.rs", "use super::g; pub fn f() { g() }"),
            ("a/c.rs", "use crate::a; pub fn g() { a::f() }"),
        ]);
        assert_eq!(circles(&files.uses()), [["a/b.rs", "a/c.rs"]]);
    }

    #[test]
    fn an_edge_in_a_group() {
        let files = planted(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::{b, c::g}; pub fn f() { b::h(); g() }"),
            ("b.rs", "pub fn h() {}"),
            ("c.rs", "pub fn g() {}"),
        ]);
        let allowed = table(&[("a", &["b"]), ("b", &[]), ("c", &[])]);
        assert_eq!(
            strangers(&files.uses(), &allowed),
            ["a.rs: `a` uses `c` (c.rs)"]
        );
    }

    #[test]
    fn an_edge_behind_a_test_module() {
        let behind = "#[cfg(test)] mod tests { use crate::d::k; }\nuse crate::c::g; fn f() { g() }";
        let files = planted(&[
            ("lib.rs", "mod a; mod c; mod d;"),
            ("a.rs", behind),
            ("c.rs", "pub fn g() {}"),
            ("d.rs", "pub fn k() {}"),
        ]);
        let allowed = table(&[("a", &[]), ("c", &[]), ("d", &[])]);
        assert_eq!(
            strangers(&files.uses(), &allowed),
            ["a.rs: `a` uses `c` (c.rs)"]
        );
    }

    #[test]
    fn an_edge_in_a_macro_call() {
        let files = planted(&[
            ("lib.rs", "mod a; mod c;"),
            ("a.rs", "fn f() { println!(\"{}\", crate::c::g()) }"),
            ("c.rs", "pub fn g() -> u8 { 0 }"),
        ]);
        let allowed = table(&[("a", &[]), ("c", &[])]);
        assert_eq!(
            strangers(&files.uses(), &allowed),
            ["a.rs: `a` uses `c` (c.rs)"]
        );
    }

    #[test]
    fn a_name_for_two_things() {
        let files = planted(&[
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "struct Run; #[cfg(test)] mod tests { struct Plan; }",
            ),
            ("b.rs", "enum Run {} struct Plan;"),
        ]);
        assert_eq!(files.types()["Run"], ["a.rs", "b.rs"]);
        assert_eq!(files.types()["Plan"], ["b.rs"]);
    }

    #[test]
    fn a_face_that_defines() {
        let files = planted(&[("lib.rs", "mod a;"), ("a/mod.rs", "pub struct Own;")]);
        assert_eq!(files.defined_in_faces(), ["a/mod.rs defines Own"]);
        assert!(is_face("a/mod.rs") && !is_face("a.rs"));
    }
}
