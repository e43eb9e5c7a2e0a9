//! NF4 (Dettmers et al. 2023, QLoRA): blocks of 64, `a n[q]` with a scale a of the block and 4-bit q that number the
//! 16 quantiles n of a normal distribution; the scales are quantised themselves, as bitsandbytes does it: less
//! their mean, in groups of 256, `g t[c]` with an f32 scale g of the group and 8-bit c that number the 256 values t of
//! the dynamic map (Dettmers 2016).
//!
//! Layout: the mean of the scales (f32), then for each group g (f32) and its blocks of 33 bytes: c, and 32 bytes whose
//! upper halves are the even elements. The last group may have fewer blocks. The numbers are bitsandbytes' own; it keeps
//! the four kinds in four arrays.

#[cfg(target_arch = "x86_64")]
use super::turned::{Turned, Words};
use super::{Quantizer, Storage};
#[cfg(target_arch = "x86_64")]
use crate::matmul::few::Kernels;
use crate::simd::Level;
use rayon::prelude::*;
use std::sync::LazyLock;

const LEN: usize = 64;
const BYTES: usize = 33;
/// Blocks whose scales are quantised together.
const GROUP: usize = 256;

/// The quantiles, as the paper's code rounds them.
const QUANTILES: [f32; 16] = [
    -1.0,
    -0.6961928,
    -0.52507305,
    -0.3949175,
    -0.28444138,
    -0.18477343,
    -0.091050036,
    0.0,
    0.0795803,
    0.1609302,
    0.2461123,
    0.33791524,
    0.44070983,
    0.562617,
    0.72295684,
    1.0,
];

/// The dynamic map, ascending.
static DYNAMIC: LazyLock<[f32; 256]> = LazyLock::new(dynamic_map);

pub(super) struct Nf4;

/// The 16 quantiles and the 256 values of the dynamic map, both ascending: files of bitsandbytes hold copies of them.
pub fn tables() -> (&'static [f32; 16], &'static [f32; 256]) {
    (&QUANTILES, &DYNAMIC)
}

impl Storage for Nf4 {
    fn name(&self) -> &'static str {
        "nf4"
    }

    fn block_len(&self) -> usize {
        LEN
    }

    fn bytes(&self, blocks: usize) -> Option<usize> {
        let groups = blocks.div_ceil(GROUP).checked_mul(4)?;
        blocks.checked_mul(BYTES)?.checked_add(groups)?.checked_add(4)
    }

    fn blocks(&self, bytes: usize) -> usize {
        let groups = bytes.saturating_sub(4);
        let whole = 4 + BYTES * GROUP;
        groups / whole * GROUP + (groups % whole).saturating_sub(4) / BYTES
    }

    fn widen(&self, level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
        widen(level, bytes, first, out);
    }

    fn at(&self, bytes: &[u8], i: usize) -> f32 {
        let f32_at = |place: usize| f32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[place + i]));
        let group = 4 + i / (LEN * GROUP) * (4 + BYTES * GROUP);
        let block = group + 4 + i / LEN % GROUP * BYTES;
        let scale = DYNAMIC[bytes[block] as usize] * f32_at(group) + f32_at(0);
        let byte = bytes[block + 1 + i % LEN / 2];
        scale * QUANTILES[(if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 }) as usize]
    }

    #[cfg(target_arch = "x86_64")]
    fn kernels(&self) -> Option<&'static Kernels> {
        Some(const { &Kernels::of::<Nf4>() })
    }

    fn quantizer(&self) -> Option<Quantizer> {
        Some(quantize)
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY (both methods): the trait's contract gives the instruction set and whole blocks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Turned for Nf4 {
    const TERMS: usize = LEN;
    const BYTES: usize = BYTES;
    type Block<V: Words> = ([[V::Word; 4]; 2], V);

    // The number of the block: scales of groups lie between blocks.
    #[inline(always)]
    fn position(element: usize) -> usize {
        element / LEN
    }

    #[inline(always)]
    fn place(position: usize, number: usize) -> usize {
        place(position + number)
    }

    #[inline(always)]
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V> {
        let (mean, dynamic) = (f32_at(bytes, 0), &*DYNAMIC);
        let place = |i: usize| Self::place(positions[i], number) + 1;
        let mut scales = [0.0; 16];
        for (scale, position) in scales.iter_mut().zip(positions).take(V::LANES) {
            *scale = scale_of(bytes, position + number, mean, dynamic);
        }
        unsafe {
            let halves = [V::turned(bytes, place), V::turned(bytes, |i| place(i) + 16)];
            (halves, V::load(scales.as_ptr()))
        }
    }

    #[inline(always)]
    unsafe fn term<V: Words>((q, scale): &Self::Block<V>, i: usize) -> V {
        let shift = 8 * (i / 2 % 4) + 4 * ((i + 1) % 2);
        unsafe { scale.mul(V::look_up(&QUANTILES, V::shr(q[i / 32][i % 32 / 8], shift as u32))) }
    }
}

/// Where the first byte of a block is.
#[inline(always)]
fn place(block: usize) -> usize {
    4 + 4 * (block / GROUP + 1) + BYTES * block
}

