//! Everything that decides a run, in one structure that is one TOML file.

use std::path::{Path, PathBuf};

use fcos_core::{LocationRule, SettingError};
use fcos_data::{AugmentConfig, Dataset, PreprocessConfig};
use fcos_loss::LossConfig;
use fcos_model::{ANCHOR_SIDE, DetectorConfig, FcosConfig};
use fcos_postprocess::PostprocessConfig;
use fcos_targets::{AssignConfig, AssignRule};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::TrainError;
use crate::files::io_error;
use crate::recipe::Recipe;
use crate::setting_layers::{from_toml, merge, parse_assignment, to_toml};

/// Presets: small TOML files, each a difference to [`TrainConfig::default`].
const PRESETS: [(&str, &str); 5] = [
    ("demo", include_str!("../presets/demo.toml")),
    ("r18-320", include_str!("../presets/r18-320.toml")),
    ("r50-1x", include_str!("../presets/r50-1x.toml")),
    ("atss", include_str!("../presets/atss.toml")),
    (
        "retinanet-a1-atss",
        include_str!("../presets/retinanet-a1-atss.toml"),
    ),
];

/// All settings of a training run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Where the images and annotations are.
    pub data: DataPaths,
    /// The network. Its number of classes is the data set's, whatever stands here.
    pub model: FcosConfig,
    /// A weights file or checkpoint of the same network to start from.
    pub start_weights: Option<PathBuf>,
    /// A checkpoint to take the backbone from, of a detector or of a torchvision classifier; see
    /// [`Checkpoint::into_backbone`](fcos_model::weights::Checkpoint::into_backbone).
    pub backbone_weights: Option<PathBuf>,
    /// From a decoded image to the network's input.
    pub preprocess: PreprocessConfig,
    /// Random changes to training images.
    pub augment: AugmentConfig,
    /// Where on the input a feature-map cell sits.
    pub location_rule: LocationRule,
    /// Which location learns from which box.
    pub assign: AssignConfig,
    /// The losses.
    pub loss: LossConfig,
    /// From the network's output to detections.
    pub postprocess: PostprocessConfig,
    /// Optimiser, schedule, length, intervals.
    pub recipe: Recipe,
}

/// Annotations of [any known format](fcos_data::read_annotations), and the folders of their images.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataPaths {
    /// Annotations to train on.
    pub train_annotations: PathBuf,
    /// Folder of its images.
    pub train_images: PathBuf,
    /// Annotations to evaluate on; none trains without evaluation.
    pub val_annotations: Option<PathBuf>,
    /// Folder of its images.
    pub val_images: Option<PathBuf>,
}

impl TrainConfig {
    /// The names that [`load`](Self::load) takes besides files.
    pub fn preset_names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// Settings from a preset's name or a TOML file, then `key=value` overrides, each laid over
    /// the one before.
    ///
    /// ```
    /// let sets = ["recipe.batch_size=2".to_string(), "recipe.clip_grad_norm=none".to_string()];
    /// let config = fcos_train::TrainConfig::load("r18-320", &sets)?;
    /// assert_eq!((config.recipe.batch_size, config.recipe.clip_grad_norm), (2, None));
    /// # Ok::<(), fcos_train::TrainError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such preset or file, or a key or value is not one of the settings'.
    pub fn load(preset_or_file: &str, sets: &[String]) -> Result<Self, TrainError> {
        let config = Self::parse(&Self::source(preset_or_file)?, preset_or_file, sets)?;
        config.validate()?;
        Ok(config)
    }

    /// Settings from the TOML file of a run folder, of any version.
    ///
    /// # Errors
    /// If it can't be read, or a key or value in it is not one of the settings'.
    pub fn read(file: impl AsRef<Path>) -> Result<Self, TrainError> {
        let file = file.as_ref();
        let text = std::fs::read_to_string(file).map_err(|e| io_error(file, e))?;
        let origin = file.to_string_lossy();
        let mut file = parse_toml(&text, &origin)?;
        forget_unit(&mut file);
        let config = Self::over_defaults(file, &origin, &[])?;
        config.validate()?;
        Ok(config)
    }

