//! Whatever a study found, its page does not contradict itself.

use super::candidates::{Cause, against_best};
use super::{Purpose, Recommendation, html, recommend, summary_markdown};
use crate::metric::synthetic::World;
use crate::metric::{Findings, Reading};
use crate::statistics::Verdict;
use std::collections::BTreeSet;

/// The pairs that summary.md lists, by name, in no order.
fn listed(markdown: &str) -> BTreeSet<BTreeSet<String>> {
    let section = markdown.split("\n## ").find(|section| section.starts_with("Pairs that differ"));
    let rows = section.unwrap_or_default().lines().filter(|line| line.starts_with("| ")).skip(1);
    let names =
        |line: &str| line.split(" | ").take(2).map(|name| name.trim_start_matches("| ").to_owned()).collect();
    rows.map(names).collect()
}

fn share_a_letter(findings: &Findings, a: &str, b: &str) -> bool {
    let letters = |method: &str| findings.standing.letters(method).unwrap();
    letters(a).chars().any(|letter| letters(b).contains(letter))
}

fn pairs_agree(findings: &Findings, markdown: &str) {
    let listed = listed(markdown);
    let mut apart = 0;
    for pair in &findings.contrasts {
        let (a, b, judged) = (pair.first.as_str(), pair.second.as_str(), &pair.judgement);
        let told = judged.verdict.tells_apart();
        apart += usize::from(told);
        assert_eq!(told, judged.p < 0.05, "{pair:?}");
        assert_eq!(told, !share_a_letter(findings, a, b), "{pair:?}");
        assert_eq!(
            told,
            listed.contains(&BTreeSet::from([a.to_owned(), b.to_owned()])),
            "{pair:?}\n{markdown}"
        );
        let (own, turned) = (findings.standing.judged(a, b, 0.01), findings.standing.judged(b, a, 0.01));
        assert_eq!(own.unwrap().lead.value, -turned.unwrap().lead.value);
    }
    assert_eq!(apart, listed.len());
}

fn yardstick_agrees(findings: &Findings, page: &str) {
    for method in findings.methods() {
        let Some(judged) = findings.against_full(&method.name) else { continue };
        let shared = share_a_letter(findings, &method.name, "full");
        assert_eq!(judged.verdict.tells_apart(), !shared, "{judged:?}");
        assert!(judged.verdict != Verdict::Inferior || !shared);
        let Reading::Judged { verdict, .. } =
            &findings.figure(&method.name, "accuracy", "non_inferiority").unwrap().reading
        else {
            panic!("{} has no verdict", method.name)
        };
        assert_eq!(verdict, judged.verdict.words());
        assert!(page.contains(judged.verdict.words()));
        let share = findings.estimate(&method.name, "accuracy", "share_of_full").unwrap();
        let (low, high) = (share.low.unwrap(), share.high.unwrap());
        assert_eq!(shared, low <= 1.0 && 1.0 <= high, "{share:?} {judged:?}");
    }
}

fn advice_agrees(findings: &Findings, advice: &Recommendation) {
    let best = findings.standing.methods[findings.standing.best().unwrap()].clone();
    let allowed = advice.purpose.allowed(findings);
    for excluded in advice.excluded.iter().filter(|excluded| excluded.cause == Cause::Worse) {
        let against = against_best(findings, &excluded.method, allowed).unwrap();
        assert_eq!(against.verdict, Verdict::Inferior, "{excluded:?}");
        assert!(!share_a_letter(findings, &excluded.method, &best));
    }
    let Some(name) = &advice.method else { return };
    assert!(advice.excluded.iter().all(|excluded| excluded.method != *name));
    let tied = *name != best && share_a_letter(findings, name, &best);
    assert_eq!(advice.sentence.contains("cannot tell from the best"), tied, "{}", advice.sentence);
    assert_eq!(advice.sentence.contains("the best of the study"), *name == best, "{}", advice.sentence);
    let alike = advice.caveats.iter().find(|caveat| caveat.contains("the data cannot tell it from"));
    for other in findings.standing.methods.iter().filter(|other| *other != name) {
        let title = super::title(findings, other);
        let named = alike.is_some_and(|caveat| caveat.contains(title));
        assert_eq!(named, share_a_letter(findings, name, other), "{alike:?} {other}");
    }
}

#[test]
fn groups_pairs_verdicts_and_advice_say_the_same_in_any_study() {
    let mut told = [0, 0];
    for study in 0..12 {
        let world = World::drawn(study);
        let evidence = world.evidence();
        let findings = Findings::of(&evidence);
        let balanced = recommend(&findings, Purpose::Balanced);
        pairs_agree(&findings, &summary_markdown(&findings, &balanced));
        yardstick_agrees(&findings, &html(&findings, &balanced));
        for purpose in Purpose::ALL {
            advice_agrees(&findings, &recommend(&findings, purpose));
        }
        for pair in &findings.contrasts {
            told[usize::from(pair.judgement.verdict.tells_apart())] += 1;
        }
    }
    assert!(told.iter().all(|count| *count > 10), "the studies are too much alike: {told:?}");
}

#[test]
fn other_tests_are_for_reference_and_claim_nothing() {
    let findings = World::findings();
    let page = html(findings, &recommend(findings, Purpose::Balanced));
    let (_, rest) = page.split_once("Other tests and effect sizes, for reference").unwrap();
    let section = rest.split("</section>").next().unwrap();
    for claim in ["differ ", "told apart", "as good", "worse", "better", "significant"] {
        assert!(!section.contains(claim), "{claim}");
    }
    for test in ["Bootstrap", "Permutation", "McNemar", "Cohen"] {
        assert!(!page.split_once("Other tests").unwrap().0.contains(&format!("{test}</th>")), "{test}");
        assert!(section.contains(test), "{test}");
    }
}