#[inline(always)]
fn f32_at(bytes: &[u8], place: usize) -> f32 {
    f32::from_le_bytes(bytes[place..].as_chunks().0[0])
}

/// The scale of a block.
#[inline(always)]
fn scale_of(bytes: &[u8], block: usize, mean: f32, dynamic: &[f32; 256]) -> f32 {
    let group = f32_at(bytes, place(block / GROUP * GROUP) - 4);
    dynamic[bytes[place(block)] as usize] * group + mean
}

fn widen(level: Level, bytes: &[u8], first: usize, out: &mut [f32]) {
    let (mean, dynamic) = (f32_at(bytes, 0), &*DYNAMIC);
    for (i, out) in out.as_chunks_mut::<LEN>().0.iter_mut().enumerate() {
        let at = place(first + i);
        let scale = scale_of(bytes, first + i, mean, dynamic);
        let q = &bytes[at + 1..].as_chunks().0[0];
        let scaled = QUANTILES.map(|quantile| scale * quantile);
        match level {
            // SAFETY: a level above Scalar comes only from `detect`, which found its features on this machine.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { x86::look_up_512(&scaled, q, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { x86::look_up_256(&scaled, q, out) },
            _ => look_up(&scaled, q, out),
        }
    }
}

/// The values that a block's halves of bytes number, the upper half first.
fn look_up(values: &[f32; 16], q: &[u8; LEN / 2], out: &mut [f32; LEN]) {
    for (o, q) in out.as_chunks_mut().0.iter_mut().zip(q) {
        *o = [values[(q >> 4) as usize], values[(q & 15) as usize]];
    }
}

/// The table lies in registers: memory would be asked once an element.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::LEN;
    use std::arch::x86_64::*;

    /// The halves of 8 bytes as 16 bytes, in the elements' order.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(q: &[u8; 8]) -> __m128i {
        let q = _mm_set_epi64x(0, i64::from_le_bytes(*q));
        let low = _mm_set1_epi8(15);
        _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16::<4>(q), low), _mm_and_si128(q, low))
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
    pub(super) fn look_up_512(values: &[f32; 16], q: &[u8; LEN / 2], out: &mut [f32; LEN]) {
        // SAFETY: 16 numbers are read from 16, and 16 written to 16.
        unsafe {
            let table = _mm512_loadu_ps(values.as_ptr());
            for (out, q) in out.as_chunks_mut::<16>().0.iter_mut().zip(q.as_chunks().0) {
                let at = _mm512_cvtepu8_epi32(halves(q));
                _mm512_storeu_ps(out.as_mut_ptr(), _mm512_permutexvar_ps(at, table));
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn look_up_256(values: &[f32; 16], q: &[u8; LEN / 2], out: &mut [f32; LEN]) {
        // SAFETY: 16 numbers are read from 16, and 16 written to 16.
        unsafe {
            let (low, high) = (_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values[8..].as_ptr()));
            // The permutation reads three bits of a number, the choice between both its fourth, moved to the sign.
            let eight = |at: __m256i| {
                let (a, b) = (_mm256_permutevar8x32_ps(low, at), _mm256_permutevar8x32_ps(high, at));
                _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(at)))
            };
            for (out, q) in out.as_chunks_mut::<16>().0.iter_mut().zip(q.as_chunks().0) {
                let halves = halves(q);
                _mm256_storeu_ps(out.as_mut_ptr(), eight(_mm256_cvtepu8_epi32(halves)));
                let upper = _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(halves, halves));
                _mm256_storeu_ps(out[8..].as_mut_ptr(), eight(upper));
            }
        }
    }
}

fn quantize(numbers: &[f32]) -> Option<Vec<u8>> {
    if !numbers.iter().all(|x| x.is_finite()) {
        return None;
    }
    let blocks = numbers.as_chunks::<LEN>().0;
    let scales: Vec<f32> = blocks.iter().map(|block| largest(block)).collect();
    let sum = scales.iter().fold(0.0, |sum, scale| sum + *scale as f64);
    let mean = (sum / scales.len().max(1) as f64) as f32;
    let groups = blocks.par_chunks(GROUP).zip(scales.par_chunks(GROUP));
    let groups: Vec<Vec<u8>> = groups.map(|(blocks, scales)| quantize_group(blocks, scales, mean)).collect();
    Some([&mean.to_le_bytes()[..], &groups.concat()].concat())
}

fn quantize_group(blocks: &[[f32; LEN]], scales: &[f32], mean: f32) -> Vec<u8> {
    let centred: Vec<f32> = scales.iter().map(|scale| scale - mean).collect();
    let group = largest(&centred);
    let mut bytes = group.to_le_bytes().to_vec();
    for ((block, scale), centred) in blocks.iter().zip(scales).zip(centred) {
        bytes.push(nearest(&*DYNAMIC, centred * inverse(group)));
        let q = block.map(|x| nearest(&QUANTILES, x * inverse(*scale)));
        bytes.extend(q.as_chunks().0.iter().map(|[even, odd]| even << 4 | odd));
    }
    bytes
}

