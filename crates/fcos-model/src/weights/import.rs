//! Checkpoints of other implementations.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use fcos_core::{COCO_CATEGORY_IDS, ClassList};
use fcos_data::{ChannelOrder, PreprocessConfig, ValueRange};

use super::format::Format;
use super::{WeightsError, checkpoint, structure};
use crate::config::{Arch, ConfigError};
use crate::params::{NamedTensors, TensorMismatch};
use crate::presets::recipe;
use crate::{DetectorConfig, Fcos};

/// The prefix of the backbone's tensors.
const BACKBONE: &str = "backbone.";
const STEM: &str = "backbone.stem.conv.weight";
/// Outputs of torchvision's detectors.
const COCO_OUTPUTS: usize = 91;
const CLASS_LAYER: [&str; 2] = ["head.cls_logits.weight", "head.cls_logits.bias"];

/// A checkpoint of another implementation, read but not yet a network.
///
/// ```no_run
/// use burn::tensor::Device;
/// use fcos_model::weights::Checkpoint;
///
/// let checkpoint = Checkpoint::read("fcos_resnet50_fpn_coco-99b0c9b7.pth".as_ref())?;
/// let mut config = checkpoint.config(None)?;
/// config.preprocess.short_side = 600;
/// let model = checkpoint.into_model(&config, &Device::flex())?;
/// config.save("fcos.safetensors".as_ref(), &model)?;
/// # Ok::<(), fcos_model::weights::WeightsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    /// By this library's names.
    tensors: NamedTensors,
    /// Keys that belong to no network, in the file's spelling.
    unknown: Vec<String>,
}

