//! The code keeps to the edges that `docs/architecture.md` allows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Modules and what each may use, from the table of the document.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let section = text
        .split("## Modules of `fgmf`")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = section.lines().filter(|l| l.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let uses = cells[3]
            .split(',')
            .map(str::trim)
            .filter(|u| *u != "–")
            .map(str::to_owned)
            .collect();
        (cells[1].trim_matches('`').to_owned(), uses)
    };
    rows.map(row).collect()
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Modules named by `crate::<module>` in the part of a file that is not tests.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
    let name = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect::<String>()
    };
    lines
        .flat_map(|l| l.split("crate::").skip(1).map(name).collect::<Vec<_>>())
        .filter(|n| !n.is_empty())
        .collect()
}

#[test]
fn modules_use_only_what_the_architecture_allows() {
    let allowed = allowed();
    let open: BTreeSet<String> = ["error", "rng", "record", "hash"].map(str::to_owned).into();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let module = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned();
        if module == "lib" {
            continue;
        }
        seen.insert(module.clone());
        let Some(may) = allowed.get(&module) else {
            wrong.push(format!(
                "module `{module}` is not in the table of docs/architecture.md"
            ));
            continue;
        };
        for target in used(&std::fs::read_to_string(&file).unwrap()) {
            if target != module && !may.contains(&target) && !open.contains(&target) {
                wrong.push(format!(
                    "{}: `{module}` uses `{target}`, an edge that the table does not have",
                    relative.display()
                ));
            }
        }
    }
    let gone: Vec<_> = allowed.keys().filter(|m| !seen.contains(*m)).collect();
    assert!(
        gone.is_empty(),
        "in the table but not in the code: {gone:?}"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
