//! Bytes of one IDX file to sizes and content, without trusting the header.

use crate::data::idx::part::{IMAGES, IdxPart, LABELS};
use crate::data::limits::{MAX_BYTES, MAX_SIDE};
use crate::data::request::DataRequest;
use crate::error::{Error, Result};
use flate2::bufread::MultiGzDecoder;
use std::cmp::Ordering;
use std::io::{BufRead, Read};
use std::path::Path;

/// Deflate cannot expand by more than this, so a header that asks for more is lying.
const MAX_EXPANSION: u64 = 1032;

/// `[n, height, width]` of an image file of `stored` bytes, and the bytes of the images wanted;
/// `path` is for messages.
pub(crate) fn images<R: BufRead>(
    path: &Path,
    source: R,
    stored: u64,
    wanted: &DataRequest,
) -> Result<([usize; 3], Vec<u8>)> {
    let (sides, body) = contents(path, source, stored, &IMAGES, wanted)?;
    match sides[..] {
        [n, height, width] => Ok(([n, height, width], body)),
        _ => Err(Error::data(path, "3 sizes", sides.len())),
    }
}

/// The bytes of a label file of `stored` bytes; `path` is for messages.
pub(crate) fn labels<R: BufRead>(path: &Path, source: R, stored: u64) -> Result<Vec<u8>> {
    Ok(contents(path, source, stored, &LABELS, &DataRequest::default())?.1)
}

/// Told apart by content: an IDX file starts with a zero byte, a gzip file does not.
fn contents<R: BufRead>(
    path: &Path,
    mut source: R,
    stored: u64,
    part: &IdxPart,
    wanted: &DataRequest,
) -> Result<(Vec<usize>, Vec<u8>)> {
    if source
        .fill_buf()
        .map_err(Error::io(path))?
        .starts_with(&[0x1f, 0x8b])
    {
        let most = stored.saturating_mul(MAX_EXPANSION);
        decode(path, MultiGzDecoder::new(source), part, wanted, most, None)
    } else {
        decode(path, source, part, wanted, stored, Some(stored))
    }
}

/// Reads the header, and the wanted part of the body. At most `most` bytes can come, `exact` says
/// how many will; both are checked before the body is read.
fn decode(
    path: &Path,
    mut reader: impl Read,
    part: &IdxPart,
    wanted: &DataRequest,
    most: u64,
    exact: Option<u64>,
) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut take = |wanted: u64| {
        let mut bytes = Vec::new();
        let result = reader.by_ref().take(wanted).read_to_end(&mut bytes);
        match result {
            Ok(_) => Ok(bytes),
            Err(error) if exact.is_none() => Err(Error::data(path, "a whole gzip file", error)),
            Err(error) => Err(Error::io(path)(error)),
        }
    };
    let magic = take(4)?;
    let Ok(magic) = <[u8; 4]>::try_from(magic.as_slice()).map(u32::from_be_bytes) else {
        return Err(Error::data(
            path,
            format!("an IDX file of {}", part.word),
            format!("{} bytes", magic.len()),
        ));
    };
    if magic != part.magic {
        let other = [IMAGES, LABELS]
            .into_iter()
            .find(|other| other.magic == magic);
        let found = match other {
            Some(other) => format!("{magic}: these look like {}", other.word),
            None => format!("{magic} (0x{magic:08x})"),
        };
        return Err(Error::data(
            path,
            format!("IDX magic number {} of {}", part.magic, part.word),
            found,
        ));
    }
    let header = 4 + 4 * part.dims as u64;
    let sizes = take(header - 4)?;
    let sides: Vec<u32> = sizes
        .as_chunks()
        .0
        .iter()
        .map(|side| u32::from_be_bytes(*side))
        .collect();
    if sides.len() != part.dims {
        return Err(Error::data(
            path,
            format!("a header of {header} bytes"),
            format!("{} bytes", 4 + sizes.len()),
        ));
    }
    let sides: Vec<usize> = sides.into_iter().map(|side| side as usize).collect();
    if sides.contains(&0) || sides.iter().skip(1).any(|&side| side > MAX_SIDE) {
        let expected = format!(
            "at least one of the {}, sides of 1 to {MAX_SIDE} pixels",
            part.word
        );
        return Err(Error::data(
            path,
            expected,
            format!("sizes {sides:?} in the header"),
        ));
    }
    if let [_, height, width] = sides[..] {
        wanted.check_shape([1, height, width])?;
    }
    let body_of = |count: usize| {
        let mut others = sides.iter().skip(1);
        others.try_fold(count as u64, |size, &side| size.checked_mul(side as u64))
    };
    let needed = body_of(wanted.of(sides[0])).filter(|&size| size <= MAX_BYTES);
    let (Some(body), Some(needed)) = (body_of(sides[0]), needed) else {
        return Err(Error::data(
            path,
            format!("at most {MAX_BYTES} bytes"),
            format!("sizes {sides:?} in the header"),
        ));
    };
    let expected = || format!("{body} bytes after the header, as it says with sizes {sides:?}");
    match exact {
        Some(stored) if stored != header + body => {
            return Err(Error::data(
                path,
                expected(),
                format!("{} bytes", stored.saturating_sub(header)),
            ));
        }
        None if body > most => {
            return Err(Error::data(
                path,
                expected(),
                "a gzip file too short to hold them",
            ));
        }
        _ => {}
    }
    // Of a file that is wanted whole, one byte more than announced is asked for, so that a longer
    // file is noticed and gzip's checksum is reached.
    let bytes = take(needed + u64::from(needed == body))?;
    match (bytes.len() as u64).cmp(&needed) {
        Ordering::Equal => Ok((sides, bytes)),
        Ordering::Less => Err(Error::data(
            path,
            expected(),
            format!("{} bytes", bytes.len()),
        )),
        Ordering::Greater => Err(Error::data(path, expected(), "more bytes")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::idx::tests::gzip;

    proptest! {
        #[test]
        fn idx_round_trips(
            n in 1_usize..5,
            (height, width) in (1_usize..7, 1_usize..7),
            fill in any::<u8>(),
            pack in any::<bool>(),
        ) {
            let area = height * width;
            let pixels: Vec<u8> = (0..n * area).map(|i| fill.wrapping_add(i as u8)).collect();
            let labels: Vec<u8> = (0..n).map(|i| fill.wrapping_mul(i as u8)).collect();
            let file = |magic: u32, sizes: &[usize], body: &[u8]| {
                let mut bytes = magic.to_be_bytes().to_vec();
                bytes.extend(sizes.iter().flat_map(|&size| (size as u32).to_be_bytes()));
                bytes.extend(body);
                if pack { gzip(&bytes) } else { bytes }
            };
            let stored = file(2051, &[n, height, width], &pixels);
            let labelled = file(2049, &[n], &labels);
            let path = Path::new("x");
            let all = DataRequest::default();
            let (shape, read) = images(path, &stored[..], stored.len() as u64, &all).unwrap();
            prop_assert_eq!((shape, &read), ([n, height, width], &pixels));
            let few = DataRequest::new(Some(2), Some([1, height, width]));
            let (shape, read) = images(path, &stored[..], stored.len() as u64, &few).unwrap();
            prop_assert_eq!(shape, [n, height, width]);
            prop_assert_eq!(read, &pixels[..n.min(2) * area]);
            let read = super::labels(path, &labelled[..], labelled.len() as u64).unwrap();
            prop_assert_eq!(read, labels);
        }
    }
}
