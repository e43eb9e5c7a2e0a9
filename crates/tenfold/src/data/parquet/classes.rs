//! What the numbers of a column stand for, as the Hub's `datasets` library writes it into a file: the names of a ClassLabel.

use parquet::file::metadata::FileMetaData;
use serde_json::Value;
use std::collections::BTreeMap;

/// The names of classes in the order of their numbers, by column.
pub(crate) type Classes = BTreeMap<String, Vec<String>>;

/// The classes that the file's metadata state.
pub(super) fn of(metadata: &FileMetaData) -> Classes {
    let stated = metadata.key_value_metadata().into_iter().flatten().find(|pair| pair.key == "huggingface");
    let stated = stated.and_then(|pair| serde_json::from_str::<Value>(pair.value.as_deref()?).ok());
    let features = stated.as_ref().and_then(|stated| stated.pointer("/info/features")?.as_object());
    let names = |feature: &Value| -> Option<Vec<String>> {
        let is_class = feature.get("_type").and_then(Value::as_str) == Some("ClassLabel");
        let names = feature.get("names").filter(|_| is_class)?.as_array()?;
        names.iter().map(|name| Some(name.as_str()?.to_owned())).collect()
    };
    let of = |(column, feature): (&String, &Value)| Some((column.clone(), names(feature)?));
    features.into_iter().flatten().filter_map(of).collect()
}
