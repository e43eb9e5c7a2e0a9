//! How often two runs say the same about the same rows.

use std::collections::BTreeMap;

/// Share of rows on which both say the same, 0 to 1. `None` for no rows or unequal lengths.
pub fn raw_agreement(a: &[u32], b: &[u32]) -> Option<f64> {
    if a.is_empty() || a.len() != b.len() {
        return None;
    }
    Some(a.iter().zip(b).filter(|(x, y)| x == y).count() as f64 / a.len() as f64)
}

/// Agreement beyond chance (Cohen, 1960): 1 is full, 0 is what chance gives.
///
/// `None` where it is not defined: no rows, or both always say the one same label.
pub fn cohens_kappa(a: &[u32], b: &[u32]) -> Option<f64> {
    let observed = raw_agreement(a, b)?;
    let mut shares: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    let each = 1.0 / a.len() as f64;
    for (x, y) in a.iter().zip(b) {
        shares.entry(*x).or_default().0 += each;
        shares.entry(*y).or_default().1 += each;
    }
    let chance: f64 = shares.values().map(|(x, y)| x * y).sum();
    (chance < 1.0 - 1e-12).then(|| (observed - chance) / (1.0 - chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kappa_matches_the_textbook() {
        // 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: agreement 0.7, kappa 0.4.
        let rows = [(1, 1, 20), (1, 0, 5), (0, 1, 10), (0, 0, 15)];
        let (mut a, mut b) = (vec![], vec![]);
        for (x, y, n) in rows {
            a.extend(vec![x; n]);
            b.extend(vec![y; n]);
        }
        assert!((raw_agreement(&a, &b).unwrap() - 0.7).abs() < 1e-12);
        assert!((cohens_kappa(&a, &b).unwrap() - 0.4).abs() < 1e-12);
    }

    #[test]
    fn a_constant_answer_has_no_kappa() {
        assert_eq!(cohens_kappa(&[1, 1], &[1, 1]), None);
        assert_eq!(raw_agreement(&[1], &[1, 2]), None);
    }
}
