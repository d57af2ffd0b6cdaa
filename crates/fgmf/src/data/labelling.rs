//! Folders of images as the classes of a model.

use crate::error::{Error, Result};
use fgmf_net::Network;
use std::collections::BTreeSet;

/// Where a model file keeps its class names, one a line.
pub(crate) const CLASSES_KEY: &str = "fgmf.classes";

const MATCHING: &str = "match model and data";

/// The class names that a model carries, by label. `None` where it has none, or where they are not
/// one name a class.
pub fn class_names(net: &Network) -> Option<Vec<String>> {
    let text = net.metadata.get(CLASSES_KEY)?;
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    (names.len() == net.classes() && distinct.len() == names.len()).then_some(names)
}

/// Writes class names into a model, where [`class_names`] finds them.
///
/// # Errors
/// [`Error::Mismatch`] when there is not one name a class, two are equal, or one has a line break.
pub fn name_classes(net: &mut Network, names: &[String]) -> Result<()> {
    net.metadata.insert(CLASSES_KEY.into(), names.join("\n"));
    if class_names(net).is_some_and(|read| read == names) {
        return Ok(());
    }
    let expected = format!("{} different names, one a class", net.classes());
    Err(Error::mismatch("name classes", expected, listed(names)))
}

/// The label of each folder. By name where the model has `names`; by number where every folder is
/// named by one; else by the order of the folders, which must then be as many as the `classes`.
pub(crate) fn labels_of(
    folders: &[String],
    names: Option<&[String]>,
    classes: usize,
) -> Result<Vec<usize>> {
    let by_name = |names: &[String]| -> Option<Vec<usize>> {
        let find = |folder: &String| {
            let mut all = (0..names.len()).filter(|&i| same(folder, &names[i]));
            // A name that two ids share is no answer.
            all.next().filter(|_| all.next().is_none())
        };
        folders.iter().map(find).collect()
    };
    let labels = names
        .and_then(by_name)
        .or_else(|| by_number(folders, classes))
        .or_else(|| in_order(folders, names, classes))
        .ok_or_else(|| unknown(folders, names, classes))?;
    let distinct: BTreeSet<&usize> = labels.iter().collect();
    if distinct.len() < labels.len() {
        let expected = "one folder a class";
        return Err(Error::mismatch(MATCHING, expected, listed(folders)));
    }
    Ok(labels)
}

/// Whether a folder is named by this class: by its name, by the WordNet id before its name
/// (`n01440764 tench`), or by what comes behind that.
fn same(folder: &str, name: &str) -> bool {
    let parts = name.split_once(' ').filter(|(id, _)| is_wordnet_id(id));
    let either = parts.is_some_and(|(id, rest)| folder == id || spelled_alike(folder, rest));
    either || spelled_alike(folder, name)
}

/// `n` and eight digits.
fn is_wordnet_id(text: &str) -> bool {
    let digits = text.strip_prefix('n');
    digits.is_some_and(|d| d.len() == 8 && d.bytes().all(|b| b.is_ascii_digit()))
}

/// A folder's name cannot hold a slash; `_` or `-` stands there.
fn spelled_alike(folder: &str, name: &str) -> bool {
    let stands = |(a, b): (char, char)| a == b || (b == '/' && (a == '_' || a == '-'));
    folder.chars().count() == name.chars().count() && folder.chars().zip(name.chars()).all(stands)
}

fn by_number(folders: &[String], classes: usize) -> Option<Vec<usize>> {
    let number = |folder: &String| folder.parse().ok().filter(|&label| label < classes);
    folders.iter().map(number).collect()
}

fn in_order(folders: &[String], names: Option<&[String]>, classes: usize) -> Option<Vec<usize>> {
    (names.is_none() && folders.len() == classes).then(|| (0..classes).collect())
}

fn unknown(folders: &[String], names: Option<&[String]>, classes: usize) -> Error {
    let Some(names) = names else {
        let expected = format!(
            "{classes} class folders, one a class, because the model carries no class names"
        );
        let found = format!("{} class folders: {}", folders.len(), listed(folders));
        return Error::mismatch(MATCHING, expected, found);
    };
    let odd = folders.iter().filter(|f| !names.iter().any(|n| same(f, n)));
    let odd: Vec<String> = odd.cloned().collect();
    let expected = format!(
        "folders named as the classes of the model ({})",
        listed(names)
    );
    let found = format!(
        "folders {}, of which it does not know {}",
        listed(folders),
        listed(&odd)
    );
    Error::mismatch(MATCHING, expected, found)
}

/// Names that an error holds; more are counted.
const SHOWN: usize = 40;

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn labels(folders: &[&str], names: Option<&[&str]>, classes: usize) -> Result<Vec<usize>> {
        let names = names.map(owned);
        labels_of(&owned(folders), names.as_deref(), classes)
    }

    #[test]
    fn names_decide_whatever_the_order_or_subset() {
        let names = ["shirt", "T-shirt/top", "bag"];
        let of = |folders: &[&str]| labels(folders, Some(&names), 3);
        assert_eq!(of(&["T-shirt_top", "bag", "shirt"]).unwrap(), [1, 2, 0]);
        assert_eq!(of(&["bag"]).unwrap(), [2]);
        assert_eq!(of(&["1", "2"]).unwrap(), [1, 2]);
        let message = of(&["bag", "cat"]).unwrap_err().to_string();
        assert_eq!(
            message,
            "match model and data: expected folders named as the classes of the model (shirt, \
             T-shirt/top, bag), found folders bag, cat, of which it does not know cat"
        );
        let message = of(&["T-shirt-top", "T-shirt_top"]).unwrap_err().to_string();
        assert!(message.contains("expected one folder a class"), "{message}");
        // Names that are numbers are names first.
        assert_eq!(labels(&["0", "1"], Some(&["1", "0"]), 2).unwrap(), [1, 0]);
    }

    #[test]
    fn wordnet_ids_and_the_names_behind_them_are_found() {
        let names = ["n01440764 tench", "n02012849 crane", "n03126707 crane"];
        let of = |folders: &[&str]| labels(folders, Some(&names), 3);
        assert_eq!(of(&["n03126707", "n01440764"]).unwrap(), [2, 0]);
        assert_eq!(of(&["tench", "n02012849 crane"]).unwrap(), [0, 1]);
        assert!(
            of(&["crane"])
                .unwrap_err()
                .to_string()
                .contains("does not know")
        );
    }

    #[test]
    fn without_names_every_class_has_a_folder_or_a_number() {
        assert_eq!(labels(&["a", "b"], None, 2).unwrap(), [0, 1]);
        assert_eq!(labels(&["0", "10", "2"], None, 11).unwrap(), [0, 10, 2]);
        let message = labels(&["a", "b"], None, 3).unwrap_err().to_string();
        assert_eq!(
            message,
            "match model and data: expected 3 class folders, one a class, because the model \
             carries no class names, found 2 class folders: a, b"
        );
        assert!(labels(&["1", "2", "3"], None, 4).is_ok());
        assert!(labels(&["1", "01"], None, 2).is_err());
        assert!(labels(&["a", "b", "c"], None, 2).is_err());
    }
}
