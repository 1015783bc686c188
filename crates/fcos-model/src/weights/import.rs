//! Checkpoints of other implementations.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use fcos_core::{COCO_CATEGORY_IDS, ClassList};
use fcos_data::PreprocessConfig;

use super::adelaidet::{PIXEL_MEAN, PIXEL_STD};
use super::format::Format;
use super::{Kind, WeightsError, check_finite, foreign, settings, stem, structure};
use crate::backbone::resnet::Arch;
use crate::backbone::{BackboneConfig, BackboneModel};
use crate::config::{ConfigError, FcosConfig};
use crate::params::{NamedShape, NamedTensors, TensorMismatch};
use crate::presets::recipe;
use crate::{DetectorConfig, Fcos};

/// The prefix of the backbone's tensors.
const BACKBONE: &str = "backbone.";
/// Outputs of torchvision's detectors.
const COCO_OUTPUTS: usize = 91;
const CLASS_LAYER: [&str; 2] = ["head.cls_logits.weight", "head.cls_logits.bias"];

/// A checkpoint of another implementation, read but not yet a network.
///
/// ```no_run
/// use burn::tensor::Device;
/// use fcos_model::weights::Checkpoint;
///
/// let checkpoint = Checkpoint::read("fcos_resnet50_fpn_coco-99b0c9b7.pth")?;
/// let mut config = checkpoint.config(None)?;
/// config.preprocess.short_side = 600;
/// let model = checkpoint.into_model(&config, &Device::flex())?;
/// config.save("fcos.safetensors", &model)?;
/// # Ok::<(), fcos_model::weights::WeightsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    /// By this library's names.
    tensors: NamedTensors,
    /// What belongs to no network, in the file's spelling.
    unknown: Vec<NamedShape>,
    /// Mean and standard deviation of the pixels, where the file has them.
    pixels: [Option<[f32; 3]>; 2],
}

