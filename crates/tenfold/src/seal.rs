//! JSON objects that carry the hash of their own words, so that damaged ones are not believed: records, kept answers.
//!
//! The hash is the last key of the JSON object.

use crate::data::hexadecimal;
use sha2::{Digest, Sha256};

const KEY: &[u8] = b",\"sha256\":\"";
const END: &[u8] = b"\"}";
const DIGITS: usize = 64;

/// A JSON object with the hash of its text as one more key.
pub(crate) fn sealed(object: &str) -> String {
    let body = object.strip_suffix('}').unwrap_or(object);
    format!("{body},\"sha256\":\"{}\"}}", hash(object.as_bytes()))
}

/// The object as it was before; none if there is no hash, or if it is that of another text.
pub(crate) fn opened(text: &[u8]) -> Option<Vec<u8>> {
    let (body, seal) = text.split_at_checked(text.len().checked_sub(KEY.len() + DIGITS + END.len())?)?;
    let stated = seal.strip_prefix(KEY)?.strip_suffix(END)?;
    let object = [body, b"}"].concat();
    (stated == hash(&object).as_bytes()).then_some(object)
}

fn hash(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_changed_byte_shows() {
        let object = r#"{"schema":1,"losses":[0.693,0.125]}"#;
        let sealed = sealed(object);
        assert_eq!(opened(sealed.as_bytes()).as_deref(), Some(object.as_bytes()));
        assert!(serde_json::from_str::<Value>(&sealed).unwrap()["sha256"].is_string());
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone().into_bytes();
            damaged[place] ^= 1;
            assert_eq!(opened(&damaged), None, "byte {place}");
        }
    }

    #[test]
    fn what_has_no_seal_is_not_opened() {
        assert_eq!((opened(b"{}"), opened(b"")), (None, None));
    }
}
