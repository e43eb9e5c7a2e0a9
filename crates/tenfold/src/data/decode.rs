//! From bytes to text: byte order marks, encodings, gzip, and files that are no text at all.

use crate::plain_file::{self, Bound};
use crate::{Error, Result};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

/// How a file's bytes stand for characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(crate) enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "latin-1")]
    Latin1,
    /// The file begins with a byte order mark. With one, any file is read as UTF-16.
    #[serde(rename = "utf-16")]
    Utf16,
}

impl Encoding {
    /// What a task file may say.
    pub(crate) const NAMES: [&str; 3] = ["utf-8", "latin-1", "utf-16"];
}

const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
const GZIP: &[u8] = b"\x1f\x8b";

/// How many times its own size a gzip file may unpack to, so that a small file cannot fill the memory. Rows of equal texts
/// reach about 100.
const MOST_INFLATION: u64 = 200;
/// A file that unpacks to no more than this many bytes is always read.
const ALWAYS_INFLATED: u64 = 1 << 24;

/// The UTF-8 text of the file at `path`, without a byte order mark; UTF-16 where its mark stands before it. Bytes that are
/// no such text are [`Error::Malformed`] with their line and their offset in the file.
pub fn read_text(path: &Path, bound: Bound) -> Result<String> {
    let bytes = plain_file::read(path, bound).map_err(Error::io("read", path))?;
    decode_text(path, &bytes)
}

/// The same of `bytes`, which stand in the file, or come from the place, that `path` names.
pub fn decode_text(path: &Path, bytes: &[u8]) -> Result<String> {
    decode(path, bytes, Encoding::Utf8).map(Cow::into_owned)
}

/// The bytes of a file of rows, unpacked if they are gzip.
pub(super) fn read_rows(path: &Path) -> Result<Vec<u8>> {
    let bytes = plain_file::read(path, plain_file::DATA).map_err(Error::io("read", path))?;
    if !bytes.starts_with(GZIP) {
        return Ok(bytes);
    }
    let most = (bytes.len() as u64).saturating_mul(MOST_INFLATION).max(ALWAYS_INFLATED);
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(bytes.as_slice()).take(most + 1).read_to_end(&mut unpacked);
    let fault = |found: String| Err(Error::malformed(path, "whole file", "a complete gzip file", found));
    match read {
        Err(error) => fault(format!("{error} after {} unpacked bytes", unpacked.len())),
        Ok(read) if read as u64 > most => {
            let expected = format!("a gzip file that unpacks to at most {MOST_INFLATION} times its size");
            Err(Error::malformed(path, "whole file", expected, format!("more than {most} bytes")))
        }
        Ok(_) => Ok(unpacked),
    }
}

/// Text, without a byte order mark. A mark says what the encoding is, whatever `encoding` says.
pub(super) fn decode<'a>(path: &Path, bytes: &'a [u8], encoding: Encoding) -> Result<Cow<'a, str>> {
    if let Some(what) = known_otherwise(bytes) {
        return Err(Error::malformed(path, "whole file", "text", what));
    }
    match bytes {
        [0xff, 0xfe, rest @ ..] => return utf_16(path, rest, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, rest @ ..] => return utf_16(path, rest, u16::from_be_bytes).map(Cow::Owned),
        _ => {}
    }
    let (marked, encoding) = match bytes.strip_prefix(UTF_8_MARK) {
        Some(rest) => (rest, Encoding::Utf8),
        None => (bytes, encoding),
    };
    match encoding {
        Encoding::Latin1 => Ok(Cow::Owned(latin_1(marked))),
        Encoding::Utf16 => {
            let expected = "a byte order mark before UTF-16 text";
            Err(Error::malformed(path, "byte 0", expected, "none"))
        }
        Encoding::Utf8 => utf_8(path, marked, bytes.len() - marked.len()).map(Cow::Borrowed),
    }
}

/// UTF-8 text that stands `offset` bytes behind the beginning of its file.
fn utf_8<'a>(path: &Path, bytes: &'a [u8], offset: usize) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = error.valid_up_to();
        let line = bytes[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
        let place = format!("line {line}, byte {}", offset + valid);
        let expected = "UTF-8 (for a task's file that is Latin-1, say encoding = \"latin-1\" in its domain)";
        let byte = bytes.get(valid).copied().unwrap_or_default();
        let cut = if error.error_len().is_none() { " and then the end" } else { "" };
        let found = format!("the byte 0x{byte:02x}{cut}");
        Error::malformed(path, place, expected, found)
    })
}

