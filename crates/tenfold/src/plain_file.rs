//! Opening and reading of files that others may have put there: plain files only, and only up to a stated size.
//!
//! A name can stand for anything: a named pipe never ends, `/dev/zero` never runs out, a symbolic link leads out of the
//! folder. Files that people name (models, data, settings) may be reached by symbolic links, which caches of Hugging Face
//! are made of; files that Tenfold itself keeps in the folder of a run or in its cache may not, since it also writes them.

use crate::bytes::Bytes;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// The most that is read of one kind of file.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// What the file is, as in "a configuration".
    pub kind: &'static str,
    /// The most bytes that it may have.
    pub bytes: u64,
}

/// Files that people or libraries write by hand: config.json, adapter_config.json, study.toml, task files.
pub const SETTINGS: Bound = Bound { kind: "a file of settings", bytes: 16 << 20 };
/// The list of the tensors of a model in several files, which grows with the number of tensors.
pub const INDEX: Bound = Bound { kind: "an index of tensors", bytes: 64 << 20 };
/// Vocabularies and merges; the largest that are published have 35 MB.
pub const TOKENIZER: Bound = Bound { kind: "a tokenizer", bytes: 256 << 20 };
/// What Tenfold keeps of a trial or an evaluation.
pub const RECORD: Bound = Bound { kind: "a record", bytes: 2 << 30 };
/// Lines of text to be worked on, one by one.
pub const LINES: Bound = Bound { kind: "a file of texts", bytes: 1 << 30 };
/// Rows of data, which are all held in memory.
pub const DATA: Bound = Bound { kind: "a file of rows", bytes: 16 << 30 };
/// Tensors that are read whole, not mapped.
pub const TENSORS: Bound = Bound { kind: "a file of tensors", bytes: 256 << 30 };

/// How often this process read or mapped each file in order to understand it, for tests. Hashing and copying look at bytes
/// without understanding them, and do not count.
#[cfg(test)]
pub(crate) static READ: std::sync::Mutex<std::collections::BTreeMap<std::path::PathBuf, usize>> =
    std::sync::Mutex::new(std::collections::BTreeMap::new());

/// Counts that a file is read or mapped, where tests ask for it.
pub(crate) fn note_read(path: &Path) {
    #[cfg(test)]
    {
        let mut read = READ.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *read.entry(path.to_owned()).or_default() += 1;
    }
    #[cfg(not(test))]
    let _ = path;
}

/// Opens a plain file for reading. Symbolic links are followed.
pub fn open(path: &Path) -> io::Result<File> {
    let file = with_flags(OpenOptions::new().read(true), 0).open(path)?;
    plain(file)
}

/// Whether a file may be read: it is there, plain, and no larger than its kind.
pub fn check(path: &Path, bound: Bound) -> io::Result<()> {
    match open(path)?.metadata()?.len() {
        length if length > bound.bytes => Err(too_large(bound)),
        _ => Ok(()),
    }
}

/// The bytes of a plain file that may be reached by symbolic links.
pub fn read(path: &Path, bound: Bound) -> io::Result<Vec<u8>> {
    note_read(path);
    contents(open(path)?, bound)
}

/// The text of a plain file that may be reached by symbolic links.
pub fn read_text(path: &Path, bound: Bound) -> io::Result<String> {
    text(read(path, bound)?)
}

/// The bytes of a plain file or of a pipe, such as `/dev/stdin` or a shell's `<(command)`, to its end.
pub fn read_stream(path: &Path, bound: Bound) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() || !is_stream(path, kind) {
        return read(path, bound);
    }
    contents(File::open(path)?, bound)
}

/// All bytes of something that may have no end.
pub fn read_to_end(from: impl Read, bound: Bound) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = from.take(bound.bytes + 1).read_to_end(&mut content)? as u64;
    if read > bound.bytes { Err(too_large(bound)) } else { Ok(content) }
}

/// Opens a file of Tenfold's own: a plain file that no symbolic link stands for. What is to be done with it, and whether it
/// is made, is up to `options`.
pub(crate) fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    plain(with_flags(options, no_follow()).open(path).map_err(told)?)
}

/// The bytes of a file of Tenfold's own.
pub(crate) fn read_own(path: &Path, bound: Bound) -> io::Result<Vec<u8>> {
    contents(open_own(path, OpenOptions::new().read(true))?, bound)
}

/// The text of a file of Tenfold's own.
pub(crate) fn read_own_text(path: &Path, bound: Bound) -> io::Result<String> {
    text(read_own(path, bound)?)
}

/// Whether a folder of Tenfold's own is there; a symbolic link to one is none.
pub(crate) fn is_own_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// All bytes of an open file.
pub(crate) fn contents(file: File, bound: Bound) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > bound.bytes {
        return Err(too_large(bound));
    }
    read_to_end(file, bound)
}

