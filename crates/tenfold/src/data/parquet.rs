//! Records of Parquet files as the Hub writes them: nested lists and structs, pages plain or under snappy, zstd, gzip.
//!
//! The `parquet` crate decodes; what it does not expect of a file it may meet with a panic, which is an error here.

mod classes;
mod pages;

use super::records::{Fields, Place, Record};
use crate::plain_file;
use crate::{Error, Result, guard};
pub(crate) use classes::Classes;
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// A file that claims more rows is not believed.
const MOST_ROWS: i64 = 100_000_000;

/// The crate walks the schema's tree by recursion, so that its depth must be known to be harmless before: no deeper than
/// this many elements.
const MOST_SCHEMA_ELEMENTS: u64 = 1000;

/// Values nested deeper are not read, so that no file can exhaust the stack; as deep as serde_json goes.
const DEEPEST: usize = 128;

/// Bytes of memory that a file of any size may ask for, and how many more for each of its own: pages are packed, and a
/// value that occurs in many rows stands in the file once.
const ASKED: u64 = 1 << 30;
const ASKED_FOR_EACH: u64 = 100;

/// What is left of the memory that the rows of a file may take.
struct Room {
    left: u64,
    most: u64,
}

impl Room {
    fn take(&mut self, bytes: usize) -> std::result::Result<(), String> {
        self.left = self
            .left
            .checked_sub(bytes as u64 + pages::VALUE)
            .ok_or_else(|| pages::asks_for_more(self.most))?;
        Ok(())
    }
}

/// All rows of the file at `path`, and what the numbers of its columns stand for.
pub(super) fn read(path: &Path) -> Result<(Vec<Record>, Classes)> {
    read_within(path, ASKED)
}

/// The same where a file of any size may ask for so many bytes of memory.
fn read_within(path: &Path, asked: u64) -> Result<(Vec<Record>, Classes)> {
    let mut file = plain_file::open(path).map_err(Error::io("read", path))?;
    let elements = schema_elements(&mut file).map_err(Error::io("read", path))?;
    if elements.is_none_or(|elements| elements > MOST_SCHEMA_ELEMENTS) {
        let expected = format!("a Parquet file with a schema of at most {MOST_SCHEMA_ELEMENTS} elements");
        let found = elements.map_or("no such schema".into(), |elements| elements.to_string());
        return Err(Error::malformed(path, "footer", expected, found));
    }
    let mut records = Vec::new();
    let found = match guard::quietly(|| rows(file, asked, &mut records)) {
        Ok(Ok(classes)) => return Ok((records, classes)),
        Ok(Err(error)) => error,
        Err(panic) => panic,
    };
    let place = match records.last() {
        Some(Record { place, .. }) => format!("after {place}"),
        None => "whole file".into(),
    };
    Err(Error::malformed(path, place, "rows of a Parquet file", found))
}

/// How many elements the schema claims. The footer ends in its length and a mark, and begins with the version and the
/// list of elements, in Thrift's compact protocol. None if it does not.
fn schema_elements(file: &mut File) -> io::Result<Option<u64>> {
    const END: u64 = 8;
    const VERSION_FIELD: u8 = 0x15;
    const SCHEMA_FIELD: u8 = 0x19;
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = [0; END as usize];
    if length < END {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(length - END))?;
    file.read_exact(&mut end)?;
    let footer = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    let Some(start) = (length - END).checked_sub(footer) else { return Ok(None) };
    file.seek(SeekFrom::Start(start))?;
    let mut head = Vec::new();
    file.take(32.min(footer)).read_to_end(&mut head)?;
    let mut bytes = head.into_iter();
    let elements = |bytes: &mut dyn Iterator<Item = u8>| {
        bytes.next().filter(|field| *field == VERSION_FIELD)?;
        variable_length(bytes)?;
        bytes.next().filter(|field| *field == SCHEMA_FIELD)?;
        match bytes.next()? >> 4 {
            15 => variable_length(bytes),
            few => Some(u64::from(few)),
        }
    };
    Ok(elements(&mut bytes))
}

