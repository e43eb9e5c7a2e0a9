use super::*;
use crate::model::checkpoint::{Checkpoint, TensorFile};
use std::path::PathBuf;
use tenfold_tensor::quantize;

/// Tensors by name: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

const SHAPE: [usize; 2] = [260, 128];

fn original() -> Vec<u8> {
    let numbers: Vec<f32> =
        (0..SHAPE[0] * SHAPE[1]).map(|i| (i as f32 * 0.37).sin() * (i % 91) as f32).collect();
    quantize(Format::Nf4, &numbers).unwrap()
}

fn tensors() -> Tensors {
    let entries = entries("x.weight", &SHAPE, "float32").into_iter();
    let parts = entries.zip(contents(&SHAPE, "float32", &original()));
    parts.map(|(entry, content)| (entry.name, (entry.dtype, entry.shape, content))).collect()
}

fn write(folder: &Path, tensors: &Tensors) -> PathBuf {
    let path = folder.join("model.safetensors");
    let entry = |(name, (dtype, shape, _)): (&String, &(Dtype, Vec<usize>, Vec<u8>))| Entry {
        name: name.clone(),
        dtype: *dtype,
        shape: shape.clone(),
    };
    let mut file = TensorFile::create(&path, tensors.iter().map(entry).collect()).unwrap();
    tensors.iter().for_each(|(name, (_, _, bytes))| file.put(name, bytes).unwrap());
    file.finish().unwrap();
    path
}

fn open(tensors: &Tensors) -> Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    Checkpoint::open_file(&write(folder.path(), tensors))
}

#[test]
fn what_is_taken_apart_is_put_together_again() {
    let checkpoint = open(&tensors()).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["x.weight"]);
    let view = checkpoint.get("x.weight").unwrap();
    assert_eq!((view.dtype, view.shape.as_slice()), (Dtype::Blocks(Format::Nf4), &SHAPE[..]));
    assert_eq!(*view.bytes(), original());
    assert_eq!(view.to_f32().len(), SHAPE[0] * SHAPE[1]);
    assert!(view.place().is_none() && view.is_linear_map() && view.first_not_finite().is_none());
}

/// A scale that is none is found wherever it is: the bytes are in groups of 256 blocks.
#[test]
fn scales_that_are_no_numbers_are_found() {
    let mut bad = tensors();
    let groups = &mut bad.get_mut("x.weight.nested_absmax").unwrap().2;
    assert_eq!(groups.len(), 12);
    groups[8..].copy_from_slice(&f32::NAN.to_le_bytes());
    let view = open(&bad).unwrap().get("x.weight").unwrap();
    assert_eq!(view.first_not_finite(), Some(2 * GROUP * BLOCK));
}

#[test]
fn what_our_order_cannot_say_is_widened_to_the_same_numbers() {
    let expected = open(&tensors()).unwrap().get("x.weight").unwrap().to_f32();
    let widened = |tensors: &Tensors, shape: &[usize]| {
        let view = open(tensors).unwrap().get("x.weight").unwrap();
        assert_eq!((view.dtype, view.shape.as_slice()), (Dtype::F32, shape));
        assert!(view.is_linear_map());
        view.to_f32()
    };
    // Rows of half a block.
    let mut rows = tensors();
    rows.insert("x.weight.quant_state.bitsandbytes__nf4".into(), {
        let json = state(&[1040, 32], "float32", read_offset(&rows));
        (Dtype::U8, vec![json.len()], json)
    });
    assert_eq!(widened(&rows, &[1040, 32]), expected);
    // Scales in f32, as a quantisation that is not double leaves them.
    let Separate { offset, groups, codes, .. } = separate(&original());
    let groups = Dtype::F32.to_f32(&groups);
    let scale = |(i, code): (usize, &u8)| nf4_tables().1[usize::from(*code)] * groups[i / GROUP] + offset;
    let scales: Vec<f32> = codes.iter().enumerate().map(scale).collect();
    let mut plain = tensors();
    plain.retain(|name, _| !name.contains("nested"));
    plain.insert("x.weight.absmax".into(), (Dtype::F32, vec![scales.len()], to_bytes(&scales)));
    assert_eq!(widened(&plain, &SHAPE), expected);
    // Another map; one that differs as one processor's from another's is the same.
    let mut other = tensors();
    let map = &mut other.get_mut("x.weight.nested_quant_map").unwrap().2;
    map[..4].copy_from_slice(&(nf4_tables().1[0] * (1.0 + 2e-7)).to_le_bytes());
    assert_eq!(open(&other).unwrap().get("x.weight").unwrap().dtype, Dtype::Blocks(Format::Nf4));
    let map = &mut other.get_mut("x.weight.nested_quant_map").unwrap().2;
    map.copy_from_slice(&to_bytes(&nf4_tables().1.map(|value| 2.0 * value)));
    assert_ne!(widened(&other, &SHAPE), expected);
}

fn read_offset(tensors: &Tensors) -> f32 {
    let json = &tensors["x.weight.quant_state.bitsandbytes__nf4"].2;
    serde_json::from_slice::<State>(json).unwrap().nested_offset.unwrap() as f32
}

#[test]
fn the_state_is_as_long_as_was_said_whatever_the_offset() {
    for offset in [0.0, 1.0, -1.0 / 3.0, f32::MIN_POSITIVE, f32::MAX, 1e-45, f32::MIN, 0.1] {
        let json = state(&SHAPE, "bfloat16", offset);
        assert_eq!(json.len(), entries("x", &SHAPE, "bfloat16")[5].shape[0], "{offset}");
        let read: State = serde_json::from_slice(&json).unwrap();
        assert_eq!(read.nested_offset.unwrap() as f32, offset);
    }
}

