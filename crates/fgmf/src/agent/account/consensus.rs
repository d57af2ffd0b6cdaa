//! What a team points at together, in the coordinates of the world.
//!
//! Agent i has a signed map φ_i over its view and a stake c_i = max π_i − min π_i. V(u) are the
//! agents that see the cell u of the world, and n(u) is how many.
//!
//! 1. Common scale: φ̂_i = φ_i / (Σ |φ_i| + 10⁻¹²); weights w_i = c_i / Σ c, equal if no
//!    agent has a stake.
//! 2. Support M(u) = Σ w_i φ̂_i(u) / Σ w_i over V(u).
//! 3. Agreement A(u) = |Σ w_i φ̂_i(u)| / Σ w_i |φ̂_i(u)| in `[0, 1]`: 1 where all have one sign, 0
//!    where they cancel.
//! 4. Consensus C(u) = A(u) M(u) where n(u) ≥ 2; where n(u) = 1 it is M(u), of one witness.
//! 5. Disagreement D(u) = Σ w_i |φ̂_i(u) − M(u)| / Σ w_i.
//!
//! For one agent the consensus is its map.

/// An agent's map in the world.
#[derive(Clone, Debug)]
pub struct AgentMap {
    /// φ on each cell of the world, row by row; none where the agent sees nothing.
    pub cells: Vec<Option<f64>>,
    /// c, 0 or more.
    pub stake: f64,
}

/// What came of all of them, cell by cell; none where nobody sees anything.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamMap {
    /// C.
    pub consensus: Vec<Option<f64>>,
    /// D.
    pub disagreement: Vec<Option<f64>>,
    /// n.
    pub witnesses: Vec<usize>,
}

/// Consensus and disagreement of agents; all maps have the same cells.
pub fn team_map(agents: &[AgentMap]) -> TeamMap {
    let cells = agents.first().map_or(0, |a| a.cells.len());
    let total: f64 = agents.iter().map(|a| a.stake).sum();
    let weight = |a: &AgentMap| if total > 0.0 { a.stake / total } else { 1.0 };
    let scale = |a: &AgentMap| 1e-12 + a.cells.iter().flatten().map(|v| v.abs()).sum::<f64>();
    let scaled: Vec<(f64, f64, &AgentMap)> =
        agents.iter().map(|a| (weight(a), scale(a), a)).collect();
    let mut out = TeamMap {
        consensus: vec![None; cells],
        disagreement: vec![None; cells],
        witnesses: vec![0; cells],
    };
    for u in 0..cells {
        let seen = scaled
            .iter()
            .filter_map(|(w, s, a)| Some((*w, a.cells[u]? / s)));
        let seen: Vec<(f64, f64)> = seen.collect();
        out.witnesses[u] = seen.len();
        let weights: f64 = seen.iter().map(|(w, _)| w).sum();
        if seen.is_empty() {
            continue;
        }
        if weights <= 0.0 {
            (out.consensus[u], out.disagreement[u]) = (Some(0.0), Some(0.0));
            continue;
        }
        let sum: f64 = seen.iter().map(|(w, v)| w * v).sum();
        let sizes: f64 = seen.iter().map(|(w, v)| w * v.abs()).sum();
        let support = sum / weights;
        let agreement = match seen.len() {
            1 => 1.0,
            _ if sizes > 0.0 => sum.abs() / sizes,
            _ => 0.0,
        };
        let apart = seen
            .iter()
            .map(|(w, v)| w * (v - support).abs())
            .sum::<f64>();
        out.consensus[u] = Some(agreement * support);
        out.disagreement[u] = Some(apart / weights);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(stake: f64, cells: &[Option<f64>]) -> AgentMap {
        AgentMap {
            cells: cells.to_vec(),
            stake,
        }
    }

    fn near(a: Option<f64>, b: f64) {
        assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} {b}");
    }

    #[test]
    fn of_one_agent_it_is_its_map() {
        let map = team_map(&[agent(0.3, &[Some(3.0), Some(-1.0), None])]);
        near(map.consensus[0], 0.75);
        near(map.consensus[1], -0.25);
        near(map.disagreement[0], 0.0);
        assert_eq!(
            (map.consensus[2], &map.witnesses[..]),
            (None, &[1, 1, 0][..])
        );
    }

    #[test]
    fn agents_agree_cancel_or_stand_alone() {
        let cells = [Some(1.0), Some(1.0), Some(2.0), None];
        let other = [Some(1.0), Some(-1.0), None, Some(-2.0)];
        let map = team_map(&[agent(0.5, &cells), agent(0.5, &other)]);
        near(map.consensus[0], 0.25);
        near(map.disagreement[0], 0.0);
        near(map.consensus[1], 0.0);
        near(map.disagreement[1], 0.25);
        near(map.consensus[2], 0.5);
        near(map.consensus[3], -0.5);
        // Stakes 3 to 1: M = (3·¼ − ¼)/4 = ⅛, A = ½.
        let map = team_map(&[agent(0.75, &cells), agent(0.25, &other)]);
        near(map.consensus[1], 0.0625);
    }

    #[test]
    fn without_stakes_all_count_alike() {
        let map = team_map(&[agent(0.0, &[Some(1.0)]), agent(0.0, &[Some(1.0)])]);
        near(map.consensus[0], 1.0);
        assert!(team_map(&[]).consensus.is_empty());
    }
}
