//! The attacks by patches: ids, and how each is made from settings.

use crate::attack::patch::base::PatchAttack;
use crate::attack::patch::patch_pgd::PatchPgdParams;
use crate::attack::patch::patch_search::PatchSearchParams;
use crate::attack::patch::universal::UniversalPatchParams;
use crate::error::{Error, Result};
use crate::settings::read;
use serde_json::Value;

/// Ids of all attacks by patches, for [`patch_attack`].
pub fn patch_attacks() -> Vec<&'static str> {
    vec!["patch-pgd", "patch-search", "patch-universal"]
}

/// The attack of that id with these settings; what is left out has its default.
///
/// An error names an unknown attack, an unknown setting, or one out of range.
pub fn patch_attack(id: &str, settings: Value) -> Result<Box<dyn PatchAttack>> {
    Ok(match id {
        "patch-pgd" => Box::new(read::<PatchPgdParams>(settings)?.check()?),
        "patch-search" => Box::new(read::<PatchSearchParams>(settings)?.check()?),
        "patch-universal" => Box::new(read::<UniversalPatchParams>(settings)?.check()?),
        _ => return Err(Error::parameter("attack", patch_attacks().join(", "), id)),
    })
}
