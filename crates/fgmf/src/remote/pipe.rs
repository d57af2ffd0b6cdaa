//! A model behind a command, asked on its standard input and output.
//!
//! The command first writes a line of JSON: `image_shape`, `classes`, `scores`, and `id` if it
//! wants its weights told apart. A request is a line `{"id": i, "shape": [n, c, h, w]}` and the
//! n·c·h·w numbers as little-endian `f32`. The answer is a line `{"id": i, "shape": [n, k]}` and
//! its numbers, or `{"id": i, "error": "…"}`.
//!
//! A command that ended, or did not answer in time, is started again for the next request.

use crate::remote::transport::{Facts, Failure, Reply, ScoreKind, Transport, beginning};
use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Longest line, in bytes.
const LINE: u64 = 1 << 20;
/// Most numbers of an answer.
const NUMBERS: usize = 1 << 28;
/// How long a command may take to end once nothing more is asked.
const PARTING: Duration = Duration::from_secs(1);

/// The first line of a command.
#[derive(Deserialize)]
struct Hello {
    image_shape: [usize; 3],
    classes: usize,
    #[serde(default)]
    scores: ScoreKind,
    #[serde(default)]
    id: String,
}

/// A line of a command, with the numbers behind it.
struct Message {
    line: String,
    head: Head,
    values: Vec<f32>,
}

/// What a line may say.
#[derive(Default, Deserialize)]
struct Head {
    id: Option<u64>,
    shape: Option<Vec<usize>>,
    error: Option<serde_json::Value>,
}

/// A command that runs.
struct Running {
    child: Child,
    /// `None` once nothing more is asked.
    requests: Option<Sender<Vec<u8>>>,
    messages: Receiver<Result<Message, Failure>>,
}

/// A model behind a command.
pub(crate) struct Pipe {
    words: Vec<String>,
    patience: Duration,
    running: Option<Running>,
    facts: Facts,
    /// Number of the last request.
    last: u64,
}

impl Pipe {
    /// Starts the command and hears what it says of itself.
    pub(crate) fn open(words: &[String], patience: Duration) -> Result<Self, Failure> {
        let (running, facts) = Running::start(words, patience)?;
        Ok(Self {
            words: words.to_vec(),
            patience,
            running: Some(running),
            facts,
            last: 0,
        })
    }

    /// The command; one that was ended is started again, and must say the same of itself.
    fn running(&mut self) -> Result<&mut Running, Failure> {
        if self.running.is_none() {
            let (running, facts) = Running::start(&self.words, self.patience)?;
            if facts != self.facts {
                let (before, now) = (format!("{:?}", self.facts), format!("{facts:?}"));
                return Err(Failure::lasting(
                    format!("what it said before: {before}"),
                    now,
                ));
            }
            self.running = Some(running);
        }
        let gone = || Failure::passing("a command that runs", "none");
        self.running.as_mut().ok_or_else(gone)
    }
}

impl Transport for Pipe {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn ask(&mut self, n: usize, images: &[f32]) -> Result<Reply, Failure> {
        self.last += 1;
        let (id, patience) = (self.last, self.patience);
        let [c, h, w] = self.facts.image_shape;
        let line = json!({ "id": id, "shape": [n, c, h, w] });
        let mut request = format!("{line}\n").into_bytes();
        request.extend(images.iter().flat_map(|v| v.to_le_bytes()));
        let running = self.running()?;
        let answer = running.exchange(id, request, patience);
        if answer.is_err() {
            // Whatever it still writes would be taken for the next answer.
            self.running = None;
        }
        let Message { line, head, values } = answer?;
        if let Some(error) = head.error {
            let text = error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned);
            return Err(Failure::passing(
                "scores",
                format!("the error {}", beginning(&text)),
            ));
        }
        let none = || Failure::lasting("`shape` in the answer", beginning(&line));
        let shape = head.shape.ok_or_else(none)?;
        Ok(Reply { shape, values })
    }
}

