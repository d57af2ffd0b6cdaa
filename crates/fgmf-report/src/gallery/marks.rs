//! Maps that are not to be relied on.

use fgmf_record::{ImageRecord, MapFacts};

/// All maps of an image.
pub(super) fn maps(image: &ImageRecord) -> impl Iterator<Item = &MapFacts> {
    image.views.iter().flat_map(|v| &v.maps)
}
