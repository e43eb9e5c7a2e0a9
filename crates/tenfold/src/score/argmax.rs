//! The place of the largest number: what greedy decoding, evaluation and multiple choice all decide by.

use std::cmp::Ordering;

/// The index of the largest of `numbers`, the first of equal ones, as `numpy.argmax` and `torch.argmax` on a CPU have it.
/// `None` if there are no numbers, or if one of them is NaN.
pub fn argmax<T: PartialOrd>(numbers: &[T]) -> Option<usize> {
    let mut best = 0;
    for (place, number) in numbers.iter().enumerate() {
        // The first number is compared with itself: of NaN alone that has no order.
        if number.partial_cmp(&numbers[best])? == Ordering::Greater {
            best = place;
        }
    }
    (!numbers.is_empty()).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_numbers_wins() {
        assert_eq!(argmax(&[1.0f32, 3.0, 3.0, 2.0, 3.0]), Some(1));
        assert_eq!(argmax(&[-0.0f64, 0.0]), Some(0));
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), Some(0));
        assert_eq!(argmax(&[2.0, f32::INFINITY, f32::INFINITY]), Some(1));
    }

    #[test]
    fn nothing_and_nan_have_no_largest_number() {
        assert_eq!(argmax::<f32>(&[]), None);
        for place in 0..3 {
            let mut numbers = [1.0f32, 2.0, 0.0];
            numbers[place] = f32::NAN;
            assert_eq!(argmax(&numbers), None, "{place}");
        }
    }
}
