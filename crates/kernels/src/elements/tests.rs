//! What holds for every format, and what the formats' own tests share.

use super::*;
use crate::testing::{on_every_level, values};

/// FNV-1a, so that long results fit into a test.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ *byte as u64).wrapping_mul(0x100_0000_01b3))
}

/// `len` elements in a format: quantised where we quantise, else any bytes, the scales made ordinary.
pub(crate) fn stored(format: Format, len: usize) -> Vec<u8> {
    match format {
        Format::Q5_0 | Format::Iq4Nl | Format::Iq4Xs => arbitrary(format, len, &[0]),
        Format::Q4K | Format::Q5_1 | Format::Q5K => arbitrary(format, len, &[0, 2]),
        Format::Q2K => arbitrary(format, len, &[80, 82]),
        Format::Q3K => arbitrary(format, len, &[108]),
        Format::Q6K => arbitrary(format, len, &[208]),
        // The scale is an f32: the upper of its halves is made ordinary.
        Format::Q8K => arbitrary(format, len, &[2]),
        _ => quantize(format, &values(5, len)).unwrap(),
    }
}

/// Any bytes, but in each block an f16 in (0.0005, 0.0079) at each of `halves`.
pub(super) fn arbitrary(format: Format, len: usize, halves: &[usize]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        values(11, format.bytes(len).unwrap()).iter().map(|v| ((v + 1.0) * 128.0) as u8).collect();
    for block in bytes.chunks_exact_mut(format.bytes(format.block_len()).unwrap()) {
        for at in halves {
            block[at + 1] = 0x10 | block[at + 1] & 0x0f;
        }
    }
    bytes
}

/// Widening of [`arbitrary`] blocks: `digest` of the numbers' bytes, and some of the numbers.
#[track_caller]
pub(super) fn check_golden_blocks(format: Format, halves: &[usize], numbers: u64, some: &[(usize, f32)]) {
    let len = 16 * format.block_len();
    let bytes = arbitrary(format, len, halves);
    let widened = Elements::new(format, len, &bytes).to_f32();
    for (at, number) in some {
        assert_eq!(widened[*at], *number, "at {at}");
    }
    assert_eq!(digest(&single_bytes(&widened)), numbers);
}

fn single_bytes(x: &[f32]) -> Vec<u8> {
    quantize(Format::F32, x).unwrap()
}

/// What others make of [`numbers`]: the first bytes in full, digests of all bytes and of the widened numbers.
pub(super) struct Golden {
    pub format: Format,
    pub first_bytes: &'static str,
    pub bytes: u64,
    pub numbers: u64,
}

/// Multiples of 2^-10, so that the mean of their magnitudes is the same in any order.
fn numbers() -> Vec<f32> {
    values(7, 64 * 320).iter().map(|v| (v * 1024.0).floor() / 1024.0).collect()
}

impl Golden {
    #[track_caller]
    pub(super) fn check(self) {
        let numbers = numbers();
        let bytes = quantize(self.format, &numbers).unwrap();
        let first: String =
            bytes.iter().take(self.first_bytes.len() / 2).map(|b| format!("{b:02x}")).collect();
        assert_eq!(first, self.first_bytes);
        assert_eq!(digest(&bytes), self.bytes);
        let widened = Elements::new(self.format, numbers.len(), &bytes).to_f32();
        assert_eq!(digest(&single_bytes(&widened)), self.numbers);
    }
}

/// Quantises blocks of many magnitudes and holds each number's error to `bound(number, largest of the block)`.
#[track_caller]
pub(super) fn check_error(format: Format, block: usize, bound: fn(f32, f32) -> f32) {
    let mut numbers = values(3, block * 512);
    for (i, block) in numbers.chunks_exact_mut(block).enumerate() {
        block.iter_mut().for_each(|x| *x *= 1.0 + (i % 7) as f32);
    }
    let bytes = quantize(format, &numbers).unwrap();
    let widened = Elements::new(format, numbers.len(), &bytes).to_f32();
    for (numbers, widened) in numbers.chunks_exact(block).zip(widened.chunks_exact(block)) {
        let largest = numbers.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        for (x, w) in numbers.iter().zip(widened) {
            assert!((x - w).abs() <= bound(*x, largest), "{x} became {w} beside {largest}");
        }
    }
}