/// An unsigned number in groups of seven bits, the lowest first.
fn variable_length(bytes: &mut dyn Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn rows(file: File, asked: u64, records: &mut Vec<Record>) -> std::result::Result<Classes, String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let most = length.saturating_mul(ASKED_FOR_EACH).saturating_add(asked);
    let mut room = Room { left: most, most };
    let pages = file.try_clone().map_err(|error| error.to_string())?;
    let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
    if let Some(codec) = unknown_codec(reader.metadata()) {
        return Err(format!(
            "pages compressed with {codec}, which are not read here; write the file anew with snappy, zstd or gzip, in \
             Python: pyarrow.parquet.write_table(pyarrow.parquet.read_table(old), new, compression=\"zstd\")"
        ));
    }
    pages::check(&pages, reader.metadata(), most)?;
    let metadata = reader.metadata().file_metadata();
    if metadata.schema_descr().num_columns() == 0 {
        return Err("no columns".into());
    }
    for group in 0..reader.num_row_groups() {
        let rows = reader.get_row_group(group).map_err(|error| error.to_string())?;
        let claimed = rows.metadata().num_rows();
        if !(0..=MOST_ROWS).contains(&claimed) {
            return Err(format!("a row group that claims {claimed} rows"));
        }
        let rows = rows.get_row_iter(None).map_err(|error| error.to_string())?;
        for (index, row) in rows.enumerate() {
            let row = row.map_err(|error| error.to_string())?;
            let place = Place::Row { group: group + 1, row: index + 1 };
            records.push(Record { place, fields: Fields::Object(object(&row, 0, &mut room)?) });
        }
    }
    match records.is_empty() {
        true => Err("no rows".into()),
        false => Ok(classes::of(metadata)),
    }
}

/// The name of a compression that this program cannot undo, if the file has one.
fn unknown_codec(metadata: &ParquetMetaData) -> Option<&'static str> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    columns.map(|column| column.compression()).find_map(|compression| match compression {
        Compression::LZ4 | Compression::LZ4_RAW => Some("LZ4"),
        Compression::BROTLI(_) => Some("Brotli"),
        Compression::LZO => Some("LZO"),
        _ => None,
    })
}

fn object(row: &Row, depth: usize, room: &mut Room) -> std::result::Result<Map<String, Value>, String> {
    room.take(0)?;
    let mut entry = |(name, field): (&String, &Field)| {
        room.take(name.len())?;
        Ok((name.clone(), value(field, depth + 1, room)?))
    };
    row.get_column_iter().map(&mut entry).collect()
}

/// Numbers, texts, lists and structs as JSON has them; dates and decimals as their text.
fn value(field: &Field, depth: usize, room: &mut Room) -> std::result::Result<Value, String> {
    room.take(match field {
        Field::Str(text) => text.len(),
        Field::Bytes(bytes) => bytes.len(),
        _ => 0,
    })?;
    if depth > DEEPEST {
        return Err(format!("values nested more than {DEEPEST} deep"));
    }
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(truth) => Value::from(*truth),
        Field::Byte(number) => Value::from(*number),
        Field::Short(number) => Value::from(*number),
        Field::Int(number) => Value::from(*number),
        Field::Long(number) => Value::from(*number),
        Field::UByte(number) => Value::from(*number),
        Field::UShort(number) => Value::from(*number),
        Field::UInt(number) => Value::from(*number),
        Field::ULong(number) => Value::from(*number),
        Field::Float(number) => Value::from(*number),
        Field::Double(number) => Value::from(*number),
        Field::Str(text) => Value::from(text.as_str()),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::from(text),
            Err(error) => return Err(format!("bytes that are not UTF-8 ({error})")),
        },
        Field::Group(row) => Value::Object(object(row, depth, room)?),
        Field::ListInternal(list) => Value::Array(
            list.elements().iter().map(|field| value(field, depth + 1, room)).collect::<Result<_, _>>()?,
        ),
        Field::MapInternal(map) => {
            let entry = |(key, field): &(Field, Field)| {
                let key = key.to_string();
                room.take(key.len())?;
                Ok((key, value(field, depth + 1, room)?))
            };
            Value::Object(map.entries().iter().map(entry).collect::<std::result::Result<_, String>>()?)
        }
        other => Value::String(other.to_string()),
    })
}

