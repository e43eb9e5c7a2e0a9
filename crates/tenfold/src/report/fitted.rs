//! What reports say of a study of which some trials were fitted into memory.

use super::{Purpose, html, recommend, summary_markdown};
use crate::metric::Findings;
use crate::metric::synthetic::World;
use crate::record::Fit;

#[test]
fn trials_that_were_fitted_into_memory_are_told_once_with_their_method() {
    let pages = |world: &World| {
        let evidence = world.evidence();
        let findings = Findings::of(&evidence);
        let advice = recommend(&findings, Purpose::Balanced);
        [html(&findings, &advice), summary_markdown(&findings, &advice)]
    };
    assert!(pages(&World::new()).iter().all(|page| !page.contains("Fitted into memory")));
    let mut world = World::new();
    let how = "each pass holds 256 tokens at the most, so that 1.2 GiB suffice where 1.3 GiB are allowed";
    for record in world.records.iter_mut().filter(|record| record.trial.method == "lora").take(2) {
        record.measured.fit =
            Some(Fit { pass_tokens: Some(256), changed: Some(how.into()), ..Fit::default() });
    }
    for page in pages(&world) {
        let told = format!("Fitted into memory: LoRA, rank 8 (2 trials: {how}).");
        assert_eq!(page.matches(&told).count(), 1, "{page}");
    }
}
