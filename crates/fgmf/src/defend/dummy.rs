//! A dummy, for tests of the list: an identity in front of the network, which changes nothing.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `count` | 1 | identities, 1 to 10 |
//!
//! Goes around it: any attack. Reference: `athalye2018`.

use crate::defend::base::{Defence, DefenceMethod};
use crate::defend::parts::in_front;
use crate::error::{Error, Result};
use crate::settings::read;
use fgmf_net::Network;
use fgmf_net::op::{Op, Unary};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "dummy-defence",
    line: "Puts an identity in front of the network.",
    revision: 1,
    reference: "athalye2018",
    example: r#"{"count": 2}"#,
    build: |settings| Ok(Defence::rewrite(read(settings)?, with_dummy)),
}];

/// Settings of [`with_dummy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DummyParams {
    /// Identities.
    count: usize,
}

impl Default for DummyParams {
    fn default() -> Self {
        Self { count: 1 }
    }
}

/// The network behind the identities.
fn with_dummy(net: &Network, params: &DummyParams, _: u64) -> Result<Network> {
    if !(1..=10).contains(&params.count) {
        return Err(Error::parameter("count", "1 to 10", params.count));
    }
    let settings = serde_json::json!(params);
    in_front(net, ("dummy", settings), |l, image| {
        let mut x = image;
        for i in 0..params.count {
            x = l.node(&format!("dummy.{i}"), Op::Unary(Unary::Identity), &[x])?;
        }
        Ok(x)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::tests::{base, images};
    use crate::defend::list::with_parameters;
    use fgmf_net::Session;

    #[test]
    fn one_line_puts_it_into_the_list() {
        let (net, x) = (base(), images(2));
        let method = &METHODS[0];
        let rewritten = |settings| match with_parameters(method.id, settings).unwrap() {
            Defence::Rewrite(rewrite) => rewrite.apply(&net, 0),
            Defence::Served(_) => panic!("a rewrite"),
        };
        let example = serde_json::from_str(method.example).unwrap();
        let defended = Session::new(rewritten(example).unwrap());
        assert_eq!(defended.nodes().len(), net.nodes().len() + 2);
        let logits = |net: &Session| net.logits(&x).unwrap().to_f32();
        assert_eq!(logits(&defended), logits(&net));
        assert!(rewritten(serde_json::json!({ "count": 0 })).is_err());
    }
}
