//! Tests of reading and writing GGUF files.

use super::*;
use std::collections::BTreeMap;

fn metadata() -> BTreeMap<String, Value> {
    let nested =
        Array::Arrays(vec![Array::Strings(vec!["x".into(), String::new()]), Array::Bool(vec![true, false])]);
    BTreeMap::from(
        [
            ("a.u8", Value::U8(200)),
            ("a.i8", Value::I8(-3)),
            ("a.u16", Value::U16(60_000)),
            ("a.i16", Value::I16(-30_000)),
            ("a.u32", Value::U32(4_000_000_000)),
            ("a.i32", Value::I32(-7)),
            ("a.u64", Value::U64(u64::MAX)),
            ("a.i64", Value::I64(i64::MIN)),
            ("a.f32", Value::F32(1.5)),
            ("a.f64", Value::F64(-0.25)),
            ("a.bool", Value::Bool(true)),
            ("general.architecture", Value::String("llama".into())),
            ("list.u8", Value::Array(Array::U8(vec![1, 255]))),
            ("list.i8", Value::Array(Array::I8(vec![-1]))),
            ("list.u16", Value::Array(Array::U16(vec![9]))),
            ("list.i16", Value::Array(Array::I16(vec![-9]))),
            ("list.u32", Value::Array(Array::U32(vec![9, 8]))),
            ("list.i32", Value::Array(Array::I32(vec![1, -3]))),
            ("list.u64", Value::Array(Array::U64(vec![1 << 40]))),
            ("list.i64", Value::Array(Array::I64(vec![-1 << 40]))),
            ("list.f32", Value::Array(Array::F32(vec![0.5, -2.0]))),
            ("list.f64", Value::Array(Array::F64(vec![]))),
            ("list.nested", Value::Array(nested)),
            ("list.strings", Value::Array(Array::Strings(vec!["\u{120}t".into(), "b".into()]))),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

const DATA: [u8; 68] = [7; 68];

fn tensors() -> BTreeMap<String, Tensor> {
    let tensor = |dtype, shape: &[usize]| Tensor { dtype, shape: shape.to_vec() };
    BTreeMap::from([
        ("blk.0.attn_q.weight".into(), tensor(GgmlType::Q8_0, &[2, 32])),
        ("norm".into(), tensor(GgmlType::F32, &[3])),
        ("one".into(), tensor(GgmlType::F16, &[])),
        ("wide".into(), tensor(GgmlType::BF16, &[2, 1, 5])),
    ])
}

fn bytes_of(tensor: &Tensor) -> &'static [u8] {
    &DATA[..tensor.dtype.bytes(&tensor.shape).unwrap()]
}

fn write_all(path: &Path, metadata: &BTreeMap<String, Value>) -> Result<()> {
    let tensors = tensors();
    // In two pieces, as large tensors come.
    write(path, metadata, &tensors, |name, file| {
        let (first, second) = bytes_of(&tensors[name]).split_at(2);
        file.write_all(first).and_then(|()| file.write_all(second)).map_err(Error::io("write", path))
    })
}

fn good() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    write_all(&path, &metadata()).unwrap();
    fs::read(path).unwrap()
}

fn fault(bytes: &[u8]) -> String {
    Header::parse(Path::new("m.gguf"), bytes).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    for alignment in [None, Some(8), Some(4096)] {
        let mut metadata = metadata();
        metadata.extend(alignment.map(|alignment| ("general.alignment".to_owned(), Value::U32(alignment))));
        write_all(&path, &metadata).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(*gguf.metadata(), Metadata::new(&path, metadata));
        assert_eq!(gguf.names().collect::<Vec<_>>(), tensors().keys().collect::<Vec<_>>());
        for (name, tensor) in tensors() {
            let view = gguf.require(&name, &tensor.shape).unwrap();
            assert_eq!((view.dtype, view.bytes()), (tensor.dtype, bytes_of(&tensor)), "{name}");
            assert!(view.range.start.is_multiple_of(alignment.unwrap_or(32) as usize));
        }
        let error = gguf.require("norms", &[3]).unwrap_err().to_string();
        assert!(error.contains("the nearest is norm"), "{error}");
        let error = gguf.require("norm", &[4]).unwrap_err().to_string();
        assert!(error.contains("expected a tensor of shape [4], found shape [3]"), "{error}");
    }
    assert_eq!(only(folder.path()), Some(path));
}

#[test]
fn values_are_looked_up_by_type_and_faults_name_file_and_key() {
    let metadata = Metadata::new("m.gguf", metadata());
    assert_eq!(metadata.string("general.architecture").unwrap(), "llama");
    assert_eq!(metadata.u32("a.u8").unwrap(), 200);
    assert_eq!(metadata.u32("a.u32").unwrap(), 4_000_000_000);
    assert_eq!(metadata.f32("a.f64").unwrap(), -0.25);
    assert!(metadata.bool("a.bool").unwrap());
    assert_eq!(metadata.integers("list.i32").unwrap(), [1, -3]);
    assert_eq!(metadata.bytes("list.i8").unwrap(), [255]);
    assert_eq!(metadata.f32s("list.f32").unwrap(), [0.5, -2.0]);
    assert_eq!(metadata.strings("list.strings").unwrap().len(), 2);
    assert_eq!(metadata.optional("no.such", Metadata::u32).unwrap(), None);
    for (fault, expected) in [
        (
            metadata.u32("a.i8").unwrap_err(),
            "m.gguf: a.i8: expected a whole number of 0 to 4294967295, found -3",
        ),
        (metadata.u32("a.u64").unwrap_err(), "expected a whole number"),
        (metadata.string("a.f32").unwrap_err(), "a.f32: expected a string, found 1.5"),
        (metadata.string("general.architectur").unwrap_err(), "the nearest is general.architecture"),
        (metadata.f32s("list.strings").unwrap_err(), "found 2 values of type string"),
        (
            metadata.optional("a.bool", Metadata::f32).unwrap_err(),
            "a.bool: expected a finite number, found true",
        ),
    ] {
        assert!(fault.to_string().contains(expected), "{fault}");
    }
}

/// A header of one metadata value and one tensor, both as the caller has them, and 64 bytes of data.
fn file(metadata: &[u8], tensor: &[u8]) -> Vec<u8> {
    let mut bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes()].concat();
    bytes.extend(u64::from(!tensor.is_empty()).to_le_bytes());
    bytes.extend(u64::from(!metadata.is_empty()).to_le_bytes());
    bytes.extend([metadata, tensor].concat());
    bytes.resize(bytes.len().next_multiple_of(32) + 64, 0);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn tensor(extents: &[u64], format: u32, offset: u64) -> Vec<u8> {
    let mut bytes = string("t");
    bytes.extend((extents.len() as u32).to_le_bytes());
    extents.iter().for_each(|extent| bytes.extend(extent.to_le_bytes()));
    bytes.extend(format.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

#[test]
fn each_lie_of_a_header_is_told() {
    let value = |key: &str, kind: u32, rest: &[u8]| {
        [string(key), kind.to_le_bytes().to_vec(), rest.to_vec()].concat()
    };
    let array = |kind: u32, count: u64| [kind.to_le_bytes().as_slice(), &count.to_le_bytes()].concat();
    let deep = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat().repeat(9);
    for (bytes, expected) in [
        (file(&value("k", 13, &[]), &[]), "k, byte 37: expected a type of value from 0 to 12, found 13"),
        (file(&value("k", 7, &[2]), &[]), "a truth value of 0 or 1, found 2"),
        (file(&value("k", 8, &u64::MAX.to_le_bytes()), &[]), "a string's length of at most"),
        (file(&value("k", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]), &[]), "text in UTF-8"),
        (file(&value("k", 9, &array(6, u64::MAX / 4)), &[]), "a number of values of at most"),
        (file(&value("k", 9, &array(8, 1 << 60)), &[]), "a number of strings of at most"),
        (file(&value("k", 9, &deep), &[]), "arrays at most 4 deep"),
        (file(&value("general.alignment", 4, &24u32.to_le_bytes()), &[]), "a power of two, found 24"),
        (file(&[], &tensor(&[1, 1, 1, 1, 1], 0, 0)), "at most 4 extents, found 5"),
        (file(&[], &tensor(&[17], 0, 0)), "68 bytes within the 64 after the header, found offset 0"),
        (file(&[], &tensor(&[16], 0, 32)), "found offset 32"),
        (file(&[], &tensor(&[1], 0, 4)), "a multiple of 32, found 4"),
        (file(&[], &tensor(&[1], 0, u64::MAX - 31)), "within the 64"),
        (file(&[], &tensor(&[u64::MAX, u64::MAX], 0, 0)), "that memory can hold"),
        (file(&[], &tensor(&[31, 2], 8, 0)), "rows of a multiple of 32 numbers"),
        (file(&[], &tensor(&[256], 16, 0)), "tensor t in IQ2_XXS is not supported: known are F32, F16"),
        (file(&[], &tensor(&[256], 99, 0)), "tensor t in format 99"),
        (b"GGUF".to_vec(), "expected 4 bytes, found 0 left"),
        (b"GGM".to_vec(), "the letters GGUF, found \"GGM\""),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0".to_vec(), "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>".to_vec(), "an HTML page"),
        (b"PK\x03\x04....".to_vec(), "a zip archive"),
        ([b"GGUF".as_slice(), &1u32.to_le_bytes()].concat(), "version 1 is long gone"),
        ([b"GGUF".as_slice(), &3u32.to_be_bytes()].concat(), "big-endian"),
        ([b"GGUF".as_slice(), &4u32.to_le_bytes()].concat(), "version 4"),
        ([b"GGUF".as_slice(), &3u32.to_le_bytes(), &[0xff; 16]].concat(), "a number of tensors of at most 0"),
    ] {
        let error = fault(&bytes);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let two = |count: u64, same: Vec<u8>, at: usize| {
        let mut bytes = if at == 8 { file(&[], &same.repeat(2)) } else { file(&same.repeat(2), &[]) };
        bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
        fault(&bytes)
    };
    assert!(two(2, tensor(&[8], 0, 0), 8).contains("each name once"));
    assert!(two(2, value("k", 0, &[1]), 16).contains("each key once"));
    let overlapping =
        [tensor(&[16], 0, 0), [string("u"), tensor(&[8], 0, 32)[9..].to_vec()].concat()].concat();
    let mut bytes = file(&[], &overlapping);
    bytes[8] = 2;
    assert!(
        fault(&bytes).contains("tensor u: expected bytes of its own after those of t"),
        "{}",
        fault(&bytes)
    );
}

#[test]
fn version_2_is_read_and_a_tensor_that_does_not_fit_is_not_written() {
    let mut bytes = good();
    bytes[4] = 2;
    assert_eq!(Header::parse(Path::new("m"), &bytes).unwrap().version, 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("never.gguf");
    let one = |dtype, shape| BTreeMap::from([("t".to_owned(), Tensor { dtype, shape })]);
    let too_much =
        |_: &str, file: &mut dyn std::io::Write| file.write_all(&DATA).map_err(Error::io("write", "m"));
    let fault = |metadata, tensors| write(&path, &metadata, &tensors, too_much).unwrap_err().to_string();
    let error = fault(BTreeMap::new(), one(GgmlType::F32, vec![2]));
    assert!(error.contains("tensor t: expected the bytes of shape [2] in F32, found 68 bytes"), "{error}");
    let error = fault(BTreeMap::new(), one(GgmlType::Q8_0, vec![33]));
    assert!(error.contains("tensor t: expected rows of whole blocks of Q8_0"), "{error}");
    let odd = BTreeMap::from([("general.alignment".to_owned(), Value::U32(3))]);
    assert!(fault(odd, BTreeMap::new()).contains("a power of two"));
    let given_up = write(&path, &BTreeMap::new(), &tensors(), |_, _| Err(Error::Interrupted)).unwrap_err();
    assert!(matches!(given_up, Error::Interrupted));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of any of them");
}

/// Damages a good file everywhere. Whatever comes is an answer within the file or an error.
#[test]
fn damaged_files_never_panic() {
    let good = good();
    let mut state = 5u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + random(3) {
            let place = random(bytes.len());
            match random(4) {
                0 => bytes[place] = random(256) as u8,
                1 => bytes[place] = [0, 1, 8, 9, 0x7f, 0xff][random(6)],
                2 => bytes.truncate(place.max(1)),
                _ => bytes[place] ^= 1 << random(8),
            }
        }
        if let Ok(header) = Header::parse(Path::new("m"), &bytes) {
            read += 1;
            assert!(header.tensors.values().all(|info| info.range.end <= bytes.len()));
        }
    }
    assert!(read > 100, "the damage should not always be fatal: {read}");
}
