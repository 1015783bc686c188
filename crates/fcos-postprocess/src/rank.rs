//! Scores as keys that every sort agrees on.

/// A key that sorts scores in descending order when it is sorted ascending. `−0` equals `0`.
///
/// An integer of all bits, because comparing `f32`s has no answer for NaN.
#[inline]
pub(crate) fn descending(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits(); // −0 + 0 = 0
    if bits >> 31 == 0 {
        !(bits | 1 << 31)
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_the_scores_do() {
        let falling = [
            f32::INFINITY,
            2.0,
            1.0,
            1e-40,
            0.0,
            -1e-40,
            -1.0,
            f32::NEG_INFINITY,
        ];
        assert!(falling.is_sorted_by(|&a, &b| descending(a) < descending(b)));
        assert_eq!(descending(0.0), descending(-0.0));
    }
}