    fn parse(text: &str, origin: &str, sets: &[String]) -> Result<Self, TrainError> {
        Self::over_defaults(parse_toml(text, origin)?, origin, sets)
    }

    fn over_defaults(file: Value, origin: &str, sets: &[String]) -> Result<Self, TrainError> {
        let mut layers = as_json(&Self::default())?;
        merge(&mut layers, file);
        overridden(layers, origin, sets)
    }

    /// Checks all parts.
    ///
    /// # Errors
    /// Names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), TrainError> {
        self.recipe.validate().map_err(|e| e.within("recipe"))?;
        self.model.validate().map_err(|e| e.within("model"))?;
        let within = |table| move |error: SettingError| error.within(table);
        self.preprocess.validate().map_err(within("preprocess"))?;
        self.augment.validate().map_err(within("augment"))?;
        let assign = self.assign.validate(self.model.num_levels());
        let unit = self.assign.check_unit(self.model.distance_unit());
        assign.and(unit).map_err(within("assign"))?;
        self.check_anchors()?;
        self.loss.validate().map_err(within("loss"))?;
        self.postprocess.validate().map_err(within("postprocess"))?;
        Ok(())
    }

    /// That boxes are offsets of the anchors by which they are assigned.
    fn check_anchors(&self) -> Result<(), SettingError> {
        let scale = self.assign.atss.anchor_scale;
        let by_anchors = self.assign.rule == AssignRule::Atss;
        let of_anchors = self.model.head.box_activation.is_of_anchors();
        SettingError::check(
            !by_anchors || !of_anchors || f64::from(scale) == ANCHOR_SIDE,
            "assign.atss.anchor_scale",
            scale,
            format!("{ANCHOR_SIDE}, that of the anchors of `model.head.box_activation`"),
        )
    }

    /// What a detector trained on this data by these settings needs to predict.
    pub fn detector(&self, data: &Dataset) -> DetectorConfig {
        let model = FcosConfig {
            num_classes: data.classes().len(),
            ..self.model.clone()
        };
        DetectorConfig {
            model,
            preprocess: self.preprocess.clone(),
            location_rule: self.location_rule,
            postprocess: self.postprocess,
            classes: data.classes().clone(),
            category_ids: data.category_ids().to_vec(),
            provenance: format!("trained by fcos-train {}", env!("CARGO_PKG_VERSION")),
        }
    }

    /// As a TOML file that [`load`](Self::load) reads back to the same settings. Options that are
    /// off stand as `"none"`.
    ///
    /// # Errors
    /// If there is a value that TOML can't hold: a path that is no UTF-8, a number beyond `i64`.
    pub fn to_toml(&self) -> Result<String, TrainError> {
        const ORIGIN: &str = "settings as TOML";
        let text = toml::to_string_pretty(&to_toml(&as_json(self)?));
        let text = text.map_err(|e| config_error(ORIGIN, e))?;
        let mut written = self.clone();
        written.assign.distance_unit = None; // the one setting that is read and not written
        if Self::parse(&text, ORIGIN, &[])? == written {
            Ok(text)
        } else {
            let reason = "they don't read back to the same values";
            Err(config_error(ORIGIN, reason))
        }
    }

    fn source(preset_or_file: &str) -> Result<String, TrainError> {
        if let Some((_, text)) = PRESETS.iter().find(|(name, _)| *name == preset_or_file) {
            return Ok((*text).to_string());
        }
        let path = Path::new(preset_or_file);
        let looks_like_a_file = path.extension().is_some() || path.components().count() > 1;
        if !looks_like_a_file && !path.exists() {
            let known = Self::preset_names().collect::<Vec<_>>().join(", ");
            return Err(TrainError::UnknownPreset {
                name: preset_or_file.into(),
                known,
            });
        }
        std::fs::read_to_string(path).map_err(|e| io_error(path, e))
    }
}

