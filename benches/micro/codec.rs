//! What deflating, judging and giving up cost for one file: `cargo bench -p vhpack-benches --bench codec`.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vhpack_core::CodecChoice;
use vhpack_core::codec::{BlockDeflater, WholeDeflater, judge};

/// The size of most files in the corpora.
const FILE: usize = 11_000;
const BLOCK: usize = 1 << 20;

/// Bytes that nothing can squeeze (xorshift64*, a fixed seed).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// Annotation records: repeated keys, numbers without pattern.
fn annotations(length: usize) -> Vec<u8> {
    let mut text = String::new();
    for (number, digits) in noise(length).chunks_exact(4).enumerate() {
        let [left, top, width, height] = [0, 1, 2, 3].map(|at| u32::from(digits[at]) * 7919 % 2000);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{{\"id\": {number}, \"category\": \"traffic light\", \"box\": [{left}.{top}, {top}.{width}, {width}, {height}]}}, "
        );
    }
    text.truncate(length);
    text.into_bytes()
}

/// The upper halves of normally distributed floats, nearly: a steady byte after a random one.
fn weights(length: usize) -> Vec<u8> {
    noise(length).chunks(2).flat_map(|pair| [pair[0], 0x3C - (pair[pair.len() - 1].trailing_zeros() as u8)]).collect()
}

fn whole_files(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deflate a file of 11 kB");
    group.throughput(Throughput::Bytes(FILE as u64));
    let mut out = vec![0; 2 * FILE];
    let limit = FILE - FILE / 16;
    for level in [1, 2, 4, 6, 9] {
        let mut deflater = WholeDeflater::new(level);
        let text = annotations(FILE);
        group.bench_function(BenchmarkId::new("text", level), |bencher| {
            bencher.iter(|| deflater.compress(black_box(&text), &mut out));
        });
        let noise = noise(FILE);
        group.bench_function(BenchmarkId::new("noise, given up", level), |bencher| {
            bencher.iter(|| deflater.compress(black_box(&noise), &mut out[..limit]));
        });
    }
    group.finish();
}

fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deflate a block of 1 MiB");
    group.throughput(Throughput::Bytes(BLOCK as u64)).sample_size(20);
    let dictionary = weights(32 << 10);
    let mut out = Vec::with_capacity(2 * BLOCK);
    for level in [1, 2, 6] {
        let deflater = BlockDeflater::new(level);
        for (name, raw) in [("weights", weights(BLOCK)), ("text", annotations(BLOCK))] {
            group.bench_function(BenchmarkId::new(name, level), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    deflater.compress(&dictionary, black_box(&raw), false, &mut out, &|| false)
                });
            });
        }
    }
    group.finish();
}

fn verdicts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store or compress");
    let mut image = b"\x89PNG\r\n\x1a\n".to_vec();
    image.extend(noise(FILE));
    let mut probe = WholeDeflater::probe();
    for (name, bytes) in [
        ("image", image),
        ("text", annotations(FILE)),
        ("text of 1 MiB", annotations(BLOCK)),
        ("noise of 1 MiB", noise(BLOCK)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| judge(CodecChoice::Auto, black_box(&bytes), &mut probe));
        });
    }
    group.finish();
}

criterion_group!(benches, whole_files, blocks, verdicts);
criterion_main!(benches);
