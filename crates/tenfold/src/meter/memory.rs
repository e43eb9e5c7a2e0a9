//! Peak memory of this process, as the operating system counts it (Linux: proc(5)).

use std::fs;

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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_sees_what_was_touched() {
        let before = process_peak_bytes().unwrap();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = process_peak_bytes().unwrap();
        assert!(after >= before.min(after - (32 << 20)), "{before} {after} {}", block.len());
        assert!(after > 64 << 20);
    }
}
