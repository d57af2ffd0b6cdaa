//! Views of a gallery: the images that a reader may want to see alone. A view is an address
//! (`gallery.html#wrong`), so it needs no script, and can be sent to somebody.

use crate::escape::count;
use crate::gallery::marks;
use fgmf_record::{GalleryRecord, ImageRecord};

/// A view: its anchor, and its name. Its images have the class `is-ANCHOR`.
struct Filter {
    id: &'static str,
    name: &'static str,
    holds: fn(&ImageRecord) -> bool,
}

const FILTERS: [Filter; 4] = [
    Filter {
        id: "wrong",
        name: "wrong answer",
        holds: |image| {
            let truth = image.truth;
            truth.is_some_and(|t| image.views.iter().any(|v| v.predicted != t))
        },
    },
    Filter {
        id: "changed",
        name: "answer changed by the attack",
        holds: |image| {
            let mut pairs = image.views.windows(2);
            pairs.any(|pair| pair[0].predicted != pair[1].predicted)
        },
    },
    Filter {
        id: "withheld",
        name: "map withheld",
        holds: |image| marks::maps(image).any(|m| m.withheld.is_some()),
    },
    Filter {
        id: "doubted",
        name: "map in doubt",
        holds: |image| marks::maps(image).any(|m| !m.doubts.is_empty()),
    },
];

/// Classes of an image: the views that it is in.
pub(super) fn classes(image: &ImageRecord) -> Vec<String> {
    let of = FILTERS.iter().filter(|f| (f.holds)(image));
    of.map(|f| format!("is-{}", f.id)).collect()
}

/// Links to the views with the number of their images, and the words that stand above a view.
pub(super) fn bar(about: &GalleryRecord) -> String {
    let all = about.images.len();
    let mut links = format!("<li><a href=\"#images\">all <b>{}</b></a></li>", count(all));
    let mut notes = String::new();
    for Filter { id, name, holds } in &FILTERS {
        let n = about.images.iter().filter(|i| holds(i)).count();
        // A view of nothing is no place to go to.
        links += &match n {
            0 => format!("<li>{name} <b>0</b></li>"),
            _ => format!("<li><a href=\"#{id}\">{name} <b>{}</b></a></li>", count(n)),
        };
        notes += &format!(
            "<p class=\"only\" id=\"{id}\">Only images with: {name} ({} of {}). <a \
                href=\"#images\">Show all</a></p>",
            count(n),
            count(all)
        );
    }
    format!("<nav class=\"filters\" aria-label=\"Images shown\"><ul>{links}</ul></nav>{notes}")
}

/// Hides what is not in the view that the address names.
pub(super) fn style() -> String {
    FILTERS
        .iter()
        .map(|Filter { id, .. }| {
            format!(
                "main:has(#{id}:target) .case:not(.is-{id}) {{ display: none; }}\n\
                main:has(#{id}:target) .filters a[href=\"#{id}\"] {{ background: var(--accent); \
                color: var(--paper); }}\n"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_has_its_anchor_and_its_rule_once() {
        let style = style();
        for f in &FILTERS {
            let rule = format!("main:has(#{0}:target) .case:not(.is-{0}) ", f.id);
            assert_eq!(style.matches(&rule).count(), 1, "{rule}");
        }
    }
}
