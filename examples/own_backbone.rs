//! A small Burn module as the backbone, under this library's pyramid and head: trained, loaded again,
//! predicting.
//!
//! ```sh
//! cargo run --release --example own_backbone
//! ```

use std::collections::BTreeMap;

use fcos::model::layers::{Activation, ConvNorm, ConvSize, Init};
use fcos::model::{BackboneConfig, BackboneModel, ConfigError, FeatureMap};
use fcos::{Detector, DeviceSpec, Tensor, burn, burn::module::Module, image::DynamicImage, train};

/// Convolutions that halve the sides and double the channels, of which a picture has 3. Any layers of
/// Burn's will do as well.
#[derive(Module, Debug)]
struct Strided {
    layers: Vec<ConvNorm>,
}

impl BackboneModel for Strided {
    fn init(config: &BackboneConfig, init: &Init<'_>) -> Result<Self, ConfigError> {
        let settings: BTreeMap<String, f64> = config.own_settings("strided")?;
        let eps = settings.get("norm_eps").copied().unwrap_or(1e-5);
        let conv = |i: u32| ConvNorm::new(ConvSize::new([3 << i, 6 << i], 3).stride(2), eps, init);
        let layers = (0..5).map(conv).collect();
        Ok(Self { layers })
    }

    fn features(&self) -> Vec<FeatureMap> {
        let map = |(channels, stride)| FeatureMap { channels, stride };
        (3..6).map(|i| map((3 << i, 1 << i))).collect()
    }

    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut maps = vec![images];
        for layer in &self.layers {
            maps.push(layer.forward(maps[maps.len() - 1].clone(), Activation::Relu));
        }
        maps.split_off(3)
    }

    /// So that they are folded for inference.
    fn map_layers(self, f: fn(ConvNorm) -> ConvNorm) -> Self {
        let layers = self.layers.into_iter().map(f).collect();
        Self { layers }
    }
}

fn main() -> anyhow::Result<()> {
    let mut config = fcos_examples::small_run(10)?;
    // Kept in the weights file.
    config.model.backbone = BackboneConfig::own("strided", BTreeMap::from([("norm_eps", 1e-3)]))?;
    let device = DeviceSpec::Auto.device()?;
    let run = train::RunFolder::next_free(fcos_examples::folder(), "own_backbone");
    let trainer = train::Trainer::<Strided>::start_with_backbone(config, run.path(), &device)?;
    println!("{} steps", trainer.run(&mut ())?.steps);

    let detector = Detector::<Strided>::load_own(run.file(train::BEST_WEIGHTS), &device)?;
    let found = detector.predict(&DynamicImage::new_rgb8(160, 120))?;
    println!("{} objects in a black picture", found.len());
    Ok(())
}