#[cfg(test)]
pub(crate) mod write;

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use serde_json::json;
    use std::fs;
    use std::sync::Arc;

    // The files were written by pyarrow 26.0.1.
    const CHAT: &[u8] = include_bytes!("../../tests/parquet/chat.snappy.parquet");
    const FLAT: [&[u8]; 3] = [
        include_bytes!("../../tests/parquet/flat.zstd.parquet"),
        include_bytes!("../../tests/parquet/flat.gzip.parquet"),
        include_bytes!("../../tests/parquet/flat.none.parquet"),
    ];

    fn read_bytes(bytes: &[u8]) -> Result<Vec<(Place, Value)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        fs::write(&path, bytes).unwrap();
        let plain = |record: Record| match record.fields {
            Fields::Object(fields) => (record.place, Value::Object(fields)),
            Fields::Table(_) => panic!("a table out of Parquet"),
        };
        Ok(read(&path)?.0.into_iter().map(plain).collect())
    }

    #[test]
    fn compressions_that_are_not_read_are_named() {
        let lz4 = include_bytes!("../../tests/parquet/flat.lz4.parquet");
        let brotli = include_bytes!("../../tests/parquet/flat.brotli.parquet");
        for (file, name) in [(&lz4[..], "LZ4"), (&brotli[..], "Brotli")] {
            let error = read_bytes(file).unwrap_err().to_string();
            assert!(
                error.contains(&format!("compressed with {name}")) && error.contains("write_table"),
                "{error}"
            );
        }
    }

    #[test]
    fn every_compression_gives_the_same_rows_with_their_places() {
        for file in FLAT {
            let rows = read_bytes(file).unwrap();
            assert_eq!(rows.len(), 6);
            let place = Place::Row { group: 2, row: 2 };
            assert_eq!(rows[5], (place, json!({"text": "a \u{e9} z", "label": 1})));
            assert_eq!(rows[1].1, json!({"text": "row 1", "label": 1}));
        }
    }

    /// The writer of tests, by the reader that the files above hold to pyarrow.
    #[test]
    fn rows_that_tests_write_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let rows = [
            json!({"a": 1, "b": ["x", "y"], "c": {"d": [[1], [], [2, 3]], "e": null}, "f": [{"g": true, "h": ["z"]}]}),
            json!({"a": null, "b": [], "c": {"d": [], "e": 0.5}, "f": [{"g": false, "h": []}, {"g": null, "h": null}]}),
            json!({"a": 2, "b": null, "c": null, "f": null}),
        ];
        write::write(&path, &rows);
        assert_eq!(
            read_bytes(&fs::read(&path).unwrap()).unwrap().into_iter().map(|row| row.1).collect::<Vec<_>>(),
            rows
        );
    }

    #[test]
    fn lists_of_structs_come_out_nested_and_missing_values_as_null() {
        let rows = read_bytes(CHAT).unwrap();
        let messages =
            json!([{"role": "user", "content": "Two plus two?"}, {"role": "assistant", "content": "Four."}]);
        assert_eq!(rows[0], (Place::Row { group: 1, row: 1 }, json!({"messages": messages, "score": 1})));
        assert_eq!(rows[1].1["messages"][1]["content"], "caf\u{e9}?");
        assert_eq!(rows[1].1["score"], Value::Null);
    }

    /// A file without rows whose schema is `depth` groups, each within the one before.
    fn nested(depth: u32) -> Vec<u8> {
        let mut footer = vec![0x15, 2, 0x19, 0xfc];
        let mut elements = depth + 2;
        while elements >= 0x80 {
            footer.push(elements as u8 | 0x80);
            elements >>= 7;
        }
        footer.push(elements as u8);
        // name "a", one child; then the same as an optional group; at last an optional text.
        footer.extend([0x48, 1, b'a', 0x15, 2, 0]);
        for _ in 0..depth {
            footer.extend([0x35, 2, 0x18, 1, b'a', 0x15, 2, 0]);
        }
        footer.extend([0x15, 12, 0x25, 2, 0x18, 1, b'a', 0]);
        // No rows, no row groups.
        footer.extend([0x16, 0, 0x19, 0x0c, 0]);
        let length = footer.len() as u32;
        [b"PAR1", footer.as_slice(), &length.to_le_bytes(), b"PAR1"].concat()
    }

    /// A file of one column of texts, whose pages are what `write` makes of them.
    fn texts(rows: usize, text: &str, properties: WriterProperties) -> Vec<u8> {
        let schema = parse_message_type("message rows { required binary text (UTF8); }").unwrap();
        let mut bytes = Vec::new();
        let mut file = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties)).unwrap();
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values = vec![ByteArray::from(text); rows];
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        bytes
    }

    #[test]
    fn a_small_file_that_asks_for_much_memory_is_refused() {
        let small = |properties: WriterPropertiesBuilder| texts(3, "a text", properties.build());
        let gzip = Compression::GZIP(Default::default());
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, gzip] {
            let rows = read_bytes(&small(WriterProperties::builder().set_compression(compression))).unwrap();
            assert_eq!(rows[2].1, json!({"text": "a text"}));
        }
        // One text stands in the file once and in twenty thousand rows.
        let packed = WriterProperties::builder().set_compression(gzip).build();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        fs::write(&path, texts(20_000, &"x".repeat(1000), packed)).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 4000);
        assert_eq!(read_within(&path, 32 << 20).unwrap().0.len(), 20_000);
        let error = read_within(&path, 16 << 20).unwrap_err().to_string();
        assert!(
            error.contains("after row group 1, row") && error.contains("asks for more than 16.1 MiB"),
            "{error}"
        );
        // Of values that its pages only state not one is unpacked.
        let error = read_within(&path, 1 << 20).unwrap_err().to_string();
        assert!(error.contains("whole file") && error.contains("asks for more than"), "{error}");
    }

    #[test]
    fn a_page_that_states_more_or_less_than_it_holds_is_refused() {
        let plain = WriterProperties::builder().set_dictionary_enabled(false);
        let plain = plain.set_compression(Compression::GZIP(Default::default())).build();
        let whole = texts(1, &"x".repeat(1000), plain);
        assert!(read_bytes(&whole).is_ok());
        // The header of the page stands behind the file's mark: its kind, then its size unpacked, 1004, as a zigzag number.
        assert_eq!(whole[4..9], [0x15, 0, 0x15, 0xd8, 0x0f]);
        let mut less = whole.clone();
        less[7] = 0xd0;
        let error = read_bytes(&less).unwrap_err().to_string();
        assert!(error.contains("unpacks to more than it states"), "{error}");
        let mut cut = whole;
        cut[4] = 0x1f;
        assert!(read_bytes(&cut).is_err());
    }

    #[test]
    fn a_schema_that_would_exhaust_the_stack_is_refused_before_it_is_walked() {
        let error = |depth| read_bytes(&nested(depth)).unwrap_err().to_string();
        assert!(error(900).contains("found no rows"), "{}", error(900));
        for depth in [1_000, 1_000_000] {
            let found = format!("at most 1000 elements, found {}", depth + 2);
            assert!(error(depth).contains(&found), "{}", error(depth));
        }
    }

    /// Cuts and damages good files everywhere; whatever comes, it is rows or an error that names the file.
    #[test]
    fn damaged_files_are_errors_and_never_panics() {
        for good in [CHAT, FLAT[0], FLAT[1], FLAT[2]] {
            for end in (0..good.len()).step_by(7) {
                let error = read_bytes(&good[..end]).unwrap_err().to_string();
                assert!(error.contains("a.parquet"), "{error}");
            }
            let mut state = 1u64;
            for _ in 0..300 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let mut damaged = good.to_vec();
                let place = (state >> 33) as usize % damaged.len();
                damaged[place] = (state >> 20) as u8;
                let _ = read_bytes(&damaged);
            }
        }
    }
}
