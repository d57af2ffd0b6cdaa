//! Keys and signatures: ECDSA on P-256 with SHA-256 and deterministic nonces (RFC 6979).
//!
//! Private keys are PKCS #8, public keys SPKI, both in PEM; signatures are DER. These are the forms
//! that OpenSSL, cosign and OpenSSF model-signing read.

use crate::error::{Error, Result};
use crate::hash::sha256;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding,
};
use std::path::Path;

fn refused(what: &'static str, expected: &str, found: impl ToString) -> Error {
    Error::mismatch(what, expected, found)
}

/// A key that signs.
pub struct PrivateKey(SigningKey);

/// A key that checks signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PrivateKey {
    /// The key of 32 random bytes; whoever calls draws them.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where they are 0, or not below the order of the curve: once in 2³²
    /// draws.
    pub fn from_entropy(bytes: &[u8; 32]) -> Result<Self> {
        let key = SigningKey::from_slice(bytes);
        let expected = "a number from 1 to the order of the curve";
        key.map(Self)
            .map_err(|_| refused("make a key", expected, "another"))
    }

    /// A key from its PEM.
    ///
    /// # Errors
    /// [`Error::Record`] when the file holds no private key on P-256. The text is not repeated.
    pub fn from_pem(path: &Path, pem: &str) -> Result<Self> {
        let key = SigningKey::from_pkcs8_pem(pem);
        let text = "expected a private key on P-256 in PEM (PKCS #8), found something else";
        key.map(Self).map_err(|_| Error::record(path, text))
    }

    /// The key as PEM.
    pub fn to_pem(&self) -> Result<String> {
        let pem = self.0.to_pkcs8_pem(LineEnding::LF);
        pem.map(|pem| pem.to_string())
            .map_err(|e| refused("write a key", "a key", e))
    }

    /// The key that checks what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    /// The signature of a message, DER.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(message);
        signature.to_der().as_bytes().to_vec()
    }
}

impl PublicKey {
    /// A key from its PEM.
    ///
    /// # Errors
    /// [`Error::Record`] when the file holds no public key on P-256.
    pub fn from_pem(path: &Path, pem: &str) -> Result<Self> {
        let key = VerifyingKey::from_public_key_pem(pem);
        let text = "expected a public key on P-256 in PEM (SPKI), found something else";
        key.map(Self).map_err(|_| Error::record(path, text))
    }

    /// The key as PEM.
    pub fn to_pem(&self) -> Result<String> {
        let pem = self.0.to_public_key_pem(LineEnding::LF);
        pem.map_err(|e| refused("write a key", "a key", e))
    }

    /// SHA-256 of the PEM: the hint by which a bundle names its key.
    pub fn hint(&self) -> Result<String> {
        Ok(sha256(self.to_pem()?.as_bytes()))
    }

    /// Whether a DER signature of this message is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_der(signature).is_ok_and(|s| self.0.verify(message, &s).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = (0..hex.len()).step_by(2);
        digits
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    }

    /// RFC 6979, appendix A.2.5: P-256, SHA-256, message `sample`.
    #[test]
    fn the_signature_of_the_standard() {
        let secret = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";
        let key = PrivateKey::from_entropy(&bytes(secret).try_into().unwrap()).unwrap();
        let r = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716";
        let s = "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8";
        // Both numbers begin with a set bit, so DER puts a zero byte before each.
        let expected = bytes(&format!("3046022100{r}022100{s}"));
        assert_eq!(key.sign(b"sample"), expected);
        assert!(key.public().verifies(b"sample", &expected));
        assert!(!key.public().verifies(b"sampl", &expected));
    }

    #[test]
    fn keys_are_read_back_and_others_refused() {
        let path = Path::new("key.pem");
        let key = PrivateKey::from_entropy(&[7; 32]).unwrap();
        let again = PrivateKey::from_pem(path, &key.to_pem().unwrap()).unwrap();
        assert_eq!(again.public(), key.public());
        let public = PublicKey::from_pem(path, &key.public().to_pem().unwrap()).unwrap();
        assert_eq!(public.hint().unwrap(), key.public().hint().unwrap());
        let other = PrivateKey::from_entropy(&[8; 32]).unwrap();
        assert!(!other.public().verifies(b"m", &key.sign(b"m")));
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----",
            &key.public().to_pem().unwrap(),
        ] {
            assert!(PrivateKey::from_pem(path, text).is_err());
        }
        assert!(PublicKey::from_pem(path, &key.to_pem().unwrap()).is_err());
        assert!(PrivateKey::from_entropy(&[0; 32]).is_err());
        assert!(PrivateKey::from_entropy(&[255; 32]).is_err());
    }
}
