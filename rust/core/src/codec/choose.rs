//! Store or compress, decided by content, never by name: the same bytes always get the same answer.

use super::WholeDeflater;
use crate::request::CodecChoice;

/// Length of a sample taken to judge a file that is not read whole before the decision.
pub const SAMPLE_BYTES: usize = 4096;

/// How many samples: at a quarter, the middle and three quarters, since heads of media files hold compressible metadata.
pub const SAMPLES: usize = 3;

/// Up to here a file is simply compressed and the result compared; above, samples are tried first.
const TRY_WHOLE: usize = 64 << 10;

/// Below this nothing is gained: the header costs more.
const SMALLEST: usize = 64;

/// What is to be done with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Store it.
    Store,
    /// Compress it and keep the result where it is at most this long.
    Try {
        /// The longest result worth keeping, in bytes.
        limit: usize,
    },
}

/// Where samples begin in a file of `size` bytes.
pub fn sample_offsets(size: u64) -> [u64; SAMPLES] {
    [size / 4, size / 2, size / 4 * 3]
}

/// The longest compressed form worth keeping. `Auto` wants a sixteenth saved: less does not pay for inflating it at every read.
fn limit(choice: CodecChoice, size: usize) -> usize {
    match choice {
        CodecChoice::Auto | CodecChoice::Zstd => size - size / 16 - 1,
        CodecChoice::Store | CodecChoice::Deflate => size - 1,
    }
}

/// The verdict on a whole file in memory.
pub fn judge(choice: CodecChoice, bytes: &[u8], probe: &mut WholeDeflater) -> Verdict {
    if choice == CodecChoice::Store || bytes.is_empty() {
        return Verdict::Store;
    }
    let limit = limit(choice, bytes.len());
    if choice == CodecChoice::Deflate {
        return Verdict::Try { limit };
    }
    if bytes.len() < SMALLEST || is_kept(bytes) {
        return Verdict::Store;
    }
    if bytes.len() > TRY_WHOLE {
        let samples = sample_offsets(bytes.len() as u64);
        let samples: Vec<&[u8]> = samples.iter().map(|&at| &bytes[at as usize..][..SAMPLE_BYTES]).collect();
        if !pays_off(choice, &samples, probe) {
            return Verdict::Store;
        }
    }
    Verdict::Try { limit }
}

/// Whether samples of a large file shrink enough to compress the whole.
pub fn pays_off(choice: CodecChoice, samples: &[&[u8]], probe: &mut WholeDeflater) -> bool {
    let mut scratch = [0; SAMPLE_BYTES + 64];
    let (mut raw, mut packed) = (0, 0);
    for sample in samples {
        raw += sample.len();
        packed += probe.compress(sample, &mut scratch).unwrap_or(sample.len());
    }
    raw > 0 && packed <= limit(choice, raw)
}

/// Whether the first bytes are those of a format whose content is entropy-coded already, or whose readers map it into
/// memory: `.safetensors`, `.gguf`, and the stored zips that `.pt` and `.npz` files are.
pub fn is_kept(head: &[u8]) -> bool {
    const MAGIC: &[&[u8]] = &[
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff", // JPEG
        b"GIF8",
        b"\x1f\x8b", // gzip
        b"\xfd7zXZ\0",
        b"BZh",
        b"\x28\xb5\x2f\xfd", // zstd
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!\x1a\x07",
        b"PK\x03\x04",
        b"PAR1",
        b"GGUF",
        b"OggS",
        b"fLaC",
        b"ID3",
        b"\x1a\x45\xdf\xa3", // Matroska, WebM
        b"\x04\x22\x4d\x18", // lz4
        b"wOF2",
        b"\xff\x0a", // JPEG XL
        b"\x00\x00\x00\x0cJXL \r\n\x87\n",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n", // JPEG 2000
    ];
    if MAGIC.iter().any(|magic| head.starts_with(magic)) {
        return true;
    }
    let at = |offset: usize, text: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(text));
    let riff = at(0, b"RIFF") && (at(8, b"WEBP") || at(8, b"AVI "));
    let mp3 = head.len() > 2 && head[0] == 0xff && matches!(head[1], 0xfa | 0xfb | 0xf2 | 0xf3);
    // ISO base media: MP4, MOV, HEIC, AVIF.
    riff || mp3 || at(4, b"ftyp") || is_safetensors(head)
}

/// Length of a JSON header as eight bytes, and then that header.
fn is_safetensors(head: &[u8]) -> bool {
    const LONGEST_HEADER: u64 = 100 << 20;
    match head.split_first_chunk() {
        Some((length, json)) => u64::from_le_bytes(*length) <= LONGEST_HEADER && json.starts_with(b"{\""),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn content_decides_and_not_its_head() {
        let mut probe = WholeDeflater::probe();
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        png.extend(noise(10_000));
        assert_eq!(judge(CodecChoice::Auto, &png, &mut probe), Verdict::Store);
        let mut headed = vec![b'a'; 64 << 10];
        headed.extend(noise(1 << 20));
        assert_eq!(judge(CodecChoice::Auto, &headed, &mut probe), Verdict::Store);
        assert_ne!(judge(CodecChoice::Auto, &vec![b'a'; 1 << 20], &mut probe), Verdict::Store);
        assert_eq!(judge(CodecChoice::Store, b"text text text", &mut probe), Verdict::Store);
        assert_eq!(judge(CodecChoice::Deflate, &png, &mut probe), Verdict::Try { limit: png.len() - 1 });
    }
}