#[test]
fn any_range_widens_by_the_definition_on_every_level() {
    for format in Format::ALL {
        let len = 6 * 256;
        let bytes = stored(format, len);
        let elements = Elements::Stored(Stored { format, len, bytes: &bytes });
        let want: Vec<f32> = (0..len).map(|i| elements.at(i)).collect();
        let mut starts: Vec<usize> = (0..70).collect();
        starts.extend([127, 128, 250, 255, 256, 257, 1000, len - 33, len - 1, len]);
        on_every_level(|| {
            for &start in &starts {
                for count in [0, 1, 7, 16, 31, 32, 33, 48, 64, 65, 129, 300, len] {
                    let count = count.min(len - start);
                    let mut got = vec![f32::NAN; count];
                    elements.widen(crate::simd::level(), start, &mut got);
                    assert_eq!(got, want[start..start + count], "{} {start} {count}", format.name());
                }
            }
        });
    }
}

/// NF4's scales lie in groups of 256 blocks: ranges across groups.
#[test]
fn groups_of_nf4_follow_each_other() {
    let len = 64 * 600;
    let bytes = stored(Format::Nf4, len);
    let elements = Elements::new(Format::Nf4, len, &bytes);
    let want: Vec<f32> = (0..len).map(|i| elements.at(i)).collect();
    assert_eq!(elements.to_f32(), want);
    for start in [64 * 256 - 40, 64 * 511 + 3] {
        let mut got = [0.0; 130];
        elements.widen(crate::simd::level(), start, &mut got);
        assert_eq!(got, want[start..start + 130]);
    }
}

#[test]
fn names_lead_back_and_lengths_are_whole_blocks() {
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
        let block = format.block_len();
        assert_eq!(format.bytes(0), Some(if format == Format::Nf4 { 4 } else { 0 }));
        assert_eq!(format.bytes(block + 1).is_some(), block == 1);
        assert_eq!(
            format.bytes(usize::MAX / block * block).is_some(),
            (format.bytes(block).unwrap()) < block
        );
        assert!(format.storage().unit() <= UNIT && block.is_multiple_of(format.storage().unit()));
    }
    assert_eq!(Format::from_name("q1_0"), None);
    let sizes = Format::ALL.map(|format| format.bytes(1 << 14).unwrap());
    assert_eq!(
        sizes,
        [
            65536, 32768, 32768, 17408, 9216, 10240, 11264, 12288, 5376, 7040, 9216, 11264, 13440, 18688,
            9216, 8704, 8456
        ]
    );
}

#[test]
fn quantising_refuses_what_does_not_fit() {
    let huge = vec![1e7; 64];
    let none = [vec![0.5; 63], vec![f32::NAN]].concat();
    for format in [Format::Q8_0, Format::Q4_0, Format::Q4_1, Format::Nf4] {
        assert_eq!(quantize(format, &none), None, "{}", format.name());
        assert_eq!(quantize(format, &huge[1..]), None, "{}", format.name());
        assert!(quantize(format, &huge.repeat(9)).is_none() || format == Format::Nf4);
    }
    assert_eq!(quantize(Format::Q4K, &[0.0; 256]), None);
    assert!(!Format::Q6K.can_quantize() && Format::Q4_1.can_quantize());
}

#[test]
fn quantising_does_not_depend_on_threads() {
    let numbers = values(1, 64 * 3000);
    for format in [Format::Q4_1, Format::Nf4] {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| quantize(format, &numbers))
        };
        assert_eq!(on(1), on(5));
    }
}

#[test]
fn what_keeps_numbers_out_of_a_format_is_found() {
    let written: Vec<Format> = Format::ALL.into_iter().filter(|format| format.can_quantize()).collect();
    for format in written {
        let mut numbers = values(5, 3 * format.block_len().max(8));
        assert_eq!(first_unfit(format, &numbers), None, "{format:?}");
        let place = numbers.len() - 2;
        numbers[place] = -f32::MAX;
        // An f32 holds every f32, and a block of nf4 has a scale of 32 bits.
        let fits = quantize(format, &numbers).is_some();
        assert_eq!(first_unfit(format, &numbers), (!fits).then_some((place, -f32::MAX)), "{format:?}");
        assert_eq!(fits, matches!(format, Format::F32 | Format::Nf4), "{format:?}");
        (numbers[place], numbers[place + 1]) = (0.0, f32::NAN);
        let found = first_unfit(format, &numbers).map(|(place, number)| (place, number.is_nan()));
        assert_eq!(found, (format != Format::F32).then_some((place + 1, true)), "{format:?}");
    }
}
