//! Texts that a command is given: a file with one text a line, a pipe, or the standard input.

use anyhow::{Context as _, Result, bail};
use std::io::stdin;
use std::path::Path;
use tenfold::bytes::Bytes;
use tenfold::data::decode_text;
use tenfold::plain_file;

/// The longest line that is worked on.
const LONGEST: usize = 16 << 20;

/// The content of the file or pipe, or of the standard input for "-", without a byte order mark.
pub(super) fn read(file: &Path) -> Result<String> {
    let (place, bytes) = match file == Path::new("-") {
        true => (Path::new("standard input"), plain_file::read_to_end(stdin().lock(), plain_file::LINES)),
        false => (file, plain_file::read_stream(file, plain_file::LINES)),
    };
    let bytes = bytes.with_context(|| format!("cannot read {}", place.display()))?;
    let text = decode_text(place, &bytes)?;
    if let Some(line) = text.lines().position(|line| line.len() > LONGEST) {
        let most = Bytes(LONGEST as u64).words();
        bail!("{}: line {}: expected at most {most}, found more", place.display(), line + 1);
    }
    Ok(text)
}
