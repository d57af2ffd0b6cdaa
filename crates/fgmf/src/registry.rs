//! All methods of all families. The pages in `docs/methods/`, the overview in the README, the
//! command line and the tests read this.

use crate::{attack, defend, explain, metric, train};
use std::sync::LazyLock;

pub use crate::method::{Family, Registered};

/// All methods, by family, and by id in each family.
pub static METHODS: LazyLock<Vec<Registered>> = LazyLock::new(|| {
    [
        attack::list::LIST.registered(),
        defend::list::LIST.registered(),
        train::list::LIST.registered(),
        explain::list::LIST.registered(),
        metric::list::LIST.registered(),
    ]
    .concat()
});

/// The methods of a family, by id.
pub fn of(family: Family) -> impl Iterator<Item = &'static Registered> {
    METHODS.iter().filter(move |m| m.family == family)
}

/// `docs/methods/README.md`.
pub fn index() -> String {
    let row = |m: &Registered| {
        format!(
            "| [`{0}`]({0}.md) | {1:?} | {2} | {3} | `{4}` |",
            m.id, m.family, m.line, m.revision, m.reference
        )
    };
    let rows: Vec<String> = METHODS.iter().map(row).collect();
    format!(
        "# Methods\n\nGenerated from the method files; `UPDATE_DOCS=1 cargo test --release -p \
            fgmf --test it registry` writes it anew.\n\n| method | family | what it does | \
            revision | reference |\n| --- | --- | --- | --- | --- |\n{}\n",
        rows.join("\n")
    )
}

/// The overview of explainers and attacks in the README, as Markdown.
pub fn overview() -> String {
    let row = |m: &Registered| format!("| [`{0}`](docs/methods/{0}.md) | {1} |\n", m.id, m.line);
    let table = |family| {
        let rows: String = of(family).map(row).collect();
        format!("| {family:?} | what it does |\n| --- | --- |\n{rows}")
    };
    let (explainers, attacks) = (table(Family::Explainer), table(Family::Attack));
    format!("{explainers}\n{attacks}")
}
