//! Signed messages.
//!
//! A message has a body, and the ed25519 signature over its bytes and its purpose.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// A body as text, so that its bytes are those that were signed.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub struct Signed {
    /// The JSON text.
    pub body: String,
    /// The signature in hexadecimal digits.
    pub sig: String,
}

/// The purpose is signed too: a command can never be taken for a firmware manifest.
fn bytes(purpose: &str, body: &str) -> Vec<u8> {
    format!("embrun gateway {purpose}\n{body}").into_bytes()
}

/// Signs a body.
pub fn sign(key: &SigningKey, purpose: &str, body: String) -> Signed {
    let sig = hex(&key.sign(&bytes(purpose, &body)).to_bytes());
    Signed { body, sig }
}

/// Returns the body of a message with a valid signature.
pub fn open(key: &VerifyingKey, purpose: &str, message: &[u8]) -> Result<String, String> {
    let signed: Signed = serde_json::from_slice(message).map_err(|e| format!("no signed message: {e}"))?;
    let sig: [u8; 64] = unhex(&signed.sig).ok_or("the signature is not 64 bytes in hexadecimal digits")?;
    key.verify_strict(&bytes(purpose, &signed.body), &Signature::from_bytes(&sig))
        .map_err(|_| "wrong signature".to_owned())?;
    Ok(signed.body)
}

/// Reads a public key of 64 hexadecimal digits from a file.
pub fn public_key(path: &str) -> Result<VerifyingKey, String> {
    VerifyingKey::from_bytes(&key_bytes(path)?).map_err(|e| format!("{path}: {e}"))
}

/// Reads a secret key of 64 hexadecimal digits from a file.
pub fn secret_key(path: &str) -> Result<SigningKey, String> {
    Ok(SigningKey::from_bytes(&key_bytes(path)?))
}

fn key_bytes(path: &str) -> Result<[u8; 32], String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    unhex(text.trim()).ok_or_else(|| format!("{path}: must be 64 hexadecimal digits"))
}

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes from exactly as many hexadecimal digits as they need.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let mut out = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
        let digit = |c: u8| (c as char).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    #[test]
    fn a_signed_body_is_returned() {
        let text = serde_json::to_vec(&sign(&key(), "command", "{}".to_owned())).unwrap();
        assert_eq!(open(&key().verifying_key(), "command", &text).unwrap(), "{}");
    }

    #[test]
    fn a_change_of_any_byte_is_refused() {
        let signed = sign(&key(), "command", r#"{"n":1}"#.to_owned());
        for i in 0..signed.body.len() {
            let mut bytes = signed.body.clone().into_bytes();
            bytes[i] ^= 1;
            let Ok(body) = String::from_utf8(bytes) else { continue };
            let text = serde_json::to_vec(&Signed { body, sig: signed.sig.clone() }).unwrap();
            assert!(open(&key().verifying_key(), "command", &text).is_err(), "byte {i}");
        }
        for i in 0..signed.sig.len() {
            let mut sig = signed.sig.clone().into_bytes();
            sig[i] = if sig[i] == b'0' { b'1' } else { b'0' };
            let sig = String::from_utf8(sig).unwrap();
            let text = serde_json::to_vec(&Signed { body: signed.body.clone(), sig }).unwrap();
            assert!(open(&key().verifying_key(), "command", &text).is_err(), "digit {i}");
        }
    }

    #[test]
    fn another_purpose_or_key_is_refused() {
        let text = serde_json::to_vec(&sign(&key(), "command", "{}".to_owned())).unwrap();
        assert!(open(&key().verifying_key(), "firmware", &text).is_err());
        assert!(open(&SigningKey::from_bytes(&[8; 32]).verifying_key(), "command", &text).is_err());
    }
}
