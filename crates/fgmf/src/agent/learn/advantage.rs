//! Generalised advantage estimation.

/// Advantages of one agent over consecutive steps (Schulman et al. 2016).
///
/// δ_t = r_t + γ v_{t+1} (1 − over_t) − v_t and A_t = δ_t + γ λ (1 − over_t) A_{t+1}.
///
/// `values` has one entry more than `rewards`: the value behind the last step. `over` says where an
/// episode ended with that step; nothing behind it counts then. γ, λ in `[0, 1]`. Units of the
/// rewards.
pub fn advantages(
    rewards: &[f64],
    values: &[f64],
    over: &[bool],
    [gamma, lambda]: [f64; 2],
) -> Vec<f64> {
    let mut out = vec![0.0; rewards.len()];
    let mut next = 0.0;
    for t in (0..rewards.len()).rev() {
        let goes_on = if over[t] { 0.0 } else { 1.0 };
        let delta = rewards[t] + gamma * values[t + 1] * goes_on - values[t];
        next = delta + gamma * lambda * goes_on * next;
        out[t] = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three steps by hand, γ = ½, λ = ¼.
    #[test]
    fn three_steps() {
        let (r, v) = ([1.0, 2.0, 4.0], [3.0, 5.0, 7.0, 11.0]);
        let d = [1.0 + 2.5 - 3.0, 2.0 + 3.5 - 5.0, 4.0 + 5.5 - 7.0];
        let own = |over: [bool; 3]| advantages(&r, &v, &over, [0.5, 0.25]);
        let a2 = d[2];
        let a1 = d[1] + 0.125 * a2;
        let expected = [d[0] + 0.125 * a1, a1, a2];
        let near = |a: Vec<f64>, b: [f64; 3]| {
            assert!(
                a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12),
                "{a:?} {b:?}"
            );
        };
        near(own([false; 3]), expected);
        // An end at the second step: no value behind it, nothing flows over it.
        let a1 = 2.0 - 5.0;
        near(own([false, true, false]), [d[0] + 0.125 * a1, a1, a2]);
    }

    /// With λ = 1 and no values, an advantage is the discounted sum of what follows.
    #[test]
    fn without_values_it_is_the_return() {
        let a = advantages(&[1.0, 1.0, 1.0], &[0.0; 4], &[false; 3], [0.9, 1.0]);
        assert!((a[0] - (1.0 + 0.9 + 0.81)).abs() < 1e-12);
    }
}