impl Checkpoint {
    /// Reads a `.pth` or `.safetensors` file: bare, or under the entry `model` or `state_dict` of
    /// a training checkpoint; with or without `module.` before every key. Half and double
    /// precision become `f32`.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or its tensors are those of no known
    /// implementation.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        Self::from_tensors(path, foreign::read(path)?)
    }

    /// Tensors by their original names, from wherever; `path` is what errors call them.
    ///
    /// # Errors
    /// If they are those of no known implementation.
    pub fn from_tensors(
        path: impl AsRef<Path>,
        tensors: NamedTensors,
    ) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let tensors = foreign::network_tensors(tensors);
        let Some(format) = Format::detect(&tensors) else {
            let found = tensors.into_keys().take(4).collect();
            return Err(Kind::UnknownFormat { found }.at(path));
        };
        let (mut tensors, unknown) = format.translate(tensors);
        let pixels = [PIXEL_MEAN, PIXEL_STD].map(|name| take_triple(&mut tensors, name));
        Ok(Self {
            path: path.into(),
            format,
            tensors,
            unknown,
            pixels,
        })
    }

    /// Whose it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its backbone, as far as the tensors tell; `None` if it is none that this library has.
    pub fn backbone(&self) -> Option<BackboneConfig> {
        structure::backbone(&self.tensors)
    }

    /// Depth and kind of its [backbone](Self::backbone), if that is a ResNet.
    pub fn arch(&self) -> Option<Arch> {
        Some(self.backbone()?.as_resnet()?.arch)
    }

    /// Its tensors by this library's names, with their shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors
            .iter()
            .map(|(name, data)| (name.as_str(), data.shape().as_slice()))
    }

    /// Tensors that no network has, in the file's spelling, with their shapes. A file that has some
    /// can't be loaded.
    pub fn unknown(&self) -> &[NamedShape] {
        &self.unknown
    }

    /// The presets that fit its keys.
    pub fn presets(&self) -> &'static [&'static str] {
        let arch = self.arch().unwrap_or_default();
        self.format
            .presets(arch, structure::top_levels(&self.tensors))
    }

    /// The network that its shapes describe, with all settings of the preset: those that the keys
    /// can't tell, such as the activation, and preprocessing and postprocessing.
    ///
    /// # Errors
    /// If no preset is given and more than one fits, if the one given doesn't fit, or if the file
    /// holds no detector.
    pub fn config(&self, preset: Option<&str>) -> Result<DetectorConfig, WeightsError> {
        let name = self.choose(preset)?;
        let config = self.preset_as_found(name)?;
        config.model.validate().map_err(|e| self.invalid(e))?;
        let file = self.path.file_name().unwrap_or_default();
        let classes = ClassList::coco(config.model.num_classes);
        Ok(DetectorConfig {
            category_ids: classes.category_ids(),
            classes,
            provenance: format!("{} ({}, preset {name})", file.display(), self.format),
            ..config
        })
    }

    /// A preset with what the tensors say.
    fn preset_as_found(&self, name: &str) -> Result<DetectorConfig, WeightsError> {
        let arch = self.arch().unwrap_or_default();
        let preset = DetectorConfig::preset_on(name, arch).map_err(|e| self.invalid(e))?;
        let [mean, std] = self.pixels;
        Ok(DetectorConfig {
            model: structure::fit(preset.model, &self.tensors),
            preprocess: PreprocessConfig {
                mean: mean.unwrap_or(preset.preprocess.mean),
                std: std.unwrap_or(preset.preprocess.std),
                ..preset.preprocess
            },
            ..preset
        })
    }

    /// Leaves only the rows of COCO's 80 classes of torchvision's 91 outputs.
    ///
    /// # Errors
    /// If the class layer has not 91 outputs.
    pub fn keep_coco80(&mut self) -> Result<(), WeightsError> {
        for name in CLASS_LAYER {
            let data = self.tensors.get(name);
            let Some(data) = data.filter(|d| d.shape().first() == Some(&COCO_OUTPUTS)) else {
                return Err(Kind::NotCoco91.at(&self.path));
            };
            let rows = select_rows(data, &COCO_CATEGORY_IDS);
            self.tensors.insert(name.into(), rows);
        }
        Ok(())
    }

    /// The network of `config`, which is [`config`](Self::config)'s but for changed settings.
    ///
    /// # Errors
    /// Unless the file holds exactly the network's tensors. Nothing is loaded in part.
    pub fn into_model(
        self,
        config: &DetectorConfig,
        device: &Device,
    ) -> Result<Fcos, WeightsError> {
        let model = config.model.init(device).map_err(|e| self.invalid(e))?;
        self.into_network(model)
    }

    /// The network with the backbone of this file, be it a detector's or an ImageNet classifier's:
    /// a start for training with `preprocess`, to whose pixels the first layer is adapted. Exactly,
    /// but where it sees padding: that is the mean colour, and so another one if the mean is.
    ///
    /// # Errors
    /// Unless the file holds exactly the backbone's tensors, and `model` computes with them what
    /// they were trained for; or if that can't be told from the keys.
    pub fn into_backbone<B: BackboneModel>(
        mut self,
        model: Fcos<B>,
        preprocess: &PreprocessConfig,
    ) -> Result<Fcos<B>, WeightsError> {
        let origin = self.origin()?;
        self.tensors.retain(|name, _| name.starts_with(BACKBONE));
        let path = self.path.clone();
        stem::adapt(&mut self.tensors, &origin.preprocess, preprocess)
            .ok_or_else(|| Kind::UnknownStem.at(&self.path))?;
        // What the file does not give stays as it is in the network.
        let rest = model.tensors().into_iter();
        self.tensors
            .extend(rest.filter(|(name, _)| !name.starts_with(BACKBONE)));
        let model = self.into_network(model)?;
        let trained = FcosConfig {
            backbone: origin.model.backbone,
            ..model.config().clone()
        };
        settings::compare(&path, trained, model.config())?;
        Ok(model)
    }

    /// The preset of the file's backbone: any that fits, if all agree on the backbone and on the
    /// pixels. A classifier is what torchvision's detector starts from.
    fn origin(&self) -> Result<DetectorConfig, WeightsError> {
        let (first, others) = match self.presets() {
            [first, others @ ..] => (*first, others),
            [] => ("torchvision", [].as_slice()),
        };
        let first = self.preset_as_found(first)?;
        for other in others {
            let other = self.preset_as_found(other)?;
            let same_backbone = other.model.backbone == first.model.backbone;
            if !same_backbone || other.preprocess != first.preprocess {
                return Err(self.ambiguous());
            }
        }
        Ok(first)
    }

    /// The network with all tensors of this file.
    ///
    /// # Errors
    /// As [`into_model`](Self::into_model).
    pub fn into_network<B: BackboneModel>(self, model: Fcos<B>) -> Result<Fcos<B>, WeightsError> {
        for (name, data) in &self.tensors {
            check_finite(&self.path, name, data.as_slice().unwrap_or_default())?;
        }
        let mismatch = match model.with_tensors(self.tensors) {
            Ok(model) if self.unknown.is_empty() => return Ok(model),
            Ok(_) => TensorMismatch::default(),
            Err(mismatch) => mismatch,
        };
        let unexpected = [mismatch.unexpected, self.unknown].concat();
        let mismatch = TensorMismatch {
            unexpected,
            ..mismatch
        };
        Err(Kind::Tensors(mismatch).at(&self.path))
    }

    /// The preset to use.
    fn choose<'a>(&self, preset: Option<&'a str>) -> Result<&'a str, WeightsError> {
        let fitting = self.presets();
        if fitting.is_empty() {
            return Err(Kind::NoDetector.at(&self.path));
        }
        match (preset, fitting) {
            (None, [only]) => Ok(only),
            (None, _) => Err(self.ambiguous()),
            (Some(name), _) => {
                let recipe = recipe(name).map_err(|e| self.invalid(e))?;
                let other = || Kind::OtherPreset {
                    preset: name.into(),
                    format: self.format,
                    fitting: fitting.join(", "),
                };
                let fits = fitting.contains(&recipe).then_some(name);
                fits.ok_or_else(|| other().at(&self.path))
            }
        }
    }

    fn ambiguous(&self) -> WeightsError {
        let kind = Kind::Ambiguous {
            format: self.format,
            fitting: self.presets().join(", "),
        };
        kind.at(&self.path)
    }

    fn invalid(&self, error: ConfigError) -> WeightsError {
        Kind::Config(error).at(&self.path)
    }
}

/// Three numbers. What is something else stays, and is one tensor too many.
fn take_triple(tensors: &mut NamedTensors, name: &str) -> Option<[f32; 3]> {
    let values = tensors.get(name)?.as_slice::<f32>().ok()?;
    let values = values.try_into().ok()?;
    tensors.remove(name);
    Some(values)
}

/// The rows of the first axis with these numbers, all below its length.
fn select_rows(data: &TensorData, rows: &[usize]) -> TensorData {
    let mut shape = data.shape().to_vec();
    let bytes = data.as_bytes();
    let row = bytes.len() / shape[0].max(1);
    shape[0] = rows.len();
    let selected = rows.iter().flat_map(|r| &bytes[r * row..(r + 1) * row]);
    TensorData::from_bytes_vec(selected.copied().collect(), shape, data.dtype())
}
