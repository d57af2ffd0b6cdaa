//! How many images a model may be asked about at once when memory is short.

use fgmf_net::Session;
use fgmf_net::chunks::usual_chunk;

/// Images at once, at two levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Most in a model call ([`crate::explain::base::Context::cap`]).
    pub cap: usize,
    /// Most in a chunk, of which every thread has one ([`fgmf_net::Session::limit_chunks`]).
    pub chunk: usize,
}

/// What is done with a network, as far as it decides how much memory that takes.
///
/// Sizes are in bytes: `values` for each number of an image's values in a chunk, `kept` for the
/// same in a call, `pixels` for each number of an image in a call, `weights` for each number that
/// the network stores, `packed` for each that its [packed](fgmf_net::Session::packed_numbers)
/// weights hold. What the network itself holds is in use already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    values: u64,
    kept: u64,
    pixels: u64,
    weights: u64,
    packed: u64,
}

impl Work {
    /// Explains images. Values and their cotangents, shared feature maps, copies in double
    /// precision, weights that rules make.
    pub const EXPLAIN: Self = Self {
        values: 8,
        kept: 4,
        pixels: 128,
        weights: 8,
        packed: 0,
    };
    /// Explains images by backward rules that take nodes apart: weights of either sign, values at a
    /// reference image.
    pub const RULES: Self = Self {
        values: 64,
        weights: 20,
        ..Self::EXPLAIN
    };
    /// Explains images by copies that forget: there is one, whose weights are its own.
    pub const RANDOMISE: Self = Self {
        weights: 16,
        ..Self::EXPLAIN
    };
    /// Follows second derivatives: of the network, of a smoothed one, and of one in two halves.
    /// Values and cotangents have their tangents, and are taken apart node by node.
    pub const CURVATURE: Self = Self {
        values: 112,
        weights: 16,
        packed: 8,
        ..Self::EXPLAIN
    };
    /// Attacks images and judges the outcome, in double precision, too.
    pub const ATTACK: Self = Self {
        values: 40,
        kept: 0,
        pixels: 256,
        weights: 16,
        packed: 4,
    };

    /// What the most demanding of both takes.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            values: self.values.max(other.values),
            kept: self.kept.max(other.kept),
            pixels: self.pixels.max(other.pixels),
            weights: self.weights.max(other.weights),
            packed: self.packed.max(other.packed),
        }
    }

    /// Bytes of an image in a chunk.
    fn of_chunk(&self, nets: &[&Session]) -> u64 {
        sum(nets, |net| self.values * net.numbers_per_image() as u64)
    }

    /// Bytes of an image in a call.
    fn of_call(&self, nets: &[&Session]) -> u64 {
        sum(nets, |net| {
            let pixels = net.image_shape().iter().product::<usize>() as u64;
            self.kept * net.numbers_per_image() as u64 + self.pixels * pixels
        })
    }

    /// Bytes that do not depend on images: weights, and what pictures, tables and the allocator
    /// take besides.
    fn fixed(&self, nets: &[&Session]) -> u64 {
        let weights = sum(nets, |net| {
            self.weights * net.stored_numbers() as u64 + self.packed * net.packed_numbers() as u64
        });
        (12 << 20) + weights
    }
}

fn sum(nets: &[&Session], bytes: impl Fn(&Session) -> u64) -> u64 {
    nets.iter().map(|net| bytes(net)).sum()
}

impl Calls {
    /// The largest that fit into `free` bytes beside what is in use already, when `threads` threads
    /// work with `nets`; none if not even one image fits ([`Self::least`]). Neither changes a
    /// result.
    ///
    /// The networks have been asked for a gradient, so that packed weights are in use. An estimate
    /// from above; docs/results/memory.md compares it with what processes take.
    pub fn within(nets: &[&Session], free: u64, threads: usize, work: Work) -> Option<Self> {
        let (each, kept) = (work.of_chunk(nets), work.of_call(nets));
        if free < Self::least(nets, threads, work) {
            return None;
        }
        let threads = threads.max(1) as u64;
        // Half for chunks, the rest for calls.
        let left = free - work.fixed(nets);
        let usual = nets.iter().map(|net| usual_chunk(net)).max().unwrap_or(1);
        let chunk = (left / 2 / (threads * each).max(1)).clamp(1, usual as u64);
        let cap = ((left - threads * chunk * each) / kept.max(1))
            .clamp(1, crate::explain::base::Context::default().cap as u64);
        Some(Self {
            cap: cap as usize,
            chunk: chunk as usize,
        })
    }

    /// Bytes that one image in a call and a chunk on every thread take.
    pub fn least(nets: &[&Session], threads: usize, work: Work) -> u64 {
        work.fixed(nets) + threads.max(1) as u64 * work.of_chunk(nets) + work.of_call(nets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    #[test]
    fn more_memory_means_more_images() {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [3, 32, 32],
            classes: 10,
            mean: vec![0.5; 3],
            deviation: vec![0.5; 3],
            seed: 0,
        };
        let net = Session::new(build(&config).unwrap());
        let work = Work::CURVATURE;
        let of = |mib: u64| Calls::within(&[&net], mib << 20, 2, work);
        let all: Vec<Calls> = (0..13).filter_map(|i| of(1 << i)).collect();
        assert!(
            all.is_sorted_by(|a, b| a.cap <= b.cap && a.chunk <= b.chunk),
            "{all:?}"
        );
        assert_eq!(
            all[all.len() - 1],
            Calls {
                cap: 256,
                chunk: usual_chunk(&net)
            }
        );
        let least = |nets: &[&Session], threads, work| Calls::least(nets, threads, work);
        let two = least(&[&net], 2, work);
        assert!(Calls::within(&[&net], two - 1, 2, work).is_none());
        let chosen = Calls::within(&[&net], two, 2, work);
        assert_eq!(chosen.map(|c| c.chunk), Some(1));
        assert!(least(&[&net], 1, work) < two && least(&[&net], 2, Work::EXPLAIN) < two);
        assert!(least(&[&net, &net], 2, work) > two);
        assert_eq!(Work::EXPLAIN.or(work), work);
        // Packed weights count.
        net.logits(&fgmf_net::Tensor::full(
            &[1, 3, 32, 32],
            0.0,
            fgmf_net::Precision::F32,
        ))
        .unwrap();
        assert_eq!(
            least(&[&net], 2, work) - two,
            work.packed * net.packed_numbers() as u64
        );
        net.release();
        assert_eq!((net.packed_numbers(), least(&[&net], 2, work)), (0, two));
        // Whatever is chosen, what is counted fits.
        let (each, kept) = (work.of_chunk(&[&net]), work.of_call(&[&net]));
        for free in (two..512 << 20).step_by(1 << 20) {
            let Calls { cap, chunk } = Calls::within(&[&net], free, 2, work).unwrap();
            assert!(
                work.fixed(&[&net]) + 2 * chunk as u64 * each + cap as u64 * kept <= free,
                "{free}"
            );
        }
    }
}
