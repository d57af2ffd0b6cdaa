//! Signed statements: DSSE 1 inside a Sigstore bundle v0.3 with a public key.
//!
//! What is signed is `PAE(type, payload)` = `DSSEv1 SP len(type) SP type SP len(payload) SP
//! payload`, lengths in decimal digits, bytes. The bundle names its key by the SHA-256 of the key's
//! PEM, as OpenSSF model-signing does.
//!
//! A bundle has one spelling: what is read must be, byte for byte, what would be written. So no
//! byte of it can change unseen, not even one that no signature covers.

use crate::attest::keys::{PrivateKey, PublicKey};
use crate::error::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;

/// The type of in-toto statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What a signature is made of.
pub fn pre_authentication(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn bundle(payload: &[u8], signature: &[u8], hint: &str) -> Result<String> {
    let value = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": hint }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{ "sig": STANDARD.encode(signature), "keyid": "" }],
        },
    });
    let text = serde_json::to_string_pretty(&value);
    text.map(|t| t + "\n")
        .map_err(|e| Error::mismatch("write a bundle", "JSON", e))
}

/// A bundle that holds this statement and its signature.
pub fn sign_bundle(payload: &[u8], key: &PrivateKey) -> Result<String> {
    let signature = key.sign(&pre_authentication(PAYLOAD_TYPE, payload));
    bundle(payload, &signature, &key.public().hint()?)
}

/// The statement inside a bundle that this key signed; `path` is for errors.
///
/// # Errors
/// [`Error::Record`] when the text is no bundle, is written in another way, was signed with
/// another key, or its signature does not hold.
pub fn open_bundle(path: &Path, text: &str, key: &PublicKey) -> Result<Vec<u8>> {
    let wrong = |expected: &str, found: &str| {
        Error::record(path, format!("expected {expected}, found {found}"))
    };
    let none = || {
        wrong(
            "a Sigstore bundle with one DSSE signature",
            "something else",
        )
    };
    let value: Value = serde_json::from_str(text).map_err(|_| none())?;
    let field = |at: &str| value.pointer(at).and_then(Value::as_str);
    let decoded = |at: &str| {
        STANDARD
            .decode(field(at).ok_or_else(none)?)
            .map_err(|_| none())
    };
    let payload = decoded("/dsseEnvelope/payload")?;
    let signature = decoded("/dsseEnvelope/signatures/0/sig")?;
    let hint = field("/verificationMaterial/publicKey/hint").ok_or_else(none)?;
    if hint != key.hint()? {
        return Err(wrong(
            "a bundle signed with this key",
            "one that names another key",
        ));
    }
    if !key.verifies(&pre_authentication(PAYLOAD_TYPE, &payload), &signature) {
        return Err(wrong(
            "a signature of its statement",
            "one that does not hold",
        ));
    }
    if bundle(&payload, &signature, hint)? != text {
        return Err(wrong("a bundle as it was written", "one that changed"));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the DSSE protocol.
    #[test]
    fn the_encoding_of_the_standard() {
        let found = pre_authentication("http://example.com/HelloWorld", b"hello world");
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(found, expected);
        assert_eq!(pre_authentication("é", b""), "DSSEv1 2 é 0 ".as_bytes());
    }

    #[test]
    fn any_flipped_byte_and_any_other_key_is_refused() {
        let (path, key) = (
            Path::new("b.json"),
            PrivateKey::from_entropy(&[3; 32]).unwrap(),
        );
        let text = sign_bundle(b"{\"a\":1}", &key).unwrap();
        assert_eq!(
            open_bundle(path, &text, &key.public()).unwrap(),
            b"{\"a\":1}"
        );
        let other = PrivateKey::from_entropy(&[4; 32]).unwrap();
        let error = open_bundle(path, &text, &other.public())
            .unwrap_err()
            .to_string();
        assert!(error.contains("another key"), "{error}");
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(
                    open_bundle(path, &changed, &key.public()).is_err(),
                    "byte {at}"
                );
            }
        }
    }
}