/// The pre-release wrote `assign.distance_unit = "stride"` into every run folder and did not look at it.
fn forget_unit(file: &mut Value) {
    let Some(Value::Object(assign)) = file.get_mut("assign") else {
        return;
    };
    if assign
        .get("distance_unit")
        .is_some_and(|unit| unit == "stride")
    {
        assign.remove("distance_unit");
    }
}

fn parse_toml(text: &str, origin: &str) -> Result<Value, TrainError> {
    let table: toml::Table = toml::from_str(text).map_err(|e| config_error(origin, e))?;
    Ok(from_toml(toml::Value::Table(table)))
}

pub(crate) fn as_json(settings: &impl Serialize) -> Result<Value, TrainError> {
    serde_json::to_value(settings).map_err(|e| config_error("settings", e))
}

fn config_error(origin: &str, reason: impl ToString) -> TrainError {
    TrainError::Config {
        origin: origin.into(),
        reason: reason.to_string(),
    }
}

/// Any settings with `key=value` overrides as [`TrainConfig::load`] takes them.
///
/// ```
/// let config = fcos_data::PreprocessConfig::default();
/// let config = fcos_train::with_settings(&config, &["short_side=600".to_string()])?;
/// assert_eq!(config.short_side, 600);
/// # Ok::<(), fcos_train::TrainError>(())
/// ```
///
/// # Errors
/// If a key or value is not one of the settings'.
pub fn with_settings<T: Serialize + DeserializeOwned>(
    settings: &T,
    sets: &[String],
) -> Result<T, TrainError> {
    overridden(as_json(settings)?, "", sets)
}

