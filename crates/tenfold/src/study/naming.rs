//! The name of a trial's folder: what the trial is, for people, and the hash of everything that decides its result.
//!
//! | role | name |
//! |---|---|
//! | comparison | `lora-s0-<hash>` |
//! | mixture of domains | `lora-mixture-s0-<hash>` |
//! | search | `lora-lr3e-3-<hash>`, on a later rung `lora-lr3e-3-rung2-<hash>` |
//! | small data | `lora-n64-d2-<hash>` |
//! | probe | `lora-probe-<hash>` |
//! | benchmark | `lora-sst2-s0-<hash>` |
//! | asked | `lora-asked-mmlu-s0-<hash>` |

use crate::record::{Role, Trial};
use sha2::{Digest, Sha256};

/// Characters of a method's or a task's name that a folder's name shows: file systems allow 255 in all.
const SHOWN: usize = 60;

/// The name of the trial's folder. Two trials have the same name only if they are the same.
pub(super) fn name(trial: &Trial) -> String {
    let (method, seed) = (plain(&trial.method), trial.seed);
    let role = match &trial.role {
        Role::Main => format!("s{seed}"),
        Role::Mixture => format!("mixture-s{seed}"),
        Role::Search { candidate, rung: 0 } => format!("lr{:e}", candidate.learning_rate),
        Role::Search { candidate, rung } => format!("lr{:e}-rung{}", candidate.learning_rate, rung + 1),
        Role::SmallData { examples, draw } => format!("n{examples}-d{draw}"),
        Role::Probe => "probe".to_owned(),
        Role::Benchmark { name } => format!("{}-s{seed}", plain(name)),
        Role::Asked { name } => format!("asked-{}-s{seed}", plain(name)),
    };
    format!("{method}-{role}-{}", hash(trial))
}

/// The first 16 hexadecimal digits of the SHA-256 of everything that decides the trial's result.
fn hash(trial: &Trial) -> String {
    let text = serde_json::to_string(trial).unwrap_or_else(|error| unreachable!("plain values: {error}"));
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A name without characters that a shell or a file system reads as something else.
fn plain(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "-_+.".contains(c) { c } else { '_' };
    let plain: String = name.chars().take(SHOWN).map(keep).collect();
    match plain.strip_prefix(['.', '-']) {
        Some(rest) => format!("_{rest}"),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::record::Candidate;
    use serde_json::Map;

    #[test]
    fn a_person_can_tell_folders_apart_and_no_name_leads_elsewhere() {
        let base = World::new().records[0].trial.clone();
        let shown = |method: &str, role: Role| {
            let name = name(&Trial { method: method.into(), role, seed: 3, ..base.clone() });
            let (shown, hash) = name.rsplit_once('-').unwrap();
            assert!(hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
            shown.to_owned()
        };
        let candidate = Candidate { learning_rate: 3e-3, settings: Map::new() };
        let search = |rung| Role::Search { candidate: candidate.clone(), rung };
        let small = Role::SmallData { examples: 64, draw: 2 };
        for (role, expected) in [
            (Role::Main, "lora-s3"),
            (Role::Mixture, "lora-mixture-s3"),
            (search(0), "lora-lr3e-3"),
            (search(1), "lora-lr3e-3-rung2"),
            (small, "lora-n64-d2"),
            (Role::Probe, "lora-probe"),
            (Role::Benchmark { name: "glue_cola".into() }, "lora-glue_cola-s3"),
            (Role::Asked { name: "mmlu".into() }, "lora-asked-mmlu-s3"),
        ] {
            assert_eq!(shown("lora", role), expected);
        }
        for (method, expected) in [
            ("lora r=32", "lora_r_32-s3"),
            ("../../etc", "_._.._etc-s3"),
            ("-rf", "_rf-s3"),
            ("größe/\u{202e}", "gr__e__-s3"),
        ] {
            assert_eq!(shown(method, Role::Main), expected);
        }
        assert!(shown(&"x".repeat(300), Role::Benchmark { name: "y".repeat(300) }).len() < 200);
        // Names that look alike are still different folders.
        let of = |method: &str| name(&Trial { method: method.into(), ..base.clone() });
        assert_ne!(of("a b"), of("a_b"));
    }
}
