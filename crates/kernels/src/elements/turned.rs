//! Some rows of a matrix side by side: words of each are turned into vectors of a row's word a lane, and widened there.
//!
//! What is turned is narrow, so little is moved, and nothing widened goes through memory.

use crate::matmul::lanes::Lanes;
use crate::matmul::tile::unrolled;
use std::arch::x86_64::*;

/// A format whose blocks are widened so. Every number has the bits that [`super::Storage::widen`] gives it.
///
/// # Safety
/// The methods need the instruction set of `V` at run time. All are to be inlined always: see `matmul/few.rs`.
pub(crate) trait Turned {
    /// Terms of a block.
    const TERMS: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// A block of each of `V::LANES` rows.
    type Block<V: Words>: Copy;

    /// Where the block stands that begins with this element: what [`Turned::place`] counts from.
    #[inline(always)]
    fn position(element: usize) -> usize {
        Self::BYTES * element / Self::TERMS
    }

    /// The byte at which the block begins that is so many behind a position.
    #[inline(always)]
    fn place(position: usize, number: usize) -> usize {
        position + Self::BYTES * number
    }

    /// The blocks so many behind these positions, of which there are `V::LANES`.
    ///
    /// # Safety
    /// `bytes` has these blocks.
    unsafe fn block<V: Words>(bytes: &[u8], positions: &[usize], number: usize) -> Self::Block<V>;

    /// Number `i` of each block, `i < TERMS`.
    ///
    /// # Safety
    /// The instruction set alone.
    unsafe fn term<V: Words>(block: &Self::Block<V>, i: usize) -> V;
}

/// A vector of numbers that has one of 32-bit words beside it.
///
/// # Safety
/// As [`Lanes`].
pub(crate) trait Words: Lanes {
    type Word: Copy;
    /// Four words from each of `LANES` places on, as a vector for each of the four.
    unsafe fn turned(bytes: &[u8], places: impl Fn(usize) -> usize) -> [Self::Word; 4];
    unsafe fn shl(word: Self::Word, bits: u32) -> Self::Word;
    unsafe fn shr(word: Self::Word, bits: u32) -> Self::Word;
    /// The bits of f32.
    unsafe fn bits(word: Self::Word) -> Self;
    /// The signed integer in the uppermost 8 bits.
    unsafe fn upper_byte(word: Self::Word) -> Self;
    /// The integer in the 4 bits from `bits` on, 24 at the most, times 2 to the power of `bits`.
    unsafe fn nibble(word: Self::Word, bits: u32) -> Self;
    /// The number that the lowest 4 bits choose.
    unsafe fn look_up(numbers: &[f32; 16], word: Self::Word) -> Self;
    /// `one` where bit `bit` of the word is set, else `zero`.
    unsafe fn by_bit(word: Self::Word, bit: u32, zero: Self, one: Self) -> Self;
    /// The half (f16) in the lower 16 bits.
    unsafe fn half(word: Self::Word) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
}

/// The 16 bytes from `place` on.
///
/// # Safety
/// `bytes` has them.
#[inline(always)]
unsafe fn sixteen(bytes: &[u8], place: usize) -> __m128i {
    debug_assert!(place + 16 <= bytes.len(), "16 bytes from {place} of {}", bytes.len());
    // SAFETY: the caller's promise.
    unsafe { _mm_loadu_si128(bytes.as_ptr().add(place).cast()) }
}

/// The 4-bit numbers of blocks of 32: byte i has number i in its lower half, number i + 16 in its upper one.
#[derive(Clone, Copy)]
pub(crate) struct Nibbles<V: Words> {
    words: [V::Word; 4],
    /// What a number is multiplied with at each place of a word.
    scales: [V; 8],
}

