//! The wire format of Protocol Buffers, as much of it as a SentencePiece model needs.
//!
//! <https://protobuf.dev/programming-guides/encoding>

use crate::{Error, Result};
use std::path::Path;

/// The value of one field.
#[derive(Debug)]
pub(super) enum Field<'a> {
    Number(u64),
    Fixed32(u32),
    Fixed64,
    /// Bytes, text, or another message.
    Bytes(Message<'a>),
}

/// A message: its fields and their numbers, one after the other; ends after the first fault.
#[derive(Debug, Clone)]
pub(super) struct Message<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    /// Where in the file `bytes` begin.
    start: usize,
    at: usize,
}

impl<'a> Message<'a> {
    pub(super) fn new(file: &'a Path, bytes: &'a [u8], start: usize) -> Message<'a> {
        Message { file, bytes, start, at: 0 }
    }

    /// Its bytes as they are.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where in the file it begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    fn fault(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::malformed(self.file, format!("byte {}", self.start + self.at), expected, found)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let left = &self.bytes[self.at..];
        let taken = usize::try_from(count).ok().and_then(|count| left.get(..count));
        let taken =
            taken.ok_or_else(|| self.fault(format!("{count} bytes"), format!("{} left", left.len())))?;
        self.at += taken.len();
        Ok(taken)
    }

    /// Seven bits a byte, the lowest first, the eighth set while more follow.
    fn varint(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.fault("a number of at most ten bytes", "a longer one"))
    }

    fn field(&mut self) -> Result<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed64)?,
            2 => {
                let length = self.varint()?;
                let bytes = self.take(length)?;
                Field::Bytes(Message::new(self.file, bytes, self.start + self.at - bytes.len()))
            }
            5 => {
                let bytes = self.take(4)?;
                Field::Fixed32(bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte)))
            }
            other => return Err(self.fault("a wire type of 0, 1, 2 or 5", other.to_string())),
        };
        Ok((tag >> 3, field))
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = Result<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.bytes.len();
        }
        Some(field)
    }
}
