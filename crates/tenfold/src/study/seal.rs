//! A record carries the hash of its own words, so that a damaged one is not believed.
//!
//! The hash is the last key of the JSON object; a record without one, of an earlier version, is taken as it is.

use crate::data::hexadecimal;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

const KEY: &[u8] = b",\"sha256\":\"";
const END: &[u8] = b"\"}";
const DIGITS: usize = 64;

/// A JSON object with the hash of its text as one more key.
pub(super) fn sealed(object: &str) -> String {
    let body = object.strip_suffix('}').unwrap_or(object);
    format!("{body},\"sha256\":\"{}\"}}", hash(object.as_bytes()))
}

/// The object as it was before; none if its text and its hash do not belong together.
pub(super) fn opened(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let split = text.len().checked_sub(KEY.len() + DIGITS + END.len());
    let parts = split.and_then(|at| text.split_at_checked(at));
    let Some((body, stated)) = parts.and_then(|(body, seal)| Some((body, seal.strip_prefix(KEY)?))) else {
        return Some(Cow::Borrowed(text));
    };
    let object = [body, b"}"].concat();
    (stated.strip_suffix(END)? == hash(&object).as_bytes()).then_some(Cow::Owned(object))
}

fn hash(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn every_changed_byte_shows() {
        let object = r#"{"schema":1,"losses":[0.693,0.125]}"#;
        let sealed = sealed(object);
        assert_eq!(opened(sealed.as_bytes()).as_deref(), Some(object.as_bytes()));
        assert!(serde_json::from_str::<Value>(&sealed).unwrap()["sha256"].is_string());
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone().into_bytes();
            damaged[place] ^= 1;
            let read = opened(&damaged).and_then(|read| serde_json::from_slice::<Value>(&read).ok());
            // Damage to the seal's own key leaves the rest as it was.
            let unchanged = |read: Value| read["schema"] == 1 && read["losses"] == json!([0.693, 0.125]);
            assert!(read.is_none_or(unchanged), "byte {place}");
        }
    }

    #[test]
    fn a_record_without_a_seal_is_taken_as_it_is() {
        assert_eq!(opened(b"{}").as_deref(), Some(&b"{}"[..]));
        assert_eq!(opened(b"").as_deref(), Some(&b""[..]));
    }
}