impl Checkpoint {
    /// Reads a `.pth` or `.safetensors` file: bare, or under the entry `model` or `state_dict` of
    /// a training checkpoint; with or without `module.` before every key. Half and double
    /// precision become `f32`.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or its tensors are those of no known
    /// implementation.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        Self::from_tensors(path, checkpoint::read(path)?)
    }

    /// Tensors by their original names, from wherever; `path` is what errors call them.
    ///
    /// # Errors
    /// If they are those of no known implementation.
    pub fn from_tensors(path: &Path, tensors: NamedTensors) -> Result<Self, WeightsError> {
        let tensors = checkpoint::unwrap(tensors);
        let Some(format) = Format::detect(&tensors) else {
            return Err(WeightsError::UnknownFormat {
                path: path.into(),
                found: tensors.into_keys().take(4).collect(),
            });
        };
        let (tensors, unknown) = format.translate(tensors);
        Ok(Self {
            path: path.into(),
            format,
            tensors,
            unknown,
        })
    }

    /// Whose it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its backbone; `None` if it is none that this library has.
    pub fn arch(&self) -> Option<Arch> {
        structure::backbone(&self.tensors)
    }

    /// Its tensors by this library's names, with their shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors
            .iter()
            .map(|(name, data)| (name.as_str(), data.shape().as_slice()))
    }

    /// The presets that fit its keys.
    pub fn presets(&self) -> &'static [&'static str] {
        self.format.presets(structure::top_levels(&self.tensors))
    }

    /// The network that its shapes describe, with all settings of the preset: those that the keys
    /// can't tell, such as the activation, and preprocessing and postprocessing.
    ///
    /// # Errors
    /// If no preset is given and more than one fits, if the one given doesn't fit, or if the file
    /// holds no detector.
    pub fn config(&self, preset: Option<&str>) -> Result<DetectorConfig, WeightsError> {
        let name = self.choose(preset)?;
        let arch = self.arch().unwrap_or_default();
        let preset = DetectorConfig::preset_on(name, arch).map_err(|e| self.invalid(e))?;
        let model = structure::fit(preset.model.clone(), &self.tensors);
        let file = self.path.file_name().unwrap_or_default();
        let classes = ClassList::coco(model.num_classes);
        Ok(DetectorConfig {
            category_ids: classes.category_ids(),
            classes,
            provenance: format!("{} ({}, preset {name})", file.display(), self.format),
            model,
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
                let path = self.path.clone();
                return Err(WeightsError::NotCoco91 { path });
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
    /// a start for training with `preprocess`. A classifier's first layer is adapted to the
    /// channel order and to the range of the pixels.
    ///
    /// # Errors
    /// Unless the file holds exactly the backbone's tensors, or if `preprocess` shifts a
    /// classifier's pixels otherwise than ImageNet's mean does.
    pub fn into_backbone(
        mut self,
        model: Fcos,
        preprocess: &PreprocessConfig,
    ) -> Result<Fcos, WeightsError> {
        self.tensors.retain(|name, _| name.starts_with(BACKBONE));
        if self.format == Format::ImageNet {
            self.adapt_stem(preprocess)?;
        }
        let rest = model.tensors().into_iter();
        self.tensors
            .extend(rest.filter(|(name, _)| !name.starts_with(BACKBONE)));
        self.into_network(model)
    }

    /// The network with all tensors of this file.
    ///
    /// # Errors
    /// As [`into_model`](Self::into_model).
    pub fn into_network(self, model: Fcos) -> Result<Fcos, WeightsError> {
        let checked = model.with_tensors(self.tensors);
        let mismatch = match checked {
            Ok(model) if self.unknown.is_empty() => return Ok(model),
            Ok(_) => TensorMismatch::default(),
            Err(mismatch) => mismatch,
        };
        let unexpected = [mismatch.unexpected, self.unknown].concat();
        Err(WeightsError::Tensors {
            path: self.path,
            source: TensorMismatch {
                unexpected,
                ..mismatch
            },
        })
    }

    /// From `(p / 255 − mean) / std` in RGB to the pixels that `preprocess` gives.
    fn adapt_stem(&mut self, preprocess: &PreprocessConfig) -> Result<(), WeightsError> {
        let original = PreprocessConfig::imagenet_rgb(800, 1333);
        let unit = match preprocess.range {
            ValueRange::Unit => 1.0,
            ValueRange::Byte => 255.0,
        };
        let order = match preprocess.channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        // A shift of a quarter of a grey level is none.
        let same_mean =
            |(c, &o): (usize, &usize)| (preprocess.mean[c] / unit - original.mean[o]).abs() < 1e-3;
        if !order.iter().enumerate().all(same_mean) {
            let path = self.path.clone();
            return Err(WeightsError::OtherMean { path });
        }
        let factor = |c: usize| preprocess.std[c] / (unit * original.std[order[c]]);
        let Some(stem) = self.tensors.get(STEM) else {
            return Ok(()); // missed by the strict comparison that follows
        };
        let adapted = map_inputs(stem, order, factor);
        self.tensors.insert(STEM.into(), adapted);
        Ok(())
    }

    /// The preset to use.
    fn choose<'a>(&self, preset: Option<&'a str>) -> Result<&'a str, WeightsError> {
        let (path, format) = (self.path.clone(), self.format);
        let fitting = self.presets();
        if fitting.is_empty() {
            return Err(WeightsError::NoDetector { path });
        }
        let list = fitting.join(", ");
        match (preset, fitting) {
            (None, [only]) => Ok(only),
            (None, _) => Err(WeightsError::Ambiguous {
                path,
                format,
                fitting: list,
            }),
            (Some(name), _) => {
                match fitting.contains(&recipe(name).map_err(|e| self.invalid(e))?) {
                    true => Ok(name),
                    false => Err(WeightsError::OtherPreset {
                        path,
                        preset: name.into(),
                        format,
                        fitting: list,
                    }),
                }
            }
        }
    }

    fn invalid(&self, source: ConfigError) -> WeightsError {
        WeightsError::Config {
            path: self.path.clone(),
            source,
        }
    }
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

/// Input channel `c` of a convolution becomes `factor(c)` times what `order[c]` was. Weights that are
/// no convolution of three channels in `f32` stay.
fn map_inputs(weight: &TensorData, order: [usize; 3], factor: impl Fn(usize) -> f32) -> TensorData {
    let shape = weight.shape().to_vec();
    let (&[_, 3, height, width], Ok(values)) = (shape.as_slice(), weight.as_slice::<f32>()) else {
        return weight.clone();
    };
    let area = height * width;
    let mut mapped = Vec::with_capacity(values.len());
    for filter in values.chunks_exact((3 * area).max(1)) {
        for (c, &from) in order.iter().enumerate() {
            let channel = &filter[from * area..(from + 1) * area];
            mapped.extend(channel.iter().map(|v| v * factor(c)));
        }
    }
    TensorData::new(mapped, shape)
}
