//! Named random streams: one per component, so that a draw in one does not shift the draws of another.

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

/// The generator of every stream.
pub type Stream = Pcg64Mcg;

/// The stream called `name` under `seed`. The same pair gives the same numbers in every version that keeps this
/// function as it is.
pub fn stream(seed: u64, name: &str) -> Stream {
    // FNV-1a over the name, then the seed, so that neighbouring seeds share nothing.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes().chain(seed.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    Stream::seed_from_u64(hash)
}

/// The stream called `name` of one of many alike, told apart by `numbers`: a draw in one shifts no other, in whatever
/// order they come.
pub fn stream_of(seed: u64, name: &str, numbers: [u64; 2]) -> Stream {
    let [first, second] = numbers.map(|number| number.wrapping_add(1));
    // Odd multipliers keep pairs apart; the hash of `stream` does the mixing.
    let own = first.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ second.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    stream(seed ^ own.rotate_left(23), name)
}
