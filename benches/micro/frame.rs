//! What headers and the central directory cost: `cargo bench -p vhpack-benches --bench frame`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vhpack_core::frame::zip::{central_header, end, local_header};
use vhpack_core::frame::{Member, Method};

const MEMBERS: usize = 10_000;

fn member(name: &[u8]) -> Member<'_> {
    Member {
        name: (b"train/", name),
        link: b"",
        method: Method::Stored,
        crc: 0x1234_5678,
        size: 11_000,
        packed: 11_000,
        mtime: 1_800_000_000,
        mode: 0o100_644,
    }
}

fn headers(criterion: &mut Criterion) {
    let names: Vec<_> = (0..MEMBERS).map(|number| format!("{number:06}.png").into_bytes()).collect();
    let mut out = Vec::with_capacity(128 * MEMBERS);
    let mut group = criterion.benchmark_group("zip, 10,000 members");
    group.throughput(Throughput::Elements(MEMBERS as u64));
    group.bench_function("local headers", |bencher| {
        bencher.iter(|| {
            out.clear();
            for name in &names {
                local_header(&mut out, black_box(&member(name)));
            }
        });
    });
    for (title, start) in [("central directory", 0_u64), ("central directory beyond 4 GiB", 5 << 30)] {
        group.bench_function(title, |bencher| {
            bencher.iter(|| {
                out.clear();
                for (number, name) in (0_u64..).zip(&names) {
                    central_header(&mut out, black_box(&member(name)), start + number * 11_050);
                }
                let length = out.len() as u64;
                end(&mut out, MEMBERS as u64, length, start + MEMBERS as u64 * 11_050);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, headers);
criterion_main!(benches);
