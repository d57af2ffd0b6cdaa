//! A model whose answers come with maps, as a server that explains gives them.
//!
//! [`ServedMaps`] answers each query with the logits and a map for the class that is named, until a
//! budget of maps is spent. It counts queries: logits with a map are one.
//!
//! Cost: one pass of the model behind for each query, and that of a map for each row looked at.

use crate::error::{Error, Result};
use crate::model::access::{Scores, ShownAnswer};
use crate::model::answer::predictions;
use fgmf_net::Tensor;
use std::sync::atomic::{AtomicU64, Ordering};

/// What makes the maps that are served.
pub trait MapsBeside: Sync {
    /// A map `[h, w]` for each image of `x [n, c, h, w]` and its class.
    fn maps(&self, x: &Tensor, classes: &[usize]) -> Result<Vec<Vec<f32>>>;
}

/// A model behind a server that gives maps.
pub struct ServedMaps<'a> {
    model: &'a dyn Scores,
    maps: &'a dyn MapsBeside,
    most: Option<u64>,
    queries: AtomicU64,
}

impl<'a> ServedMaps<'a> {
    /// A map beside every answer.
    pub fn new(model: &'a dyn Scores, maps: &'a dyn MapsBeside) -> Self {
        Self {
            model,
            maps,
            most: None,
            queries: AtomicU64::new(0),
        }
    }

    /// Maps beside the first `most` answers; a call that has an answer behind these comes without.
    #[must_use]
    pub fn at_most(mut self, most: u64) -> Self {
        self.most = Some(most);
        self
    }

    /// Images answered so far, with a map or without.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// Counts a call; how many were answered with it.
    fn count(&self, x: &Tensor) -> u64 {
        let n = x.shape().first().copied().unwrap_or(0) as u64;
        self.queries.fetch_add(n, Ordering::Relaxed) + n
    }
}

impl Scores for ServedMaps<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.count(x);
        self.model.logits(x)
    }

    fn shows_maps(&self) -> bool {
        self.most != Some(0)
    }

    fn answered(&self, x: &Tensor) -> Result<ShownAnswer<'_>> {
        let after = self.count(x);
        let logits = self.model.logits(x)?;
        if self.most.is_some_and(|most| after > most) {
            return Ok(ShownAnswer { logits, maps: None });
        }
        let (named, asked) = (predictions(&logits), x.clone());
        let [_, h, w] = self.image_shape();
        let look = move |rows: &[usize]| {
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let classes: Vec<usize> = rows.iter().map(|&i| named[i]).collect();
            let maps = self.maps.maps(&asked.select(0, rows), &classes)?;
            if maps.len() != rows.len() || maps.iter().any(|m| m.len() != h * w) {
                let found = format!("{} maps", maps.len());
                let expected = format!("{} maps of {h}x{w}", rows.len());
                return Err(Error::mismatch("maps of a server", expected, found));
            }
            Ok(maps)
        };
        Ok(ShownAnswer {
            logits,
            maps: Some(Box::new(look)),
        })
    }

    fn draws(&self) -> bool {
        self.model.draws()
    }

    fn settles(&self) -> bool {
        self.model.settles()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::tests::{base, images};
    use crate::model::counted::Counted;
    use crate::model::oracle::Oracle;

    /// A map that holds the class everywhere.
    struct Named([usize; 2]);

    impl MapsBeside for Named {
        fn maps(&self, _: &Tensor, classes: &[usize]) -> Result<Vec<Vec<f32>>> {
            let flat = |&class: &usize| vec![class as f32; self.0[0] * self.0[1]];
            Ok(classes.iter().map(flat).collect())
        }
    }

    /// Scores are the model's own, maps are for the class named, and a query is one with its map or
    /// without; the counting wrapper says the same.
    #[test]
    fn a_query_is_one_and_its_map_is_for_the_class_named() {
        let (net, x) = (base(), images(5));
        let oracle = Oracle::new(&net);
        let [_, h, w] = oracle.image_shape();
        let maps = Named([h, w]);
        let served = ServedMaps::new(&oracle, &maps).at_most(7);
        let counted = Counted::new(&served);
        let own = oracle.logits(&x).unwrap();
        let answer = counted.answered(&x).unwrap();
        assert_eq!(answer.logits.to_f32(), own.to_f32());
        let look = answer.maps.unwrap();
        let seen = look(&[4, 1]).unwrap();
        let named = predictions(&own);
        let classes = [seen[0][0], seen[1][0]].map(|v| v as usize);
        assert_eq!(classes, [named[4], named[1]]);
        assert_eq!(counted.logits(&x.rows(0, 1)).unwrap().shape()[0], 1);
        assert_eq!((served.queries(), counted.passes().forward), (6, 6));
        assert!(counted.answered(&x.rows(0, 1)).unwrap().maps.is_some());
        // The eighth answer is behind the budget of maps.
        assert!(counted.answered(&x.rows(0, 1)).unwrap().maps.is_none());
        assert_eq!((served.queries(), counted.passes().forward), (8, 8));
    }

    #[test]
    fn maps_of_another_size_are_refused() {
        let (net, x) = (base(), images(2));
        let oracle = Oracle::new(&net);
        let served = ServedMaps::new(&oracle, &Named([1, 2]));
        let look = served.answered(&x).unwrap().maps.unwrap();
        let message = look(&[0]).unwrap_err().to_string();
        assert!(message.contains("maps of a server"), "{message}");
        let none = ServedMaps::new(&oracle, &Named([1, 2])).at_most(0);
        assert!(!none.shows_maps());
    }
}
