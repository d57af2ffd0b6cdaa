//! How many images a model may be asked about at once when memory is short.

use fgmf_net::Network;
use fgmf_net::chunks::usual_chunk;

/// Images at once, at two levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Most in a model call ([`crate::explain::base::Context::cap`]).
    pub cap: usize,
    /// Most in a chunk, of which every thread has one ([`fgmf_net::Session::limit_chunks`]).
    pub chunk: usize,
}

impl Calls {
    /// The largest that fit into `free` bytes beside what is in use already, when `threads` threads
    /// explain or attack `net`; none if not even one image fits ([`Self::least`]). Neither changes
    /// a result. `curvature`: second derivatives will be asked for.
    ///
    /// Counted are, with v numbers of all values of the network for one image, p of its image and w
    /// stored in it: 8 v bytes for each image of a chunk (values and cotangents; 24 v with their
    /// tangents), 4 v + 128 p for each image of a call (shared feature maps, copies in double
    /// precision), 8 w for weights that rules make, and 8 MiB. What packed weights take is in use
    /// once the network has been asked for a gradient. An estimate from above;
    /// docs/results/memory.md compares it with what processes take.
    pub fn within(net: &Network, free: u64, threads: usize, curvature: bool) -> Option<Self> {
        let [each, kept] = image_bytes(net, curvature);
        let threads = threads.max(1) as u64;
        if free < Self::least(net, threads as usize, curvature) {
            return None;
        }
        // Half for chunks, the rest for calls.
        let left = free - fixed_bytes(net);
        let chunk = (left / 2 / (threads * each).max(1)).clamp(1, usual_chunk(net) as u64);
        let cap = ((left - threads * chunk * each) / kept.max(1))
            .clamp(1, crate::explain::base::Context::default().cap as u64);
        Some(Self {
            cap: cap as usize,
            chunk: chunk as usize,
        })
    }

    /// Bytes that one image in a call and a chunk on every thread take.
    pub fn least(net: &Network, threads: usize, curvature: bool) -> u64 {
        let [each, kept] = image_bytes(net, curvature);
        fixed_bytes(net) + threads.max(1) as u64 * each + kept
    }
}

/// Of an image in a chunk, and of one in a call.
fn image_bytes(net: &Network, curvature: bool) -> [u64; 2] {
    let (values, pixels) = (
        net.numbers_per_image() as u64,
        net.image_shape().iter().product::<usize>() as u64,
    );
    [
        if curvature { 24 } else { 8 } * values,
        4 * values + 128 * pixels,
    ]
}

/// Of weights that rules make, and of what pictures, tables and the allocator take besides.
fn fixed_bytes(net: &Network) -> u64 {
    (8 << 20) + 8 * net.stored_numbers() as u64
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
        let net = build(&config).unwrap();
        let of = |mib: u64| Calls::within(&net, mib << 20, 2, true);
        let all: Vec<Calls> = (0..12).filter_map(|i| of(1 << i)).collect();
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
        let least = Calls::least(&net, 2, true);
        assert!(Calls::within(&net, least - 1, 2, true).is_none());
        assert_eq!(
            Calls::within(&net, least, 2, true).map(|c| c.chunk),
            Some(1)
        );
        assert!(Calls::least(&net, 1, true) < least && Calls::least(&net, 2, false) < least);
        // Whatever is chosen, what is counted fits.
        let [each, kept] = image_bytes(&net, true);
        for free in (least..512 << 20).step_by(1 << 20) {
            let Calls { cap, chunk } = Calls::within(&net, free, 2, true).unwrap();
            assert!(
                fixed_bytes(&net) + 2 * chunk as u64 * each + cap as u64 * kept <= free,
                "{free}"
            );
        }
    }
}
