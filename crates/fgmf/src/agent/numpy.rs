//! numpy's generator, `Generator(PCG64(SeedSequence(seed)))`: environments start from the same seed
//! as their Python packages.
//!
//! Formulas: PCG64 (O'Neill 2014, XSL-RR 128/64) and O'Neill's `seed_seq` as numpy 2.4.6 has them.
//! numpy does not promise this stream for ever; the golden values below are of that version.

use crate::error::{Error, Result};

const MULTIPLIER: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;

/// A generator that draws what numpy's `default_rng(seed)` draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumpyGenerator {
    state: u128,
    increment: u128,
    /// The high half of the last 64 bits of which only the low half was drawn. It survives draws of
    /// 64 bits in between.
    half: Option<u32>,
}

/// Four 64-bit words of entropy from a seed.
fn entropy(seed: u64) -> [u64; 4] {
    let words = match seed >> 32 {
        0 => vec![seed as u32],
        high => vec![seed as u32, high as u32],
    };
    let mut constant = 0x43b0_d7e5_u32;
    let mut hash = |mut v: u32| {
        v ^= constant;
        constant = constant.wrapping_mul(0x931e_8875);
        v = v.wrapping_mul(constant);
        v ^ (v >> 16)
    };
    let mix = |x: u32, y: u32| {
        let r = (0xca01_f9dd_u32.wrapping_mul(x)).wrapping_sub(0x4973_f715_u32.wrapping_mul(y));
        r ^ (r >> 16)
    };
    let mut pool = [0u32; 4];
    for (i, slot) in pool.iter_mut().enumerate() {
        *slot = hash(words.get(i).copied().unwrap_or(0));
    }
    for s in 0..4 {
        for d in (0..4).filter(|&d| d != s) {
            pool[d] = mix(pool[d], hash(pool[s]));
        }
    }
    let mut constant = 0x8b51_f9dd_u32;
    let mut word = |i: usize| {
        let mut v = pool[i % 4] ^ constant;
        constant = constant.wrapping_mul(0x58f3_8ded);
        v = v.wrapping_mul(constant);
        u64::from(v ^ (v >> 16))
    };
    let mut out = [0; 4];
    for (i, slot) in out.iter_mut().enumerate() {
        let low = word(2 * i);
        *slot = low | word(2 * i + 1) << 32;
    }
    out
}

impl NumpyGenerator {
    /// The generator of `numpy.random.default_rng(seed)`.
    pub fn new(seed: u64) -> Self {
        let [w0, w1, w2, w3] = entropy(seed).map(u128::from);
        let mut out = Self {
            state: 0,
            increment: (w2 << 64 | w3) << 1 | 1,
            half: None,
        };
        out.advance();
        out.state = out.state.wrapping_add(w0 << 64 | w1);
        out.advance();
        out
    }

    fn advance(&mut self) {
        let product = self.state.wrapping_mul(MULTIPLIER);
        self.state = product.wrapping_add(self.increment);
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.advance();
        let (high, low) = ((self.state >> 64) as u64, self.state as u64);
        (high ^ low).rotate_right((self.state >> 122) as u32)
    }

    /// The next 32 bits: the low half of 64 fresh ones, then their high half.
    pub fn next_u32(&mut self) -> u32 {
        if let Some(high) = self.half.take() {
            return high;
        }
        let fresh = self.next_u64();
        self.half = Some((fresh >> 32) as u32);
        fresh as u32
    }

    /// `random()`: uniform in `[0, 1)`, 53 bits.
    pub fn double(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `uniform(low, high)`: low + (high − low)·d. It draws even where low = high.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.double()
    }

    /// `integers(low, high)`: uniform in `low..high` (Lemire's rejection on 32 bits). A range of
    /// one number, or of none, gives `low` without a draw.
    pub fn integers(&mut self, low: u32, high: u32) -> u32 {
        let n = high.saturating_sub(low);
        if n <= 1 {
            return low;
        }
        let least = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= least {
                return low + (product >> 32) as u32;
            }
        }
    }

    /// All of it as bytes, 37 of them.
    pub(crate) fn save(&self) -> Vec<u8> {
        let half = self.half.unwrap_or(0).to_le_bytes();
        let parts = [&self.state.to_le_bytes()[..], &self.increment.to_le_bytes()];
        let mut out = parts.concat();
        out.push(u8::from(self.half.is_some()));
        out.extend(half);
        out
    }

    /// The generator of [`Self::save`]'s bytes.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another number of bytes.
    pub(crate) fn load(bytes: &[u8]) -> Result<Self> {
        let refused = || Error::mismatch("load a generator", "37 bytes", bytes.len());
        let bytes: &[u8; 37] = bytes.try_into().map_err(|_| refused())?;
        let word = |at: usize| (0..16).fold(0u128, |v, i| v | u128::from(bytes[at + i]) << (8 * i));
        let half = (0..4).fold(0u32, |v, i| v | u32::from(bytes[33 + i]) << (8 * i));
        Ok(Self {
            state: word(0),
            increment: word(16),
            half: (bytes[32] != 0).then_some(half),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy 2.4.6: `SeedSequence(42).generate_state(4, np.uint64)`, then raw draws of
    /// `PCG64(42)`.
    #[test]
    fn entropy_and_raw_draws_are_numpys() {
        let words = [
            0x9f1e_2e6d_cd54_0ab7,
            0xd578_73dc_79fb_94b6,
            0x7d28_2a1b_64d4_20b7,
            0x3365_7971_4692_d5ff,
        ];
        assert_eq!(entropy(42), words);
        let mut g = NumpyGenerator::new(42);
        let raw = [
            0xc621_fbcd_16d9_2688,
            0x705a_5661_a791_ffc1,
            0xdbcd_12c2_6eda_1624,
        ];
        assert_eq!([g.next_u64(), g.next_u64(), g.next_u64()], raw);
    }

    /// numpy 2.4.6: `default_rng(seed).integers(0, 16)`, six times; the third seed has two words.
    #[test]
    fn integers_are_numpys() {
        for (seed, expected) in [
            (42, [1, 12, 10, 7, 6, 13]),
            (0, [13, 10, 8, 4, 4, 0]),
            (123_456_789_012, [15, 9, 10, 1, 2, 4]),
        ] {
            let mut g = NumpyGenerator::new(seed);
            let found = [0; 6].map(|_: u32| g.integers(0, 16));
            assert_eq!(found, expected, "seed {seed}");
        }
    }

    /// numpy 2.4.6, seed 42: the half that is kept survives a draw of a double.
    #[test]
    #[allow(clippy::float_cmp, reason = "the very doubles of numpy are asked for")]
    fn the_kept_half_survives_doubles() {
        let mut g = NumpyGenerator::new(42);
        assert_eq!(g.uniform(0.0, 1.0), 0.773_956_048_555_963_3);
        assert_eq!(g.integers(0, 5), 3);
        assert_eq!(g.double(), 0.858_597_919_911_382_5);
        assert_eq!([g.integers(0, 5), g.integers(0, 5)], [2, 0]);
        assert_eq!(g.integers(7, 8), 7, "no draw for one number");
    }

    #[test]
    fn a_loaded_generator_goes_on() {
        let mut g = NumpyGenerator::new(7);
        g.next_u32();
        let mut other = NumpyGenerator::load(&g.save()).unwrap();
        assert_eq!(other, g);
        assert_eq!(
            [0; 5].map(|_: u32| other.next_u32()),
            [0; 5].map(|_: u32| g.next_u32())
        );
        assert!(NumpyGenerator::load(&[0; 36]).is_err());
    }
}
