//! The processor's own counters of energy: RAPL, as Linux's powercap tree shows it (Documentation/power/powercap).
//!
//! Each zone counts microjoules and wraps around at `max_energy_range_uj`. AMD's processors stand there under Intel's
//! name, "intel-rapl". Counted are all packages, whose cores and graphics are part of them, and the memory beside them
//! (a subzone "dram"). Not counted: "psys", the platform that holds the packages, and "intel-rapl-mmio", which shows the
//! same package a second time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where Linux shows the counters.
pub const POWERCAP: &str = "/sys/class/powercap";

/// More than any package draws: a counter that gained more was not counting but set anew.
const MOST_WATTS: f64 = 5_000.0;
/// Between two readings at the most, and at the least.
const LONGEST: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_millis(10);

/// Counters that are being read.
pub(super) struct Counters {
    zones: Vec<Zone>,
    read_at: Instant,
    fault: Option<String>,
}

struct Zone {
    /// Its own name, and in brackets the tree's.
    name: String,
    path: PathBuf,
    range: u64,
    last: u64,
    sum: u64,
}

impl Counters {
    /// Opens all counters of a tree, or says why there are none. One that cannot be read spoils all: the rest would be
    /// too little.
    pub(super) fn open(tree: &Path) -> Result<Counters, String> {
        let entries = fs::read_dir(tree).map_err(|error| why(tree, &error))?;
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        let counted = folders.into_iter().filter_map(|path| Some((zone_name(&path)?, path)));
        let zones = counted.map(|(name, path)| Zone::open(name, path)).collect::<Result<Vec<_>, _>>()?;
        if zones.is_empty() {
            return Err(format!("{} shows no counter of a processor's package", tree.display()));
        }
        Ok(Counters { zones, read_at: Instant::now(), fault: None })
    }

    /// What is counted.
    pub(super) fn names(&self) -> Vec<String> {
        self.zones.iter().map(|zone| zone.name.clone()).collect()
    }

    /// How often they must be read so that none wraps around twice in between.
    pub(super) fn interval(&self) -> Duration {
        let smallest = self.zones.iter().map(|zone| zone.range).min().unwrap_or(0);
        Duration::from_secs_f64(smallest as f64 / 1e6 / MOST_WATTS / 2.0).clamp(SHORTEST, LONGEST)
    }

    /// Reads them all.
    pub(super) fn tick(&mut self) {
        let seconds = self.read_at.elapsed().max(Duration::from_millis(1)).as_secs_f64();
        for zone in &mut self.zones {
            if let Err(fault) = zone.tick(seconds) {
                self.fault.get_or_insert(fault);
            }
        }
        self.read_at = Instant::now();
    }

    /// Joules until the last reading, or why they cannot be relied on.
    pub(super) fn joules(&self) -> Result<f64, String> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(self.zones.iter().map(|zone| zone.sum as f64 / 1e6).sum()),
        }
    }
}

impl Zone {
    fn open(name: String, path: PathBuf) -> Result<Zone, String> {
        let last = counter(&path.join("energy_uj"))?;
        let range = counter(&path.join("max_energy_range_uj"))?;
        if range == 0 {
            return Err(format!("{name} does not say where it wraps around"));
        }
        Ok(Zone { name, path, range, last, sum: 0 })
    }

    fn tick(&mut self, seconds: f64) -> Result<(), String> {
        let (last, now) = (self.last, counter(&self.path.join("energy_uj"))?);
        self.last = now;
        let gained = now.checked_sub(last).or_else(|| self.range.checked_sub(last)?.checked_add(now));
        match gained.filter(|gained| *gained as f64 / 1e6 <= MOST_WATTS * seconds) {
            Some(gained) => {
                self.sum = self.sum.saturating_add(gained);
                Ok(())
            }
            None => Err(format!(
                "the counter of {} went from {last} to {now} µJ within {seconds:.3} s, which is no counting",
                self.name
            )),
        }
    }
}

/// The name of what a folder of the tree counts, if that is to be counted.
fn zone_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let depth = file.strip_prefix("intel-rapl:")?.matches(':').count();
    let name = fs::read_to_string(path.join("name")).ok()?;
    let name = name.trim();
    let counted = (depth == 0 && name.starts_with("package")) || (depth == 1 && name == "dram");
    counted.then(|| format!("{name} ({file})"))
}

fn counter(path: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|error| why(path, &error))?;
    let text = text.trim();
    text.parse().map_err(|_| format!("{}: expected microjoules, found \"{text}\"", path.display()))
}