impl Running {
    fn start(words: &[String], patience: Duration) -> Result<(Self, Facts), Failure> {
        let [program, arguments @ ..] = words else {
            return Err(Failure::lasting("a command", "none"));
        };
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let refused =
            |e| Failure::lasting("a command that can be started", format!("{program}: {e}"));
        let mut child = child.map_err(refused)?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::lasting("a command with pipes", "none"));
        };
        let ((requests, to_write), (heard, messages)) = (channel::<Vec<u8>>(), channel());
        // Threads of their own, so that a command that does not read or does not write cannot hold
        // us longer than a request may take. They end with the command.
        thread::spawn(move || {
            for request in to_write {
                if input
                    .write_all(&request)
                    .and_then(|()| input.flush())
                    .is_err()
                {
                    break;
                }
            }
        });
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(message) = read(&mut output).transpose() {
                let failed = message.is_err();
                if heard.send(message).is_err() || failed {
                    break;
                }
            }
        });
        let mut running = Self {
            child,
            requests: Some(requests),
            messages,
        };
        let line = running.hear(Instant::now() + patience, patience)?.line;
        let expected = "a first line such as {\"image_shape\": [3, 224, 224], \"classes\": 1000, \
            \"scores\": \"logits\"}";
        let none = |e| Failure::lasting(expected, format!("{} ({e})", beginning(&line)));
        let hello: Hello = serde_json::from_str(&line).map_err(none)?;
        let facts = Facts {
            image_shape: hello.image_shape,
            classes: hello.classes,
            scores: hello.scores,
            id: hello.id,
        };
        Ok((running, facts.check()?))
    }

    fn exchange(
        &mut self,
        id: u64,
        request: Vec<u8>,
        patience: Duration,
    ) -> Result<Message, Failure> {
        let until = Instant::now() + patience;
        if let Some(requests) = &self.requests {
            // A command that no longer reads is found out below.
            _ = requests.send(request);
        }
        let message = self.hear(until, patience)?;
        if message.head.id == Some(id) {
            return Ok(message);
        }
        let expected = format!("an answer to request {id}");
        Err(Failure::lasting(expected, beginning(&message.line)))
    }

    fn hear(&mut self, until: Instant, patience: Duration) -> Result<Message, Failure> {
        let left = until.saturating_duration_since(Instant::now());
        match self.messages.recv_timeout(left) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                let expected = format!("an answer within {} s", patience.as_secs_f64());
                Err(Failure::passing(expected, "none"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Failure::passing("an answer", self.end())),
        }
    }

    /// Ends the command, and says how it ended. One that closed its output is about to.
    fn end(&mut self) -> String {
        self.requests = None;
        let until = Instant::now() + PARTING;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return format!("the command ended ({status})"),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
                _ => break,
            }
        }
        _ = self.child.kill();
        _ = self.child.wait();
        "the command closed its output".to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.end();
    }
}

/// The next line and the numbers behind it; `None` at the end.
fn read(output: &mut impl BufRead) -> Result<Option<Message>, Failure> {
    let cut = |found: &dyn ToString| Failure::passing("a whole answer", found.to_string());
    let mut bytes = Vec::new();
    let line = output.by_ref().take(LINE).read_until(b'\n', &mut bytes);
    line.map_err(|e| cut(&e))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&bytes).into_owned();
    let expected = "a line of JSON (what a command prints for people belongs on standard error)";
    let none = |e| Failure::lasting(expected, format!("{} ({e})", beginning(&line)));
    let head: Head = serde_json::from_str(&line).map_err(none)?;
    let mut values = Vec::new();
    if let Some(shape) = &head.shape {
        let count = shape.iter().try_fold(1usize, |n, &s| n.checked_mul(s));
        let count = count.filter(|n| *n <= NUMBERS);
        let many = || Failure::lasting("a shape of scores", format!("{shape:?}"));
        let length = 4 * count.ok_or_else(many)?;
        let mut bytes = Vec::new();
        let read = output.by_ref().take(length as u64).read_to_end(&mut bytes);
        read.map_err(|e| cut(&e))?;
        if bytes.len() < length {
            return Err(cut(&format!("{} of {length} bytes", bytes.len())));
        }
        let numbers = bytes.as_chunks::<4>().0.iter();
        values = numbers.map(|b| f32::from_le_bytes(*b)).collect();
    }
    Ok(Some(Message { line, head, values }))
}
