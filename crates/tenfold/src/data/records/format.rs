//! In which format a file's records are written, as its name or its task says.

use crate::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// How a file's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Fields are never quoted.
    Tsv,
    /// Fields may be quoted.
    Csv,
    /// JSON lines; or, as in a file that ends in .json, one array of objects, or one object over several lines.
    #[serde(alias = "json")]
    Jsonl,
    /// The whole file is one text, in the column "text".
    Text,
    Parquet,
}

impl Format {
    /// What a task file may say.
    pub(crate) const NAMES: [&str; 6] = ["tsv", "csv", "jsonl", "json", "text", "parquet"];

    /// What the ending of the file's name says; that before ".gz" of a packed file.
    pub(super) fn of(path: &Path) -> Result<Format> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        match extension {
            Some("tsv" | "tab") => Ok(Format::Tsv),
            Some("csv") => Ok(Format::Csv),
            Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
            Some("txt" | "text" | "md" | "raw" | "tokens") => Ok(Format::Text),
            Some("parquet") => Ok(Format::Parquet),
            _ => Err(Error::malformed(
                path,
                "file name",
                "an ending of .tsv, .csv, .jsonl, .json, .txt or .parquet (.gz may follow), or format = \"tsv\" (csv, \
                 jsonl, json, text, parquet) in the task's domain",
                extension.map_or("no ending".into(), |extension| format!(".{extension}")),
            )),
        }
    }
}
