//! How often two runs say the same about the same rows.

use std::collections::BTreeMap;

/// Share of rows on which both say the same, 0 to 1. `None` for no rows or unequal lengths.
pub fn raw_agreement(a: &[u32], b: &[u32]) -> Option<f64> {
    if a.is_empty() || a.len() != b.len() {
        return None;
    }
    Some(agreements(a, b) as f64 / a.len() as f64)
}

/// Rows on which both say the same.
fn agreements(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).filter(|(x, y)| x == y).count()
}

/// How often each label is said.
fn counts(said: &[u32]) -> BTreeMap<u32, f64> {
    // Labels below this, as nearly all are, are counted in place.
    let mut in_place = [0.0; 256];
    let mut counts = BTreeMap::new();
    for label in said {
        match in_place.get_mut(*label as usize) {
            Some(count) => *count += 1.0,
            None => *counts.entry(*label).or_default() += 1.0,
        }
    }
    counts.extend((0..).zip(in_place).filter(|(_, count)| *count > 0.0));
    counts
}

/// Agreement beyond chance (Cohen, 1960): 1 is full, 0 is what chance gives.
///
/// `None` where it is not defined: no rows, or both always say the one same label.
pub fn cohens_kappa(a: &[u32], b: &[u32]) -> Option<f64> {
    let observed = raw_agreement(a, b)?;
    let (of_a, of_b) = (counts(a), counts(b));
    let alike = of_a.iter().map(|(label, count)| count * of_b.get(label).copied().unwrap_or(0.0));
    let chance = alike.sum::<f64>() / (a.len() as f64).powi(2);
    (chance < 1.0 - 1e-12).then(|| (observed - chance) / (1.0 - chance))
}

/// Agreement of any number of runs beyond chance (Fleiss, 1971): 1 is full, 0 is what chance gives. `runs[run][row]`
/// is a label. For two runs it is Scott's pi, which takes both to draw from the same shares of labels.
///
/// `None` where it is not defined: fewer than two runs, no rows, unequal lengths, or one label throughout.
pub fn fleiss_kappa(runs: &[&[u32]]) -> Option<f64> {
    let rows = runs.first().map_or(0, |run| run.len());
    if runs.len() < 2 || rows == 0 || runs.iter().any(|run| run.len() != rows) {
        return None;
    }
    let raters = runs.len() as f64;
    let mut totals = BTreeMap::<u32, f64>::new();
    let mut agreeing = 0;
    for (place, run) in runs.iter().enumerate() {
        counts(run).into_iter().for_each(|(label, count)| *totals.entry(label).or_default() += count);
        for other in &runs[place + 1..] {
            agreeing += 2 * agreements(run, other);
        }
    }
    let observed = agreeing as f64 / (rows as f64 * raters * (raters - 1.0));
    let chance: f64 = totals.values().map(|total| (total / (rows as f64 * raters)).powi(2)).sum();
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
    fn many_runs_agree_as_fleiss_counts() {
        // Fleiss' example as printed by Wikipedia: 14 raters, 10 subjects, 5 categories, kappa 0.210.
        let counts = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let mut runs = vec![Vec::new(); 14];
        for row in counts {
            let labels = row.iter().zip(0u32..).flat_map(|(count, label)| vec![label; *count]);
            labels.zip(&mut runs).for_each(|(label, run)| run.push(label));
        }
        let runs: Vec<&[u32]> = runs.iter().map(Vec::as_slice).collect();
        assert!((fleiss_kappa(&runs).unwrap() - 0.209_930_704).abs() < 1e-8);
        assert_eq!(fleiss_kappa(&[&[1, 2], &[1, 2], &[1, 2]]), Some(1.0));
        assert_eq!(fleiss_kappa(&[&[1, 1], &[1, 1]]), None);
        assert_eq!(fleiss_kappa(&[&[1, 2]]), None);
        assert_eq!(fleiss_kappa(&[&[1, 2], &[1]]), None);
        assert_eq!(fleiss_kappa(&[&[], &[]]), None);
    }

    #[test]
    fn a_constant_answer_has_no_kappa() {
        assert_eq!(cohens_kappa(&[1, 1], &[1, 1]), None);
        assert_eq!(raw_agreement(&[1], &[1, 2]), None);
    }
}
