//! Tars: each block's checksum is made right first, else nearly every change would stop at the first header. Behind a `G`
//! and some bytes that say where blocks of deflate end stands a tar that is packed first, since no change of a gzip stream
//! leaves its CRC right.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use zlib_rs::{Deflate, DeflateFlush};

const STEPS: usize = 15;

fuzz_target!(|bytes: &[u8]| {
    let packed = bytes.first() == Some(&b'G') && bytes.len() > STEPS;
    let (steps, tar) = bytes.split_at(if packed { 1 + STEPS } else { 0 });
    let mut tar = tar.to_vec();
    for block in tar.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].copy_from_slice(b"        ");
            let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
    common::use_all(if packed { gzip(&tar, &steps[1..]) } else { tar });
});

/// Each step takes some bytes and ends a block in one of all ways, inside a byte or on its end.
fn gzip(raw: &[u8], steps: &[u8]) -> Vec<u8> {
    let mut deflate = Deflate::new(i32::from(steps[0] % 10), false, 15);
    let mut out = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    let mut at = 0;
    for step in steps.iter().cycle() {
        let part = &raw[at..raw.len().min(at + 16 * usize::from(*step) + 16)];
        at += part.len();
        let flush = match step % 5 {
            _ if at == raw.len() => DeflateFlush::Finish,
            0 => DeflateFlush::NoFlush,
            1 => DeflateFlush::PartialFlush,
            2 => DeflateFlush::SyncFlush,
            3 => DeflateFlush::FullFlush,
            _ => DeflateFlush::Block,
        };
        let mut packed = vec![0; 4 * raw.len() + 1024];
        let before = deflate.total_out();
        deflate.compress(part, &mut packed, flush).expect("there is room");
        out.extend(&packed[..(deflate.total_out() - before) as usize]);
        if at == raw.len() {
            break;
        }
    }
    out.extend(crc32fast::hash(raw).to_le_bytes());
    out.extend((raw.len() as u32).to_le_bytes());
    out
}
