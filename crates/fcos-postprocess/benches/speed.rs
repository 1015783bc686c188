//! Times NMS on scenes that `torchvision_nms.py` beside this file draws too, and all of
//! post-processing on an 800 × 1088 input of 80 classes. One thread.
//!
//!     cargo bench -p fcos-postprocess; python3 crates/fcos-postprocess/benches/torchvision_nms.py

#[path = "../tests/common/draws.rs"]
mod draws;

use std::hint::black_box;
use std::time::Instant;

use draws::Draws;
use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Outputs, Size};
use fcos_postprocess::{NmsConfig, PostprocessConfig, nms, postprocess};

/// `count` boxes around `objects` centres, each centre of one class.
fn scene(count: usize, objects: usize, classes: u32) -> (Vec<BBox>, Vec<f32>, Vec<u32>) {
    let mut draws = Draws::new(1);
    let (mut boxes, mut scores, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let u: [f32; 6] = std::array::from_fn(|_| draws.draw());
        let object = (u[5] * objects as f32).floor();
        let (x, y) = (object * 37.0 % 1000.0, object * 91.0 % 700.0);
        let (w, h) = (40.0 + object % 13.0 * 12.0, 40.0 + object % 7.0 * 20.0);
        let xywh = [
            x + u[0] * w * 0.2,
            y + u[1] * h * 0.2,
            w * (0.9 + u[2] * 0.2),
            h * (0.9 + u[3] * 0.2),
        ];
        boxes.push(BBox::from_xywh(xywh));
        scores.push(u[4]);
        labels.push(object as u32 % classes);
    }
    (boxes, scores, labels)
}

/// Prints the fastest and the median of many runs.
fn time<T>(name: &str, mut run: impl FnMut() -> T) {
    let once = |run: &mut dyn FnMut() -> T| {
        let start = Instant::now();
        black_box(run());
        start.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<f64> = (0..101).map(|_| once(&mut run)).collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{name:<52} {:7.3} ms, median {:7.3} ms",
        times[0], times[50]
    );
}

fn time_nms(name: &str, objects: usize, classes: u32) {
    let (boxes, scores, labels) = scene(5000, objects, classes);
    let run = || nms(&boxes, &scores, &labels, &NmsConfig::default()).expect("valid");
    let name = format!("nms, 5000 boxes, {name}, {} kept", run().len());
    time(&name, run);
}

/// `bias` moves the class logits: at −8 almost nothing passes, at −6 a few thousand pairs do.
fn time_postprocess(bias: f32) {
    let input = Size {
        width: 1088,
        height: 800,
    };
    let locations = Locations::new(input, &[8, 16, 32, 64, 128], LocationRule::HalfStride);
    let (n, mut draws) = (locations.len(), Draws::new(2));
    let mut draw = |count: usize, scale: f32, shift: f32| -> Vec<f32> {
        (0..count).map(|_| draws.draw() * scale + shift).collect()
    };
    let (cls, ltrb, ctr) = (
        draw(n * 80, 3.1, bias),
        draw(n * 4, 3.0, 1.0),
        draw(n, 6.0, -3.0),
    );
    let config = PostprocessConfig::default();
    let run = || {
        let head: Outputs<&[f32]> = Outputs {
            cls_logits: &cls,
            ltrb: &ltrb,
            centerness: &ctr,
        };
        postprocess(head, &locations, DistanceUnit::Stride, input, &config).expect("valid")
    };
    let name = format!(
        "postprocess, N {n}, C 80, bias {bias}, {} found",
        run().len()
    );
    time(&name, run);
}

fn main() {
    time_nms("80 classes, 80 objects", 80, 80);
    time_nms("80 classes, 5000 objects", 5000, 80);
    time_nms("1 class, 80 objects", 80, 1);
    time_nms("1 class, 5000 objects", 5000, 1);
    time_postprocess(-8.0);
    time_postprocess(-6.0);
}