fn why(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no {path}"),
        io::ErrorKind::PermissionDenied => {
            format!("{path} is there but may not be read; Linux leaves it to root since CVE-2020-8694")
        }
        _ => format!("{path} cannot be read: {error}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tree of counters that tests turn.
    pub(in super::super) struct Tree(tempfile::TempDir);

    impl Tree {
        /// Zones by folder, name and microjoules, all of one range.
        pub(in super::super) fn new(range: u64, zones: &[(&str, &str, u64)]) -> Tree {
            let tree = Tree(tempfile::tempdir().unwrap());
            for (zone, name, energy) in zones {
                fs::create_dir(tree.path().join(zone)).unwrap();
                tree.write(zone, "name", name);
                tree.write(zone, "max_energy_range_uj", &range.to_string());
                tree.set(zone, *energy);
            }
            tree
        }

        pub(in super::super) fn path(&self) -> &Path {
            self.0.path()
        }

        pub(in super::super) fn set(&self, zone: &str, energy: u64) {
            // Renamed into its place, so that no reader meets an empty file.
            self.write(zone, "new", &energy.to_string());
            let folder = self.path().join(zone);
            fs::rename(folder.join("new"), folder.join("energy_uj")).unwrap();
        }

        fn write(&self, zone: &str, file: &str, text: &str) {
            fs::write(self.path().join(zone).join(file), format!("{text}\n")).unwrap();
        }
    }

    const TWO_SOCKETS: [(&str, &str, u64); 9] = [
        ("intel-rapl", "", 0),
        ("intel-rapl:0", "package-0", 900),
        ("intel-rapl:0:0", "core", 500),
        ("intel-rapl:0:1", "dram", 100),
        ("intel-rapl:1", "package-1-die-0", 10),
        ("intel-rapl:1:0", "dram", 20),
        ("intel-rapl:1:1", "uncore", 20),
        ("intel-rapl:2", "psys", 5),
        ("intel-rapl-mmio:0", "package-0", 900),
    ];

    #[test]
    fn packages_and_their_memory_are_counted_once_and_wrap_around() {
        let tree = Tree::new(1000, &TWO_SOCKETS);
        let mut counters = Counters::open(tree.path()).unwrap();
        assert_eq!(
            counters.names(),
            [
                "package-0 (intel-rapl:0)",
                "dram (intel-rapl:0:1)",
                "package-1-die-0 (intel-rapl:1)",
                "dram (intel-rapl:1:0)"
            ]
        );
        // What the others count is in the packages, or is the platform.
        for zone in ["intel-rapl:0:0", "intel-rapl:1:1", "intel-rapl:2", "intel-rapl-mmio:0"] {
            tree.set(zone, 999);
        }
        tree.set("intel-rapl:0", 50);
        tree.set("intel-rapl:1", 11);
        counters.tick();
        tree.set("intel-rapl:0", 70);
        tree.set("intel-rapl:0:1", 130);
        tree.set("intel-rapl:1:0", 19);
        counters.tick();
        let expected = (150 + 20) + 30 + 1 + 999;
        assert!((counters.joules().unwrap() * 1e6 - f64::from(expected)).abs() < 1e-6);
    }

    #[test]
    fn a_counter_that_was_set_anew_is_not_taken_for_one_that_wrapped() {
        let tree = Tree::new(262_143_328_850, &[("intel-rapl:0", "package-0", 5_000_000)]);
        for (energy, fine) in [(5_000_900, true), (1_000, false), (200_000_000_000, false)] {
            tree.set("intel-rapl:0", 5_000_000);
            let mut counters = Counters::open(tree.path()).unwrap();
            tree.set("intel-rapl:0", energy);
            counters.tick();
            assert_eq!(counters.joules().is_ok(), fine, "{energy}");
            // It stays spoilt.
            counters.tick();
            assert_eq!(counters.joules().is_ok(), fine, "{energy}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let tree = Tree::new(1000, &TWO_SOCKETS);
        let reason = |tree: &Path| Counters::open(tree).err().unwrap();
        assert!(reason(&tree.path().join("nowhere")).starts_with("there is no"));
        let empty = tempfile::tempdir().unwrap();
        assert!(reason(empty.path()).contains("no counter of a processor's package"));
        let energy = tree.path().join("intel-rapl:0:1/energy_uj");
        fs::write(&energy, "many").unwrap();
        assert!(reason(tree.path()).ends_with("expected microjoules, found \"many\""));
        fs::remove_file(&energy).unwrap();
        fs::create_dir(&energy).unwrap();
        assert!(reason(tree.path()).contains("intel-rapl:0:1/energy_uj cannot be read"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(why(&energy, &denied).contains("may not be read; Linux leaves it to root"));
        tree.write("intel-rapl:0", "max_energy_range_uj", "0");
        assert!(reason(tree.path()).contains("does not say where it wraps around"));
    }

    #[test]
    fn counters_are_read_more_often_the_sooner_they_wrap() {
        let interval = |range| {
            Counters::open(Tree::new(range, &[("intel-rapl:0", "package-0", 0)]).path()).unwrap().interval()
        };
        assert_eq!([interval(1), interval(u64::MAX)], [SHORTEST, LONGEST]);
        // A range of 65,532 J at 5,000 W lasts 13 s.
        assert!((interval(65_532_610_987).as_secs_f64() - 6.55).abs() < 0.01);
    }
}
