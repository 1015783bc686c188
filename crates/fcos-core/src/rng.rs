//! Counter-based random numbers: draw `n` of a stream is a pure function of `(key, n)`.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection that mixes all bits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One stream of splitmix64, named by a key; there is no global state.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of a key such as `[seed, epoch, image]`. Every word counts, and so does the order:
    /// streams of different keys are independent.
    pub fn from_key(key: &[u64]) -> Self {
        let absorb = |state: u64, word: &u64| mix(state ^ word.wrapping_add(GOLDEN));
        Self(key.iter().fold(GOLDEN, absorb))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform in `[0, 1)`, from the upper 24 bits: all an `f32` holds.
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `[low, high)`; `low` where the two are equal.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..n`; 0 for `n = 0`. The bias is below `n / 2⁶⁴`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Puts the items in a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_matches_the_published_sequence() {
        // First outputs of the reference implementation for the state 1234567.
        let mut rng = Rng(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([rng.next_u64(), rng.next_u64()], expected);
    }

    #[test]
    fn every_word_of_the_key_and_its_place_count() {
        let keys: [&[u64]; 6] = [&[1, 0, 5], &[2, 0, 5], &[1, 5, 0], &[1, 0, 6], &[1, 0], &[]];
        let mut first: Vec<u64> = keys.map(|k| Rng::from_key(k).next_u64()).to_vec();
        assert_eq!(first[0], Rng::from_key(&[1, 0, 5]).next_u64());
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), keys.len());
    }

    #[test]
    fn draws_are_uniform() {
        let mut rng = Rng::from_key(&[7]);
        let mean = (0..20_000).map(|_| rng.uniform(-1.0, 3.0)).sum::<f32>() / 20_000.0;
        assert!((mean - 1.0).abs() < 0.04, "mean {mean}");
        let mut seen = [0; 4];
        (0..4000).for_each(|_| seen[rng.below(4)] += 1);
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn each_of_the_orders_is_as_likely() {
        let mut rng = Rng::from_key(&[11]);
        let mut seen = [0; 6];
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            rng.shuffle(&mut items);
            seen[items[0] * 2 + usize::from(items[1] > items[2])] += 1;
        }
        assert!(seen.iter().all(|&n| (880..1120).contains(&n)), "{seen:?}");
    }
}
