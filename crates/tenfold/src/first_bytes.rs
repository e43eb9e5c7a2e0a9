//! What a file is instead of what it should be, told by its first bytes.

use crate::error::{Error, Result};
use crate::plain_file::{self, Bound};
use std::io::{Read, Seek};
use std::path::Path;

/// How many bytes are enough to tell.
const ENOUGH: u64 = 512;

/// The bytes of a file, unless it is known to be something else than `expected`: that is told of a file of any size.
pub(crate) fn read(file: &Path, expected: &str, bound: Bound) -> Result<Vec<u8>> {
    let mut opened = plain_file::open(file).map_err(Error::io("open", file))?;
    let mut first = Vec::new();
    opened.by_ref().take(ENOUGH).read_to_end(&mut first).map_err(Error::io("read", file))?;
    if let Some(found) = instead(&first) {
        return Err(Error::malformed(file, "whole file", expected, found));
    }
    plain_file::note_read(file);
    opened.rewind().and_then(|()| plain_file::contents(opened, bound)).map_err(Error::io("read", file))
}

/// The same of a file of text.
pub(crate) fn read_text(file: &Path, expected: &str, bound: Bound) -> Result<String> {
    plain_file::text(read(file, expected, bound)?).map_err(Error::io("read", file))
}

/// What a file that begins so is known to be, and what to do about it, in words that follow "found". `None` if it could be
/// what it should be. For files that are text of some format or tensors: a zip archive or a GGUF file is none of them.
pub(crate) fn instead(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if text.starts_with(b"version https://git-lfs.github.com/spec/") {
        Some(
            "a Git LFS pointer, which stands for the file; run `git lfs pull` in its folder, or download the file itself",
        )
    } else if begins(b"<!doctype html") || begins(b"<html") {
        Some(
            "an HTML page; download the file itself (of the Hugging Face Hub: the address with /resolve/, not /blob/)",
        )
    } else if bytes.starts_with(b"PK\x03\x04") {
        Some("a zip archive, as torch.save writes; weights are read from safetensors files")
    } else if bytes.starts_with(b"GGUF") {
        Some("a GGUF file; give it a name that ends in .gguf")
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        Some("a gzip archive; unpack it first")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_something_else_are_known() {
        for (bytes, expected) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"[..],
                Some("git lfs pull"),
            ),
            (b"\n <!DOCTYPE HTML><html>", Some("/resolve/")),
            (b"<html lang=\"en\">", Some("HTML page")),
            (b"PK\x03\x04\0\0", Some("zip archive")),
            (b"GGUF\x03\0\0\0", Some("GGUF")),
            (b"\x1f\x8b\x08", Some("gzip")),
            (b"{\"model_type\": \"bert\"}", None),
            (b"", None),
            (b"<h", None),
        ] {
            let found = instead(bytes);
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{found:?}");
        }
    }
}
