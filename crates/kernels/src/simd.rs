//! Which vector instructions this machine has, and the macro that compiles one loop for each of them.

use std::cell::Cell;
use std::sync::OnceLock;

/// An instruction set a kernel is compiled for, from the least to the most capable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the compilation target guarantees: SSE2 on x86-64, NEON on AArch64.
    Scalar,
    /// AVX2, FMA and F16C, 8 lanes.
    Avx2,
    /// AVX-512 F, VL, DQ and BW, 16 lanes.
    Avx512,
}

thread_local! {
    static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
}

/// The instruction set in use: `"avx512"`, `"avx2"` or `"scalar"`.
pub fn simd_level() -> &'static str {
    match level() {
        Level::Avx512 => "avx512",
        Level::Avx2 => "avx2",
        Level::Scalar => "scalar",
    }
}

/// Runs `f` with the kernels called from this thread held to `level`, or to the machine's own if that is lower.
///
/// For tests and benchmarks. A kernel reads the level once, on the thread that calls it, so its helpers on other
/// threads follow; wrap this around the kernel call, inside any `ThreadPool::install`.
pub fn with_simd_level<R>(level: Level, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Level>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    let _restore = Restore(FORCED.replace(Some(level.min(detected()))));
    f()
}

/// The level for a kernel called now from this thread.
pub(crate) fn level() -> Level {
    FORCED.get().unwrap_or_else(detected)
}

fn detected() -> Level {
    static DETECTED: OnceLock<Level> = OnceLock::new();
    *DETECTED.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Scalar,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Scalar
}

/// Defines `fn name(level: Level, arguments…)` whose body, plain branch-free loops, is compiled once per level.
///
/// Rust never fuses `a * b + c` by itself, so a body without `mul_add` gives the same bits on every level.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name(level: $crate::simd::Level, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }
            match level {
                // SAFETY: a level above Scalar comes only from `detect`, which found its features on this machine.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}
pub(crate) use simd_fn;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forcing_a_level_holds_only_inside() {
        let before = simd_level();
        with_simd_level(Level::Scalar, || assert_eq!(simd_level(), "scalar"));
        assert_eq!(simd_level(), before);
    }
}
