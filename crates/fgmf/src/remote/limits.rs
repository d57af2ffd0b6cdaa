//! How a model behind an address may be asked.

use crate::error::{Error, Result};
use std::time::Duration;

/// How a model behind an address may be asked.
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `queries` | none | 1 or more images, over all requests of a run |
/// | `rate` | none | above 0, images a second |
/// | `timeout` | 60 | above 0, up to 86,400 seconds for each request, and for the start |
/// | `retries` | 2 | 0 to 20 |
/// | `at_once` | 64 | 1 to 65,536 images in a request |
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Most images ever asked about.
    pub queries: Option<u64>,
    /// Most images a second.
    pub rate: Option<f64>,
    /// Seconds that a request may take.
    pub timeout: f64,
    /// How often a request that failed is sent again, after a wait that doubles.
    pub retries: u32,
    /// Most images in a request.
    pub at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queries: None,
            rate: None,
            timeout: 60.0,
            retries: 2,
            at_once: 64,
        }
    }
}

impl Limits {
    /// An error unless every field is in its range.
    pub fn check(&self) -> Result<()> {
        if self.queries == Some(0) {
            return Err(Error::parameter("queries", "1 or more", 0));
        }
        if let Some(rate) = self.rate.filter(|r| !(r.is_finite() && *r > 0.0)) {
            return Err(Error::parameter("rate", "a finite number above 0", rate));
        }
        if !(self.timeout > 0.0 && self.timeout <= 86_400.0) {
            let expected = "above 0, up to 86400 seconds";
            return Err(Error::parameter("timeout", expected, self.timeout));
        }
        if self.retries > 20 {
            return Err(Error::parameter("retries", "0 to 20", self.retries));
        }
        if !(1..=65_536).contains(&self.at_once) {
            return Err(Error::parameter("at-once", "1 to 65536", self.at_once));
        }
        Ok(())
    }

    /// What a request may take.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_refused() {
        let d = Limits::default;
        assert!(d().check().is_ok());
        let bad = [
            Limits {
                queries: Some(0),
                ..d()
            },
            Limits {
                rate: Some(0.0),
                ..d()
            },
            Limits {
                rate: Some(f64::NAN),
                ..d()
            },
            Limits {
                timeout: 0.0,
                ..d()
            },
            Limits {
                timeout: f64::INFINITY,
                ..d()
            },
            Limits { retries: 21, ..d() },
            Limits { at_once: 0, ..d() },
        ];
        for limits in bad {
            assert!(limits.check().is_err(), "{limits:?}");
        }
    }
}
