//! One line instead of a crash, where the operating system leaves nothing else to do: memory that cannot be had, and mapped
//! files that are cut short.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

#[global_allocator]
static ALLOCATOR: Told = Told;

/// The system's allocator; where that has no more memory, the process ends with a line that says so. Rust would abort it.
struct Told;

// SAFETY: Every call goes to `System` with the arguments as they came, and what it returns is returned.
unsafe impl GlobalAlloc for Told {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller keeps the contract of `alloc`.
        had(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller keeps the contract of `alloc_zeroed`.
        had(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: The caller keeps the contract of `realloc`.
        had(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: The caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[inline]
fn had(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        out_of_memory(bytes);
    }
    memory
}

#[cold]
fn out_of_memory(bytes: usize) -> ! {
    // Nothing here may ask for memory. All threads may come here at once; one speaks.
    static SAID: AtomicBool = AtomicBool::new(false);
    while SAID.swap(true, Ordering::Relaxed) {
        std::thread::park();
    }
    let mut line = Line { bytes: [0; 200], length: 0 };
    let _ = writeln!(
        line,
        "error: memory is exhausted: {bytes} more bytes could not be had; smaller batches, shorter texts or \
         --memory-limit may help, or a higher limit (ulimit -v)"
    );
    end_with(&line.bytes[..line.length])
}

/// A line in a place of its own.
struct Line {
    bytes: [u8; 200],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// From now on a mapped file that is cut short ends the process with a line and exit code 1, not with a signal.
#[cfg(unix)]
pub fn tell_of_lost_pages() {
    // SAFETY: `sigaction` is a plain structure that zeros are a value of; the handler calls only what may be called in a
    // signal's handler, and does not return.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = lost_pages as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
    }
}

#[cfg(not(unix))]
pub fn tell_of_lost_pages() {}

#[cfg(unix)]
extern "C" fn lost_pages(_: libc::c_int) {
    end_with(
        b"error: a file that is in use, most likely a model's weights, was cut short, or its disk failed; nothing was \
          written that depends on it. Put the whole file in its place and run the command again\n",
    )
}

/// Writes a line to stderr and ends the process at once, whatever state it is in.
fn end_with(line: &[u8]) -> ! {
    #[cfg(unix)]
    // SAFETY: Both calls may be made at any time; the pointer and the length are those of `line`.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        libc::_exit(1)
    }
    #[cfg(not(unix))]
    {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
        std::process::abort()
    }
}
