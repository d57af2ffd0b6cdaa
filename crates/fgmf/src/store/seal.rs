//! A digest inside the file that it is of: a place is left blank, the digest of the whole goes
//! there.

use crate::error::{Error, Result};
use crate::hash::sha256;
use std::path::Path;

/// What stands in the place of a digest while the digest is computed.
pub(crate) const BLANK: &str = "----------------------------------------------------------------";

fn position(bytes: &[u8], text: &str) -> Option<usize> {
    let mut windows = bytes.windows(text.len());
    windows.position(|w| w == text.as_bytes())
}

/// Puts the digest of these bytes in the place of [`BLANK`] in them.
pub(crate) fn seal(path: &Path, bytes: &mut [u8]) -> Result<()> {
    let (at, digest) = (position(bytes, BLANK), sha256(bytes));
    let place = at.ok_or_else(|| Error::record(path, "a header without a place for its digest"))?;
    bytes[place..place + BLANK.len()].copy_from_slice(digest.as_bytes());
    Ok(())
}

/// Whether the file is as it was written.
pub(crate) fn is_whole(bytes: &[u8], digest: &str) -> bool {
    if digest.len() != BLANK.len() {
        return false;
    }
    let Some(at) = position(bytes, digest) else {
        return false;
    };
    let mut blank = bytes.to_vec();
    blank[at..at + BLANK.len()].copy_from_slice(BLANK.as_bytes());
    sha256(&blank) == digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_breaks_the_seal() {
        let mut bytes = format!("head {BLANK} body").into_bytes();
        seal(Path::new("a"), &mut bytes).unwrap();
        let digest = String::from_utf8(bytes[5..69].to_vec()).unwrap();
        assert!(is_whole(&bytes, &digest));
        for at in [0, 10, 72] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(!is_whole(&other, &digest), "byte {at}");
        }
        assert!(!is_whole(&bytes, "short"));
        assert!(seal(Path::new("a"), &mut [0; 80]).is_err());
    }
}
