//! A small Burn module as the backbone, under this library's pyramid and head: trained, loaded again,
//! predicting.
//!
//! ```sh
//! cargo run --release --example own_backbone
//! ```

use std::collections::BTreeMap;

use fcos::burn::{self, module::Module};
use fcos::model::layers::{Activation, ConvNorm, ConvSize, Init};
use fcos::model::{BackboneConfig, BackboneModel, ConfigError, FeatureMap};
use fcos::train::{BEST_WEIGHTS, RunFolder, Trainer};
use fcos::{Detector, DeviceSpec, Tensor, image::DynamicImage};
use fcos_examples::{folder, small_run};

/// Convolutions that halve the sides, each with twice the channels of the one before. Any layers of
/// Burn's will do as well.
#[derive(Module, Debug)]
struct Strided {
    layers: Vec<ConvNorm>,
    width: usize,
}

impl BackboneModel for Strided {
    fn init(config: &BackboneConfig, init: &Init<'_>) -> Result<Self, ConfigError> {
        let settings: BTreeMap<String, usize> = config.own_settings("strided")?;
        let width = settings.get("width").copied().unwrap_or(4);
        let channels = |i: usize| if i == 0 { 3 } else { width << (i - 1) };
        let size = |i| ConvSize::new([channels(i), channels(i + 1)], 3).stride(2);
        let layers = (0..5).map(|i| ConvNorm::new(size(i), 1e-5, init)).collect();
        Ok(Self { layers, width })
    }

    fn features(&self) -> Vec<FeatureMap> {
        let map = |(channels, stride)| FeatureMap { channels, stride };
        (2..5).map(|i| map((self.width << i, 2 << i))).collect()
    }

    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut maps = vec![images];
        for layer in &self.layers {
            maps.push(layer.forward(maps[maps.len() - 1].clone(), Activation::Relu));
        }
        maps.split_off(3)
    }
}

fn main() -> anyhow::Result<()> {
    let mut config = small_run(10)?;
    // Kept in the weights file.
    config.model.backbone = BackboneConfig::own("strided", BTreeMap::from([("width", 4)]))?;
    let device = DeviceSpec::Auto.device()?;
    let run = RunFolder::next_free(folder(), "own_backbone");
    let trainer = Trainer::<Strided>::start_with_backbone(config, run.path(), &device)?;
    println!("{} steps", trainer.run(&mut ())?.steps);

    let detector = Detector::<Strided>::load_own(run.file(BEST_WEIGHTS), &device)?;
    let found = detector.predict(&DynamicImage::new_rgb8(160, 120))?;
    println!("{} objects in a black picture", found.len());
    Ok(())
}
