//! Addresses of models: what may stand in the place of a model file.
//!
//! | address | what answers |
//! | --- | --- |
//! | `pipe:COMMAND` | a command that is started, on its standard input and output |
//! | `http://HOST:PORT/v2/models/NAME` | a server of the Open Inference Protocol, version 2 |
//!
//! Everything else is a file.

use crate::error::{Error, Result};

/// Where a model answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A command and its arguments, at least one word.
    Pipe(Vec<String>),
    /// The model's own address, without a slash at the end.
    Http(String),
}

impl Address {
    /// The address that a text is; `None` where it is a file.
    ///
    /// # Errors
    /// [`Error::Parameter`] when it begins like an address and is none that can be asked.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if let Some(command) = text.strip_prefix("pipe:") {
            return words(command).map(|words| Some(Self::Pipe(words)));
        }
        if text.starts_with("https://") {
            let expected = "an address of plain http: there is no TLS here; put a local proxy in \
                front, or ask through pipe:COMMAND";
            return Err(Error::parameter("MODEL", expected, text));
        }
        if text.starts_with("ort:") {
            let expected = "a model file, http:// or pipe:COMMAND; ONNX Runtime answers through \
                'pipe:python3 examples/serve_onnx.py FILE.onnx'";
            return Err(Error::parameter("MODEL", expected, text));
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Ok(None);
        };
        let named = rest.split_once("/v2/models/");
        let named = named.is_some_and(|(host, name)| !host.is_empty() && !name.is_empty());
        if !named || text.contains(['?', '#']) {
            let expected = "an address such as http://HOST:PORT/v2/models/NAME";
            return Err(Error::parameter("MODEL", expected, text));
        }
        Ok(Some(Self::Http(text.trim_end_matches('/').to_owned())))
    }
}

/// The words of a command, as a shell splits them: at blanks outside quotes. A backslash takes the
/// next letter as it is, between double quotes only a quote or a backslash. Nothing is expanded.
fn words(command: &str) -> Result<Vec<String>> {
    let (mut out, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut letters = command.chars().peekable();
    let open =
        |found: &str| Error::parameter("MODEL", "pipe:COMMAND, with its quotes closed", found);
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '\\') => {
                let next = letters.next().ok_or_else(|| open(command))?;
                word.get_or_insert_default().push(next);
            }
            (Some('"'), '\\') => {
                let next = letters.next_if(|c| matches!(c, '"' | '\\'));
                word.get_or_insert_default().push(next.unwrap_or('\\'));
            }
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(open(command));
    }
    out.extend(word);
    if out.is_empty() {
        return Err(Error::parameter("MODEL", "pipe:COMMAND", "no command"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Address> {
        Address::parse(text).unwrap()
    }

    #[test]
    fn commands_are_split_as_a_shell_splits_them() {
        let cases: [(&str, &[&str]); 6] = [
            (
                "pipe:python3 serve.py --weights w.pt",
                &["python3", "serve.py", "--weights", "w.pt"],
            ),
            ("pipe: 'a b'  c\\ d ", &["a b", "c d"]),
            (
                r#"pipe:x "a \" \\ \n 'b'" ''"#,
                &["x", r#"a " \ \n 'b'"#, ""],
            ),
            ("pipe:a'b'\"c\"d", &["abcd"]),
            ("pipe:x '$HOME' *", &["x", "$HOME", "*"]),
            (r"pipe:'a\b'", &[r"a\b"]),
        ];
        for (text, words) in cases {
            let words = words.iter().map(|w| (*w).to_owned()).collect();
            assert_eq!(of(text), Some(Address::Pipe(words)), "{text}");
        }
        for text in ["pipe:", "pipe:  ", "pipe:'a", "pipe:a \"b", "pipe:a\\"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_are_no_addresses_and_bad_addresses_no_files() {
        assert_eq!(of("model.onnx"), None);
        assert_eq!(of("pipes/m.onnx"), None);
        let url = "http://localhost:8000/v2/models/m";
        assert_eq!(of(&format!("{url}/")), Some(Address::Http(url.into())));
        for (text, part) in [
            ("https://h/v2/models/m", "no TLS"),
            ("http://h:1/models/m", "/v2/models/NAME"),
            ("http:///v2/models/m", "/v2/models/NAME"),
            ("ort:m.onnx", "serve_onnx.py"),
        ] {
            let message = Address::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