fn too_large(bound: Bound) -> io::Error {
    let (kind, most) = (bound.kind, Bytes(bound.bytes).words());
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it is larger than {most}, the most that {kind} may have"),
    )
}

/// Bytes as the text that they should be.
pub(crate) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is no UTF-8 text: byte {at} fits nowhere"))
    })
}

fn plain(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(not_plain(kind)) }
}

fn not_plain(kind: FileType) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, not a plain file", what(kind)))
}

#[cfg(unix)]
fn what(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a named pipe",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_symlink() => "a symbolic link",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn what(kind: FileType) -> &'static str {
    if kind.is_dir() { "a folder" } else { "something else" }
}

/// Pipes and terminals come to an end; other devices need not. A shell's `<(command)` is a pipe below /dev/fd.
#[cfg(unix)]
fn is_stream(path: &Path, kind: FileType) -> bool {
    use std::io::IsTerminal;
    use std::os::unix::fs::FileTypeExt;
    kind.is_fifo() || kind.is_char_device() && File::open(path).is_ok_and(|file| file.is_terminal())
}

#[cfg(not(unix))]
fn is_stream(_: &Path, _: FileType) -> bool {
    false
}

/// Without waiting: a named pipe that nobody writes to would never be opened. Plain files know no waiting.
#[cfg(unix)]
fn with_flags(options: &mut OpenOptions, flags: i32) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(libc::O_NONBLOCK | flags)
}

#[cfg(not(unix))]
fn with_flags(options: &mut OpenOptions, _: i32) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn no_follow() -> i32 {
    libc::O_NOFOLLOW
}

#[cfg(not(unix))]
fn no_follow() -> i32 {
    0
}

/// What the system says of a symbolic link that is not followed ("too many levels") would mislead.
#[cfg(unix)]
fn told(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a symbolic link, not a plain file, and may lead to a file of someone else",
        ),
        Some(libc::ENXIO) => {
            io::Error::new(io::ErrorKind::InvalidInput, "it is a named pipe or a socket, not a plain file")
        }
        _ => error,
    }
}

#[cfg(not(unix))]
fn told(error: io::Error) -> io::Error {
    error
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::process::Command;

    fn pipe(folder: &Path) -> PathBuf {
        let path = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().is_ok_and(|status| status.success()));
        path
    }

    #[test]
    fn only_plain_files_are_read_and_none_waits() {
        let folder = tempfile::tempdir().unwrap();
        for (path, expected) in [
            (folder.path().to_owned(), "it is a folder, not a plain file"),
            (pipe(folder.path()), "it is a named pipe, not a plain file"),
            ("/dev/zero".into(), "it is a device, not a plain file"),
        ] {
            assert_eq!(read(&path, SETTINGS).unwrap_err().to_string(), expected);
            assert!(read_own(&path, SETTINGS).is_err());
            let written = open_own(&path, OpenOptions::new().append(true).create(true));
            assert!(written.is_err(), "{}", path.display());
        }
        assert!(read_stream(Path::new("/dev/zero"), LINES).is_err());
        assert_eq!(read(Path::new("/nowhere"), SETTINGS).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_is_followed_to_a_file_of_others_and_never_to_one_of_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        assert_eq!(read_text(&link, SETTINGS).unwrap(), "precious");
        for options in [OpenOptions::new().append(true), OpenOptions::new().write(true).truncate(true)] {
            let error = open_own(&link, options.create(true)).unwrap_err().to_string();
            assert!(error.contains("a symbolic link"), "{error}");
        }
        assert!(read_own(&link, SETTINGS).is_err());
        symlink(folder.path().join("missing"), folder.path().join("dangling")).unwrap();
        assert!(
            open_own(&folder.path().join("dangling"), OpenOptions::new().write(true).create(true)).is_err()
        );
        assert!(!folder.path().join("missing").exists());
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn a_file_larger_than_its_kind_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        File::create(&path).unwrap().set_len(3 << 30).unwrap();
        let error = read(&path, SETTINGS).unwrap_err().to_string();
        assert_eq!(error, "it is larger than 16.0 MiB, the most that a file of settings may have");
        let few = Bound { kind: "a word", bytes: 3 };
        fs::write(&path, "abc").unwrap();
        assert_eq!(read(&path, few).unwrap(), b"abc");
        fs::write(&path, "abcd").unwrap();
        assert!(read(&path, few).is_err());
        fs::write(&path, b"ab\xff").unwrap();
        assert!(read_text(&path, few).unwrap_err().to_string().contains("byte 2"));
    }

    #[test]
    fn a_pipe_is_a_stream_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = pipe(folder.path());
        let writer = std::thread::spawn({
            let path = path.clone();
            move || fs::write(path, "a\nb\n").unwrap()
        });
        assert_eq!(read_stream(&path, LINES).unwrap(), b"a\nb\n");
        writer.join().unwrap();
    }
}