#[test]
fn each_lie_about_a_matrix_is_told() {
    let state = "x.weight.quant_state.bitsandbytes__nf4";
    let say = |from: &str, to: &str| {
        let mut tensors = tensors();
        let json = String::from_utf8(tensors[state].2.clone()).unwrap();
        assert!(json.contains(from), "{json}");
        let json = json.replace(from, to).into_bytes();
        tensors.insert(state.into(), (Dtype::U8, vec![json.len()], json));
        tensors
    };
    let cut = |part: &str| {
        let mut tensors = tensors();
        let (dtype, shape, bytes) = tensors.get_mut(part).unwrap();
        bytes.truncate(bytes.len() - dtype.block().1);
        *shape = vec![bytes.len() / dtype.block().1];
        tensors
    };
    let without = |part: &str| {
        let mut tensors = tensors();
        tensors.remove(part).unwrap();
        tensors
    };
    let named = |from: &str, to: &str| {
        let mut tensors = tensors();
        let tensor = tensors.remove(from).unwrap();
        tensors.insert(to.into(), tensor);
        tensors
    };
    let mut eight = tensors();
    eight.insert("y.SCB".into(), (Dtype::F32, vec![1], vec![0; 4]));
    let mut map = tensors();
    map.get_mut("x.weight.quant_map").unwrap().2[0] ^= 1;
    for (tensors, place, expected) in [
        (say("\"nf4\"", "\"fp4\""), state, "expected quant_type nf4, found fp4"),
        (say("\"blocksize\":64", "\"blocksize\":128"), state, "expected blocksize 64, found 128"),
        (say("[260,128]", "[260,129]"), "x.weight", "expected 16770 bytes"),
        (say("[260,128]", "[4294967296,4294967296,2]"), state, "a shape that memory can hold"),
        (say("[260,128]", "[9223372036854775807]"), "x.weight", "bytes"),
        (say("[260,128]", "null"), state, "JSON"),
        (say("[260,128]", "[-1,128]"), state, "JSON"),
        (say("{", ""), state, "JSON"),
        (say("\"nested_blocksize\":256", "\"nested_blocksize\":0"), state, "nested_blocksize 256"),
        (
            say("\"float32\",\"nested_offset\"", "\"float16\",\"nested_offset\""),
            state,
            "nested_dtype float32",
        ),
        (say("\"nested_offset\":", "\"nested_offset\":1e300,\"other\":"), state, "a number as nested_offset"),
        (say("}", &format!("{}}}", " ".repeat(LONGEST_STATE))), state, "bytes"),
        (cut("x.weight"), "x.weight", "expected 16640 bytes"),
        (cut("x.weight.absmax"), "x.weight.absmax", "expected 520 numbers of U8"),
        (cut("x.weight.nested_absmax"), "x.weight.nested_absmax", "expected 3 numbers of F32"),
        (cut("x.weight.nested_quant_map"), "x.weight.nested_quant_map", "expected 256 numbers of F32"),
        (cut("x.weight.quant_map"), "x.weight.quant_map", "expected 16 numbers of F32"),
        (without("x.weight"), "x.weight", "no such tensor"),
        (without("x.weight.absmax"), "x.weight.absmax", "no such tensor"),
        // Codes without what they are codes of are no scales.
        (without("x.weight.nested_absmax"), "x.weight.absmax", "expected 520 numbers of F32"),
        (without(state), "x.weight.absmax", "expected a matrix with its quant_state"),
        (
            named(state, "x.weight.quant_state.bitsandbytes__fp4"),
            "x.weight",
            "expected 4 bits of the type nf4, found fp4",
        ),
        (eight, "y.SCB", "found the scales of one in 8 bits (int8)"),
        (map, "x.weight.quant_map", "the 16 quantiles of NF4"),
    ] {
        let error = open(&tensors).unwrap_err().to_string();
        assert!(
            error.contains(&format!("model.safetensors: {place}: ")) && error.contains(expected),
            "{error}"
        );
    }
}

/// Damages a good state and cuts tensors short: whatever comes, it is an answer or an error.
#[test]
fn damaged_matrices_never_panic() {
    let name = "x.weight.quant_state.bitsandbytes__nf4";
    let good = tensors();
    let mut state = 5u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let folder = tempfile::tempdir().unwrap();
    let mut read = 0;
    for _ in 0..500 {
        let mut bad = good.clone();
        let json = &mut bad.get_mut(name).unwrap().2;
        for _ in 0..random(3) {
            let place = random(json.len());
            json[place] = b"0123456789[]{},:\"-e."[random(20)];
        }
        let part = bad.keys().nth(random(6)).unwrap().clone();
        let (dtype, shape, bytes) = bad.get_mut(&part).unwrap();
        match random(4) {
            0 => bytes.truncate(random(bytes.len()) / 4 * 4),
            1 => bytes.fill(random(256) as u8),
            _ => {}
        }
        *shape = vec![bytes.len() / dtype.block().1];
        if let Ok(checkpoint) = Checkpoint::open_file(&write(folder.path(), &bad)) {
            let view = checkpoint.get("x.weight").unwrap();
            assert_eq!(view.to_f32().len(), view.len());
            view.first_not_finite();
            read += 1;
        }
    }
    assert!((100..450).contains(&read), "{read}");
}
