//! Records as they lie in a run's folder: read where they are understood, and named where they are not.

use super::naming;
use crate::error::{Error, Result};
use crate::plain_file;
use crate::record::{Record, SCHEMA};
use crate::seal;
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a record's file holds.
#[derive(Debug)]
pub(super) enum Kept {
    /// A record of this version of the program.
    Record(Box<Record>),
    /// A whole record of another version of the program, whose results do not count.
    OtherCode,
    /// A record of a schema that this version does not know.
    Newer(u64),
    /// Nothing that can be believed.
    Damaged(Fault),
}

/// Why a record is not believed.
#[derive(Debug)]
pub(super) struct Fault {
    pub expected: String,
    pub found: String,
}

impl Fault {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Fault {
        Fault { expected: expected.into(), found: found.into() }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// What the record of a trial's folder holds; none if there is no such file.
pub(super) fn read(path: &Path, code: &str) -> Result<Option<Kept>> {
    let bytes = match plain_file::read_own(path, plain_file::RECORD) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    Ok(Some(understood(&bytes, &folder, code)))
}

fn understood(bytes: &[u8], folder: &str, code: &str) -> Kept {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return Kept::Damaged(Fault::new("a JSON object", words(bytes, &error))),
    };
    let Some(schema) = value.get("schema").and_then(Value::as_u64) else {
        return Kept::Damaged(Fault::new("a record with the key \"schema\"", "JSON without it"));
    };
    if schema > u64::from(SCHEMA) {
        return Kept::Newer(schema);
    }
    let sealed = value.get("sha256").is_some();
    let object = seal::opened(bytes);
    if value["trial"]["code"] != code && (object.is_some() || !sealed) {
        return Kept::OtherCode;
    }
    let Some(object) = object else {
        let found = if sealed { "other content" } else { "no such key" };
        return Kept::Damaged(Fault::new("the content whose SHA-256 the key \"sha256\" states", found));
    };
    if schema < u64::from(SCHEMA) {
        return Kept::Damaged(Fault::new(format!("schema {SCHEMA}"), format!("schema {schema}")));
    }
    match serde_json::from_slice::<Record>(&object) {
        Err(error) => Kept::Damaged(Fault::new(format!("a record of schema {SCHEMA}"), error.to_string())),
        Ok(record) if naming::name(&record.trial) != folder => {
            let found = naming::name(&record.trial);
            Kept::Damaged(Fault::new("the record of the trial that the folder is named for", found))
        }
        Ok(record) => Kept::Record(Box::new(record)),
    }
}

/// What stands where a JSON object should, in a few words.
fn words(bytes: &[u8], error: &serde_json::Error) -> String {
    match bytes {
        [] => "an empty file".into(),
        _ if error.is_eof() => format!("a file that ends early, after {} bytes", bytes.len()),
        _ => format!("something else at byte {}", error.column()),
    }
}

/// A record that cannot be used, and why.
pub(super) struct Unusable {
    pub path: PathBuf,
    pub fault: Fault,
}

/// The damaged records of all trials in a folder. A record of a newer schema is an error: whoever does not understand one
/// record of a run may not add to it.
pub(super) fn damaged(trials: &Path, code: &str) -> Result<Vec<Unusable>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        fs::read_dir(trials).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    for path in folders.into_iter().map(|folder| folder.join(super::store::RECORD)) {
        match read(&path, code)? {
            Some(Kept::Newer(schema)) => {
                let expected = format!("{SCHEMA} at the most");
                let found =
                    format!("{schema}: a newer version of Tenfold wrote this run, and it can go on with it");
                return Err(Error::malformed(path, "schema", expected, found));
            }
            Some(Kept::Damaged(fault)) => found.push(Unusable { path, fault }),
            Some(Kept::Record(_) | Kept::OtherCode) | None => {}
        }
    }
    Ok(found)
}

