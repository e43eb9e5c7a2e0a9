//! Texts that a command is given: a file with one text a line, or the standard input.

use anyhow::{Context as _, Result};
use std::io::{Read as _, stdin};
use std::path::Path;
use tenfold::data::{decode_text, read_text};

/// The content of the file, or of the standard input for "-", without a byte order mark.
pub(super) fn read(file: &Path) -> Result<String> {
    if file != Path::new("-") {
        return Ok(read_text(file)?);
    }
    let mut bytes = Vec::new();
    stdin().read_to_end(&mut bytes).context("cannot read the standard input")?;
    Ok(decode_text(Path::new("standard input"), &bytes)?)
}
