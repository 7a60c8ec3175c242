//! Small archives of every format, made here byte by byte or by the codecs themselves, never by the reader's own code.

use std::io::Cursor;

/// A member to be: name, content.
pub type Entry<'a> = (&'a str, &'a [u8]);

/// How the bytes of a zip's member are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed {
    Stored,
    Deflated,
    Zstd,
}

pub fn text(length: usize) -> Vec<u8> {
    (0..).map(|i: usize| b"all work and no play makes "[i % 27]).take(length).collect()
}

pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub fn zstd(raw: &[u8]) -> Vec<u8> {
    let mut context = zstd_safe::CCtx::create();
    context.set_parameter(zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
    let mut out = Cursor::new(vec![0; zstd_safe::compress_bound(raw.len())]);
    let length = context.compress2(out.get_mut().as_mut_slice(), raw).unwrap();
    out.get_mut().truncate(length);
    out.into_inner()
}

pub fn deflate(raw: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut out = vec![0; compressor.deflate_compress_bound(raw.len())];
    let length = compressor.deflate_compress(raw, &mut out).unwrap();
    out.truncate(length);
    out
}

pub fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut out = b"\x1f\x8b\x08\x08\0\0\0\0\0\x03name.tar\0".to_vec();
    out.extend(deflate(raw));
    out.extend(crc32fast::hash(raw).to_le_bytes());
    out.extend((raw.len() as u32).to_le_bytes());
    out
}

/// A zip, with data descriptors where asked for.
pub fn zip(entries: &[Entry<'_>], packed: Packed, descriptors: bool) -> Vec<u8> {
    match packed {
        Packed::Stored => zip_with(entries, 0, <[u8]>::to_vec, descriptors),
        Packed::Deflated => zip_with(entries, 8, deflate, descriptors),
        Packed::Zstd => zip_with(entries, 93, zstd, descriptors),
    }
}

/// A zip whose members are packed by the method with this number, as `pack` has it.
pub fn zip_of(entries: &[Entry<'_>], method: u16, pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    zip_with(entries, method, pack, false)
}

fn zip_with(entries: &[Entry<'_>], method: u16, pack: impl Fn(&[u8]) -> Vec<u8>, descriptors: bool) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, raw) in entries {
        let bytes = pack(raw);
        let offset = out.len() as u32;
        let flags: u16 = if descriptors { 8 } else { 0 };
        let sizes = [crc32fast::hash(raw), bytes.len() as u32, raw.len() as u32].map(u32::to_le_bytes).concat();
        let head = [20_u16.to_le_bytes(), flags.to_le_bytes(), method.to_le_bytes(), [0, 0], [0x21, 0x50]].concat();
        let lengths = [(name.len() as u16).to_le_bytes(), [0, 0]].concat();
        out.extend(b"PK\x03\x04");
        out.extend(&head);
        out.extend(if descriptors { vec![0; 12] } else { sizes.clone() });
        out.extend(&lengths);
        out.extend(name.as_bytes());
        out.extend(bytes);
        if descriptors {
            out.extend(b"PK\x07\x08");
            out.extend(&sizes);
        }
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&head);
        directory.extend(&sizes);
        directory.extend(&lengths);
        directory.extend([0; 6]);
        directory.extend((0o100_644_u32 << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let offset = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([(entries.len() as u16).to_le_bytes(), (entries.len() as u16).to_le_bytes()].concat());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// One header block of a tar.
pub fn tar_header(name: &[u8], size: u64, flag: u8, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let cut = name.len().min(100);
    block[..cut].copy_from_slice(&name[..cut]);
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"14524770700");
    block[156] = flag;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// A header and its data, padded.
pub fn tar_member(name: &[u8], flag: u8, link: &[u8], raw: &[u8]) -> Vec<u8> {
    let mut out = tar_header(name, raw.len() as u64, flag, link);
    out.extend(raw);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

pub fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, (name, raw)) in entries.iter().enumerate() {
        if number % 2 == 1 {
            let record = format!("path={name}\n");
            let length = (record.len() + 3).to_string().len() + 1 + record.len();
            out.extend(tar_member(b"pax", b'x', b"", format!("{length} {record}").as_bytes()));
        }
        out.extend(tar_member(name.as_bytes(), b'0', b"", raw));
    }
    out.extend([0; 1024]);
    out
}

/// Zstd frames cut at these places of `raw`, with a seek table.
pub fn seekable(raw: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut out, mut table) = (Vec::new(), Vec::new());
    let mut from = 0;
    for &to in cuts.iter().chain([&raw.len()]) {
        let frame = zstd(&raw[from..to]);
        table.extend((frame.len() as u32).to_le_bytes());
        table.extend(((to - from) as u32).to_le_bytes());
        out.extend(frame);
        from = to;
    }
    out.extend(0x184D_2A5E_u32.to_le_bytes());
    out.extend((table.len() as u32 + 9).to_le_bytes());
    out.extend(&table);
    out.extend((table.len() as u32 / 8).to_le_bytes());
    out.push(0);
    out.extend(0x8F92_EAB1_u32.to_le_bytes());
    out
}

/// The same members in every format, and what each archive is called.
pub fn every_format(entries: &[Entry<'_>]) -> Vec<(&'static str, Vec<u8>)> {
    let tar = tar(entries);
    let half = tar.len() / 1024 * 512;
    vec![
        ("zip stored", zip(entries, Packed::Stored, false)),
        ("zip deflated", zip(entries, Packed::Deflated, false)),
        ("zip deflated with descriptors", zip(entries, Packed::Deflated, true)),
        ("zip zstd", zip(entries, Packed::Zstd, false)),
        ("tar.gz", gzip(&tar)),
        ("tar.gz of two members", [gzip(&tar[..half]), gzip(&tar[half..])].concat()),
        ("tar.zst of one frame", zstd(&tar)),
        ("tar.zst of two frames", [zstd(&tar[..half]), zstd(&tar[half..])].concat()),
        ("tar.zst with a seek table", seekable(&tar, &[half])),
        ("tar", tar),
    ]
}
