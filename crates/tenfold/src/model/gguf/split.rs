//! Models that llama-gguf-split has cut into files: `<name>-00001-of-00003.gguf`, whose first one has the metadata.

use super::{Metadata, Part};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// What the name of one of the files says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    folder: PathBuf,
    stem: String,
    /// From 1 on.
    number: usize,
    count: usize,
}

/// More files than any model is cut into.
const MOST: usize = 10_000;

impl Name {
    /// The parts of such a name, if it is one.
    pub fn of(path: &Path) -> Option<Name> {
        let whole = path.file_stem()?.to_str()?;
        let (rest, count) = whole.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let plain = text.len() == 5 && text.bytes().all(|digit| digit.is_ascii_digit());
            plain.then(|| text.parse::<usize>().ok()).flatten()
        };
        let (number, count) = (digits(number)?, digits(count)?);
        let fits = (1..=count).contains(&number) && count <= MOST;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        fits.then(|| Name { folder, stem: stem.to_owned(), number, count })
    }

    /// The paths of all files of the model.
    pub fn all(&self) -> Vec<PathBuf> {
        (1..=self.count).map(|number| self.path(number)).collect()
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count))
    }
}

/// Whether files are all of one model that was cut.
pub(super) fn is_one_model(files: &[PathBuf]) -> bool {
    let names: Option<Vec<Name>> = files.iter().map(|file| Name::of(file)).collect();
    names.is_some_and(|names| {
        names.windows(2).all(|pair| (&pair[0].stem, pair[0].count) == (&pair[1].stem, pair[1].count))
    })
}

/// The file and, if it is the first one of a model that was cut, all others.
pub(super) fn open(path: &Path) -> Result<Vec<Part>> {
    let first = Part::open(path)?;
    let metadata = &first.header.metadata;
    let count = number(metadata, "split.count")?.unwrap_or(1);
    if count <= 1 {
        return Ok(vec![first]);
    }
    let place = number(metadata, "split.no")?.unwrap_or(0);
    let name = Name::of(path).filter(|name| name.count == count).ok_or_else(|| {
        let expected =
            format!("-{:05}-of-{count:05}.gguf at the end, for it is one of {count} files", place + 1);
        Error::malformed(path, "the file's name", expected, "another end, by which the others are not found")
    })?;
    if place != 0 || name.number != 1 {
        return Err(Error::malformed(
            path,
            "the path",
            format!("the first of {count} files that the model is split into, {}", name.path(1).display()),
            format!("file {}", place + 1),
        ));
    }
    let missing: Vec<String> = (1..=count)
        .map(|number| name.path(number))
        .filter(|path| !path.is_file())
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    if !missing.is_empty() {
        let expected = format!("all {count} files of the model beside each other");
        return Err(Error::malformed(path, "split.count", expected, format!("no {}", missing.join(", "))));
    }
    let tensors = number(metadata, "split.tensors.count")?;
    let mut parts = vec![first];
    for place in 1..count {
        parts.push(open_part(&name.path(place + 1), place, count)?);
    }
    let found: usize = parts.iter().map(|part| part.header.tensors.len()).sum();
    match tensors.filter(|stated| *stated != found) {
        None => Ok(parts),
        Some(stated) => {
            let found = format!("{found} in the {count} files together");
            Err(Error::malformed(path, "split.tensors.count", stated.to_string(), found))
        }
    }
}

/// The file at a place among `count`, which must say that it is there.
fn open_part(path: &Path, place: usize, count: usize) -> Result<Part> {
    let part = Part::open(path)?;
    let metadata = &part.header.metadata;
    for (key, expected) in [("split.no", place), ("split.count", count)] {
        let found = number(metadata, key)?;
        if found != Some(expected) {
            let found = found.map_or("no such key".to_owned(), |found| found.to_string());
            return Err(metadata.fault(key, format!("{expected}, as the file's name says"), found));
        }
    }
    Ok(part)
}

