//! Damaged variants of a file, the same for the same seed: what a reader must answer with an error,
//! not a panic.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Kinds of damage; twice as many variants hold every kind.
const KINDS: usize = 16;

const EXTREMES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0001,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Bytes from the start within which header fields are looked for.
const HEADER: usize = 64;

/// `count` damaged variants of `original`, each with what was done to it.
///
/// The kinds of damage take turns, in one order: empty file, text instead of binary, wrong magic,
/// cut near the start, cut anywhere, cut by one byte, one bit flipped, one bit of the header
/// flipped, a range overwritten with 0x00, with 0xff or with noise, a header field replaced by an
/// extreme integer (16, 32 or 64 bits, either byte order), the same anywhere or as a varint, a
/// block duplicated, deleted or swapped with another, and garbage appended. Every variant differs
/// from `original`; the same arguments give the same variants.
pub fn corruptions(original: &[u8], seed: u64, count: usize) -> Vec<(String, Vec<u8>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|index| {
            let (mut label, mut bytes) = damage(original, index % KINDS, index / KINDS, &mut rng);
            if bytes == original {
                label.push_str(" (nothing changed), 1 byte appended");
                bytes.push(0xa5);
            }
            (format!("{index}: {label}"), bytes)
        })
        .collect()
}

/// A number below `end`; 0 when `end` is 0.
fn below(rng: &mut ChaCha8Rng, end: usize) -> usize {
    (rng.next_u64() % (end.max(1) as u64)) as usize
}

/// A range of 1 to `longest` bytes within `len`; empty when `len` is 0.
fn range(rng: &mut ChaCha8Rng, len: usize, longest: usize) -> std::ops::Range<usize> {
    let start = below(rng, len);
    let most = longest.min(len - start);
    start..start + if most == 0 { 0 } else { 1 + below(rng, most) }
}

fn noise(rng: &mut ChaCha8Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn damage(original: &[u8], kind: usize, round: usize, rng: &mut ChaCha8Rng) -> (String, Vec<u8>) {
    let len = original.len();
    let mut bytes = original.to_vec();
    let label = match kind {
        0 if round == 0 => {
            bytes.clear();
            "empty file".to_owned()
        }
        1 if round == 0 => {
            bytes = b"this is not the file you are looking for\n".to_vec();
            "text instead of binary".to_owned()
        }
        2 => {
            let end = len.min(4);
            bytes[..end].copy_from_slice(&noise(rng, end));
            format!("wrong magic {:02x?}", &bytes[..end])
        }
        // The two whole-file replacements happen once; later rounds cut in their place.
        0 | 1 | 3 => cut(&mut bytes, below(rng, len.min(HEADER))),
        4 => cut(&mut bytes, below(rng, len)),
        5 => cut(&mut bytes, len.saturating_sub(1 + round)),
        6 => flip(&mut bytes, below(rng, len), below(rng, 8)),
        7 => flip(&mut bytes, below(rng, len.min(HEADER)), below(rng, 8)),
        8..=10 => {
            let at = range(rng, len, 256);
            let filler = match kind {
                8 => vec![0x00; at.len()],
                9 => vec![0xff; at.len()],
                _ => noise(rng, at.len()),
            };
            bytes[at.clone()].copy_from_slice(&filler);
            format!(
                "bytes {at:?} overwritten with {}",
                ["0x00", "0xff", "noise"][kind - 8]
            )
        }
        11 => {
            let at = below(rng, len.min(HEADER));
            integer(&mut bytes, at, rng)
        }
        12 if round.is_multiple_of(2) => {
            let at = below(rng, len);
            integer(&mut bytes, at, rng)
        }
        12 => {
            let varint = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
            let (at, size) = (below(rng, len), 1 + below(rng, varint.len()));
            put(&mut bytes, at, &varint[varint.len() - size..]);
            format!("varint of {size} bytes at {at}")
        }
        13 => {
            let at = range(rng, len, 1024);
            let (block, to) = (bytes[at.clone()].to_vec(), below(rng, len + 1));
            bytes.splice(to..to, block);
            format!("bytes {at:?} duplicated at {to}")
        }
        14 if round.is_multiple_of(2) => {
            let at = range(rng, len, 1024);
            bytes.drain(at.clone());
            format!("bytes {at:?} deleted")
        }
        14 => {
            let size = 1 + below(rng, (len / 2).min(64));
            let (a, b) = (
                below(rng, (len / 2).saturating_sub(size)),
                len / 2 + below(rng, (len / 2).saturating_sub(size)),
            );
            for offset in 0..size.min(len / 2) {
                bytes.swap(a + offset, b + offset);
            }
            format!("{size} bytes at {a} and at {b} swapped")
        }
        _ => {
            let size = 1 + below(rng, 512);
            bytes.extend(noise(rng, size));
            format!("{size} bytes of garbage appended")
        }
    };
    (label, bytes)
}

fn cut(bytes: &mut Vec<u8>, len: usize) -> String {
    bytes.truncate(len);
    format!("cut to {len} bytes")
}

fn flip(bytes: &mut [u8], at: usize, bit: usize) -> String {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
    format!("bit {bit} of byte {at} flipped")
}

/// Writes as much of `value` as fits.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(value) {
        *byte = *new;
    }
}

fn integer(bytes: &mut [u8], at: usize, rng: &mut ChaCha8Rng) -> String {
    let value = EXTREMES[below(rng, EXTREMES.len())];
    let size = [2, 4, 8][below(rng, 3)];
    // Header fields are mostly aligned.
    let at = if below(rng, 4) == 0 {
        at
    } else {
        at - at % size.min(4)
    };
    let big = below(rng, 2) == 0;
    if big {
        put(bytes, at, &value.to_be_bytes()[8 - size..]);
    } else {
        put(bytes, at, &value.to_le_bytes()[..size]);
    }
    format!(
        "{}-bit {}-endian 0x{value:x} at {at}",
        8 * size,
        if big { "big" } else { "little" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_deterministic_and_every_variant_differs() {
        for original in [&[][..], &[7], &[0; 300], b"0123456789abcdef"] {
            let variants = corruptions(original, 5, 500);
            assert_eq!(variants.len(), 500);
            assert!(
                variants
                    .iter()
                    .all(|(label, bytes)| !label.is_empty() && bytes != original)
            );
            assert_eq!(variants, corruptions(original, 5, 500));
            assert_ne!(variants, corruptions(original, 6, 500));
        }
    }

    #[test]
    fn holds_every_kind_of_damage() {
        let variants = corruptions(
            &(0..=255).cycle().take(5000).collect::<Vec<u8>>(),
            1,
            2 * KINDS,
        );
        for part in [
            "empty",
            "text",
            "magic",
            "cut",
            "flipped",
            "0x00",
            "0xff",
            "noise",
            "-endian",
            "varint",
            "duplicated",
            "deleted",
            "swapped",
            "garbage",
        ] {
            assert!(
                variants.iter().any(|(label, _)| label.contains(part)),
                "{part}"
            );
        }
    }
}
