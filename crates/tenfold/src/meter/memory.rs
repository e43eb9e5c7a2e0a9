//! Peak memory of this process, as the operating system counts it (Linux: proc(5)).

use std::fs;
use std::path::{Path, PathBuf};

/// Peak of the resident set since the start or the last reset, in bytes. `None` where the system does not tell.
pub fn process_peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Starts the peak anew from what is resident now; false where the system does not allow it.
pub fn reset_process_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Memory that this process may take at the most, whatever else runs: that of the machine, or of its control group where
/// that has less (cgroups(7), versions 2 and 1). `None` where the system does not tell.
pub fn limit_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let files = groups.lines().flat_map(group_files);
    let limits = files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// The files with the limits of a group and all groups that it is in: a line "0::/a/b", or "4:memory:/a/b".
fn group_files(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (root, file) = match fields.next() {
        Some("") => ("/sys/fs/cgroup", "memory.max"),
        Some(controllers) if controllers.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = Path::new(fields.next().unwrap_or("/")).strip_prefix("/").unwrap_or(Path::new(""));
    group.ancestors().map(|group| Path::new(root).join(group).join(file)).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_all_groups_above() {
        let files = group_files("0::/a/b");
        assert_eq!(files.len(), 3);
        assert_eq!(files[0], Path::new("/sys/fs/cgroup/a/b/memory.max"));
        assert_eq!(files[2], Path::new("/sys/fs/cgroup/memory.max"));
        assert_eq!(
            group_files("7:cpu,memory:/")[0],
            Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes")
        );
        assert!(group_files("3:cpuset:/a").is_empty());
        assert_eq!(machine_bytes("MemFree: 1 kB\nMemTotal:   2 kB\n"), Some(2048));
        assert!(limit_bytes().is_some_and(|bytes| bytes > 64 << 20));
    }

    #[test]
    fn the_peak_sees_what_was_touched() {
        let before = process_peak_bytes().unwrap();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = process_peak_bytes().unwrap();
        assert!(after >= before.min(after - (32 << 20)), "{before} {after} {}", block.len());
        assert!(after > 64 << 20);
    }
}
