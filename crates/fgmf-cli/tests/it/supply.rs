//! What the program is built of: the packages that `Cargo.lock` holds, against a committed list of
//! advisories (made by `parity/advisories.py`), and their licences against those we may pass on.

use semver::{Version, VersionReq};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Advisories that do not concern us, each with the reason.
const EXCEPTIONS: [(&str, &str); 1] = [(
    "RUSTSEC-2024-0436",
    "paste is unmaintained, not unsound: a macro of pulp, run when it is built",
)];

/// Licences that a binary under MIT or Apache-2.0 may hold.
const LICENCES: [&str; 7] = [
    "MIT",
    "Apache-2.0",
    "Zlib",
    "BSD-3-Clause",
    "0BSD",
    "Unlicense",
    "Unicode-3.0",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn advisories() -> Value {
    let list = std::fs::read(root().join("assets/advisories.json")).unwrap();
    serde_json::from_slice(&list).unwrap()
}

/// Name, version and licence of each package that is built here.
fn packages() -> Vec<(String, Version, Option<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = |p: &Value| {
        let version = text(&p["version"]).parse().unwrap();
        let licence = p["license"].as_str().map(str::to_owned);
        (text(&p["name"]).to_owned(), version, licence)
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(package)
        .collect()
}

/// Whether an advisory is about this version.
fn concerns(advisory: &Value, version: &Version) -> bool {
    let any = |which: &str| {
        let list = advisory[which].as_array().unwrap().iter();
        let mut fit = list.map(|r| VersionReq::parse(text(r)).unwrap().matches(version));
        fit.any(|fits| fits)
    };
    !any("patched") && !any("unaffected")
}

#[test]
fn no_package_has_an_advisory() {
    let advisories = advisories();
    let known = advisories["packages"].as_array().unwrap();
    let all = advisories["advisories"].as_array().unwrap();
    let packages = packages();
    assert!(packages.len() > 100 && all.len() > 20);
    for (name, version, _) in &packages {
        let asked = name.starts_with("fgmf") || known.iter().any(|k| text(k) == name);
        assert!(asked, "{name}: run parity/advisories.py, the list is older");
        for advisory in all.iter().filter(|a| text(&a["package"]) == name) {
            let id = text(&advisory["id"]);
            let excepted = EXCEPTIONS.iter().any(|(e, _)| *e == id);
            assert!(
                excepted || !concerns(advisory, version),
                "{name} {version}: {id}"
            );
        }
    }
    // The comparison finds what it is for.
    let old = Version::new(0, 6, 0);
    let anyhow = all.iter().find(|a| text(&a["package"]) == "anyhow");
    assert!(concerns(anyhow.unwrap(), &old));
}

/// Whether one of the ways to take a licence is one of ours.
fn is_ours(licence: &str) -> bool {
    let licence = licence.replace('/', " OR ");
    licence.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')']);
        part.split(" OR ").any(|one| LICENCES.contains(&one.trim()))
    })
}

#[test]
fn every_licence_may_be_passed_on() {
    for (name, version, licence) in packages() {
        let licence = licence.unwrap_or_default();
        assert!(is_ours(&licence), "{name} {version}: {licence:?}");
    }
    assert!(is_ours("(MIT OR Apache-2.0) AND Unicode-3.0") && is_ours("Unlicense/MIT"));
    assert!(!is_ours("GPL-3.0-only") && !is_ours("MIT AND GPL-3.0-only") && !is_ours(""));
}
