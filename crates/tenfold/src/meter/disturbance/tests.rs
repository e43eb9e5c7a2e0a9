//! Counts of made-up processes.

use super::*;
use std::time::Duration;

const QUIET: Disturbance = Disturbance {
    seconds: 1.0,
    processors: 2,
    threads: 2,
    own_seconds: Some(1.9),
    waited_seconds: Some(0.0),
    stolen_seconds: Some(0.0),
    others_seconds: Some(0.0),
    tries: 1,
};

fn times(ran: u64, waited: u64) -> Times {
    Times { ran, waited }
}

#[test]
fn files_of_the_kernel_are_read() {
    assert_eq!(schedstat("1234567 8910 11\n"), Some(times(1_234_567, 8910)));
    assert_eq!(schedstat("none"), None);
    assert_eq!(allowed_processors("Name:\tx\nCpus_allowed_list:\t0-1,4\n"), Some([0, 1, 4].into()));
    assert_eq!(allowed_processors("Name:\tx\n"), None);
    let stat = "cpu  999 9 9 9 9 9 9 9 0 0\ncpu0 100 10 20 500 7 1 2 30 50 0\ncpu1 900 0 0 0 0 0 0 0 0 0\n\
                cpu2 200 0 0 0 0 0 0 5 0 0\nintr 12\n";
    let found = processors(stat, &[0, 2].into()).unwrap();
    assert_eq!((found.count, found.busy, found.stolen), (2, 3.33, 0.35));
    assert_eq!(processors(stat, &[7].into()), None);
    assert_eq!(processors("cpu0 1 2 3\n", &[0].into()), None);
}

#[test]
fn threads_that_end_keep_their_share() {
    let before = BTreeMap::from([(1, times(100, 10)), (2, times(50, 5)), (3, times(70, 7))]);
    // 2 ended in between; 3 said that it ends and is still there; 9 began and ended; 4 began; 1 went on.
    let after = BTreeMap::from([(1, times(150, 30)), (3, times(90, 9)), (4, times(11, 1))]);
    let departed = [(2, times(80, 25)), (3, times(90, 8)), (9, times(1000, 300))];
    assert_eq!(gained(&before, &after, &departed), times(50 + 30 + 20 + 1000 + 11, 20 + 20 + 2 + 300 + 1));
    // 1 ended, and another thread has its number.
    let after = BTreeMap::from([(1, times(40, 4))]);
    assert_eq!(gained(&before, &after, &[(1, times(120, 12))]), times(40 + 20, 4 + 2));
}

#[test]
fn what_others_took_is_what_is_busy_beside_this_process() {
    let counts = |waited: u64, own: f64, busy: f64, stolen: f64| Counts {
        threads: Some(BTreeMap::from([(1, times((own * 1e9) as u64, waited))])),
        ended: 0,
        others: None,
        own_seconds: Some(own),
        processors: Some(Processors { count: 2, busy, stolen }),
    };
    let (start, end) = (counts(1_000, 1.0, 50.0, 3.0), counts(500_001_000, 2.0, 52.5, 3.25));
    let found = between(&start, &end, &[], 2.0, 2);
    assert_eq!(
        (found.waited_seconds, found.stolen_seconds, found.others_seconds, found.own_seconds),
        (Some(0.5), Some(0.25), Some(1.5), Some(1.0))
    );
    // Whole ticks in a part of a millisecond: nobody takes more than there is.
    let found = between(&start, &end, &[], 0.9, 2);
    assert_eq!((found.stolen_seconds, found.others_seconds), (Some(0.25), Some(0.8)));
    assert_eq!((found.processors, found.threads, found.quiet()), (2, 2, Quiet::No));
}

#[test]
fn tasks_say_exactly_what_ticks_count_coarsely() {
    // Two ticks that no task accounts for prove nothing; what a task ran within the ticks' error is believed.
    assert_eq!(others_seconds(0.02, Some(0.0), 2), 0.0);
    assert_eq!(others_seconds(0.0, Some(0.045), 2), 0.045);
    // Tasks that began and ended in between are in the ticks alone; those on other processors are not.
    assert!((others_seconds(1.0, Some(0.1), 2) - 0.94).abs() < 1e-12);
    assert!((others_seconds(0.1, Some(7.0), 2) - 0.16).abs() < 1e-12);
    assert_eq!(others_seconds(0.25, None, 2), 0.25);
}

#[test]
fn where_the_files_are_absent_nothing_is_made_up() {
    let empty = tempfile::tempdir().unwrap();
    let counts = || Counts::now(empty.path());
    let found = between(&counts(), &counts(), &[], 1.0, 2);
    assert_eq!((found.waited_seconds, found.stolen_seconds, found.others_seconds), (None, None, None));
    assert_eq!((found.quiet(), found.words()), (Quiet::Unchecked, None));
}

#[test]
fn a_tree_of_files_is_read_as_the_kernels_is() {
    let proc = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = proc.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("stat", "cpu0 100 0 0 0 0 0 0 0 0 0\n");
    write("self/status", "Cpus_allowed_list:\t0\n");
    write("self/stat", "7 (a (b) c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 2 0 1 1 1\n");
    write("self/task/7/schedstat", "5 6 1\n");
    write("self/task/8/schedstat", "50 60 1\n");
    write(&format!("{}/task/7/schedstat", std::process::id()), "5 6 1\n");
    write("9999999/task/9999999/schedstat", "400 1 1\n");
    write("9999999/task/9999998/schedstat", "30 2 1\n");
    let counts = Counts::now(proc.path());
    assert_eq!(counts.others, Some(BTreeMap::from([(9_999_998, times(30, 2)), (9_999_999, times(400, 1))])));
    assert_eq!(counts.threads, Some(BTreeMap::from([(7, times(5, 6)), (8, times(50, 60))])));
    assert_eq!(counts.own_seconds, Some(2.0));
    assert_eq!(counts.processors, Some(Processors { count: 1, busy: 1.0, stolen: 0.0 }));
}

#[cfg(target_os = "linux")]
#[test]
fn the_work_of_a_thread_that_ended_is_its_processs_own() {
    let watch = Watch::start(1);
    let work = || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(began.elapsed());
        }
        thread_ends();
    };
    std::thread::spawn(work).join().unwrap();
    let found = watch.stop();
    // Kernels without statistics of the scheduler tell nothing.
    if let Some(waited) = found.waited_seconds {
        let computed = found.own_seconds.unwrap() + waited;
        assert!(computed >= 0.05, "{found:?}");
    }
}

#[test]
fn a_disturbed_part_is_measured_again_and_the_least_disturbed_try_is_kept() {
    let run = |retries, others: &[f64]| {
        let mut left = others.iter().enumerate();
        let kept = least_disturbed(retries, || {
            let (number, others) = left.next().unwrap();
            Ok((number, Disturbance { others_seconds: Some(*others), ..QUIET }))
        });
        let (number, disturbance) = kept.unwrap();
        (number, disturbance.tries, disturbance.quiet())
    };
    assert_eq!(run(2, &[0.0]), (0, 1, Quiet::Yes));
    assert_eq!(run(2, &[1.0, 0.0]), (1, 2, Quiet::Yes));
    assert_eq!(run(2, &[1.0, 0.6, 0.9]), (1, 3, Quiet::No));
    assert_eq!(run(0, &[1.0]), (0, 1, Quiet::No));
}