/// The reciprocal of a magnitude; a finite number for zero too.
fn inverse(x: f32) -> f32 {
    1.0 / x.max(1e-38)
}

/// Number of the nearest value; in the middle between two the lower.
fn nearest(values: &[f32], x: f32) -> u8 {
    let below = |i: usize| (values[i] + values[i + 1]) / 2.0 < x;
    let (mut low, mut high) = (0, values.len() - 1);
    while low < high {
        let middle = (low + high) / 2;
        (low, high) = if below(middle) { (middle + 1, high) } else { (low, middle) };
    }
    low as u8
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0f32, |largest, x| largest.max(x.abs()))
}

/// The signed 8-bit dynamic map as bitsandbytes works it out, to the bit: 0, 1, and for each power of ten from 10^-6 to 1
/// the middles of 2^i equal parts of 0.1 to 1, of both signs.
fn dynamic_map() -> [f32; 256] {
    let mut values = vec![0.0, 1.0];
    for i in 0..7 {
        let parts = 1u32 << i;
        let step = (1.0 - 0.1f32) / parts as f32;
        // Counted from the nearer end, as PyTorch's linspace does it.
        let bound = |k: u32| {
            if k < parts.div_ceil(2) {
                step.mul_add(k as f32, 0.1)
            } else {
                (-step).mul_add((parts - k) as f32, 1.0)
            }
        };
        let power = 10f64.powi(i - 6) as f32;
        let middles = (0..parts).map(|k| power * ((bound(k) + bound(k + 1)) / 2.0));
        values.extend(middles.flat_map(|middle| [middle, -middle]));
    }
    values.sort_by(f32::total_cmp);
    std::array::from_fn(|i| values[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::tests::{Golden, check_error, digest};
    use crate::elements::{Format, quantize};

    /// bitsandbytes 0.50.2: `create_dynamic_map().numpy().tobytes()`.
    #[test]
    fn the_dynamic_map_is_that_of_bitsandbytes() {
        let bytes: Vec<u8> = DYNAMIC.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(digest(&bytes), 0xd677_f22a_9666_5bc4);
        assert_eq!((DYNAMIC[0].to_bits(), DYNAMIC[127], DYNAMIC[255]), (0xbf7e3333, 0.0, 1.0));
    }

    #[test]
    fn two_blocks_by_hand() {
        let mut x = [0.0; 2 * LEN];
        (x[0], x[1], x[2], x[64]) = (-3.0, 1.5, 0.24, 1.0);
        let bytes = quantize(Format::Nf4, &x).unwrap();
        assert_eq!(bytes.len(), 4 + 4 + 2 * 33);
        // Scales 3 and 1: their mean is 2, in which the group's largest distance is 1; t[255] = 1, t[0] = -0.9929688.
        assert_eq!((f32_at(&bytes, 0), f32_at(&bytes, 4)), (2.0, 1.0));
        assert_eq!(bytes[8..12], [255, 0x0c, 0x87, 0x77]);
        assert_eq!(bytes[41..43], [0, 0xf7]);
    }

    #[test]
    fn bytes_tell_how_many_blocks_they_are() {
        for blocks in [1, 2, 255, 256, 257, 512, 600] {
            let bytes = Nf4.bytes(blocks).unwrap();
            assert_eq!(
                (Nf4.blocks(bytes), Nf4.blocks(bytes - 1), Nf4.blocks(bytes + 32)),
                (blocks, blocks - 1, blocks)
            );
        }
        let x: Vec<f32> = (0..300 * LEN).map(|i| (i as f32).sin()).collect();
        let bytes = quantize(Format::Nf4, &x).unwrap();
        let widened = Format::Nf4.widen(&bytes);
        assert_eq!(widened.len(), x.len());
        assert!((0..x.len()).step_by(97).all(|i| widened[i] == Nf4.at(&bytes, i)));
    }

    #[test]
    fn a_block_of_zeros_stays_zero() {
        let bytes = quantize(Format::Nf4, &[0.0; LEN]).unwrap();
        assert!((0..LEN).all(|i| Nf4.at(&bytes, i) == 0.0));
        assert_eq!(quantize(Format::Nf4, &[]).unwrap(), [0; 4]);
    }

    /// Half of the widest gap between quantiles, and what the scale is off: half of the dynamic map's widest gap times
    /// the largest distance of a scale from their mean, here 3.
    #[test]
    fn is_off_by_half_a_gap_at_most() {
        check_error(Format::Nf4, LEN, |_, largest| 0.152 * largest + 3.0 * 0.9 / 128.0);
    }

    /// bitsandbytes 0.50.2: `quantize_nf4(compress_statistics=True)` and `dequantize_4bit`, put into our layout.
    #[test]
    fn golden() {
        Golden {
            format: Format::Nf4,
            first_bytes: "cdce7b3f6876ce3d403bd6530ceeedcfc26c5dc9b12def449fe5ccae09e7ad2138e76772b7cff2161c",
            bytes: 0xf39a_4949_ee95_637b,
            numbers: 0x97b5_0cd5_6517_1374,
        }
        .check();
    }
}
