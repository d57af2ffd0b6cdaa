//! Exact Shapley values of the objects of a view: the truth that maps are held against.

use crate::agent::account::contrast::{ActionPair, contrasts};
use crate::agent::account::objects::ViewObject;
use crate::agent::base::AgentSpec;
use crate::error::Result;
use crate::model::Scores;
use crate::rng::{Purpose, Stream};

/// Most objects of which all coalitions are asked.
const EXACT: usize = 12;
/// Orders drawn where there are more.
const ORDERS: usize = 512;

/// φ_o = Σ_S |S|! (n − |S| − 1)! / n! (v(S ∪ o) − v(S)) over the coalitions S of other objects,
/// where v(S) is the contrast of the pair at the view with the objects of S alone.
///
/// `view` is as the policy is given it, `[c, h, w]`. Logits. Exact up to 12 objects, at 2ⁿ passes;
/// else the mean over 512 drawn orders, at 512 (n + 1) passes. Σ φ_o = v(all) − v(none) either way.
/// Source: Shapley 1953.
///
/// # Errors
/// Those of the policy.
pub fn object_shapley(
    policy: &dyn Scores,
    spec: &AgentSpec,
    view: &[f32],
    objects: &[ViewObject],
    pair: ActionPair,
    seed: u64,
) -> Result<Vec<f64>> {
    let n = objects.len();
    let places: Vec<usize> = objects.iter().map(|o| o.at(spec)).collect();
    let with = |present: &dyn Fn(usize) -> bool| {
        let mut view = view.to_vec();
        for (_, &at) in places.iter().enumerate().filter(|(i, _)| !present(*i)) {
            view[at] = 0.0;
        }
        view
    };
    let mut out = vec![0.0; n];
    if n <= EXACT {
        let all = 1usize << n;
        let views: Vec<f32> = (0..all).flat_map(|s| with(&|i| s >> i & 1 == 1)).collect();
        let v = contrasts(policy, spec, &views, &vec![pair; all])?;
        // Weight of a coalition of s objects: 1 / (n · C(n − 1, s)).
        let mut weights = vec![1.0 / n.max(1) as f64; n];
        for s in 1..n {
            weights[s] = weights[s - 1] * s as f64 / (n - s) as f64;
        }
        for s in 0..all {
            let size = s.count_ones() as usize;
            for (i, out) in out.iter_mut().enumerate().filter(|(i, _)| s >> i & 1 == 0) {
                *out += weights[size] * (v[s | 1 << i] - v[s]);
            }
        }
        return Ok(out);
    }
    for order in 0..ORDERS {
        let mut draws = Stream::new(seed, Purpose::Explanation, 0, order as u64);
        let order = draws.permutation(n);
        let mut rank = vec![0; n];
        order.iter().enumerate().for_each(|(at, &i)| rank[i] = at);
        let views: Vec<f32> = (0..=n).flat_map(|m| with(&|i| rank[i] < m)).collect();
        let v = contrasts(policy, spec, &views, &vec![pair; n + 1])?;
        for (at, &i) in order.iter().enumerate() {
            out[i] += (v[at + 1] - v[at]) / ORDERS as f64;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::account::contrast::object_maps;
    use crate::agent::account::objects::objects;
    use crate::agent::base::Environment;
    use crate::agent::toy::Marks;
    use crate::model::Oracle;
    use fgmf_net::{Precision, Session};

    /// Scores that are linear in the view: z_j = Σ w_j · view.
    fn linear(weights: &[Vec<f64>]) -> Session {
        let biases = vec![0.0; weights.len()];
        let net = fgmf_testkit::toys::linear(weights, &biases, [3, 2, 2]);
        net.cast(Precision::F32)
    }

    fn weights() -> Vec<Vec<f64>> {
        let one = |j: usize| {
            (0..12)
                .map(|i| ((i * 5 + j * 7) % 11) as f64 - 4.0)
                .collect()
        };
        (0..4).map(one).collect()
    }

    /// Of a linear policy the value of an object is its weight, in every order and by every part of
    /// the map.
    #[test]
    fn of_a_linear_policy_values_are_weights() {
        let spec = Marks::new(0).spec().clone();
        let raw = [1, 1, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1];
        let view = spec.scaled(&raw).into_f32();
        let (w, net) = (weights(), linear(&weights()));
        let policy = Oracle::new(&net);
        let found = objects(&spec, &raw);
        assert_eq!(found.len(), 3, "the floor is no object");
        let map = &object_maps(&policy, &spec, &raw, &view).unwrap()[0];
        let ActionPair { action, against } = map.pair;
        let values = object_shapley(&policy, &spec, &view, &found, map.pair, 0).unwrap();
        for (i, object) in found.iter().enumerate() {
            let at = object.at(&spec);
            let expected = w[action][at] - w[against][at];
            assert!((values[i] - expected).abs() < 1e-4, "{values:?}");
            assert!((map.gradient[i] - expected).abs() < 1e-4, "{map:?}");
        }
    }

    /// Efficiency, symmetry and null player on a network with interactions; drawn orders come near
    /// the exact values.
    #[test]
    fn values_share_out_the_whole() {
        let spec = Marks::new(0).spec().clone();
        let raw = [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0];
        let view = spec.scaled(&raw).into_f32();
        use crate::agent::learn::config::PolicyKind;
        use crate::agent::learn::network::{actor, actor_critic};
        let both = actor_critic(&spec, PolicyKind::Dense, 5).unwrap();
        let net = Session::new(actor(&spec, PolicyKind::Dense, &both).unwrap());
        let policy = Oracle::new(&net);
        let found = objects(&spec, &raw);
        let pair = ActionPair {
            action: 1,
            against: 3,
        };
        let values = object_shapley(&policy, &spec, &view, &found, pair, 0).unwrap();
        let mut none = view.clone();
        found.iter().for_each(|o| none[o.at(&spec)] = 0.0);
        let ends = contrasts(&policy, &spec, &[view.clone(), none].concat(), &[pair; 2]).unwrap();
        let sum: f64 = values.iter().sum();
        assert!((sum - (ends[0] - ends[1])).abs() < 1e-9, "{sum} {ends:?}");
        // By the definition: the mean over all orders of three objects.
        let three = &found[..3];
        let exact = object_shapley(&policy, &spec, &view, three, pair, 0).unwrap();
        let v = |set: &[usize]| {
            let mut x = view.clone();
            (0..3)
                .filter(|i| !set.contains(i))
                .for_each(|i| x[three[i].at(&spec)] = 0.0);
            contrasts(&policy, &spec, &x, &[pair]).unwrap()[0]
        };
        let orders = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        for (i, share) in exact.iter().enumerate() {
            let gain = |order: &[usize; 3]| {
                let at = order.iter().position(|&o| o == i).unwrap();
                v(&order[..=at]) - v(&order[..at])
            };
            let mean = orders.iter().map(gain).sum::<f64>() / 6.0;
            assert!((mean - share).abs() < 1e-9, "{mean} {share}");
        }
        // No object: nothing to share out.
        assert!(
            object_shapley(&policy, &spec, &view, &[], pair, 0)
                .unwrap()
                .is_empty()
        );
    }
}
