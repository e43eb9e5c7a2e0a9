//! What the pages of a Parquet file ask for, read from their headers before anything is unpacked.
//!
//! A header states the size of its page unpacked and how many values it stands for; a page of a few bytes may stand for 2³¹
//! values, or unpack to gigabytes. The headers are structs in Thrift's compact protocol
//! (<https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>, `PageHeader`).

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, copy, sink};

/// What a value is taken for beside its own bytes, while a row is put together of it.
pub(super) const VALUE: u64 = 64;

/// Deeper than headers are nested.
const DEEPEST: usize = 8;
/// Longer than headers are, with the least and the largest value of a page.
const LONGEST_HEADER: u64 = 8 << 20;

/// A page, as its header states it.
#[derive(Debug, Default)]
struct Page {
    unpacked: u64,
    packed: u64,
    values: u64,
}

/// Refuses a file whose pages ask for more than `most` bytes, with what they ask for.
pub(super) fn check(file: &File, metadata: &ParquetMetaData, most: u64) -> Result<(), String> {
    let mut asked: u64 = 0;
    for group in metadata.row_groups() {
        for column in group.columns() {
            let (start, length) = column.byte_range();
            let is_gzip = matches!(column.compression(), Compression::GZIP(_));
            let mut at = start;
            while at < start.saturating_add(length) {
                let page = header(file, &mut at).map_err(|error| format!("a page at byte {at}: {error}"))?;
                let asks = page.unpacked.saturating_add(page.values.saturating_mul(VALUE));
                asked = asked.saturating_add(asks);
                if asked > most {
                    return Err(asks_for_more(most));
                }
                // The only way of packing that is unpacked to its end, whatever the header states.
                if is_gzip && unpacks_to_more(file, at, &page).map_err(|error| error.to_string())? {
                    return Err(format!("a page at byte {at} that unpacks to more than it states"));
                }
                at = at.saturating_add(page.packed);
            }
        }
    }
    Ok(())
}

/// The words for a file that asks for more than it may.
pub(super) fn asks_for_more(most: u64) -> String {
    let most = crate::bytes::Bytes(most).words();
    format!("a file that asks for more than {most} of memory, the most that one of its size may")
}

fn unpacks_to_more(mut file: &File, at: u64, page: &Page) -> io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    let unpacked = MultiGzDecoder::new(file.take(page.packed)).take(page.unpacked + 1);
    // What does not unpack is told when the page is read.
    Ok(copy(&mut { unpacked }, &mut sink()).is_ok_and(|bytes| bytes > page.unpacked))
}

/// Reads the header at `at`, and moves on to the page.
fn header(mut file: &File, at: &mut u64) -> io::Result<Page> {
    file.seek(SeekFrom::Start(*at))?;
    let mut bytes = Counted { inner: BufReader::with_capacity(512, file.take(LONGEST_HEADER)), count: 0 };
    let mut page = Page::default();
    structure(&mut bytes, 0, &mut |path, number| match path {
        [2] => page.unpacked = number,
        [3] => page.packed = number,
        [5 | 7 | 8, 1] => page.values = number,
        _ => {}
    })?;
    *at = at.saturating_add(bytes.count);
    Ok(page)
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Counted<R> {
    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.inner.read_exact(&mut byte)?;
        self.count += 1;
        Ok(byte[0])
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = copy(&mut self.inner.by_ref().take(bytes), &mut sink())?;
        self.count += skipped;
        if skipped == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// An unsigned number in groups of seven bits, the lowest first.
    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(unknown())
    }
}

/// Walks a struct; tells each number in it with the numbers of the fields that lead to it. A negative number, which none of
/// ours may be, is told as a very large one.
fn structure<R: Read>(
    bytes: &mut Counted<R>,
    depth: usize,
    tell: &mut dyn FnMut(&[u64], u64),
) -> io::Result<()> {
    let mut field = 0;
    loop {
        let head = bytes.byte()?;
        if head == 0 {
            return Ok(());
        }
        field = match head >> 4 {
            0 => zigzag(bytes.number()?),
            step => field + u64::from(step),
        };
        match head & 15 {
            // A truth stands in the head.
            1 | 2 => {}
            4..=6 => tell(&[field], zigzag(bytes.number()?)),
            12 if depth < DEEPEST => structure(bytes, depth + 1, &mut |path, number| {
                if let [inner] = path {
                    tell(&[field, *inner], number);
                }
            })?,
            kind => skip(bytes, kind, depth)?,
        }
    }
}

fn skip<R: Read>(bytes: &mut Counted<R>, kind: u8, depth: usize) -> io::Result<()> {
    if depth >= DEEPEST {
        return Err(unknown());
    }
    match kind {
        1..=3 => bytes.skip(1),
        4..=6 => bytes.number().map(drop),
        7 => bytes.skip(8),
        8 => {
            let length = bytes.number()?;
            bytes.skip(length)
        }
        9 | 10 => {
            let head = bytes.byte()?;
            let count = if head >> 4 == 15 { bytes.number()? } else { u64::from(head >> 4) };
            // Each takes a byte or more, so that the length of the file ends this.
            (0..count).try_for_each(|_| skip(bytes, head & 15, depth + 1))
        }
        12 => structure(bytes, depth + 1, &mut |_, _| {}),
        _ => Err(unknown()),
    }
}

fn zigzag(number: u64) -> u64 {
    if number & 1 == 0 { number >> 1 } else { u64::MAX }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no header of a page")
}
