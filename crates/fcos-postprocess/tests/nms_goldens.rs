//! NMS keeps what torchvision keeps, in 3000 random cases of 0 to 1000 boxes.

mod common;

use common::{Draws, golden};
use fcos_core::BBox;
use fcos_postprocess::{NmsConfig, nms};

/// As `boxes_of` in testdata/nms/make_goldens.py.
fn boxes_of(kind: u8, count: usize, classes: u8, seed: u64) -> (Vec<BBox>, Vec<f32>, Vec<u32>) {
    let mut draws = Draws::new(seed);
    let (mut boxes, mut scores, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let u: [f32; 6] = std::array::from_fn(|_| draws.draw());
        let cluster = (u[4] * 64.0).floor() % 8.0;
        let xywh = match kind {
            0 => [
                u[0] * 800.0,
                u[1] * 600.0,
                u[2] * 200.0 + 1.0,
                u[3] * 150.0 + 1.0,
            ],
            1 | 2 => [
                cluster * 90.0 + u[0] * 12.0,
                cluster * 60.0 + u[1] * 12.0,
                u[2] * 20.0 + 50.0,
                u[3] * 20.0 + 30.0,
            ],
            3 => [
                (u[0] * 3.0).floor() * 8.0,
                (u[1] * 3.0).floor() * 8.0,
                (u[2] * 2.0).floor() * 16.0 + 16.0,
                (u[3] * 2.0).floor() * 8.0 + 24.0,
            ],
            _ => [
                (u[0] * 12.0).floor(),
                (u[1] * 12.0).floor(),
                (u[2] * 6.0).floor(),
                (u[3] * 6.0).floor(),
            ],
        };
        boxes.push(BBox::from_xywh(xywh));
        scores.push(if kind == 2 || kind == 4 {
            (u[4] * 8.0).floor() / 8.0
        } else {
            u[4]
        });
        labels.push((u[5] * f32::from(classes)).floor() as u32);
    }
    (boxes, scores, labels)
}

#[test]
fn same_boxes_as_torchvision() {
    let file = golden("nms/kept.bin");
    let line = file.iter().position(|&b| b == b'\n').expect("a first line");
    let mut rest = &file[line + 1..];
    let (mut case, mut total) = (0, 0);
    while !rest.is_empty() {
        let count = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        let threshold = f32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]);
        let bits = &rest[8..8 + count.div_ceil(8)];
        let (boxes, scores, labels) = boxes_of(rest[2], count, rest[3], case);

        let mut expected: Vec<_> = (0..count)
            .filter(|i| bits[i / 8] >> (i % 8) & 1 == 1)
            .collect();
        expected.sort_by(|&a, &b| scores[b].total_cmp(&scores[a])); // stable
        let config = NmsConfig {
            threshold,
            ..NmsConfig::default()
        };
        assert_eq!(
            nms(&boxes, &scores, &labels, &config),
            Ok(expected),
            "case {case}"
        );

        rest = &rest[8 + bits.len()..];
        (case, total) = (case + 1, total + count);
    }
    assert_eq!(case, 3000);
    assert!(total > 900_000, "{total} boxes");
}
