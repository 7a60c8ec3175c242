//! MD5 of eight streams side by side: loops over lanes, which the compiler makes vectors of.

use super::{BLOCK, LANES};

type Words = [u32; LANES];

/// Whether there is a processor for it. Without vectors of this width, streams one by one are as fast.
#[cfg(target_arch = "x86_64")]
pub(super) fn exist() -> bool {
    is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn exist() -> bool {
    false
}

pub(super) fn compress(state: &mut [Words; 4], streams: [&[[u8; BLOCK]]; LANES]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl")]
        fn avx512(state: &mut [Words; 4], streams: [&[[u8; BLOCK]]; LANES]) {
            each_block(state, streams);
        }

        #[target_feature(enable = "avx2")]
        fn avx2(state: &mut [Words; 4], streams: [&[[u8; BLOCK]]; LANES]) {
            each_block(state, streams);
        }

        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
            #[expect(unsafe_code, reason = "the processor has what the function was compiled for: that was asked")]
            return unsafe { avx512(state, streams) };
        }
        if is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "the processor has what the function was compiled for: that was asked")]
            return unsafe { avx2(state, streams) };
        }
    }
    each_block(state, streams);
}

/// RFC 1321, section 3.4: the integer part of 2^32 times the sine of the step's number.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// By how much a step of each round turns, and which word of the block it takes: first, and from step to step.
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const WORDS: [(usize, usize); 4] = [(0, 1), (1, 5), (5, 3), (0, 7)];

#[expect(clippy::inline_always, reason = "only inside a function that was compiled for vectors does it become vectors")]
#[inline(always)]
fn round<const ROUND: usize>(
    state: [Words; 4],
    words: &[Words; 16],
    mix: impl Fn(u32, u32, u32) -> u32 + Copy,
) -> [Words; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    for step in 0..16 {
        let (first, by) = WORDS[ROUND];
        let word = &words[(first + by * step) % 16];
        let mut turned = [0; LANES];
        for lane in 0..LANES {
            let sum = a[lane]
                .wrapping_add(mix(b[lane], c[lane], d[lane]))
                .wrapping_add(word[lane].wrapping_add(SINES[16 * ROUND + step]));
            turned[lane] = b[lane].wrapping_add(sum.rotate_left(TURNS[ROUND][step % 4]));
        }
        (a, b, c, d) = (d, turned, b, c);
    }
    [a, b, c, d]
}

#[expect(clippy::inline_always, reason = "only inside a function that was compiled for vectors does it become vectors")]
#[inline(always)]
fn each_block(state: &mut [Words; 4], streams: [&[[u8; BLOCK]]; LANES]) {
    let count = streams.iter().map(|stream| stream.len()).min().unwrap_or_default();
    for block in 0..count {
        let mut words = [[0; LANES]; 16];
        for (lane, stream) in streams.iter().enumerate() {
            for (word, bytes) in words.iter_mut().zip(stream[block].as_chunks::<4>().0) {
                word[lane] = u32::from_le_bytes(*bytes);
            }
        }
        let mut now = *state;
        now = round::<0>(now, &words, |x, y, z| z ^ (x & (y ^ z)));
        now = round::<1>(now, &words, |x, y, z| y ^ (z & (x ^ y)));
        now = round::<2>(now, &words, |x, y, z| x ^ y ^ z);
        now = round::<3>(now, &words, |x, y, z| y ^ (x | !z));
        for (sums, words) in state.iter_mut().zip(now) {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum = sum.wrapping_add(word);
            }
        }
    }
}
