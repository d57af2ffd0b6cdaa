//! A model behind a server of the Open Inference Protocol, version 2, over plain HTTP.
//!
//! A GET of the model's address gives its first input and output. A POST to `/infer` below it has
//! the images as JSON numbers of the type FP32. The answer has the scores in the same form.

use crate::remote::transport::{Facts, Failure, Reply, ScoreKind, Transport, beginning};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use ureq::Agent;

/// Longest answer, in bytes.
const LONGEST: u64 = 1 << 30;

/// An input or output, as the server describes it.
#[derive(Deserialize)]
struct Array {
    name: String,
    #[serde(default)]
    datatype: String,
    shape: Vec<i64>,
}

/// What the server says of the model.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    versions: Vec<String>,
    inputs: Vec<Array>,
    outputs: Vec<Array>,
}

/// Scores, as the server sends them.
#[derive(Deserialize)]
struct Scored {
    name: String,
    shape: Vec<usize>,
    data: Value,
}

#[derive(Deserialize)]
struct Outputs {
    outputs: Vec<Scored>,
}

/// A model behind a server.
pub(crate) struct Http {
    agent: Agent,
    address: String,
    patience: Duration,
    facts: Facts,
    input: String,
    output: String,
}

impl Http {
    /// Asks the server what the model takes and gives.
    pub(crate) fn open(
        address: &str,
        scores: ScoreKind,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let config = Agent::config_builder()
            .timeout_global(Some(patience))
            .http_status_as_error(false)
            .max_redirects(0)
            // The address names the server itself.
            .proxy(None)
            .build();
        let agent: Agent = config.into();
        let text = body(agent.get(address).call(), patience)?;
        let metadata: Metadata = parsed(&text, "the model's inputs and outputs")?;
        let ([input], [output, ..]) = (&metadata.inputs[..], &metadata.outputs[..]) else {
            let found = format!("{} and {}", metadata.inputs.len(), metadata.outputs.len());
            return Err(Failure::lasting("one input and an output", found));
        };
        if input.datatype != "FP32" {
            let found = format!("`{}` of {}", input.name, input.datatype);
            return Err(Failure::lasting("an input of FP32", found));
        }
        let size = |v: &i64| usize::try_from(*v).ok();
        let image = match &input.shape[..] {
            [_, c, h, w] => size(c).zip(size(h)).zip(size(w)),
            _ => None,
        };
        let ((c, h), w) = image.ok_or_else(|| {
            let found = format!("{:?}", input.shape);
            Failure::lasting("images of shape [n, c, h, w], all but n known", found)
        })?;
        let classes = match &output.shape[..] {
            [_, k] => size(k),
            _ => None,
        };
        let classes = classes
            .filter(|_| scores != ScoreKind::Label)
            .ok_or_else(|| {
                let found = format!("`{}` of shape {:?}", output.name, output.shape);
                Failure::lasting("scores of shape [n, classes], the classes known", found)
            })?;
        let facts = Facts {
            image_shape: [c, h, w],
            classes,
            scores,
            id: format!("{} {}", metadata.name, metadata.versions.join(",")),
        };
        Ok(Self {
            agent,
            address: address.to_owned(),
            patience,
            facts: facts.check()?,
            input: input.name.clone(),
            output: output.name.clone(),
        })
    }
}

impl Transport for Http {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn ask(&mut self, n: usize, images: &[f32]) -> Result<Reply, Failure> {
        let [c, h, w] = self.facts.image_shape;
        let request = json!({
            "inputs": [{
                "name": self.input, "shape": [n, c, h, w], "datatype": "FP32", "data": images,
            }],
            "outputs": [{ "name": self.output }],
        });
        let post = self.agent.post(format!("{}/infer", self.address));
        let post = post.content_type("application/json");
        let text = body(post.send(request.to_string()), self.patience)?;
        let found: Outputs = parsed(&text, "scores")?;
        let all = found.outputs.into_iter();
        let own = all.into_iter().find(|o| o.name == self.output);
        let none = || Failure::lasting(format!("the output `{}`", self.output), beginning(&text));
        let own = own.ok_or_else(none)?;
        let mut values = Vec::new();
        if !flatten(&own.data, &mut values) {
            return Err(Failure::lasting("scores as numbers", beginning(&text)));
        }
        Ok(Reply {
            shape: own.shape,
            values,
        })
    }
}

/// The numbers of nested lists in order; whether there are only numbers.
fn flatten(data: &Value, out: &mut Vec<f32>) -> bool {
    match data {
        Value::Array(list) => list.iter().all(|v| flatten(v, out)),
        one => {
            let number = one.as_f64().map(|v| v as f32);
            out.extend(number);
            number.is_some()
        }
    }
}

fn parsed<'t, T: Deserialize<'t>>(text: &'t str, what: &str) -> Result<T, Failure> {
    let none = |e| {
        Failure::lasting(
            format!("{what} as JSON"),
            format!("{} ({e})", beginning(text)),
        )
    };
    serde_json::from_str(text).map_err(none)
}

/// The text of an answer. A server that fails, is full, or cannot be reached may be better later.
fn body(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    patience: Duration,
) -> Result<String, Failure> {
    let unreached = |e: ureq::Error| match e {
        ureq::Error::Timeout(_) => {
            let expected = format!("an answer within {} s", patience.as_secs_f64());
            Failure::passing(expected, "none")
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::lasting("an address", e),
        other => Failure::passing("an answer", other),
    };
    let mut answer = answer.map_err(unreached)?;
    let status = answer.status();
    let reader = answer
        .body_mut()
        .with_config()
        .limit(LONGEST)
        .lossy_utf8(true);
    let text = reader.read_to_string().map_err(unreached)?;
    if status.is_success() {
        return Ok(text);
    }
    let found = format!("HTTP status {} with {}", status.as_u16(), beginning(&text));
    let passing = status.is_server_error() || [408, 429].contains(&status.as_u16());
    Err(Failure {
        passing,
        ..Failure::lasting("an answer of HTTP status 200", found)
    })
}