/// No number is shifted down to where a word begins: it is read as so many times 16 as stand before it, and the scale is
/// divided by as much. Powers of two change no rounding, and no scale that was a half becomes subnormal.
impl<V: Words> Nibbles<V> {
    /// # Safety
    /// As [`Words`].
    #[inline(always)]
    pub(crate) unsafe fn new(words: [V::Word; 4], scale: V) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let mut scales = [scale; 8];
            unrolled!(I < 7, scales[I] = scale.mul(V::splat(1.0 / (1 << (4 * I)) as f32)));
            Nibbles { words, scales }
        }
    }

    /// `scale * (q - zero)` of number `i`.
    ///
    /// # Safety
    /// As [`Words`].
    #[inline(always)]
    pub(crate) unsafe fn scaled(&self, i: usize, zero: i32) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            let (mut q, place, unit) = self.number(i);
            if zero != 0 {
                q = q.add(V::splat(-(zero as f32 * unit)));
            }
            self.scales[place].mul(q)
        }
    }

    /// The same where bit `i` of `fifth` is the fifth bit of number `i`.
    ///
    /// # Safety
    /// As [`Words`].
    #[inline(always)]
    pub(crate) unsafe fn scaled_with_fifth(&self, i: usize, fifth: V::Word, zero: i32) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            let (q, place, unit) = self.number(i);
            let (without, with) = (-zero as f32 * unit, (16 - zero) as f32 * unit);
            let q = q.add(V::by_bit(fifth, i as u32, V::splat(without), V::splat(with)));
            self.scales[place].mul(q)
        }
    }

    /// Number `i` in units of a power of two, the place in its word, and the unit.
    ///
    /// # Safety
    /// As [`Words`].
    #[inline(always)]
    unsafe fn number(&self, i: usize) -> (V, usize, f32) {
        let (word, place) = (self.words[i % 16 / 4], 2 * (i % 4) + i / 16);
        // The last place alone is shifted: it would be read as a sign.
        let bits = if place < 7 { 4 * place as u32 } else { 0 };
        // SAFETY: the caller's promise.
        let q = unsafe { V::nibble(if place < 7 { word } else { V::shr(word, 28) }, bits) };
        (q, place, (1 << bits) as f32)
    }
}

// SAFETY (all methods): the trait's contract gives the instruction set and valid memory.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Words for __m512 {
    type Word = __m512i;
    #[inline(always)]
    unsafe fn turned(bytes: &[u8], places: impl Fn(usize) -> usize) -> [__m512i; 4] {
        unsafe {
            // Row i + 4 j at place j of vector i: turning 4 x 4 words in each place puts row r into lane r.
            macro_rules! fours {
                ($i:literal) => {{
                    let x = _mm512_castsi128_si512(sixteen(bytes, places($i)));
                    let x = _mm512_inserti32x4::<1>(x, sixteen(bytes, places($i + 4)));
                    let x = _mm512_inserti32x4::<2>(x, sixteen(bytes, places($i + 8)));
                    _mm512_inserti32x4::<3>(x, sixteen(bytes, places($i + 12)))
                }};
            }
            let [a, b, c, d] = [fours!(0), fours!(1), fours!(2), fours!(3)];
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ef, gh),
                _mm512_unpackhi_epi64(ef, gh),
            ]
        }
    }
    #[inline(always)]
    unsafe fn shl(word: __m512i, bits: u32) -> __m512i {
        unsafe { _mm512_sllv_epi32(word, _mm512_set1_epi32(bits as i32)) }
    }
    #[inline(always)]
    unsafe fn shr(word: __m512i, bits: u32) -> __m512i {
        unsafe { _mm512_srlv_epi32(word, _mm512_set1_epi32(bits as i32)) }
    }
    #[inline(always)]
    unsafe fn bits(word: __m512i) -> Self {
        unsafe { _mm512_castsi512_ps(word) }
    }
    #[inline(always)]
    unsafe fn upper_byte(word: __m512i) -> Self {
        unsafe { _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(word)) }
    }
    #[inline(always)]
    unsafe fn nibble(word: __m512i, bits: u32) -> Self {
        unsafe { _mm512_cvtepi32_ps(_mm512_and_si512(word, _mm512_set1_epi32(15 << bits))) }
    }
    #[inline(always)]
    unsafe fn look_up(numbers: &[f32; 16], word: __m512i) -> Self {
        unsafe { _mm512_permutexvar_ps(word, _mm512_loadu_ps(numbers.as_ptr())) }
    }
    #[inline(always)]
    unsafe fn by_bit(word: __m512i, bit: u32, zero: Self, one: Self) -> Self {
        unsafe { _mm512_mask_blend_ps(_mm512_test_epi32_mask(word, _mm512_set1_epi32(1 << bit)), zero, one) }
    }
    #[inline(always)]
    unsafe fn half(word: __m512i) -> Self {
        unsafe { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(word)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { _mm512_mul_ps(self, other) }
    }
}