fn overridden<T: DeserializeOwned>(
    mut layers: Value,
    origin: &str,
    sets: &[String],
) -> Result<T, TrainError> {
    for set in sets {
        let value = parse_assignment(set)
            .ok_or_else(|| config_error(&format!("--set {set}"), "expected key=value"))?;
        merge(&mut layers, value);
    }
    let origin = [origin, &sets.join(" ")].join(" ");
    serde_json::from_value(layers).map_err(|e| config_error(origin.trim(), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NormShift, OptimizerKind};
    use fcos_model::{Arch, BackboneConfig, BoxActivation};

    #[test]
    fn every_preset_loads_and_survives_a_round_trip() {
        for name in TrainConfig::preset_names() {
            let config = TrainConfig::load(name, &[]).expect(name);
            let dir = tempfile::tempdir().expect("temp dir");
            let file = dir.path().join("config.toml");
            std::fs::write(&file, config.to_toml().expect(name)).expect("writes");
            let again = TrainConfig::load(&file.to_string_lossy(), &[]).expect(name);
            assert_eq!(again, config, "{name}");
        }
    }

    #[test]
    fn overrides_reach_every_depth() {
        let sets = [
            "model.head.num_convs=2",
            "recipe.warmup.iterations=7",
            "recipe.eval_every=none",
            "assign.center_sampling_radius=none",
            "model.fpn.top_levels=0",
            "assign.size_ranges=[[0, 32], [32, 64], [64, inf]]",
        ];
        let config = TrainConfig::load("r18-320", &sets.map(String::from)).expect("loads");
        assert_eq!(config.model.head.num_convs, 2);
        assert_eq!(config.recipe.warmup.iterations, 7);
        assert_eq!(config.recipe.eval_every, None);
        assert_eq!(config.assign.center_sampling_radius, None);
        assert_eq!(
            config.assign.size_ranges,
            [[0.0, 32.0], [32.0, 64.0], [64.0, f32::INFINITY]]
        );
    }

    /// Settings of a backbone that another program defines are read, kept and written.
    #[test]
    fn the_backbone_is_told_by_its_family() {
        let sets = ["model.backbone.family=resnet", "model.backbone.arch=r18"];
        let resnet = TrainConfig::load("r50-1x", &sets.map(String::from)).expect("loads");
        let resnet = resnet.model.backbone.as_resnet().expect("a ResNet").clone();
        assert_eq!((resnet.arch, resnet.frozen_stages), (Arch::ResNet18, 2));
        let sets = [
            "model.backbone.family=own",
            "model.backbone.name=strided",
            "model.backbone.settings.widths=[8, 16]",
        ];
        let own = TrainConfig::load("demo", &sets.map(String::from)).expect("loads");
        let BackboneConfig::Own(backbone) = &own.model.backbone else {
            panic!("{:?}", own.model.backbone)
        };
        assert_eq!(backbone.name, "strided");
        assert_eq!(backbone.settings["widths"], serde_json::json!([8, 16]));
        let text = own.to_toml().expect("writes");
        assert_eq!(TrainConfig::parse(&text, "text", &[]).expect("reads"), own);
    }

    #[test]
    fn the_optimiser_is_chosen_by_name() {
        let default = TrainConfig::load("demo", &[]).expect("loads").recipe;
        assert_eq!(default.optimizer, OptimizerKind::Sgd);
        assert_eq!(default.norm_shift, NormShift::Both);
        let sets = [
            "recipe.optimizer=adamw",
            "recipe.adamw.beta2=0.99",
            "recipe.norm_shift=norm",
        ];
        let config = TrainConfig::load("demo", &sets.map(String::from)).expect("loads");
        let recipe = &config.recipe;
        assert_eq!(recipe.optimizer, OptimizerKind::AdamW);
        assert_eq!((recipe.adamw.beta1, recipe.adamw.beta2), (0.9, 0.99));
        assert_eq!(recipe.norm_shift, NormShift::Norm);
        assert!(config.to_toml().expect("TOML").contains("\"adamw\""));
    }

    /// sfzhang15/ATSS: the box loss counts twice, and boxes are offsets of an anchor or distances.
    #[test]
    fn atss_presets() {
        for (name, activation, bias) in [
            ("atss", BoxActivation::ReluStride, 4.0),
            ("retinanet-a1-atss", BoxActivation::AnchorDelta, 0.0),
        ] {
            let config = TrainConfig::load(name, &[]).expect(name);
            assert_eq!(config.assign.rule, AssignRule::Atss);
            assert_eq!(config.assign.atss.k, 9);
            assert_eq!(config.loss.weights.bbox, 2.0);
            assert_eq!(config.model.head.box_activation, activation);
            assert_eq!(config.model.head.bbox_bias, bias);
        }
        let sets = ["assign.rule=atss".to_string(), "assign.atss.k=5".into()];
        let assign = TrainConfig::load("demo", &sets).expect("loads").assign;
        assert_eq!((assign.rule, assign.atss.k), (AssignRule::Atss, 5));
        let demo = TrainConfig::load("demo", &[]).expect("loads");
        assert_eq!(demo.assign.rule, AssignRule::Fcos);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("no-such-preset", "", "no preset `no-such-preset`"),
            ("missing/file.toml", "", "file.toml"),
            ("demo", "recipe.batchsize=3", "batchsize"),
            ("demo", "recipe.batch_size=many", "batch_size=many"),
            ("demo", "assign.rule=nearest", "nearest"),
            ("demo", "recipe.batch_size=0", "recipe.batch_size"),
            ("demo", "recipe.adamw.beta2=1", "recipe.adamw.beta2"),
            ("demo", "recipe.optimizer=lion", "lion"),
            ("demo", "nonsense", "expected key=value"),
            ("demo", "recipe.seed=9223372036854775808", "seed"),
            ("demo", "model.fpn.channels=0", "fpn.channels"),
            ("demo", "model.head.gn_groups=7", "groups"),
            ("demo", "model.backbone.family=vgg", "vgg"),
            ("demo", "model.backbone.depth=50", "depth"),
            ("demo", "model.fpn.first_stride=5", "fpn.first_stride"),
            ("demo", "preprocess.pad_multiple=1000000", "pad_multiple"),
            ("demo", "augment.horizontal_flip=7", "horizontal_flip"),
            (
                "demo",
                "augment.short_sides={range={min=800,max=640}}",
                "short_sides",
            ),
            (
                "demo",
                "assign.size_ranges=[[0, inf]]",
                "assign.size_ranges",
            ),
            (
                "demo",
                "assign.distance_unit=pixels",
                "assign.distance_unit",
            ),
            ("demo", "model.fpn.top_levels=1", "assign.size_ranges"),
            ("demo", "assign.center_sampling_radius=0", "radius"),
            ("atss", "assign.atss.k=0", "assign.atss.k"),
            (
                "retinanet-a1-atss",
                "assign.atss.anchor_scale=4",
                "assign.atss.anchor_scale",
            ),
            (
                "demo",
                "postprocess.nms.threshold=1.5",
                "postprocess.nms.threshold",
            ),
            (
                "demo",
                "postprocess.max_detections=0",
                "postprocess.max_detections",
            ),
        ];
        for (config, set, expected) in cases {
            let sets: Vec<_> = (!set.is_empty())
                .then(|| set.to_string())
                .into_iter()
                .collect();
            let error = TrainConfig::load(config, &sets)
                .expect_err(expected)
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// Older run folders say `stride` of every network, and `off` where we say `none`.
    #[test]
    fn older_settings_are_read_and_written_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        for (activation, unit) in [
            ("exp", "stride"),
            ("exp", "pixels"),
            ("relu_stride", "stride"),
        ] {
            let text = format!(
                "model.head.box_activation = \"{activation}\"\n\
                 assign = {{ distance_unit = \"{unit}\", center_sampling_radius = \"off\" }}"
            );
            let file = dir.path().join("config.toml");
            std::fs::write(&file, text).expect("writes");
            let config = TrainConfig::read(&file).expect("reads");
            assert_eq!(config.assign.center_sampling_radius, None);
            // A new run is not to say what is not so.
            let new = TrainConfig::load(&file.to_string_lossy(), &[]);
            assert_eq!(new.is_ok(), (activation == "exp") == (unit == "pixels"));
            let text = config.to_toml().expect("writes");
            assert!(!text.contains("distance_unit"), "{text}");
            assert!(text.contains("center_sampling_radius = \"none\""), "{text}");
        }
        let sets = [
            "model.head.box_activation=exp",
            "assign.distance_unit=stride",
        ];
        let error = TrainConfig::load("demo", &sets.map(String::from)).expect_err("pixels");
        let expected = "assign.distance_unit is stride, but must be pixels";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn settings_of_what_is_not_chosen_are_free() {
        for (config, set) in [
            ("atss", "assign.atss.anchor_scale=4"),
            ("atss", "model.fpn.top_levels=1"),
            ("demo", "assign.atss.k=0"),
        ] {
            TrainConfig::load(config, &[set.into()]).expect(set);
        }
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let mut config = TrainConfig::default();
        config.recipe.seed = 1 << 63;
        config.to_toml().expect_err("beyond i64");
        let mut config = TrainConfig::default();
        config.data.train_images = "none".into();
        config.to_toml().expect_err("the word for nothing");
        config.recipe.gamma = f64::NAN;
        config.to_toml().expect_err("no number");
    }

    #[cfg(unix)]
    #[test]
    fn paths_beyond_utf8_are_not_written() {
        use std::os::unix::ffi::OsStringExt;
        let path = std::ffi::OsString::from_vec(vec![b'a', 0xFF]);
        let mut config = TrainConfig::default();
        config.data.train_images = path.into();
        let error = config.to_toml().expect_err("no UTF-8").to_string();
        assert!(error.contains("UTF-8"), "{error}");
    }
}