/// UTF-16 text behind its mark.
fn utf_16(path: &Path, bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String> {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    let mut text = String::with_capacity(units.len());
    for (place, character) in char::decode_utf16(units.iter().copied()).enumerate() {
        match character {
            Ok(character) => text.push(character),
            Err(error) => {
                let line = text.matches('\n').count() + 1;
                let found = format!("half a character, 0x{:04x}", error.unpaired_surrogate());
                return Err(Error::malformed(
                    path,
                    format!("line {line}, character {}", place + 1),
                    "UTF-16",
                    found,
                ));
            }
        }
    }
    match bytes.len() % 2 {
        0 => Ok(text),
        _ => {
            Err(Error::malformed(path, "end of the file", "UTF-16, two bytes for each unit", "a single byte"))
        }
    }
}

/// ISO 8859-1: every byte is the character of that number.
pub(crate) fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// What a file is that often stands where text is expected, and what to do about it.
fn known_otherwise(bytes: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 8] = [
        (b"PK\x03\x04", "a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
        (b"\x28\xb5\x2f\xfd", "Zstandard: unpack it with `zstd -d`, or compress it with gzip"),
        (b"\xfd7zXZ", "XZ: unpack it with `xz -d`, or compress it with gzip"),
        (b"BZh91AY&SY", "bzip2: unpack it with `bzip2 -d`, or compress it with gzip"),
        (b"ARROW1\0", "an Arrow file: write it as Parquet, CSV or JSON lines"),
        (GZIP, "gzip: unpack it with `gzip -d`"),
        (
            b"version https://git-lfs",
            "a Git LFS pointer instead of the file itself: fetch it with `git lfs pull`",
        ),
    ];
    let known = KNOWN.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, what)| *what);
    known.or_else(|| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).to_lowercase();
        let start = start.trim_start_matches('\u{feff}').trim_start();
        (start.starts_with("<!doctype html") || start.starts_with("<html"))
            .then_some("a web page: the download gave a page instead of the file")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::fs;
    use std::io::Write;

    fn decoded(bytes: &[u8], encoding: Encoding) -> Result<String, String> {
        let text = decode(Path::new("a.txt"), bytes, encoding);
        text.map(Cow::into_owned).map_err(|error| error.to_string())
    }

    #[test]
    fn marks_say_what_the_encoding_is_and_are_no_part_of_the_text() {
        let text = "a\u{e9}\u{1f600}\n";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [
            [b"\xff\xfe", little.as_slice()].concat(),
            [b"\xfe\xff", big.as_slice()].concat(),
            [UTF_8_MARK, text.as_bytes()].concat(),
        ] {
            for encoding in [Encoding::Utf8, Encoding::Latin1] {
                assert_eq!(decoded(&bytes, encoding).unwrap(), text);
            }
        }
        let odd = decoded(&[b"\xff\xfe", &little[..3]].concat(), Encoding::Utf16).unwrap_err();
        assert!(odd.contains("found a single byte"), "{odd}");
        let half = decoded(b"\xff\xfea\0\n\0\x00\xd8b\0", Encoding::Utf8).unwrap_err();
        assert!(half.contains("line 2, character 3") && half.contains("0xd800"), "{half}");
        assert!(decoded(b"a", Encoding::Utf16).unwrap_err().contains("a byte order mark before UTF-16"));
    }

    #[test]
    fn what_is_no_utf_8_is_named_with_its_line_and_its_offset_in_the_file() {
        let error = decoded(b"\xef\xbb\xbfgood\ncaf\xe9\n", Encoding::Utf8).unwrap_err();
        assert!(error.contains("a.txt: line 2, byte 11: expected UTF-8"), "{error}");
        assert!(error.contains("latin-1") && error.contains("found the byte 0xe9"), "{error}");
        assert_eq!(decoded(b"caf\xe9", Encoding::Latin1).unwrap(), "caf\u{e9}");
        assert!(decoded(b"caf\xc3", Encoding::Utf8).unwrap_err().contains("the byte 0xc3 and then the end"));
    }

    #[test]
    fn files_that_are_no_text_are_named() {
        for (bytes, expected) in [
            (&b"PK\x03\x04x"[..], "Excel"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"\n<!DOCTYPE html><html>", "a web page"),
        ] {
            assert!(decoded(bytes, Encoding::Utf8).unwrap_err().contains(expected), "{expected}");
        }
    }

    #[test]
    fn gzip_is_unpacked_if_it_is_whole_and_no_bomb() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv.gz");
        let pack = |text: &[u8]| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::best());
            packer.write_all(text).unwrap();
            packer.finish().unwrap()
        };
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read_rows(&path).map_err(|error| error.to_string())
        };
        let packed = pack(b"text,label\n");
        assert_eq!(read(&[packed.clone(), pack(b"a,1\n")].concat()).unwrap(), b"text,label\na,1\n");
        let cut = read(&packed[..packed.len() - 9]).unwrap_err();
        assert!(cut.contains("a.csv.gz: whole file: expected a complete gzip file"), "{cut}");
        let bomb = read(&pack(&vec![b' '; 20 << 20])).unwrap_err();
        assert!(bomb.contains("at most 200 times its size"), "{bomb}");
    }
}