// SAFETY (all methods): the trait's contract gives the instruction set and valid memory.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Words for __m256 {
    type Word = __m256i;
    #[inline(always)]
    unsafe fn turned(bytes: &[u8], places: impl Fn(usize) -> usize) -> [__m256i; 4] {
        unsafe {
            macro_rules! twos {
                ($i:literal) => {{
                    let x = _mm256_castsi128_si256(sixteen(bytes, places($i)));
                    _mm256_inserti128_si256::<1>(x, sixteen(bytes, places($i + 4)))
                }};
            }
            let [a, b, c, d] = [twos!(0), twos!(1), twos!(2), twos!(3)];
            let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(ab, cd),
                _mm256_unpackhi_epi64(ab, cd),
                _mm256_unpacklo_epi64(ef, gh),
                _mm256_unpackhi_epi64(ef, gh),
            ]
        }
    }
    #[inline(always)]
    unsafe fn shl(word: __m256i, bits: u32) -> __m256i {
        unsafe { _mm256_sllv_epi32(word, _mm256_set1_epi32(bits as i32)) }
    }
    #[inline(always)]
    unsafe fn shr(word: __m256i, bits: u32) -> __m256i {
        unsafe { _mm256_srlv_epi32(word, _mm256_set1_epi32(bits as i32)) }
    }
    #[inline(always)]
    unsafe fn bits(word: __m256i) -> Self {
        unsafe { _mm256_castsi256_ps(word) }
    }
    #[inline(always)]
    unsafe fn upper_byte(word: __m256i) -> Self {
        unsafe { _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(word)) }
    }
    #[inline(always)]
    unsafe fn nibble(word: __m256i, bits: u32) -> Self {
        unsafe { _mm256_cvtepi32_ps(_mm256_and_si256(word, _mm256_set1_epi32(15 << bits))) }
    }
    #[inline(always)]
    unsafe fn look_up(numbers: &[f32; 16], word: __m256i) -> Self {
        unsafe {
            let (low, high) = (_mm256_loadu_ps(numbers.as_ptr()), _mm256_loadu_ps(numbers[8..].as_ptr()));
            // The permutation reads three bits of a number, the choice between both its fourth, moved to the sign.
            let (a, b) = (_mm256_permutevar8x32_ps(low, word), _mm256_permutevar8x32_ps(high, word));
            _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(word)))
        }
    }
    #[inline(always)]
    unsafe fn by_bit(word: __m256i, bit: u32, zero: Self, one: Self) -> Self {
        unsafe {
            // The choice reads the sign alone.
            let sign = _mm256_sllv_epi32(word, _mm256_set1_epi32(31 - bit as i32));
            _mm256_blendv_ps(zero, one, _mm256_castsi256_ps(sign))
        }
    }
    #[inline(always)]
    unsafe fn half(word: __m256i) -> Self {
        unsafe {
            let low = _mm256_and_si256(word, _mm256_set1_epi32(0xffff));
            let halves = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(low, low));
            _mm256_cvtph_ps(_mm256_castsi256_si128(halves))
        }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { _mm256_mul_ps(self, other) }
    }
}
