//! GPUs of the machine, by what NVIDIA's `nvidia-smi` says of them once a second.
//!
//! It reads NVML, as a library in this process would, and comes with the driver. The engine computes on processors alone:
//! a GPU takes no part, and what it draws meanwhile is the machine's, so a program beside us is all that this is worth.

use crate::record::Gpu;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// The program, wherever the system finds it.
pub const NVIDIA_SMI: &str = "nvidia-smi";

/// A watch on all GPUs. It ends with this.
pub struct Watch {
    child: Child,
    reader: Option<JoinHandle<Seen>>,
}

/// Name, sum of watts and sum of shares of each GPU, by its number; and how often each was seen.
type Seen = BTreeMap<String, (String, [Sum; 2])>;

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    sum: f64,
    count: u32,
}

impl Watch {
    /// Starts `program`; `None` if there is none.
    pub fn start(program: &Path) -> Option<Watch> {
        let mut child = Command::new(program)
            .args([
                "--query-gpu=index,name,power.draw,utilization.gpu",
                "--format=csv,noheader,nounits",
                "--loop=1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let output = child.stdout.take();
        let reader =
            std::thread::Builder::new().name("gpu".into()).spawn(|| output.map(read).unwrap_or_default());
        Some(Watch { child, reader: reader.ok() })
    }

    /// What was seen; `None` if no GPU was.
    pub fn stop(mut self) -> Option<Gpu> {
        self.end();
        let seen = self.reader.take()?.join().ok().filter(|seen| !seen.is_empty())?;
        let means = |which: usize| {
            let means = seen.values().map(|(_, sums)| sums[which].mean());
            means.collect::<Option<Vec<f64>>>()
        };
        Some(Gpu {
            names: seen.values().map(|(name, _)| name.clone()).collect(),
            watts: means(0).map(|watts| watts.iter().sum()),
            utilisation: means(1).map(|shares| shares.iter().sum::<f64>() / shares.len() as f64 / 100.0),
        })
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

impl Sum {
    /// Counts a number; what a GPU does not tell is a word in brackets.
    fn add(&mut self, text: &str) {
        if let Some(number) =
            text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
        {
            self.sum += number;
            self.count += 1;
        }
    }

    fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

/// Lines such as "0, NVIDIA A100-SXM4-40GB, 58.13, 7", until there are no more.
fn read(output: impl Read) -> Seen {
    let mut seen = Seen::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let Some((index, rest)) = line.split_once(", ") else { continue };
        let mut fields = rest.rsplitn(3, ", ");
        let (Some(share), Some(watts), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (_, sums) =
            seen.entry(index.trim().to_owned()).or_insert_with(|| (name.to_owned(), Default::default()));
        sums[0].add(watts);
        sums[1].add(share);
    }
    seen
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    /// A program that says so once it is asked as `nvidia-smi` is, and then goes on.
    fn fake(lines: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *power.draw,utilization.gpu*--loop=1) ;; *) exit 2 ;; esac\n\
             printf '{lines}'\ntouch \"${{0%/*}}/said\"\nexec sleep 600\n"
        );
        let program = dir.path().join("smi");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    fn watched(lines: &str) -> Option<Gpu> {
        let dir = fake(lines);
        let began = Instant::now();
        let watch = loop {
            // A file that was just written may still be open for writing in another test's child.
            match Watch::start(&dir.path().join("smi")) {
                Some(watch) => break watch,
                None => assert!(began.elapsed() < Duration::from_secs(20)),
            }
        };
        while !dir.path().join("said").exists() {
            assert!(began.elapsed() < Duration::from_secs(20), "the program was not asked as it should be");
            std::thread::sleep(Duration::from_millis(5));
        }
        let gpu = watch.stop();
        assert!(began.elapsed() < Duration::from_secs(60), "the program goes on");
        gpu
    }

    #[test]
    fn watts_of_all_gpus_add_up_and_their_use_is_shared() {
        let one = "0, NVIDIA A, 50.5, 10\\n1, NVIDIA B, 20, 0\\n";
        let gpu = watched(&format!("{one}0, NVIDIA A, 51.5, 30\\n1, NVIDIA B, 20, 0\\n")).unwrap();
        assert_eq!(gpu.names, ["NVIDIA A", "NVIDIA B"]);
        assert!((gpu.watts.unwrap() - 71.0).abs() < 1e-9 && (gpu.utilisation.unwrap() - 0.1).abs() < 1e-9);
    }

    #[test]
    fn what_a_gpu_does_not_tell_is_unknown_and_no_gpu_is_none() {
        let gpu = watched("0, GT 710, [N/A], [Not Supported]\\n").unwrap();
        assert_eq!(
            (gpu.names.as_slice(), gpu.watts, gpu.utilisation),
            (&["GT 710".to_owned()][..], None, None)
        );
        assert_eq!(watched("No devices were found\\n"), None);
        assert!(Watch::start(Path::new("/nowhere/nvidia-smi")).is_none());
    }
}
