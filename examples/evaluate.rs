//! COCO's metrics, of a file of detections or of a detector.
//!
//! ```sh
//! cargo run --release --example evaluate -- instances_val.json results.json
//! cargo run --release --example evaluate -- instances_val.json photos/ runs/demo/best.safetensors
//! cargo run --release --example evaluate   # of a small file of detections
//! ```

use fcos::eval::{Validation, evaluate_files};
use fcos::{Detector, DeviceSpec};

/// Annotations and detections for a first look.
const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/eval");

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let metrics = match &arguments[..] {
        [] => evaluate_files(
            format!("{TESTDATA}/mixed_annotations.json"),
            format!("{TESTDATA}/mixed_detections.json"),
        )?,
        [annotations, detections] => evaluate_files(annotations, detections)?,
        [annotations, images, weights] => {
            let detector = Detector::load(weights, &DeviceSpec::Auto.device()?)?;
            let classes = detector.classes();
            let validation = Validation::open(annotations, images, classes)?;
            println!("{}", validation.health());
            validation.evaluate(detector.pipeline(), &mut |_| ())?
        }
        _ => anyhow::bail!("ANNOTATIONS DETECTIONS, or ANNOTATIONS IMAGES WEIGHTS"),
    };
    for class in &metrics.per_class {
        println!("{}: AP50 {:.3}", class.name, class.stats.ap50);
    }
    println!("{metrics}");
    Ok(())
}
