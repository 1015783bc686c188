//! What the benchmarks share: inputs that are the same in every run.

use fcos_core::{BBox, LocationRule, Locations, Size};

/// The network input of most COCO photographs: 640 × 480 at a short side of 800, padded.
pub const INPUT: Size = Size {
    width: 1088,
    height: 800,
};

/// The strides of P3 to P7.
pub const STRIDES: [usize; 5] = [8, 16, 32, 64, 128];

/// The locations of [`INPUT`]: N = 18,134.
pub fn locations() -> Locations {
    Locations::new(INPUT, &STRIDES, LocationRule::HalfStride)
}

/// Numbers spread evenly over `[0, 1)`, without a pattern that any of the code could profit from.
pub fn uniform(count: usize) -> impl Iterator<Item = f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    })
}

/// Boxes of 8 to 600 pixels all over the input.
pub fn boxes(count: usize) -> Vec<BBox> {
    let numbers: Vec<f32> = uniform(4 * count).collect();
    let one = |n: &[f32]| {
        let (width, height) = (8.0 + 592.0 * n[2], 8.0 + 492.0 * n[3]);
        BBox::from_xywh([740.0 * n[0], 300.0 * n[1], width, height])
    };
    numbers.chunks_exact(4).map(one).collect()
}
