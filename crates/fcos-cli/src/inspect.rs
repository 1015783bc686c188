//! `fcos inspect`: what a weights file or checkpoint is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use fcos::DetectorConfig;
use fcos::model::weights::{self, Checkpoint};
use fcos::model::{BackboneConfig, NamedShape};

use crate::terminal::print;

/// Say what a weights file or checkpoint is
///
/// Of a file of this library: its network, its other settings and where it came from. Of a published
/// checkpoint: whose it is, its backbone, the presets that go with it for `fcos convert`, and its
/// tensors.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  fcos inspect runs/demo/best.safetensors
  fcos inspect fcos_resnet50_fpn_coco-99b0c9b7.pth")]
pub struct Args {
    /// Weights file of this library, or a checkpoint (.pth or .safetensors)
    file: PathBuf,
}

impl Args {
    /// Prints what the file is.
    ///
    /// # Errors
    /// If the file can't be read, or is none of those that are known.
    pub fn run(self) -> Result<()> {
        print(format_args!("{}", inspect(&self.file)?));
        Ok(())
    }
}

/// What a file is, as lines of text.
fn inspect(file: &Path) -> Result<String> {
    let name = file.display();
    let ours = match weights::read(file) {
        Ok(ours) => ours,
        Err(error) if error.is_foreign() => return inspect_checkpoint(file),
        Err(error) => return Err(error.into()),
    };
    let valid = ours.model.validate(); // reading a file builds no network
    valid.with_context(|| format!("{name}: its network can't be built"))?;
    let config: DetectorConfig = serde_json::from_value(ours.metadata)
        .with_context(|| format!("{name}: no detector's settings"))?;
    let config = DetectorConfig {
        model: ours.model,
        ..config
    };
    let settings = describe(&config);
    Ok(format!(
        "{name}: a weights file of this library\n{}\n{settings}\n",
        config.provenance
    ))
}

fn inspect_checkpoint(file: &Path) -> Result<String> {
    let checkpoint = Checkpoint::read(file)?;
    let backbone = match checkpoint.backbone() {
        Some(config) => format!("backbone {}", backbone_name(&config)),
        None => "a backbone that this library does not have".into(),
    };
    let use_as = match checkpoint.presets() {
        _ if !checkpoint.unknown().is_empty() => "cannot be converted: see the last lines".into(),
        [] => "for `fcos train --backbone-weights`".into(),
        [only] => format!("preset {only}"),
        several => format!("preset: one of {}; the keys can't tell", several.join(", ")),
    };
    let head = format!(
        "{}: {}\n{backbone}\n{use_as}\n",
        file.display(),
        checkpoint.format()
    );
    let tensor = |(name, shape): (&str, &[usize])| format!("  {name} {shape:?}\n");
    let unknown = |(name, shape): &NamedShape| format!("  no network has {name} {shape:?}\n");
    let tensors: String = checkpoint.shapes().map(tensor).collect();
    let unknown: String = checkpoint.unknown().iter().map(unknown).collect();
    Ok(head + &tensors + &unknown)
}

/// What a backbone is called: its depth and kind, if it is a ResNet.
fn backbone_name(config: &BackboneConfig) -> &str {
    let arch = config.as_resnet().map(|resnet| resnet.arch.name());
    arch.unwrap_or(config.name())
}

/// The settings that matter, a line each.
pub(crate) fn describe(config: &DetectorConfig) -> String {
    let DetectorConfig {
        model,
        preprocess,
        location_rule,
        postprocess,
        classes,
        ..
    } = config;
    let backbone = backbone_name(&model.backbone);
    let network = match model.backbone.as_resnet() {
        Some(resnet) => format!("{backbone}, width {}", resnet.width),
        None => backbone.into(),
    };
    format!(
        "network      {network}, {} classes, {} levels\n\
         preprocess   short side {}, long side {}, {:?}, {:?}\n\
         locations    {location_rule:?}\n\
         postprocess  {:?}, NMS at {}\n\
         classes      {}, …",
        model.num_classes,
        model.num_levels(),
        preprocess.short_side,
        preprocess.long_side,
        preprocess.channels,
        preprocess.resize,
        postprocess.score_rule,
        postprocess.nms.threshold,
        classes.iter().take(4).collect::<Vec<_>>().join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use fcos::ClassList;
    use fcos::model::FcosConfig;
    use serde_json::{Value, json};

    /// A safetensors file with this header.
    fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [length.as_slice(), header.as_bytes(), data].concat()
    }

    /// A weights file of this library without tensors, whose network is `model`.
    fn weights_file(model: &Value) -> Vec<u8> {
        let classes = ClassList::new(["cat"]).expect("a name");
        let metadata = DetectorConfig::new(FcosConfig::tiny(), classes);
        let entry = json!({ "version": weights::VERSION, "model": model, "metadata": metadata });
        let header = json!({ "__metadata__": { "fcos": entry.to_string() } });
        safetensors(&header.to_string(), &[])
    }

    #[test]
    fn settings_that_describe_no_network_are_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("model.safetensors");
        let mut model = serde_json::to_value(FcosConfig::tiny()).expect("JSON");
        fs::write(&file, weights_file(&model)).expect("written");
        let text = inspect(&file).expect("ours");
        let network = "r18, width 16, 80 classes, 5 levels";
        assert!(text.contains(network), "{text}");
        for (setting, value) in [
            ("top_levels", 1_u64 << 40),
            ("top_levels", 70),
            ("first_stride", 0),
        ] {
            let before = model["fpn"][setting].take();
            model["fpn"][setting] = value.into();
            fs::write(&file, weights_file(&model)).expect("written");
            model["fpn"][setting] = before;
            let error = format!("{:#}", inspect(&file).expect_err(setting));
            let expected = format!("fpn.{setting} is {value}");
            assert!(error.contains(&expected), "{error}");
            assert!(error.contains("model.safetensors"), "{error}");
        }
    }

    #[test]
    fn backbones_have_names() {
        assert_eq!(backbone_name(&BackboneConfig::default()), "r50");
        let own = BackboneConfig::own("strided", json!({})).expect("a table");
        assert_eq!(backbone_name(&own), "strided");
    }

    #[test]
    fn files_that_cannot_be_converted_say_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("model.safetensors");
        let header = r#"{"rpn.head.cls_logits.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
            "backbone.body.layer2.0.conv2.offset.weight":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        let whole = safetensors(header, &[0; 8]);
        fs::write(&file, &whole).expect("written");
        let text = inspect(&file).expect("known keys");
        assert!(text.contains("cannot be converted"), "{text}");
        assert!(
            text.ends_with("no network has backbone.body.layer2.0.conv2.offset.weight [1]\n"),
            "{text}"
        );
        fs::write(&file, &whole[..whole.len() - 1]).expect("written");
        assert!(
            inspect(&file)
                .expect_err("cut")
                .to_string()
                .contains("truncated")
        );
    }
}
