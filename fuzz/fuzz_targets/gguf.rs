//! Whatever bytes a GGUF file is made of, reading its header is an error or an answer within the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use tenfold::model::gguf::Header;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::parse(Path::new("fuzzed.gguf"), bytes) {
        for info in header.tensors.values() {
            assert!(info.range.end <= bytes.len());
            assert_eq!(info.dtype.bytes(&info.shape), Some(info.range.len()));
        }
    }
});
