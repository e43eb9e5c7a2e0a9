//! Joules: from the processor's own counters where they can be read, else an estimate that says so.
//!
//! Intel's Running Average Power Limit counters through the kernel's powercap tree
//! (Documentation/power/powercap): each zone counts microjoules and wraps around at
//! `max_energy_range_uj`. Packages hold their cores; memory is a subzone named "dram" beside them.

use crate::record::{Energy, EnergySource};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where Linux shows the counters.
pub const POWERCAP: &str = "/sys/class/powercap";

/// Power assumed for a busy core where nothing can be read: a server core's share of its package's
/// thermal design power is commonly 4 to 10 W (Lannelongue et al. 2021, doi:10.1002/advs.202100707).
pub const WATTS_PER_CORE: f64 = 8.0;

/// A measurement under way.
pub struct Meter {
    zones: Vec<Zone>,
    start: Instant,
    processor_seconds: f64,
}

struct Zone {
    path: PathBuf,
    range: u64,
    last: u64,
    sum: u64,
}

impl Meter {
    /// Starts measuring with the counters below `powercap`, or for an estimate if none can be read.
    pub fn start(powercap: &Path) -> Meter {
        Meter {
            zones: zones(powercap),
            start: Instant::now(),
            processor_seconds: processor_seconds().unwrap_or(0.0),
        }
    }

    /// Reads the counters on the way, so that none wraps around twice unseen.
    /// A package at 300 W wraps after about 15 minutes.
    pub fn tick(&mut self) {
        for zone in &mut self.zones {
            if let Some(now) = counter(&zone.path.join("energy_uj")) {
                zone.sum += if now >= zone.last { now - zone.last } else { zone.range - zone.last + now };
                zone.last = now;
            }
        }
    }

    /// Ends the measurement.
    pub fn stop(mut self) -> Energy {
        self.tick();
        let seconds = self.start.elapsed().as_secs_f64();
        let processor_seconds = processor_seconds().map_or(0.0, |now| now - self.processor_seconds);
        if self.zones.is_empty() {
            let joules = processor_seconds * WATTS_PER_CORE;
            let source = EnergySource::Estimate { watts_per_core: WATTS_PER_CORE };
            return Energy { joules, seconds, processor_seconds, source };
        }
        let joules = self.zones.iter().map(|zone| zone.sum as f64 / 1e6).sum();
        Energy { joules, seconds, processor_seconds, source: EnergySource::Rapl }
    }
}

/// The packages, and the memory zones below them; not the cores, which the packages include.
fn zones(powercap: &Path) -> Vec<Zone> {
    let Ok(entries) = fs::read_dir(powercap) else { return Vec::new() };
    let mut zones: Vec<Zone> = entries.flatten().filter_map(|entry| zone(entry.path())).collect();
    zones.sort_by(|a, b| a.path.cmp(&b.path));
    zones
}

fn zone(path: PathBuf) -> Option<Zone> {
    let file = path.file_name()?.to_str()?;
    let name = fs::read_to_string(path.join("name")).ok()?;
    let depth = file.strip_prefix("intel-rapl:")?.matches(':').count();
    let counted = (depth == 0 && name.starts_with("package")) || (depth == 1 && name.trim() == "dram");
    if !counted {
        return None;
    }
    let last = counter(&path.join("energy_uj"))?;
    let range = counter(&path.join("max_energy_range_uj"))?;
    Some(Zone { path, range: range.max(last), last, sum: 0 })
}

fn counter(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Processor time of all threads of this process, in seconds (proc_pid_stat(5), fields 14 and 15,
/// in the kernel's hundredths).
pub fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (zone, name, energy) in [
            ("intel-rapl:0", "package-0", 900u64),
            ("intel-rapl:0:0", "core", 500),
            ("intel-rapl:0:1", "dram", 100),
            ("intel-rapl:1", "psys", 5000),
        ] {
            fs::create_dir(dir.path().join(zone)).unwrap();
            for (file, value) in [
                ("name", name.to_owned()),
                ("energy_uj", energy.to_string()),
                ("max_energy_range_uj", "1000".into()),
            ] {
                fs::write(dir.path().join(zone).join(file), value + "\n").unwrap();
            }
        }
        dir
    }

    #[test]
    fn counters_wrap_around_and_cores_are_not_counted_twice() {
        let dir = tree();
        let mut meter = Meter::start(dir.path());
        let set = |zone: &str, value: u64| {
            fs::write(dir.path().join(zone).join("energy_uj"), value.to_string()).unwrap()
        };
        set("intel-rapl:0", 50);
        set("intel-rapl:0:0", 999);
        meter.tick();
        set("intel-rapl:0", 70);
        set("intel-rapl:0:1", 130);
        let energy = meter.stop();
        assert_eq!(energy.source, EnergySource::Rapl);
        assert!((energy.joules - (150.0 + 20.0 + 30.0) / 1e6).abs() < 1e-12, "{energy:?}");
    }

    #[test]
    fn without_counters_the_estimate_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let energy = Meter::start(dir.path()).stop();
        assert_eq!(energy.source, EnergySource::Estimate { watts_per_core: WATTS_PER_CORE });
        assert!((energy.joules - energy.processor_seconds * WATTS_PER_CORE).abs() < 1e-9);
    }
}
