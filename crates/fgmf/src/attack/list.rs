//! The list of attacks: ids, names in suites, and how each is made.

use crate::attack::base::{Attack, AttackBuild, AttackMethod, Given, SuiteSettings};
use crate::error::Result;
use crate::method::{Family, List};
use crate::threat::Norm;
use fgmf_net::Session;
use serde_json::{Value, json};

/// All attacks; the build script writes the list.
pub(crate) static LIST: List<AttackBuild> = List::new(
    Family::Attack,
    "attack",
    include!(concat!(env!("OUT_DIR"), "/attack.rs")),
);

/// Ids of all attacks, for [`by_id`].
pub fn ids() -> Vec<&'static str> {
    LIST.ids()
}

/// The attack of that id, with default settings. `transfer` has none: it needs a surrogate.
pub fn by_id(id: &str) -> Option<Attack> {
    with_parameters(id, json!({})).ok()
}

/// The attack of that id with these settings; what is left out has its default.
///
/// An error names an unknown attack, an unknown setting, or one out of range.
pub fn with_parameters(id: &str, settings: Value) -> Result<Attack> {
    make(id, settings, None)
}

/// [`with_parameters`] for an attacker who holds another network of the same task.
pub fn with_surrogate(id: &str, settings: Value, surrogate: &Session) -> Result<Attack> {
    make(id, settings, Some(surrogate))
}

fn make(id: &str, settings: Value, surrogate: Option<&Session>) -> Result<Attack> {
    let inner = |id: &str, settings: Value| make(id, settings, surrogate);
    let given = Given {
        make: &inner,
        surrogate,
    };
    (LIST.find(id)?.build.make)(settings, &given)
}

/// What suites call the attacks: each name, its attack, and its settings.
fn named() -> Vec<(String, &'static AttackMethod, Meaning)> {
    let mut out = Vec::new();
    for method in LIST.methods() {
        for name in method.build.names {
            out.push((name.name.to_owned(), method, Meaning::Plain(name.settings)));
        }
        let Some(wrapper) = &method.build.wrapper else {
            continue;
        };
        for inner in LIST.methods() {
            for name in inner.build.names {
                if let Some(inside) = name.inside {
                    let meaning = Meaning::Around(wrapper.around, inner.id, inside);
                    out.push((format!("{}{}", name.name, wrapper.ending), method, meaning));
                }
            }
        }
    }
    out
}

/// What a name in a suite stands for.
enum Meaning {
    Plain(SuiteSettings),
    /// Settings around an attack of this id, with its settings inside.
    Around(fn(&str, Value) -> Value, &'static str, SuiteSettings),
}

/// Names that suites know.
pub fn names() -> Vec<String> {
    named().into_iter().map(|(name, ..)| name).collect()
}

/// The attack that suites call so, with the settings it has there for this norm and number of
/// classes; `None` for an unknown name.
pub fn by_name(name: &str, norm: Norm, classes: usize) -> Option<Result<Attack>> {
    let (_, method, meaning) = named().into_iter().find(|(n, ..)| n == name)?;
    let settings = match meaning {
        Meaning::Plain(settings) => settings(norm, classes),
        Meaning::Around(around, id, inside) => around(id, inside(norm, classes)),
    };
    Some(with_parameters(method.id, settings))
}