/// Renames a file so that another may take its place: record.json.damaged-1, and so on. Returns the new name.
pub(super) fn set_aside(path: &Path) -> Result<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let free = (1..).map(|number: usize| format!("{name}.damaged-{number}"));
    let aside = free.into_iter().find(|aside| !path.with_file_name(aside).exists()).unwrap_or_default();
    fs::rename(path, path.with_file_name(&aside)).map_err(Error::io("rename", path))?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::super::plan::CODE;
    use super::*;
    use crate::metric::synthetic::World;

    fn written(change: impl FnOnce(&mut Record)) -> (String, String) {
        let mut record = World::new().records[0].clone();
        record.schema = SCHEMA;
        record.trial.code = CODE.into();
        change(&mut record);
        let folder = naming::name(&record.trial);
        (seal::sealed(&serde_json::to_string(&record).unwrap()), folder)
    }

    fn fault(bytes: &[u8], folder: &str) -> String {
        match understood(bytes, folder, CODE) {
            Kept::Damaged(fault) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_is_read_and_all_that_is_none_is_told_with_what_was_expected() {
        let (text, folder) = written(|_| {});
        assert!(matches!(understood(text.as_bytes(), &folder, CODE), Kept::Record(_)));
        let cut = &text.as_bytes()[..text.len() / 2];
        assert!(fault(cut, &folder).contains("expected a JSON object, found a file that ends early, after"));
        assert_eq!(fault(b"", &folder), "expected a JSON object, found an empty file");
        assert!(fault(b"[]", &folder).contains("\"schema\""));
        // Edited by hand, with and without the old hash, or formatted anew.
        let edited = text.replacen("\"seed\":", "\"seed\":1", 1);
        assert!(fault(edited.as_bytes(), &folder).contains("SHA-256"), "{edited}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(fault(value.to_string().as_bytes(), &folder).contains("SHA-256"));
        let mut bare = value.clone();
        bare.as_object_mut().unwrap().remove("sha256");
        assert!(fault(bare.to_string().as_bytes(), &folder).contains("found no such key"));
        let (other, elsewhere) = written(|record| record.trial.seed += 1);
        assert!(fault(other.as_bytes(), &folder).contains(&elsewhere));
        let (older, at) = written(|record| record.schema = SCHEMA - 1);
        assert!(fault(older.as_bytes(), &at).contains(&format!("found schema {}", SCHEMA - 1)));
    }

    #[test]
    fn other_versions_are_told_apart_from_damage() {
        let (newer, folder) = written(|record| record.schema = SCHEMA + 1);
        assert!(
            matches!(understood(newer.as_bytes(), &folder, CODE), Kept::Newer(schema) if schema == u64::from(SCHEMA) + 1)
        );
        let strange = format!(r#"{{"schema":{},"result":{{}}}}"#, SCHEMA + 7);
        assert!(matches!(understood(strange.as_bytes(), &folder, CODE), Kept::Newer(_)));
        let (older, folder) = written(|record| record.trial.code = "tenfold 0.0.1 engine 1".into());
        assert!(matches!(understood(older.as_bytes(), &folder, CODE), Kept::OtherCode));
        assert!(fault(&older.as_bytes()[..older.len() - 9], &folder).contains("ends early"));
    }

    #[test]
    fn damaged_files_are_set_aside_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        for expected in ["record.json.damaged-1", "record.json.damaged-2"] {
            fs::write(&path, expected).unwrap();
            assert_eq!(set_aside(&path).unwrap(), expected);
            assert!(!path.exists());
            assert_eq!(fs::read_to_string(folder.path().join(expected)).unwrap(), expected);
        }
    }

    #[test]
    fn every_trial_is_looked_at_and_a_newer_schema_ends_it() {
        let run = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            fs::create_dir_all(run.path().join(name)).unwrap();
            fs::write(run.path().join(name).join("record.json"), text).unwrap();
        };
        let (whole, name) = written(|_| {});
        put(&name, &whole);
        put("b", "{");
        put("c", "[]");
        fs::create_dir(run.path().join("d")).unwrap();
        let found = damaged(run.path(), CODE).unwrap();
        assert_eq!(
            found.iter().map(|one| one.path.clone()).collect::<Vec<_>>(),
            ["b", "c"].map(|name| run.path().join(name).join("record.json"))
        );
        put("e", &format!(r#"{{"schema":{}}}"#, SCHEMA + 1));
        let said = damaged(run.path(), CODE).err().unwrap().to_string();
        let expected = format!("e/record.json: schema: expected {SCHEMA} at the most, found {}", SCHEMA + 1);
        assert!(said.contains(&expected), "{said}");
        assert!(run.path().join("b/record.json").exists());
    }
}
