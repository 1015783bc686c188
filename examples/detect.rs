//! Finds objects in a picture, prints them, and draws them into `detections.png` among the temporary
//! files.
//!
//! ```sh
//! cargo run --release --example detect -- runs/demo/best.safetensors street.jpg
//! cargo run --release --example detect     # random weights and a made-up picture, to see it run
//! ```

use fcos::image::{self, DynamicImage, Rgb, RgbImage};
use fcos::{
    ClassList, Detector, DetectorConfig, Device, DeviceSpec, FcosConfig, Label, draw_detections,
};

fn main() -> anyhow::Result<()> {
    let device = DeviceSpec::Auto.device()?;
    let mut arguments = std::env::args().skip(1);
    let detector = match arguments.next() {
        Some(weights) => Detector::load(weights, &device)?, // settings and class names are in it
        None => untrained(&device)?,
    };
    let picture = match arguments.next() {
        Some(file) => image::open(file)?,
        None => DynamicImage::ImageRgb8(RgbImage::from_fn(320, 240, |x, y| {
            Rgb([x as u8, y as u8, (x / 20 + y / 20) as u8 % 2 * 255])
        })),
    };

    let found = detector.predict(&picture)?;
    for d in &found {
        println!("{} {:.2} {:?}", d.name, d.score, d.bbox); // pixels of the picture
    }

    let mut drawn = picture.to_rgb8();
    draw_detections(
        &mut drawn,
        found.iter().map(Label::from),
        &Default::default(),
    );
    let file = std::env::temp_dir().join("detections.png");
    drawn.save(&file)?;
    println!("{} objects, drawn into {}", found.len(), file.display());
    Ok(())
}

/// A small network that has learnt nothing: the scores are low, and so is what they have to reach.
fn untrained(device: &Device) -> anyhow::Result<Detector> {
    let classes = ClassList::new(["cat", "dog"])?;
    let mut config = DetectorConfig::new(FcosConfig::tiny(), classes);
    config.postprocess.pre_filter.threshold = 0.0;
    config.postprocess.max_detections = 5;
    Ok(Detector::new(config.model.init(device)?, config)?)
}