fn number(metadata: &Metadata, key: &str) -> Result<Option<usize>> {
    let number = metadata.optional(key, Metadata::u32)?.map(|number| number as usize);
    match number.filter(|number| *number > MOST && key != "split.tensors.count") {
        None => Ok(number),
        Some(other) => Err(metadata.fault(key, format!("at most {MOST}"), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GgmlType, Gguf, Tensor, Value, files_of, only, write};
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    /// Writes file `place` of `count`, with one tensor of one number.
    fn part(folder: &Path, place: u16, count: u16, tensor: &str, tensors: i32) -> PathBuf {
        let path = folder.join(format!("m-{:05}-of-{count:05}.gguf", place + 1));
        let metadata = BTreeMap::from([
            ("split.no".to_owned(), Value::U16(place)),
            ("split.count".to_owned(), Value::U16(count)),
            ("split.tensors.count".to_owned(), Value::I32(tensors)),
        ]);
        let described =
            BTreeMap::from([(tensor.to_owned(), Tensor { dtype: GgmlType::F32, shape: vec![1] })]);
        let bytes = f32::from(place).to_le_bytes();
        write(&path, &metadata, &described, |_, file| {
            file.write_all(&bytes).map_err(Error::io("write", "m"))
        })
        .unwrap();
        path
    }

    fn fault(path: &Path) -> String {
        Gguf::open(path).unwrap_err().to_string()
    }

    #[test]
    fn files_of_a_model_are_opened_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [0, 1, 2].map(|place| part(folder.path(), place, 3, &format!("t{place}"), 3));
        assert_eq!(only(folder.path()).as_ref(), Some(&paths[0]));
        assert_eq!(files_of(&paths[0]), paths);
        let gguf = Gguf::open(&paths[0]).unwrap();
        assert_eq!(gguf.files().collect::<Vec<_>>(), paths);
        assert_eq!(gguf.names().collect::<Vec<_>>(), ["t0", "t1", "t2"]);
        for (place, number) in [0f32, 1.0, 2.0].into_iter().enumerate() {
            assert_eq!(gguf.get(&format!("t{place}")).unwrap().bytes(), number.to_le_bytes());
        }
        let error = fault(&paths[1]);
        assert!(
            error.contains("expected the first of 3 files") && error.contains("m-00001-of-00003.gguf"),
            "{error}"
        );
        fs::remove_file(&paths[1]).unwrap();
        let error = fault(&paths[0]);
        assert!(error.contains("all 3 files") && error.contains("found no m-00002-of-00003.gguf"), "{error}");
        fs::copy(&paths[2], &paths[1]).unwrap();
        let error = fault(&paths[0]);
        assert!(error.contains("split.no: expected 1, as the file's name says, found 2"), "{error}");
    }

    #[test]
    fn parts_that_do_not_fit_together_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let first = part(folder.path(), 0, 2, "t", 2);
        part(folder.path(), 1, 2, "t", 2);
        assert!(fault(&first).contains("tensor t: expected each name once"));
        part(folder.path(), 1, 2, "u", 2);
        assert!(Gguf::open(&first).is_ok());
        part(folder.path(), 0, 2, "t", 3);
        let error = fault(&first);
        assert!(
            error.contains("split.tensors.count: expected 3, found 2 in the 2 files together"),
            "{error}"
        );
        let other = folder.path().join("renamed.gguf");
        fs::rename(&first, &other).unwrap();
        assert!(fault(&other).contains("-00001-of-00002.gguf at the end"));
        assert_eq!(only(folder.path()), None, "two models");
    }

    #[test]
    fn names_are_ggmls_alone() {
        let name = |name: &str| Name::of(Path::new(name));
        assert_eq!(
            name("d/a-b-00002-of-00010.gguf").map(|name| (name.stem, name.number, name.count)),
            Some(("a-b".into(), 2, 10))
        );
        for other in
            ["a.gguf", "a-2-of-10.gguf", "a-00011-of-00010.gguf", "a-00000-of-00010.gguf", "a-of-00010.gguf"]
        {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
