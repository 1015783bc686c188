//! `fcos inspect`: what a weights file or checkpoint is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use fcos::DetectorConfig;
use fcos::model::NamedShape;
use fcos::model::weights::{self, Checkpoint};

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
    let backbone = match checkpoint.arch() {
        Some(arch) => format!("backbone {}", arch.name()),
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
    let network = match model.backbone.as_resnet() {
        Some(resnet) => format!("{}, width {}", resnet.arch, resnet.width),
        None => model.backbone.name().into(),
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

    #[test]
    fn files_that_cannot_be_converted_say_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("model.safetensors");
        let header = r#"{"rpn.head.cls_logits.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
            "backbone.body.layer2.0.conv2.offset.weight":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        let whole = [length.as_slice(), header.as_bytes(), &[0; 8]].concat();
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
